"""Whatever a client sends, each dialect answers in its own shape and goes on, or says why it ends."""

import asyncio
import json
import logging
import random
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st
from websockets.exceptions import ConnectionClosed

from agent.gateway.socket.incremental import Incremental
from agent.gateway.socket.native import Native
from agent.gateway.socket.oneshot import OneShot
from agent.gateway.socket.orders import Refuse, Send, TakeVoice, Tell
from agent.gateway.socket.speak import Speak
from pipeline.events import Complete, Dropped, Failure, SentenceChosen, SentenceFinished, SpeechStarted, Spoken, Switched
from pipeline.speaker import Caption
from tests.agent.gateway.socket.client import talking
from tests.agent.gateway.socket.scene import TRACK, closed, sent, sound, terms
from tests.examples import examples

WORDS = ["Hello.", "", " ", "<speak>", "a" * 5001, "\x00", "\ud800", "default", "tone-en", "en", "xx", "native", "1", "text"]
TYPES = [
    "Speak",
    "Flush",
    "Clear",
    "Close",
    "KeepAlive",
    "config",
    "cancel",
    "flush",
    "end_of_stream",
    "keepalive",
    "text",
    "hello",
    "end",
    "ping",
]
NAMES = [
    *("type", "text", "voice_id", "voice", "speaker_id", "language", "engine", "speed", "pitch", "sample_rate", "stream", "request_id"),
    *("options", "voice_clone_reference", "strict_engine", "audio", "seq", "utterance", "final", "session", "received", "revision"),
]
plain = st.none() | st.booleans() | st.integers() | st.floats() | st.sampled_from(WORDS) | st.text(max_size=20)
values = st.recursive(
    plain, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(NAMES), inner, max_size=3), max_leaves=6
)
objects = st.dictionaries(st.sampled_from(NAMES), values, max_size=6)
typed = st.builds(lambda kind, rest: {**rest, "type": kind}, st.sampled_from(TYPES), objects)
raw = (
    st.one_of(typed, objects, values).map(json.dumps)
    | st.text(max_size=30)
    | st.sampled_from(["[" * 100_000, "1" * 5000, '{"a":NaN}', "\ufeff{}"])
)
events = st.sampled_from(
    [
        SentenceChosen("s1", "text", "Hello.", "tone", "tone-en", False),
        SpeechStarted("s1", "text", 0.1, 0.1, "tone"),
        SentenceFinished("s1", "text"),
        Switched("s1", "piper", "tone", "slow"),
        Spoken("text", 0),
        Spoken("text", 5),
        Dropped("text", "Hello.", "failed"),
        Dropped("text", "", "nothing_to_say"),
        Failure("unknown_language", "language: nobody"),
        Complete(),
    ]
)
steps = st.lists(raw | events | st.just(sound()) | st.just(Caption(TRACK, "s1", "Hello", False)), max_size=12)


def is_error(message, dialect):
    if not isinstance(message, dict):
        return False
    if dialect is Speak:
        return message["type"] in ("Error", "Warning") and bool(message["description"]) and bool(message["code"])
    mark = {OneShot: "is_final", Incremental: "recoverable", Native: "retryable"}[dialect]
    return message.get("type") == "error" and bool(message["message"]) and bool(message["code"]) and mark in message


@pytest.mark.parametrize("kind", [OneShot, Incremental, Speak, Native])
@examples(100)
@given(steps)
def test_nothing_that_comes_breaks_a_dialect(kind, steps):
    dialect = kind(terms())
    dialect.on_open(0.0)
    for now, step in enumerate(steps):
        if isinstance(step, str):
            orders = dialect.on_text(step, float(now))
        elif isinstance(step, Caption):
            orders = dialect.on_caption(step)
        elif hasattr(step, "samples"):
            orders = dialect.on_sound(TRACK, step)
        else:
            orders = dialect.on_event(step, float(now))
        if orders and isinstance(orders[-1], TakeVoice):
            orders += dialect.on_voice(orders[-1].plan)
        for message in sent(orders):
            if isinstance(message, dict):
                json.dumps(message).encode()
        if closed(orders) and closed(orders) != [1000]:
            ends = [order for order in orders if isinstance(order, Send)]
            assert is_error(ends[-1].message, kind)
            return


