import asyncio
import json
import wave
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import numpy as np
import pytest
from fastapi import FastAPI
from websockets.asyncio.client import connect
from websockets.client import ClientProtocol
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.frames import Frame, Opcode
from websockets.uri import parse_uri

from agent.config import Settings
from agent.gateway.app import make_app
from agent.gateway.errors import Refused
from agent.gateway.seats import Seats
from agent.gateway.serving import Doors
from agent.gateway.slots import Slots
from agent.gateway.socket.oneshot import OneShot
from agent.gateway.socket.routes import routes
from agent.node import Node
from bench.hearing import tones
from pipeline.events import SentenceChosen
from tests.agent.gateway.socket.client import talking
from tests.e2e.conftest import score

pytestmark = pytest.mark.shell
TEXT = "Good morning, everybody. It is nine"
PITCHES = [*score("Good morning, everybody."), *score("It is nine")]


def hears(client, pitches, rate=24_000):
    heard = client.pitches(rate)
    return len(heard) == len(pitches) and np.allclose(heard, pitches, rtol=0.02)


async def say(client, dialect, text):
    """In a dialect's own words; returns when all of it has come."""
    match dialect:
        case "oneshot":
            await client.send(text=text)
            return await client.until(is_final=True)
        case "incremental":
            await client.send()
            await client.until(type="ready")
            for start in range(0, len(text), 7):
                await client.send(text=text[start : start + 7])
            await client.send(type="end_of_stream")
            return await client.until(type="complete")
        case "speak":
            await client.send(type="Speak", text=text)
            await client.send(type="Flush")
            return await client.until(type="Flushed")
        case "native":
            await client.send(type="text", text=text, utterance="u")
            return await client.until(type="speech_finished", utterance="u")


DIALECTS = ("oneshot", "incremental", "speak", "native")


async def test_every_word_is_heard_once_in_every_dialect(address):
    for dialect in DIALECTS:
        async with talking(address, f"/ws/synthesize?dialect={dialect}") as client:
            await say(client, dialect, TEXT)
            assert hears(client, PITCHES), dialect
            client.messages.clear()
            await say(client, dialect, "Again.")
            assert hears(client, score("Again.")), dialect


async def test_the_first_message_tells_the_dialect(address):
    for first, answer in (
        ({"text": "Hello."}, "audio_chunk"),
        ({"text": "Hello.", "voice_description": "a low voice"}, "audio_chunk"),
        ({}, "sample_rate"),
        ({"type": "config", "sample_rate": 16000}, "sample_rate"),
        ({"type": "Speak", "text": "Hello."}, "model_uuid"),
        ({"type": "Flush"}, "model_uuid"),
    ):
        async with talking(address) as client:
            await client.send(**first)
            assert answer in await client.next()


async def test_the_subprotocol_is_answered_and_never_the_key(address):
    for offered, selected in (
        (["voicebooth.native", "token", "secret"], "voicebooth.native"),
        (["token", "secret"], "token"),
        (["bearer", "secret"], "bearer"),
        (["voicebooth.elvish", "voicebooth.speak"], "voicebooth.speak"),
        ([], None),
    ):
        async with talking(address, subprotocols=offered or None) as client:
            assert client.ws.subprotocol == selected


async def test_deepgram_s_path_speaks_at_once_and_in_the_telephone_s_law(address):
    async with talking(address, "/v1/speak?encoding=mulaw") as client:
        assert (await client.next())["type"] == "Metadata"
        await say(client, "speak", "Hello there.")
        whole = len(score("Hello there.")) and len(client.pcm)
        assert whole == pytest.approx(8000 * 0.9, rel=0.3)
        await client.send(type="Close")
        assert await client.end() == 1000


async def test_sound_comes_at_the_rate_that_was_asked_for(address):
    async with talking(address) as client:
        await client.send(text=TEXT, sample_rate=8000)
        last = await client.until(is_final=True)
        assert hears(client, PITCHES, 8000)
        assert last["duration_seconds"] == pytest.approx(len(client.pcm) / 16_000, abs=0.001)


