"""The family of ``/synthesize``, asked by a real client through a real door."""

import asyncio
import base64
import itertools
import wave
from io import BytesIO

import aiohttp
import numpy as np
import pytest

from agent.config import Settings
from agent.gateway.speech import make_plan
from bench.hearing import tones
from engines.base import Pace, Request
from engines.tone import ToneEngine
from tests.agent.gateway.conftest import SETTINGS, decoded, opened

TEXT = "One two three. Four five."


def pitches(samples, rate=24_000):
    return [tone.pitch for tone in tones(samples, rate)]


def score(text, language="en"):
    engine = ToneEngine()
    engine.load()
    return pitches(np.concatenate([chunk.samples for chunk in engine.synthesize(Request(text, language=language), Pace(0.02))]))


def says(samples, text, rate=24_000):
    heard, expected = pitches(samples, rate), score(text)
    return len(heard) == len(expected) and np.allclose(heard, expected, rtol=0.02)


async def ask(client, path="/synthesize", *, headers=None, params=None, **body):
    async with client.post(path, json=body, headers=headers, params=params) as answer:
        kind = answer.headers.get("content-type", "")
        return answer, await (answer.json() if kind == "application/json" else answer.read())


async def test_a_text_alone_is_wav_and_says_who_spoke(client):
    answer, data = await ask(client, text=TEXT)
    assert (answer.status, answer.headers["content-type"]) == (200, "audio/wav")
    with wave.open(BytesIO(data)) as file:
        assert (file.getframerate(), file.getnchannels(), file.getsampwidth()) == (24_000, 1, 2)
        samples = np.frombuffer(file.readframes(file.getnframes()), dtype="<i2")
    assert says(samples, TEXT)
    told = {name: answer.headers[name] for name in ("X-Sample-Rate", "X-Language", "X-Voice", "X-Engine", "X-Model", "X-Shape")}
    assert told == {
        "X-Sample-Rate": "24000",
        "X-Language": "en",
        "X-Voice": "tone-en",
        "X-Engine": "tone",
        "X-Model": "tone-en",
        "X-Shape": "bytes; by=default",
    }
    assert float(answer.headers["X-Processing-Time"]) > 0


async def test_the_envelope_holds_what_three_services_promise(client):
    answer, body = await ask(client, text="Hello there.", speed=1.25, format="mp3", sample_rate=16_000)
    assert answer.headers["X-Shape"] == "json; by=json_fields"
    assert body["success"] is True
    assert body["model_used"] == "tone:tone-en"
    assert (body["format"], body["sample_rate"], body["text_length"]) == ("mp3", 16_000, 12)
    assert body["duration_seconds"] == body["duration"] > 0.3
    assert body["cached"] is body["cache_hit"] is False
    assert body["generation_time_ms"] == pytest.approx(1000 * body["processing_time"], abs=1)
    rate, samples = decoded(base64.b64decode(body["audio_data"]))
    assert (rate, len(samples) / rate) == (16_000, pytest.approx(body["duration"], abs=0.15))
    _, without = await ask(client, text="Hello there.", response_format="json", include_audio=False)
    assert "audio_data" not in without


async def test_what_was_said_before_comes_from_the_cache(client):
    first, _ = await ask(client, text=TEXT)
    second, again = await ask(client, text=TEXT)
    third, _ = await ask(client, text=TEXT, use_cache=False, response_format="wav")
    assert [answer.headers["X-Cache"] for answer in (first, second, third)] == ["miss", "hit", "off"]
    assert says(decoded(again)[1], TEXT)


async def test_every_format_is_whole_and_streamed(client):
    kinds = {"wav": "audio/wav", "mp3": "audio/mpeg", "ogg": "audio/ogg", "opus": "audio/ogg", "flac": "audio/flac", "aac": "audio/aac"}
    for path, format in itertools.product(("/synthesize", "/synthesize/stream", "/synthesize-stream"), kinds):
        answer, data = await ask(client, path, text=TEXT, format=format)
        assert answer.headers["content-type"] == kinds[format]
        rate, samples = decoded(data)
        assert says(samples, TEXT, rate)


