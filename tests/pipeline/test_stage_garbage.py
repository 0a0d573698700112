"""Whatever is thrown at a stage, it answers, stays bounded, and owes nobody anything in the end."""

import asyncio
import json

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipeline.events import Ack, Dropped, Failure, Gap, SpeechFinished, Spoken
from pipeline.ingest import IngestLimits
from pipeline.protocol import ProtocolError, Text, parse
from pipeline.script import ScriptLimits
from tests.examples import examples
from tests.virtual_time import Room, run

names = st.sampled_from(["a", "b", "", "x" * 200, "\x00", None, 7])
scalars = st.one_of(names, st.integers(-3, 10**20), st.floats(allow_nan=False, allow_infinity=False), st.booleans())
texts = st.sampled_from(
    [
        "Hello there.",
        "And",
        " then. More",
        "?!",
        "",
        "3.5 kg",
        "🎉",
        "One. Two. Three.",
        "a" * 5001,
        "\ud800",
        "nul\x00",
        "\u202e\u0301",
        "x y " * 100,
    ]
)
messages = st.fixed_dictionaries(
    {"type": st.sampled_from(["text"] * 6 + ["hello", "config", "flush", "cancel", "ping", "end", "nonsense", 3])},
    optional={
        "text": st.one_of(texts, texts, texts, scalars),
        "utterance": names,
        "stream": st.sampled_from(["s", "t"]),
        "seq": st.one_of(st.integers(0, 6), st.integers(0, 6), scalars),
        "final": st.sampled_from([True, False, "yes"]),
        "language": st.sampled_from(["en", "de", "tlh", "", 5]),
        "voice": st.sampled_from(["tone-en", "nobody"]),
        "speed": st.sampled_from([1, 0.5, 9, "fast"]),
        "revision": st.sampled_from([0, 1, 2, -1]),
        "expires_ms": st.sampled_from([1, 500, 10_000, 0]),
        "priority": st.sampled_from([0, 1, 9, 10]),
        "speaker": st.sampled_from(["ana", "ben"]),
        "extra": scalars,
    },
)
raws = st.one_of(messages.map(lambda message: json.dumps(message).encode(errors="replace")), st.binary(max_size=40))
throws = st.lists(st.tuples(st.sampled_from(["up", "other"]), raws, st.sampled_from([0.0, 0.0, 0.1, 0.7, 2.0])), max_size=25)


def assert_bounded(room):
    """What the limits name, and what is kept beside it."""
    script, ingest = ScriptLimits(), IngestLimits()
    for speaker in room.stage._speakers.values():
        kept = speaker._script
        assert 0 <= kept.waiting_characters <= script.characters
        assert len(kept._live) <= script.utterances + 1 and len(kept._names) <= script.utterances + script.remembered + 1
        assert len(kept._alarms) <= 64 + 2 * (script.utterances + script.characters)
        assert speaker.buffer.in_hand <= room.stage._settings.speaker.look_ahead + 2.0
    for sender in room.stage._senders.values():
        streams = sender.ingest._streams.values()
        assert len(streams) <= ingest.streams
        assert all(len(stream.held) <= ingest.held and len(stream.undone) <= script.characters for stream in streams)


@settings(examples(60), suppress_health_check=[HealthCheck.too_slow])
@given(throws)
def test_arbitrary_messages(thrown):
    async def go():
        async with Room() as room:
            accepted = set()
            for sender, raw, wait in thrown:
                try:
                    message = parse(raw)
                except ProtocolError as error:
                    room.stage.on_refused(sender, error)
                else:
                    room.stage.on_message(sender, message)
                    if isinstance(message, Text) and message.seq is not None:
                        accepted.add((sender, message.stream, message.seq))
                await asyncio.sleep(wait)
                assert_bounded(room)
            for sender in ("up", "other"):
                room.stage.on_message(sender, parse(b'{"type": "end"}'))
            await asyncio.sleep(5)  # gaps are given up by then
            await room.quiet(limit=900)
            assert room.report.counts["underruns"] == 0
            for sender in ("up", "other"):
                held = {event.stream: event.seq for event in room.told(Ack, sender)}
                spoken = {event.stream: event.seq for event in room.told(Spoken, sender)}
                for stream, seq in held.items():
                    assert spoken.get(stream, -1) >= seq, "something that was acknowledged is still owed"
            finished = [(sender, event.utterance) for sender, event in room.events if isinstance(event, SpeechFinished)]
            assert len(finished) <= len(thrown)
            told = [event for _, event in room.events if isinstance(event, Dropped | Failure | Gap)]
            assert all(isinstance(event.encode(), dict) for event in told)

    run(go())


@pytest.mark.long
def test_ten_thousand_utterances_at_once_are_bounded_and_told():
    async def go():
        async with Room() as room:
            for seq in range(10_000):
                room.stage.on_message("up", Text(text="This is one of very many.", stream="s", seq=seq))
                if seq % 500 == 0:
                    assert_bounded(room)
            dropped = room.told(Dropped)
            assert len(dropped) > 8_000 and {event.why for event in dropped} == {"overflow"}
            assert room.told(Spoken) == [] or room.told(Spoken)[-1].seq < 10_000
            await asyncio.sleep(3)
            assert room.heard()

    run(go())