@pytest.mark.parametrize("kind", [OneShot, Incremental, Speak, Native])
@examples(100)
@given(objects.filter(lambda message: message.get("type") not in TYPES))
def test_a_message_of_no_known_type_is_never_met_with_silence(kind, message):
    dialect = kind(terms())
    dialect.on_open(0.0)
    orders = dialect.on_text(json.dumps(message), 0.0)
    assert [order for order in orders if isinstance(order, Send | TakeVoice | Tell | Refuse)]


def test_an_error_is_known_by_its_dialect():
    assert is_error({"type": "Error", "description": "d", "code": "c"}, Speak)
    assert not is_error({"type": "error", "message": "m", "code": "c"}, OneShot)


PATHS = ("/ws/synthesize", *(f"/ws/synthesize?dialect={kind.name}" for kind in (OneShot, Incremental, Speak, Native)), "/v1/speak")
VALUES = [None, True, 0, -1, 2**60, 1e308, [], [1], {}, {"type": "x"}, "Good morning. How are you", "a\r\nb", *WORDS]
RAW = ["[]", "null", "[" * 9_000, '{"a": NaN}', "\ufeff{}", "1" * 4_000, "", "\u0001"]
CONNECTIONS = 20  # for each path


async def babble(ws, chosen):
    """One frame or a few of them: messages, garbage, parts, signs of life, and bytes that are no frame. Which of these it was."""
    kind = chosen.choices(["object", "raw", "binary", "parts", "signs", "no frame"], [75, 8, 5, 6, 3, 3])[0]
    match kind:
        case "object":
            message = {chosen.choice(NAMES): chosen.choice(VALUES) for _ in range(chosen.randint(0, 5))}
            await ws.send(json.dumps(message | ({"type": chosen.choice(TYPES)} if chosen.random() < 0.7 else {})))
        case "raw":
            await ws.send(chosen.choice(RAW))
        case "binary":
            await ws.send(chosen.randbytes(50))
        case "parts":
            await ws.send(['{"te', 'xt": ', '"Hi."}'])
        case "signs":
            await ws.ping()
            await ws.pong(b"999999")
        case "no frame":
            ws.transport.write(chosen.randbytes(20))
    return kind


async def end_of_babble(address, path, chosen):
    """The code with which it ended, None for none, the last object that came, and what was said."""
    said = []
    async with talking(address, path) as client:
        reading = asyncio.create_task(client.end())
        with suppress(ConnectionClosed, OSError, RuntimeError):  # the last: its transport has been told to end
            for _ in range(chosen.randint(1, 12)):
                said.append(await babble(client.ws, chosen))
                await asyncio.sleep(chosen.choice([0, 0, 0.01]))
        await asyncio.wait({reading}, timeout=0.05)
        await client.ws.close()
        return await reading, next(reversed(client.objects), {}), said


@pytest.mark.parametrize("path", PATHS)
async def test_whatever_comes_over_a_socket_each_end_is_told_and_nothing_stays(node, address, path, caplog):
    chosen = random.Random(path)
    with caplog.at_level(logging.ERROR):
        ends = [await end_of_babble(address, path, chosen) for _ in range(CONNECTIONS)]
    assert not caplog.records
    assert {code for code, *_ in ends} & {1003, 1007}  # it was garbage
    for code, last, said in ends:
        assert code is not None or "no frame" in said, "it was cut off without a word"
        assert code in (1000, 1005, None) or (last.get("type") in ("error", "Error") and last["code"]), (code, last)
    async with asyncio.timeout(5):
        while node._stages:  # noqa: ASYNC110 - nobody tells
            await asyncio.sleep(0.02)