async def test_a_whole_reply_of_pcm_holds_all_of_it(client):
    for rate in (24_000, 16_000):
        asked = {"text": TEXT, "sample_rate": rate, "normalize_audio": False}
        _, wave = await ask(client, response_format="wav", **asked)
        answer, data = await ask(client, response_format="pcm", **asked)
        assert answer.headers["content-type"] == "audio/pcm"
        assert np.array_equal(np.frombuffer(data, "<i2"), decoded(wave)[1])


async def test_pcm_is_samples_and_nothing_else(client):
    answer, data = await ask(client, "/synthesize/stream", text=TEXT, format="pcm", sample_rate=16_000)
    assert (answer.headers["content-type"], answer.headers["X-Sample-Rate"]) == ("audio/pcm", "16000")
    assert says(np.frombuffer(data, dtype="<i2"), TEXT, 16_000)


async def test_a_stream_begins_before_it_ends_and_has_no_length(client):
    async with client.post("/synthesize/stream", json={"text": "One two three. " * 40, "use_cache": False}) as answer:
        assert "content-length" not in answer.headers
        first = await answer.content.readexactly(44)
        assert first[:4] + first[8:12] == b"RIFFWAVE"
        rest = await answer.read()
    assert len(rest) > 24_000 * 2 * 20


async def test_the_language_is_the_one_that_is_asked_for(client):
    answer, _ = await ask(client, text="Bonjour.", options={"language": "fr"})
    assert (answer.headers["X-Language"], answer.headers["X-Voice"], answer.headers["X-Sample-Rate"]) == ("fr", "tone-fr", "22050")
    answer, _ = await ask(client, text="Hallo.", voice_id="tone-de-low", response_format="wav")
    assert (answer.headers["X-Language"], answer.headers["X-Voice"]) == ("de", "tone-de-low")


async def test_an_id_that_stands_for_a_kind_of_voice_is_cast(client):
    answer, _ = await ask(client, text="Hi.", voice_id="de-de-male-standard", response_format="wav")
    assert (answer.headers["X-Language"], answer.headers["X-Voice"]) == ("de-DE", "tone-de-low")
    answer, _ = await ask(client, text="Hi.", voice_description="a deep male voice, French")
    assert (answer.headers["X-Language"], answer.headers["X-Voice"]) == ("fr", "tone-fr-low")


async def test_an_engine_that_is_not_here_gives_way_and_that_is_told(client):
    answer, body = await ask(client, text="Hi.", engine="speecht5")
    assert answer.headers["X-Fallback"] == "speecht5"
    assert body["fallback"] == [{"engine": "speecht5", "reason": "not installed here"}]
    answer, body = await ask(client, text="Hi.", engine="speecht5", strict_engine=True)
    assert (answer.status, body["code"], body["field"]) == (404, "engine_unavailable", "engine")
    answer, body = await ask(client, "/tts/synthesize", text="Hi.", model_name="parrot")
    assert (answer.status, body["code"], body["field"]) == (404, "unknown_engine", "model_name")
    answer, body = await ask(client, text="Hi.", options={"voice": "parrot"})
    assert (body["field"], body["error"].partition(":")[0]) == ("options.voice", "options.voice")


async def test_unknown_fields_are_warnings(client):
    _, body = await ask(client, text="Hi.", engine="tone", colour="blue", options={"mood": 1}, emotion="happy", response_format="json")
    assert [warning.partition(":")[0] for warning in body["warnings"]] == ["emotion", "colour", "options.mood"]