async def test_a_reply_that_takes_too_long_is_given_up_and_the_next_one_heard(address):
    async with talking(address) as client:
        await client.send(text="One two three. " * 300, timeout=0.2)
        await client.send(text="Afterwards.")
        assert (await client.until(is_final=True))["code"] == "timeout"
        client.messages.clear()
        await client.until(is_final=True)
        assert hears(client, score("Afterwards."))


async def test_a_cancel_is_silence_and_the_next_text_is_heard(address):
    async with talking(address, "/ws/synthesize?dialect=native") as client:
        await client.send(type="text", text="One two three. " * 300, utterance="long")
        await client.until(type="speech_started")
        await client.send(type="cancel")
        await client.until(type="speech_finished", interrupted=True)
        client.messages.clear()
        await say(client, "native", "Afterwards.")
        assert hears(client, score("Afterwards."))


async def test_no_frame_of_what_was_cleared_follows_the_answer(address):
    async with talking(address, "/v1/speak") as client:
        await client.send(type="Speak", text="One two three. " * 100)
        await client.send(type="Flush")
        while not isinstance(await client.next(), bytes):
            pass
        await client.send(type="Clear")
        await client.until(type="Cleared", sequence_id=1)
        client.messages.clear()
        await say(client, "speak", "Afterwards.")
        assert hears(client, score("Afterwards."))


async def test_words_are_told_where_they_begin_in_the_sound(address):
    async with talking(address, "/ws/synthesize?dialect=native") as client:
        await say(client, "native", "Good morning everybody.")
        words = [message for message in client.objects if message["type"] == "caption" and not message["final"]]
        assert [word["text"] for word in words] == ["Good", " morning", " everybody."]
        assert [word["position_ms"] for word in words] == [0, 280, 740]  # 60 ms a character at most 600, and 40 between words


# Connections that end


async def test_a_session_goes_on_in_the_next_connection_and_nothing_is_lost_or_said_twice(address):
    path, text = "/ws/synthesize?dialect=native", "One two three four five six. " * 40
    async with talking(address, path) as whole:
        await say(whole, "native", text)
    pcm, received, is_over = b"", 0, False
    for attempt in range(50):
        async with talking(address, path) as client:
            await client.send(type="hello", session="a-secret-of-mine", received=received)
            ready = await client.next()
            assert (ready["type"], ready["resumed"]) == ("ready", attempt > 0)
            if not attempt:
                await client.send(type="text", text=text, utterance="u", stream="s", seq=0)
            else:
                assert ready["last"]["s"]["held"] == 0
            assert ready["from"] == received
            while (message := await client.next()) is not None:
                received += 1
                is_over = isinstance(message, dict) and message["type"] == "speech_finished"
                if is_over:
                    break
                if not received % 37:
                    client.ws.transport.abort()  # whatever was on its way is lost; what has arrived is read to its end
            pcm += client.pcm
            if is_over:
                break
    assert attempt > 3
    assert len(pcm) == pytest.approx(len(whole.pcm), abs=2_000)
    again = [tone.pitch for tone in tones(np.frombuffer(pcm, dtype="<i2"), 24_000)]
    assert len(again) == 240 and np.allclose(again, whole.pitches(), rtol=0.02)


async def test_a_session_whose_client_stays_away_is_given_up():
    settings = Settings.model_validate({"selection": {"fallback_chain": ["tone"]}, "server": {"ports": [0]}, "ws": {"resume_s": 0.1}})
    async with Node(settings) as node, Doors(make_app(node), settings.server, settings.ws) as doors:
        await node.ready()
        async with talking(doors.addresses[0], "/ws/synthesize?dialect=native") as client:
            await client.send(type="hello", session="mine")
            await client.send(type="text", text="One two three. " * 300)
            await client.until(type="speech_started")
            client.ws.transport.abort()
        async with asyncio.timeout(5):
            while node._stages:  # noqa: ASYNC110 - nobody tells
                await asyncio.sleep(0.02)


