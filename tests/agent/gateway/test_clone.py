"""A request that brings a voice: every kind of recording at the real door, to an engine that judges as XTTS does and needs no torch."""

import asyncio
import base64
import hashlib
import io
import json
import threading

import aiohttp
import numpy as np
import pytest
import soundfile

import agent.node
from agent.config import Settings
from agent.gateway.app import make_app
from agent.gateway.clone import decode, length_of
from agent.gateway.errors import Refused
from agent.gateway.serving import Doors
from agent.node import Node
from engines.base import Chunk, EngineUnavailable, UnknownVoice, Voice
from engines.tone import SAMPLE_RATE, ToneEngine
from engines.xtts.reference import hear
from tests.agent.gateway.conftest import SETTINGS, decoded
from tests.agent.gateway.socket.client import talking
from tests.engines.xtts import tiny
from tests.engines.xtts.tiny import speech

PITCHES = 200, 1_000  # hertz of cloned voices: the key is heard as a pitch


class Cloner(ToneEngine):
    """Takes a voice from whatever XTTS would take one from, and speaks with it as high as its content says."""

    name = "cloner"
    can_clone = True
    build = "cloner-1"

    def __init__(self):
        super().__init__()
        self.known, self.taken, self.fails = {}, 0, None

    def voices(self):
        return tuple(Voice(f"plain-{language}", self.name, language, SAMPLE_RATE) for language in ("en", "fr"))

    def clone(self, *recordings, language=""):
        if self.fails:
            raise self.fails
        hear(*recordings)
        self.taken += 1
        id = f"{language or 'en'}-clone-{hashlib.sha256(b''.join(recordings)).hexdigest()[:32]}"
        self.known[id] = Voice(id, self.name, language or "en", SAMPLE_RATE)
        return self.known[id]

    def voice(self, id):
        if id.partition("-")[2].startswith("clone-") and id not in self.known:
            raise UnknownVoice(id)
        return self.known.get(id) or super().voice(id)

    def synthesize(self, request, pace):
        own = self.voice(request.voice)
        pitch = pitch_of(own.id) if own.id in self.known else 100
        sound = 8_000 * np.sin(2 * np.pi * pitch * np.arange(len(request.text) * SAMPLE_RATE // 15) / SAMPLE_RATE)
        for start in range(0, len(sound), SAMPLE_RATE // 10):
            yield Chunk(sound[start : start + SAMPLE_RATE // 10].astype(np.int16))


def pitch_of(id):
    return PITCHES[0] + int(id[-4:], 16) % (PITCHES[1] - PITCHES[0])


def heard(file):
    """Hertz of the strongest tone."""
    rate, samples = decoded(file)
    return np.argmax(np.abs(np.fft.rfft(samples, rate)))


def written(sound, rate=22_050, *, form="WAV", subtype=None):
    file = io.BytesIO()
    soundfile.write(file, sound, rate, format=form, subtype=subtype)
    return base64.b64encode(file.getvalue()).decode()


def recording(seconds=4.0, *, pitch=120.0):
    return written(speech(seconds, pitch=pitch))


@pytest.fixture
def cloner(monkeypatch):
    engine, find = Cloner(), agent.node.find_engine
    monkeypatch.setattr(agent.node, "find_engine", lambda name, settings: engine if name == "cloner" else find(name, settings))
    return engine


@pytest.fixture
async def house(cloner):
    """A node whose second engine can clone, and a client at its door."""
    settings = Settings.model_validate({**SETTINGS, "selection": {"fallback_chain": ["tone", "cloner"], "quality": {"tone": 4.0}}})
    async with Node(settings) as node:
        await node.ready()
        async with Doors(make_app(node), settings.server, settings.ws) as doors, aiohttp.ClientSession(doors.addresses[0]) as client:
            yield node, client


async def ask(client, path="/synthesize", **body):
    whole = {"text": "Hello there.", **body} if "items" not in body else body
    data = io.BytesIO(json.dumps(whole).encode())
    async with client.post(path, data=data) as answer:
        found = await answer.read() if answer.content_type.startswith("audio") else await answer.json()
        return answer.status, found, answer.headers


async def refusal(client, reference, path="/synthesize", **body):
    status, found, _ = await ask(client, path, voice_clone_reference=reference, **body)
    fields = {detail["field"] for detail in found["detail"]} if status == 422 else set()
    assert fields <= {"voice_clone_reference"} and "voice_clone_reference" in found["error"]
    return status, found["code"]


async def test_whoever_brings_a_voice_is_spoken_to_in_it(house, cloner):
    _, client = house
    for path in ("/synthesize", "/synthesize/stream"):
        status, sound, headers = await ask(client, path, voice_clone_reference=recording(), response_format="wav", language="fr")
        assert status == 200 and len(decoded(sound)[1])
        assert headers["X-Engine"] == "cloner" and headers["X-Voice"].startswith("fr-clone-") and "X-Fallback" not in headers
        assert headers["X-Cache"] == "off"
    status, found, _ = await ask(client, voice_clone_reference="data:audio/wav;base64," + recording(), voice_id="tone-en")
    assert (status, found["engine"]) == (200, "cloner") and found["voice_id"].startswith("en-clone-")
    status, found, _ = await ask(client, "/batch_synthesize", items=[{"text": "Hi.", "voice_clone_reference": recording()}])
    assert found["results"][0]["engine"] == "cloner"
    _, found, _ = await ask(client, response_format="json")
    assert "clone" not in found["voice_id"], "others are spoken to as before"


@pytest.mark.long
async def test_other_recordings_are_other_voices_and_nothing_that_they_say_is_kept(house, cloner):
    node, client = house
    voices = {}
    for pitch in (120.0, 180.0, 120.0):
        _, sound, headers = await ask(client, voice_clone_reference=recording(pitch=pitch), response_format="wav")
        assert headers["X-Cache"] == "off" and heard(sound) == pytest.approx(pitch_of(headers["X-Voice"]), abs=3)
        assert voices.setdefault(pitch, headers["X-Voice"]) == headers["X-Voice"], "the same recording is the same voice"
    assert abs(pitch_of(voices[120.0]) - pitch_of(voices[180.0])) > 10
    assert cloner.taken == 3
    assert node.studio.cache.stats().entries == 0


async def test_a_voice_that_was_brought_is_offered_to_nobody_else(house, cloner):
    _, client = house
    _, _, headers = await ask(client, voice_clone_reference=recording(), response_format="wav")
    id = headers["X-Voice"]
    async with client.get("/voices") as answer:
        voices = (await answer.json())["voices"]
    assert {voice["supported_engines"][0]: voice["clone_capable"] for voice in voices} == {"tone": False, "cloner": True}
    async with client.get("/v1/audio/voices") as answer:
        everywhere = voices + (await answer.json())["voices"]
    assert id not in {voice["id"] for voice in everywhere}
    status, found, _ = await ask(client, voice_id="nobody")
    assert status == 422 and id not in str(found)
    status, _, headers = await ask(client, engine="cloner", language="en", response_format="wav")
    assert headers["X-Voice"] == "plain-en"


@pytest.mark.long
@pytest.mark.parametrize(
    ("form", "subtype", "rate", "channels"),
    [
        ("WAV", "PCM_16", 44_100, 2),
        ("WAV", "PCM_U8", 22_050, 1),
        ("WAV", "PCM_24", 96_000, 1),
        ("WAV", "ULAW", 8_000, 1),
        ("FLAC", "PCM_16", 48_000, 2),
        ("OGG", "VORBIS", 48_000, 1),
        ("MP3", "MPEG_LAYER_III", 44_100, 1),
    ],
)
async def test_recordings_of_every_form_are_taken(house, form, subtype, rate, channels):
    sound = np.stack([speech(4.0, rate=rate)] * channels, axis=1)
    reference = written(sound, rate, form=form, subtype=subtype)
    status, found, _ = await ask(house[1], voice_clone_reference=reference)
    assert (status, found["engine"]) == (200, "cloner")


@pytest.mark.long
async def test_a_bad_recording_is_refused_by_its_name(house, cloner):
    _, client = house
    rng = np.random.default_rng(1)
    bad = {
        "&&&": (422, "bad_base64"),
        base64.b64encode(b"no sound at all").decode(): (422, "bad_audio"),
        base64.b64encode(b"#EXTM3U\nhttp://127.0.0.1/x\n").decode(): (422, "bad_audio"),
        base64.b64encode(b"RIFF" + b"\xff" * 64).decode(): (422, "bad_audio"),
        base64.b64encode(base64.b64decode(recording())[:60]).decode(): (422, "clone_reference_length"),
        recording(1.0): (422, "clone_reference_length"),
        recording(15.0): (422, "clone_reference_length"),
        written(np.zeros(5 * 22_050)): (422, "bad_audio"),
        written(rng.normal(0, 0.1, 5 * 22_050)): (422, "bad_audio"),
        written(np.clip(20 * speech(4.0), -1, 1)): (422, "bad_audio"),
    }
    for reference, told in bad.items():
        assert await refusal(client, reference) == told, reference[:40]
        assert await refusal(client, reference, allow_voice_fallback=True) == await refusal(client, reference, "/synthesize/stream")
    assert cloner.taken == 0
    with pytest.raises(Refused) as caught:
        decode("A" * (9 << 20))
    assert (caught.value.status, caught.value.code, caught.value.field) == (413, "clone_reference_too_large", "voice_clone_reference")


async def test_where_nobody_can_clone_it_is_said_or_another_voice_speaks(client):
    assert await refusal(client, recording()) == (503, "clone_unavailable")
    assert await refusal(client, recording(1.0)) == (422, "clone_reference_length")
    status, found, _ = await ask(client, voice_clone_reference=recording(), allow_voice_fallback=True)
    assert (status, found["engine"]) == (200, "tone") and "another voice speaks" in found["warnings"][0]


def pitch(client):
    """Hertz of the strongest tone that came over a socket."""
    samples = np.frombuffer(client.pcm, "<i2")
    return np.argmax(np.abs(np.fft.rfft(samples, SAMPLE_RATE)))


async def brought(client, **wishes):
    """The last word on a text that came with a voice, over a socket."""
    client.messages.clear()
    await client.send(text="Hello there.", **wishes)
    return await client.until(is_final=True)


@pytest.mark.long
async def test_whoever_brings_a_voice_over_a_socket_is_spoken_to_in_it(house, cloner):
    node, http = house
    address = str(http._base_url).rstrip("/")
    async with talking(address) as client:
        for pitched in (120.0, 180.0):
            last = await brought(client, voice_clone_reference=recording(pitch=pitched), language="fr")
            engine, _, id = last["model_used"].partition(":")
            assert engine == "cloner" and id.startswith("fr-clone-") and pitch(client) == pytest.approx(pitch_of(id), abs=3)
        assert "clone-" not in (await brought(client))["model_used"], "others are spoken to as before"
        for bad, code in (("&&&", "bad_base64"), (recording(1.0), "clone_reference_length"), (written(np.zeros(5 * 22_050)), "bad_audio")):
            error = await brought(client, voice_clone_reference=bad)
            assert (error["code"], error["field"]) == (code, "voice_clone_reference")
        cloner.fails = EngineUnavailable("out of memory")
        assert (await brought(client, voice_clone_reference=recording()))["code"] == "clone_unavailable"
        last = await brought(client, voice_clone_reference=recording(), allow_voice_fallback=True)
        assert "clone-" not in last["model_used"] and "out of memory" in last["warnings"][0]
        cloner.fails = RuntimeError("a fault of its own")
        assert "a fault of its own" in (await brought(client, voice_clone_reference=recording()))["message"]
    cloner.fails = None
    async with talking(address) as client:
        await client.send(voice_clone_reference=recording())
        await client.until(type="ready")
        await client.send(text="Hello there.")
        await client.send(type="end_of_stream")
        await client.until(type="complete")
        assert pitch(client) in [pytest.approx(pitch_of(id), abs=3) for id in cloner.known]
    assert node.studio.cache.stats().entries <= 1, "what was said without a voice brought"


async def test_a_fault_of_ours_ends_the_connection_with_a_word(house, monkeypatch):
    node, http = house

    async def broken(*args):
        raise RuntimeError("nobody thought of this")

    monkeypatch.setattr(node.studio, "clone", broken)
    async with talking(str(http._base_url).rstrip("/")) as client:
        await client.send(text="Hello there.", voice_clone_reference=recording())
        assert await client.end() == 1011 and client.messages[-1]["code"] == "internal"


@pytest.mark.long
async def test_who_hangs_up_or_cancels_waits_for_no_voice(house, cloner):
    _, http = house
    begun, done = threading.Event(), threading.Event()

    def slowly(*recordings, language=""):
        begun.set()
        assert done.wait(10)
        raise EngineUnavailable("too late")

    cloner.clone = slowly
    async with talking(str(http._base_url).rstrip("/")) as client:
        await client.send(text="Hello there.", voice_clone_reference=recording())
        await asyncio.to_thread(begun.wait, 10)
        await client.send(type="cancel")
        await client.until(type="cancelled")
        await client.send(text="Something else.", voice_clone_reference=recording(), timeout=0.3)
        assert (await client.until(is_final=True))["code"] == "timeout"
        done.set()
        assert "clone-" not in (await brought(client))["model_used"]
        assert not [message for message in client.objects if message.get("code")]


@pytest.mark.long
async def test_an_engine_that_cannot_just_now_or_was_ruled_out_is_not_asked(house, cloner):
    _, client = house
    assert await refusal(client, recording(), engine="tone", strict_engine=True) == (503, "clone_unavailable")
    assert cloner.taken == 0
    status, found, _ = await ask(client, voice_clone_reference=recording(), engine="tone")
    assert (status, found["engine"]) == (200, "cloner"), "a wish gives way to the voice"
    cloner.fails = EngineUnavailable("out of memory")
    assert await refusal(client, recording()) == (503, "clone_unavailable")
    status, found, _ = await ask(client, voice_clone_reference=recording(), allow_voice_fallback=True)
    assert (status, found["engine"]) == (200, "tone") and "out of memory" in found["warnings"][0]
    assert await refusal(client, recording(), language="de", engine="cloner") == (503, "clone_unavailable"), "it speaks no German"


async def test_the_length_is_measured_and_a_data_url_is_base64_too():
    assert await length_of(decode("data:audio/wav;base64," + recording(4.0))) == pytest.approx(4.0, abs=0.01)


@pytest.mark.voice
async def test_xtts_itself_speaks_in_the_voice_that_was_brought(tmp_path):
    """With a tiny random model: it babbles, and in another voice otherwise."""
    try:
        import torch  # noqa: F401
    except ImportError:
        pytest.fail("this test runs XTTS on torch: pip install 'voicebooth[xtts]', as `make test` does")
    with tiny.narrow_decoder():
        tiny.make(tmp_path)
        engine = {"cache": tmp_path / "cache", "device": "cpu", "threads": 1, "languages": ("en", "fr")}
        parts = {"selection": {"fallback_chain": ["tone", "xtts"]}, "models": {"root": tmp_path}, "xtts": engine}
        settings = Settings.model_validate({**SETTINGS, **parts})
        async with Node(settings) as node:
            await node.ready()
            async with Doors(make_app(node), settings.server, settings.ws) as doors, aiohttp.ClientSession(doors.addresses[0]) as client:
                voices, sounds = set(), set()
                for pitch in (120.0, 180.0, 120.0):
                    reference = recording(pitch=pitch)
                    asked = {"voice_clone_reference": reference, "language": "fr", "response_format": "pcm", "trim_silence": False}
                    status, sound, headers = await ask(client, **asked)
                    assert (status, headers["X-Engine"]) == (200, "xtts"), sound
                    voices.add(headers["X-Voice"])
                    sounds.add(sound)
                async with talking(doors.addresses[0]) as socket:
                    last = await brought(socket, voice_clone_reference=recording(pitch=180.0), language="fr")
                    assert socket.pcm and last["model_used"].removeprefix("xtts:") in voices, last
                assert len(voices) == 2 and all(voice.startswith("fr-clone-") for voice in voices)
                assert len(sounds) >= 2 and all(sounds)
                assert await refusal(client, recording(1.0)) == (422, "clone_reference_length")
                assert await refusal(client, written(np.zeros(5 * 22_050))) == (422, "bad_audio")
                assert {file.suffix for file in (tmp_path / "cache" / "voices").iterdir()} == {".npz"}