REFUSED = [  # body, status, code, field
    ({}, 422, "text_required", "text"),
    ({"engine": "tone"}, 422, "text_required", "text"),
    ({"text": "   "}, 422, "text_required", "text"),
    ({"text": 7}, 422, "wrong_type", "text"),
    ({"text": "a" * 5_001}, 422, "text_too_long", "text"),
    ({"text": "a\x00b"}, 422, "bad_text", "text"),
    ({"text": "... !"}, 422, "nothing_to_say", "text"),
    ({"input": "... !"}, 422, "nothing_to_say", "input"),
    ({"input": "a", "options": {"voice": "nobody"}}, 422, "unknown_voice", "options.voice"),
    ({"text": "<speak>Hi</speak>"}, 501, "not_supported", "text"),
    ({"text": "\ufeff<speak>Hi</speak>"}, 501, "not_supported", "text"),
    ({"input": '<?xml version="1.0"?><speak>Hi</speak>'}, 501, "not_supported", "input"),
    ({"text": "a", "ssml": True}, 501, "not_supported", "ssml"),
    ({"text": "a", "segments": [{}]}, 501, "not_supported", "segments"),
    ({"text": "a", "language": "xx"}, 422, "unsupported_language", "language"),
    ({"text": "a", "language": "../etc"}, 422, "bad_format", "language"),
    ({"text": "a", "voice_id": "../../etc/passwd"}, 422, "unknown_voice", "voice_id"),
    ({"text": "a", "voice_id": "+".join(["af_heart:0.6"] * 16)}, 422, "too_long", "voice_id"),
    ({"text": "a", "voice": "nova\n"}, 422, "bad_format", "voice"),
    ({"text": "a", "engine": "parrot"}, 422, "unknown_engine", "engine"),
    ({"text": "a", "engine": "facebook/bart-large"}, 422, "not_a_voice_model", "engine"),
    ({"text": "a", "format": "avi"}, 422, "unsupported_value", "format"),
    ({"text": "a", "sample_rate": 11_025}, 422, "unsupported_value", "sample_rate"),
    ({"text": "a", "speed": 2.1}, 422, "out_of_bounds", "speed"),
    ({"text": "a", "options": {"pitch": 0.1}}, 422, "out_of_bounds", "options.pitch"),
    ({"text": "a", "speed": "fast"}, 422, "wrong_type", "speed"),
    ({"text": "a", "voice_id": "tone-en", "speaker_id": "tone-fr"}, 422, "conflicting_fields", "voice_id"),
    ({"text": "a", "input": "b"}, 422, "conflicting_fields", "text"),
    ({"text": "a", "format": "mp3", "response_format": "wav"}, 422, "conflicting_fields", "format"),
    ({"text": "a", "voice_description": "x" * 501}, 422, "too_long", "voice_description"),
    ({"text": "a", "voice_clone_reference": "&&&&"}, 422, "bad_base64", "voice_clone_reference"),
    ({"text": "a", "voice_clone_reference": "AAAA"}, 422, "bad_audio", "voice_clone_reference"),
    ({"text": "a", "timeout": 0}, 422, "out_of_bounds", "timeout"),
]


@pytest.mark.parametrize("path", ["/synthesize", "/synthesize/stream"])
async def test_bad_input_gets_a_typed_error_that_names_the_field(client, path):
    for body, status, code, field in REFUSED:
        answer, told = await ask(client, path, **body)
        assert (answer.status, told["code"], told["success"]) == (status, code, False), body
        assert (told["request_id"], told["field"]) == (answer.headers["X-Request-ID"], field), body
        if status == 422:
            assert told["detail"][0]["field"] == field, body


ELSEWHERE = ("../../etc/passwd", "%2e%2e%2fetc", "..", "/etc/passwd", "a\x00b", "a\r\nSet-Cookie: evil=1", "a\u2028evil")
"""Names that are a way to somewhere else, or the end of a line."""
NAMED = [  # path, what else it needs, fields that hold a name
    ("/synthesize", {"text": "a"}, ("voice_id", "engine", "model_name")),
    ("/synthesize/stream", {"text": "a"}, ("voice_id", "engine")),
    ("/tts/synthesize", {"text": "a", "model_name": "tone"}, ("voice", "model_name")),
    ("/v1/audio/speech", {"input": "a", "model": "tts-1", "voice": "alloy"}, ("voice", "model")),
]