async def test_a_session_belongs_to_the_connection_that_took_it_up_last(address):
    path = "/ws/synthesize?dialect=native"
    async with talking(address, path) as first, talking(address, path) as second:
        for client in (first, second):
            await client.send(type="hello", session="mine")
            await client.until(type="ready")
        assert await first.end() == 1008
        assert first.messages[-1]["code"] == "taken_over"
        await say(second, "native", "Still here.")
        assert hears(second, score("Still here."))


async def test_a_disconnect_ends_everything_that_was_asked(address, node):
    for dialect in DIALECTS:
        async with talking(address, f"/ws/synthesize?dialect={dialect}") as client:
            match dialect:
                case "incremental":
                    await client.send()
                    await client.send(text="One two three. " * 300)
                case "speak":
                    await client.send(type="Speak", text="One two three. " * 100)
                case _:
                    await client.send(type="text", text="One two three. " * 300)
            await client.next()
            client.ws.transport.abort()
    async with asyncio.timeout(5):
        while node._stages:  # noqa: ASYNC110 - nobody tells
            await asyncio.sleep(0.02)


@asynccontextmanager
async def limited(ws, **other):
    """A door with these settings."""
    base = {"selection": {"fallback_chain": ["tone"]}, "server": {"ports": [0]}}
    settings = Settings.model_validate({**base, "ws": ws, **other})
    async with Node(settings) as node:
        await node.ready()
        async with Doors(make_app(node), settings.server, settings.ws) as doors:
            yield doors


@pytest.fixture
async def hasty():
    """A door that has little patience and little room."""
    ws = {"first_message_s": 1, "idle_s": 2, "keepalive_s": 1, "stall_s": 1, "send_queue_bytes": 65_536, "message_bytes": 10_000}
    async with limited(ws, limits={"sessions": 2}) as doors:
        yield doors


async def test_who_says_nothing_at_all_is_told_and_sent_away(hasty):
    async with talking(hasty.addresses[0]) as silent, talking(hasty.addresses[0], "/ws/synthesize?dialect=incremental") as idle:
        await idle.send()
        assert await silent.end() == 1008
        assert silent.messages[-1]["code"] == "no_first_message"
        assert await idle.end() == 1000
        assert {"type": "keepalive"} in idle.messages


async def test_a_full_door_says_when_to_come_back(hasty):
    address = hasty.addresses[0]
    async with talking(address) as one, talking(address) as two:
        await one.send()
        await two.send()
        with pytest.raises(InvalidStatus) as refused:
            await connect(address.replace("http", "ws", 1) + "/ws/synthesize")
        assert refused.value.response.status_code == 503
        assert refused.value.response.headers["Retry-After"] == "5"
        assert json.loads(refused.value.response.body)["code"] == "at_capacity"


async def test_a_server_that_ends_says_so(hasty):
    async with talking(hasty.addresses[0], "/ws/synthesize?dialect=native") as client:
        await client.send(type="hello")
        await client.until(type="ready")
        closing = asyncio.create_task(hasty.aclose())
        assert await client.end() == 1001
        assert (client.messages[-1]["code"], client.messages[-1]["retryable"]) == ("draining", True)
        await closing


async def ask_for_much(client, dialect):
    """Text for a quarter of an hour; returns when the first of its answer has come."""
    text = "One two three four five six seven. "
    match dialect:
        case "native":
            for n in range(6):
                await client.send(type="text", text=text * 140, utterance=f"u{n}")
        case "oneshot":
            for _ in range(6):
                await client.send(text=text * 140)
        case "incremental":
            await client.send()
            for _ in range(6):
                await client.send(text=text * 140)
            await client.send(type="end_of_stream")
        case "speak":
            for _ in range(15):
                await client.send(type="Speak", text=text * 56)
            await client.send(type="Flush")
    await client.next()