@pytest.mark.parametrize(("path", "rest", "fields"), NAMED)
async def test_a_name_that_points_elsewhere_is_nobody_s_and_in_no_header(client, path, rest, fields):
    for field, name in itertools.product(fields, ELSEWHERE):
        answer, told = await ask(client, path, **{**rest, field: name})
        told = told.get("error") if path.startswith("/v1/") else told
        assert (answer.status, told["code"]) in [(status, f"unknown_{kind}") for status in (400, 404, 422) for kind in ("voice", "engine")]
        said = [value for value in answer.headers.values() if "evil" in value or "etc" in value or "\x00" in value or "%2e" in value]
        assert not said and "Set-Cookie" not in answer.headers, (field, name)


async def test_what_is_no_json_object_is_told_so(client):
    for raw in (b"", b"{", b"[]", b'"text"', b"\xff\xfe", b'{"text": NaN}', b"[" * 10_000):
        async with client.post("/synthesize", data=raw) as answer:
            assert (answer.status, (await answer.json())["code"]) == (422, "bad_json"), raw[:20]


async def test_json_under_a_form_s_content_type_is_read(client):
    headers = {"Content-Type": "application/x-www-form-urlencoded"}
    async with client.post("/synthesize", data=b'{"text": "Hi."}', headers=headers) as answer:
        assert answer.status == 200


async def test_the_query_may_say_the_shape(client):
    answer, _ = await ask(client, text="Hi.", params={"response_format": "json"})
    assert answer.headers["X-Shape"] == "json; by=response_format"
    answer, body = await ask(client, text="Hi.", response_format="mp3", params={"response_format": "json"})
    assert (answer.status, body["code"]) == (422, "conflicting_fields")
    answer, body = await ask(client, text="Hi.", params={"response_format": "avi"})
    assert (answer.status, body["detail"][0]["field"]) == (422, "response_format")


async def test_accept_decides_and_may_not_be_met(client):
    answer, _ = await ask(client, text="Hi.", headers={"Accept": "application/json"})
    assert answer.headers["X-Shape"] == "json; by=accept"
    answer, _ = await ask(client, text="Hi.", speed=1.1, headers={"Accept": "audio/flac"})
    assert answer.headers["content-type"] == "audio/flac"
    answer, body = await ask(client, text="Hi.", format="mp3", headers={"Accept": "audio/flac"})
    assert (answer.status, body["code"], body["field"]) == (406, "not_acceptable", "Accept")


@pytest.mark.parametrize("path", ["/synthesize", "/synthesize/stream"])
async def test_a_format_that_is_said_outright_is_answered_whatever_is_accepted(client, path):
    answer, _ = await ask(client, path, text="Hi.", response_format="mp3", headers={"Accept": "application/json"})
    assert (answer.status, answer.headers["content-type"]) == (200, "audio/mpeg")


async def test_a_stream_has_no_envelope(client):
    answer, body = await ask(client, "/synthesize/stream", text="Hi.", response_format="json")
    assert (answer.status, body["code"]) == (422, "stream_is_bytes")


async def test_a_batch_keeps_the_order_and_goes_on_after_an_error(client):
    answer, body = await ask(client, "/batch_synthesize", texts=["One.", "", "Two three."], options={"format": "mp3"})
    assert (answer.status, body["total"], body["failed"]) == (200, 3, 1)
    assert [result["success"] for result in body["results"]] == [True, False, True]
    assert body["results"][1]["code"] == "text_required"
    assert [result.get("format") for result in body["results"]] == ["mp3", None, "mp3"]
    _, body = await ask(client, "/batch_synthesize", items=[{"input": "... !"}])
    assert [(result["code"], result["field"]) for result in body["results"]] == [("nothing_to_say", "input")]
    items = [{"text": "One.", "format": "wav"}, {"text": "Deux.", "language": "fr"}]
    _, body = await ask(client, "/batch_synthesize", items=items, options={"format": "mp3"}, parallel_processing=False)
    assert [(result["format"], result["language"]) for result in body["results"]] == [("wav", "en"), ("mp3", "fr")]


async def test_a_text_of_a_batch_that_fails_by_a_fault_of_ours_leaves_the_others_alone(client, monkeypatch, caplog):
    def broken(node, wanted, **options):
        return make_plan(node, wanted, **options) if wanted.text != "Two." else 1 / 0

    monkeypatch.setattr("agent.gateway.synthesis.make_plan", broken)
    answer, body = await ask(client, "/batch_synthesize", texts=["One.", "Two.", "Three."])
    assert (answer.status, body["failed"], [result["success"] for result in body["results"]]) == (200, 1, [True, False, True])
    told = body["results"][1]
    assert (told["status"], told["code"]) == (500, "internal") and "division" not in str(told)
    assert "ZeroDivisionError" in caplog.text


async def test_a_batch_takes_what_its_services_write_and_says_what_it_does_not(client):
    config = {"output_format": "mp3", "enable_caching": False, "optimization_level": "high", "parallel_processing": True}
    body = {"texts": ["One."], "model_name": "default", "batch_config": config, "voice_config": {"speed": 1.5}, "colour": "red"}
    for _ in range(2):
        _, told = await ask(client, "/batch_synthesize", **body)
        (result,) = told["results"]
        assert (result["format"], result["cached"]) == ("mp3", False)
        assert result["warnings"] == ["colour: unknown field, ignored"]


class TestCounted:
    @pytest.fixture
    def settings(self):
        limits = {"requests_per_minute": 3}
        return Settings.model_validate({**SETTINGS, "security": {"keys": ["a-key"]}, "limits": limits})

    async def test_each_text_of_a_batch_is_a_request(self, client):
        key = {"Authorization": "Bearer a-key"}
        _, body = await ask(client, "/batch_synthesize", headers=key, texts=["One.", "Two.", "Three.", "Four.", "Five."])
        results = body["results"]
        assert (body["failed"], [result["success"] for result in results]) == (2, [True, True, True, False, False])
        assert (results[3]["status"], results[3]["code"]) == (429, "rate_limited") and 0 < results[3]["retry_after"] <= 61
        answer, _ = await ask(client, headers=key, text="Six.")
        assert answer.status == 429


async def test_a_stream_takes_its_format_from_the_query_too(client):
    for path in ("/synthesize/stream", "/synthesize-stream"):
        answer, body = await ask(client, path, params={"response_format": "json"}, text="Hi.")
        assert (answer.status, body["code"]) == (422, "stream_is_bytes")
        answer, _ = await ask(client, path, params={"response_format": "mp3"}, text="Hi.")
        assert answer.headers["content-type"] == "audio/mpeg"


async def test_the_time_of_a_stream_is_all_the_time_it_has(client):
    for path, named in (("/synthesize/stream", {}), ("/v1/audio/speech", {"model": "tts-1", "voice": "alloy"})):
        body = {"input": "One two three. " * 250, "timeout": 0.1, "speed": 0.5, **named}
        with pytest.raises(aiohttp.ClientPayloadError):
            async with client.post(path, json=body) as answer:
                assert answer.status == 200
                await answer.read()


async def test_a_stream_is_a_hit_when_all_of_it_is_known(client):
    async def words(**body):
        answer, _ = await ask(client, "/synthesize/stream", **body)
        return answer.headers["X-Cache"]

    assert await words(text="One two.") == "miss"
    assert await words(text="One two.") == "hit"
    assert await words(text="One two. Three four five. Six.") == "miss", "what follows was never said"
    assert await words(text="One two.", use_cache=False) == "off"


async def test_a_node_without_a_cache_says_that_it_is_off():
    async with opened(cache={"enabled": False}) as client:
        for path in ("/synthesize", "/synthesize/stream"):
            answer, _ = await ask(client, path, text="One two.")
            assert answer.headers["X-Cache"] == "off"
        answer, _ = await ask(client, "/v1/audio/speech", model="tts-1", voice="alloy", input="One two.")
        assert answer.headers["X-Cache"] == "off"