@pytest.mark.parametrize("dialect", DIALECTS)
async def test_a_client_that_does_not_read_stops_its_own_sound_is_told_and_cut_off(hasty, dialect):
    address = hasty.addresses[0]
    async with talking(address, f"/ws/synthesize?dialect={dialect}", max_queue=1) as slow:
        await ask_for_much(slow, dialect)
        await asyncio.sleep(0.5)
        async with talking(address, "/ws/synthesize?dialect=oneshot") as other:  # nobody else notices
            async with asyncio.timeout(1):
                await say(other, "oneshot", "Hello.")
        await asyncio.sleep(1.0)
        assert await slow.end() in (1008, None)
        assert len(slow.pcm) < 4_000_000  # what kernels hold; all of it would be 50 MB
        assert [message for message in slow.objects if message.get("code") == "slow_reader"]


SHAPES = {
    "oneshot": lambda m: m["type"] == "error" and m["is_final"] is True and m["message"] and m["code"],
    "incremental": lambda m: m["type"] == "error" and m["recoverable"] is False and m["message"] and m["code"],
    "speak": lambda m: m["type"] == "Error" and m["description"] and m["code"],
    "native": lambda m: m["type"] == "error" and m["code"] and m["message"],
    "": lambda m: m["type"] == "error" and m["message"] and m["code"] and m["is_final"],
}


@pytest.mark.parametrize("dialect", SHAPES)
async def test_what_ends_a_connection_is_told_before_in_the_dialect_s_own_shape(hasty, dialect):
    query = f"?dialect={dialect}" if dialect else ""
    for data, is_text, code in (
        (b"\x00\x01", False, 1003),
        (b'{"text": "\xff"}', True, 1007),
        (b'{"text": "' + b"a" * 20_000 + b'"}', True, 1009),
    ):
        async with talking(hasty.addresses[0], f"/ws/synthesize{query}") as client:
            await client.ws.send(data, text=is_text)
            assert await client.end() == code
            assert SHAPES[dialect](client.messages[-1])


async def fall_silent(address, query, first):
    """Send one message and nothing more, no pong either; returns what came as text, and the code at the end."""
    port = int(address.rsplit(":", 1)[1])
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    protocol = ClientProtocol(parse_uri(f"ws://127.0.0.1:{port}/ws/synthesize{query}"))
    protocol.send_request(protocol.connect())
    writer.writelines(protocol.data_to_send())
    while not protocol.events_received():
        protocol.receive_data(await reader.read(4096))
    protocol.send_text(json.dumps(first).encode())
    writer.writelines(protocol.data_to_send())
    async with asyncio.timeout(10):
        while protocol.close_rcvd is None and (data := await reader.read(4096)):
            protocol.receive_data(data)  # and the pong that it has ready is left where it is
    frames = [event for event in protocol.events_received() if isinstance(event, Frame)]
    writer.close()
    return [json.loads(frame.data) for frame in frames if frame.opcode is Opcode.TEXT], protocol.close_rcvd and protocol.close_rcvd.code


@pytest.mark.parametrize("place", ["on_event", "on_timer"])
async def test_a_fault_of_ours_ends_the_connection_with_a_word_wherever_it_is(address, monkeypatch, caplog, place):
    def broken(dialect, *args):
        if place == "on_timer" or isinstance(args[0], SentenceChosen):
            raise ZeroDivisionError("nobody thought of this")
        return []

    monkeypatch.setattr(OneShot, place, broken)
    async with talking(address, "/ws/synthesize?dialect=oneshot") as client:
        await client.send(text=f"{TEXT}. " * 60, timeout=0.01 if place == "on_timer" else 60)
        assert await client.end(timeout=5.0) == 1011
        told = client.messages[-1]
        assert (told["code"], told["is_final"]) == ("internal", True) and "nobody" not in told["message"]
    assert "ZeroDivisionError" in caplog.text and not [record for record in caplog.records if record.name == "asyncio"]


async def test_a_client_that_is_no_longer_there_is_told_so_in_each_dialect_s_own_shape():
    firsts = {
        "oneshot": {"type": "shout"},
        "incremental": {},
        "speak": {"type": "Flush"},
        "native": {"type": "hello"},
    }
    async with limited({"keepalive_s": 1, "stall_s": 1}) as doors:
        falling = (fall_silent(doors.addresses[0], f"?dialect={dialect}", first) for dialect, first in firsts.items())
        ends = await asyncio.gather(*falling)
    for dialect, (messages, code) in zip(firsts, ends, strict=True):
        assert code == 1011, dialect
        assert messages[-1]["code"] == "no_pong", dialect
        assert SHAPES[dialect](messages[-1]), dialect