@pytest.mark.parametrize(
    ("path", "body", "rule"),
    [
        ("/synthesize?enhance_audio=true", {}, "bytes; by=default"),
        ("/synthesize", {"enhance_audio": True}, "json; by=json_fields"),
        ("/synthesize?enhance_audio=true", {"enhance_audio": True}, "json; by=json_fields"),
        ("/synthesize?language=fr", {"language": "en"}, "json; by=json_fields"),
    ],
)
async def test_what_the_query_adds_decides_no_shape(client, path, body, rule):
    """Only at the top of a body do fields tell which service the caller had before."""
    answer, _ = await ask(client, path, text="One two.", **body)
    assert (answer.status, answer.headers["X-Shape"]) == (200, rule)


async def test_a_reply_that_is_kept_says_who_was_asked_for_all_the_same(client):
    await ask(client, text="One two.")
    answer, _ = await ask(client, text="One two.", options={"engine": "kokoro", "sample_rate": 24_000})
    assert (answer.headers["X-Cache"], answer.headers["X-Fallback"]) == ("hit", "kokoro")


async def test_a_batch_that_cannot_be(client):
    for body, status, code in [
        ({}, 422, "field_required"),
        ({"texts": []}, 422, "too_few"),
        ({"texts": ["a"] * 65}, 413, "batch_too_large"),
        ({"texts": "a"}, 422, "wrong_type"),
        ({"texts": ["a"], "items": [{}]}, 422, "field_required"),
    ]:
        answer, told = await ask(client, "/batch_synthesize", **body)
        assert (answer.status, told["code"]) == (status, code), body


async def test_torch_s_routes_need_a_model_and_answer_json(client):
    answer, body = await ask(client, "/tts/synthesize", text="Hi.")
    assert (answer.status, body["detail"][0]["field"]) == (422, "model_name")
    answer, body = await ask(client, "/tts/synthesize", text="Hi.", model_name="parrot")
    assert (answer.status, body["code"]) == (404, "unknown_engine")
    config = {"voice": "tone-en-low", "speed": 1.2, "output_format": "flac"}
    answer, body = await ask(client, "/tts/generate", text="Hi.", model_name="tone", tts_config=config)
    assert (answer.status, body["voice_id"], body["format"]) == (200, "tone-en-low", "flac")


@pytest.mark.parametrize(("id", "voice"), [("v2/en_speaker_6", "tone-en-low"), ("tts_models/en/vctk/vits", "tone-en")])
async def test_voices_of_other_services_are_understood(client, id, voice):
    answer, body = await ask(client, "/tts/synthesize", text="Hi.", model_name="default", voice=id)
    assert (answer.status, body["voice_id"]) == (200, voice)


async def test_a_reply_that_is_not_ready_in_time_is_504(client):
    answer, body = await ask(client, text="One two three. " * 300, timeout=0.01, response_format="wav", use_cache=False)
    assert (answer.status, body["code"]) == (504, "timeout")


async def test_who_hangs_up_frees_his_session(client, node):
    with pytest.raises(asyncio.TimeoutError):
        await client.post(
            "/synthesize", json={"text": "One two three. " * 300, "use_cache": False}, timeout=aiohttp.ClientTimeout(total=0.1)
        )
    async with asyncio.timeout(2):
        while node.sessions():  # noqa: ASYNC110 - the node tells nobody
            await asyncio.sleep(0.01)


async def test_who_hangs_up_on_a_stream_frees_his_session(client, node):
    async with client.post("/synthesize/stream", json={"text": "One two three. " * 300, "use_cache": False}) as answer:
        await answer.content.readexactly(44)
        assert node.sessions()["http"] == 1
    async with asyncio.timeout(2):
        while node.sessions():  # noqa: ASYNC110 - the node tells nobody
            await asyncio.sleep(0.01)