async def test_a_dialect_that_nobody_speaks_is_told_with_the_field(address):
    async with talking(address, "/ws/synthesize?dialect=whistled") as client:
        await client.end()
    assert {"type": "error", "code": "bad_field", "field": "dialect"}.items() <= client.messages[-1].items()


GARBAGE = ["[]", "null", "3", '"text"', "{", "text", "", "[" * 9_000, '{"a": NaN}']
MESSAGES = [
    {"type": "shout"},
    {"type": 5, "text": "a"},
    {"type": {"type": "Speak"}},
    {"type": "text", "text": ["a"]},
    {"type": "text", "text": "a\x00b"},
    {"type": "text", "text": "a" * 5001},
]


@pytest.mark.parametrize("dialect", DIALECTS)
async def test_garbage_gets_an_answer_and_the_session_goes_on(hasty, dialect):
    address = hasty.addresses[0]
    path = f"/ws/synthesize?dialect={dialect}"
    async with talking(address, path) as client:
        if dialect == "incremental":
            await client.send()
        for message in MESSAGES:
            await client.send(**message)
            word = await client.until(**{"type": "Warning" if dialect == "speak" else "error"})
            assert word["code"]
        if dialect == "native":
            for raw in GARBAGE:
                await client.ws.send(raw)
                assert (await client.until(type="error"))["code"] in ("bad_json", "unknown_type")
        client.messages.clear()
        await say(client, dialect, "Still here.")
        assert hears(client, score("Still here."))
    for raw in GARBAGE if dialect != "native" else ():
        async with talking(address, path) as client:
            await client.ws.send(raw)
            assert await client.end() == 1007
            assert SHAPES[dialect](client.messages[-1])


MARKED = ["<speak>One two.", " Three.</speak>"]
MARKUPS = {"whole": ["".join(MARKED)], "a part": MARKED, "split": ["\n<sp", "eak>One two.", " Three.</speak>"]}


@pytest.mark.parametrize("parts", MARKUPS.values(), ids=MARKUPS)
@pytest.mark.parametrize("dialect", DIALECTS)
async def test_markup_is_refused_however_it_is_cut_and_nothing_of_it_is_read_out(address, dialect, parts):
    async with talking(address, f"/ws/synthesize?dialect={dialect}") as client:
        match dialect:
            case "oneshot":
                await client.send(text="".join(parts))
                await client.until(is_final=True)
            case "incremental":
                await client.send()
                for part in parts:
                    await client.send(text=part)
                await client.send(type="end_of_stream")
                await client.until(type="complete")
            case "speak":
                for part in parts:
                    await client.send(type="Speak", text=part)
                await client.send(type="Flush")
                await client.until(type="Flushed")
            case "native":
                for part in parts:
                    await client.send(type="text", text=part, utterance="m", final=part == parts[-1])
        await say(client, dialect, "Afterwards.")
        told = [message for message in client.objects if message.get("code")]
        assert {message["code"] for message in told} == {"not_supported"}
        assert len(told) == (1 if dialect == "oneshot" else len([part for part in parts if part != MARKUPS["split"][0]]))
        assert hears(client, score("Afterwards."))


async def test_what_nobody_knows_of_a_config_is_told_and_what_is_not_here_is_a_wish(address):
    async with talking(address, "/ws/synthesize?dialect=native") as client:
        for field, value in (("engine", "parrot"), ("voice", "nobody"), ("language", "tlh")):
            await client.send(type="config", **{field: value})
            assert (await client.until(type="error"))["code"] == f"unknown_{field}"
        for engine in ("kokoro", "edge-tts", "default"):
            await client.send(type="config", engine=engine)
        await say(client, "native", "Somebody speaks.")
        assert hears(client, score("Somebody speaks.")) and len([m for m in client.objects if m["type"] == "error"]) == 3


async def test_a_dialect_that_nobody_speaks_is_refused(address):
    async with talking(address, "/ws/synthesize?dialect=elvish") as client:
        assert await client.end() == 1008
        assert client.messages[-1]["code"] == "bad_field"


PAGES = [("README.md", "<!-- websocket: a test runs this -->"), ("docs/websocket.md", "<!-- tested: this runs as it stands")]


@pytest.mark.parametrize(("page", "mark"), PAGES)
async def test_what_the_pages_show_runs_as_it_stands(address, page, mark, tmp_path, monkeypatch, capsys):
    text = (Path(__file__).parents[3] / page).read_text(encoding="utf-8")
    code = text.partition(mark)[2].partition("```python\n")[2].partition("```")[0].replace("127.0.0.1:8003", address.partition("//")[2])
    monkeypatch.chdir(tmp_path)
    async with asyncio.timeout(10):
        await asyncio.to_thread(exec, compile(code, page, "exec"), {"__name__": "__main__"})
    with wave.open(str(tmp_path / "hello.wav")) as file:
        heard = tones(np.frombuffer(file.readframes(file.getnframes()), dtype="<i2"), 24_000)
    assert len(heard) in (4, 7) and capsys.readouterr().out


class Poor:
    """A caller who has had enough after a second of sound."""

    name = "poor"
    heard = 0.0

    def check(self):
        if self.heard > 1.0:
            raise Refused("rate_limit", "more than a minute may hold", 429, retry_after=30)

    def spend(self, seconds):
        self.heard += seconds


@asynccontextmanager
async def admitting(node, guest):
    """The door of a node, where everybody is that guest."""

    async def admit(socket):
        return guest

    app = FastAPI()
    app.include_router(routes(node, Seats(node.settings.limits.sessions), Slots(1, 1.0), admit))
    async with Doors(app, node.settings.server, node.settings.ws) as doors:
        yield doors.addresses[0]


@pytest.mark.parametrize("dialect", DIALECTS)
async def test_who_has_had_enough_hears_the_end_of_it_and_is_told_of_the_rest(node, dialect):
    text, guest = "One two three four five six. Seven eight nine ten eleven.", Poor()
    async with admitting(node, guest) as address, talking(address, f"/ws/synthesize?dialect={dialect}") as client:
        if dialect == "incremental":
            await client.send()
            await client.until(type="ready")
        kind = "Speak" if dialect == "speak" else "text"
        await client.send(type=kind, text=text, **({"utterance": "u"} if dialect == "native" else {}))
        while guest.heard < 2.0:
            await client.next()
        await client.send(type=kind, text="One more.")
        if dialect == "incremental":
            await client.send(type="end_of_stream")
        elif dialect == "speak":
            await client.send(type="Flush")
        over = {"oneshot": {"is_final": True}, "incremental": {"type": "complete"}, "speak": {"type": "Flushed"}}
        await client.until(**over.get(dialect, {"type": "speech_finished"}))
        if dialect == "oneshot":
            await client.until(is_final=True)
        (refusal,) = [message for message in client.objects if message.get("code") == "rate_limit"]
        assert refusal["type"] == ("Warning" if dialect == "speak" else "error") and refusal.get("retryable", True)
        assert hears(client, score(text)), "what was being said was cut off"
        guest.heard = 0.0
        client.messages.clear()
        await say(client, dialect, "Afterwards.")
        assert hears(client, score("Afterwards."))


class Transient:
    """Whoever may stay until somebody says otherwise."""

    name = "transient"
    is_gone = False

    def check(self):
        if self.is_gone:
            raise Refused("unauthorized", "the key is not known here any more", 401)

    def spend(self, seconds):
        """It costs nothing."""


@pytest.mark.parametrize("dialect", [*DIALECTS, ""])
async def test_who_may_not_stay_is_sent_away_though_he_says_nothing(node, monkeypatch, dialect):
    monkeypatch.setattr("agent.gateway.socket.connection.LOOK", 0.05)
    guest = Transient()
    async with (
        admitting(node, guest) as address,
        talking(address, f"/ws/synthesize?dialect={dialect}" if dialect else "/ws/synthesize") as client,
    ):
        if dialect:
            await client.send(type="ping", t=1)
            await client.next()
        guest.is_gone = True
        assert await client.end() == 1008
        assert client.messages[-1]["code"] == "unauthorized" and SHAPES[dialect](client.messages[-1])


async def test_signs_of_life_keep_no_session_open(hasty):
    async with talking(hasty.addresses[0], "/ws/synthesize?dialect=native") as native, talking(hasty.addresses[0]) as incremental:
        await incremental.send()

        async def live(client, *kinds):
            with suppress(ConnectionClosed):
                while True:
                    for kind in kinds:
                        await client.send(type=kind)
                    await asyncio.sleep(0.2)

        signs = live(native, "ping", "hello"), live(incremental, "keepalive")
        assert (await asyncio.gather(native.end(), incremental.end(), *signs))[:2] == [1000, 1000]


async def test_a_session_that_is_taken_up_again_is_that_of_the_key_that_took_it_up(node, monkeypatch):
    monkeypatch.setattr("agent.gateway.socket.connection.LOOK", 0.05)
    guests = [Transient(), Transient()]
    coming = iter(guests)
    app = FastAPI()

    async def admit(socket):
        return next(coming)

    app.include_router(routes(node, Seats(node.settings.limits.sessions), Slots(1, 1.0), admit))
    async with Doors(app, node.settings.server, node.settings.ws) as doors:
        for number, guest in enumerate(guests):
            async with talking(doors.addresses[0], "/ws/synthesize?dialect=native") as client:
                await client.send(type="hello", session="mine")
                assert (await client.until(type="ready"))["resumed"] is (number > 0)
                guests[0].is_gone = number > 0
                await say(client, "native", "Still here.")
                assert hears(client, score("Still here."))
                guest.is_gone = number > 0
                if not number:
                    client.ws.transport.abort()
                else:
                    assert await client.end() == 1008


async def test_a_session_has_the_name_of_its_upgrade(node):
    async def admit(socket):
        socket.state.request_id = "mine"
        return Transient()

    app = FastAPI()
    app.include_router(routes(node, Seats(node.settings.limits.sessions), Slots(1, 1.0), admit))
    async with Doors(app, node.settings.server, node.settings.ws) as doors:
        for dialect, first, answer in (
            ("native", "hello", "ready"),
            ("incremental", "config", "ready"),
            ("speak", "KeepAlive", "Metadata"),
        ):
            async with talking(doors.addresses[0], f"/ws/synthesize?dialect={dialect}") as client:
                await client.send(type=first)
                assert (await client.until(type=answer))["request_id"] == "mine"
        async with talking(doors.addresses[0]) as client:
            await client.send(text="Hello.")
            assert (await client.until(is_final=True))["request_id"] == "mine"


async def test_behind_another_path_there_is_nothing_and_that_is_said(address):
    for path, code in (("/ws/nothing", ("code",)), ("/v1/nothing", ("error", "code")), ("/", ("code",)), ("/voices", ("code",))):
        with pytest.raises(InvalidStatus) as refused:
            await connect(address.replace("http", "ws", 1) + path, additional_headers={"X-Request-ID": "mine"})
        answer = refused.value.response
        body = json.loads(answer.body)
        for name in code:
            body = body[name]
        assert (answer.status_code, answer.headers["X-Request-ID"], body) == (404, "mine", "not_found"), path


async def test_who_is_not_let_in_hears_it_before_the_upgrade(node):
    async def admit(socket):
        raise Refused("unauthorized", "a key is needed", 401)

    app = FastAPI()
    app.include_router(routes(node, Seats(node.settings.limits.sessions), Slots(1, 1.0), admit))
    async with Doors(app, node.settings.server, node.settings.ws) as doors:
        for path in ("/v1/speak", "/ws/nothing"):
            with pytest.raises(InvalidStatus) as refused:
                await connect(doors.addresses[0].replace("http", "ws", 1) + path)
            assert refused.value.response.status_code == 401
            assert refused.value.response.headers["WWW-Authenticate"] == "Bearer"
