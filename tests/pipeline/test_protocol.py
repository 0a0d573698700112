from __future__ import annotations

import json
from dataclasses import fields
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline import events
from pipeline.events import Event, Progress
from pipeline.protocol import (
    MESSAGE_BYTES,
    SEQ_LIMIT,
    AudioFormat,
    Config,
    End,
    Hello,
    Message,
    Ping,
    ProtocolError,
    Text,
    encode,
    from_attributes,
    is_markup,
    parse,
)
from tests.examples import examples


@pytest.mark.parametrize("before", ["", " \n", "\ufeff", "\ufeff \ufeff\n"])
def test_markup_is_known_by_how_it_begins(before: str) -> None:
    for text in ("<speak>Hi</speak>", "<SPEAK", '<?xml version="1.0"?><speak>Hi</speak>', "<?XML?>"):
        assert is_markup(before + text)
    for text in ("", "<", "<spoken", "< speak>", "Hi <speak>", "<?x"):
        assert not is_markup(before + text)


def raw(**message: Any) -> bytes:
    return json.dumps(message).encode()


def refusal(data: bytes) -> events.Failure:
    with pytest.raises(ProtocolError) as caught:
        parse(data)
    return caught.value.event


BAD = {
    "empty": (b"", "bad_json"),
    "not JSON": (b"hello", "bad_json"),
    "half an object": (b'{"type": "text", "text": "a', "bad_json"),
    "an array": (b"[1, 2]", "bad_json"),
    "a number": (b"17", "bad_json"),
    "null": (b"null", "bad_json"),
    "invalid UTF-8": (b'{"type": "text", "text": "\xff\xfe"}', "bad_json"),
    "UTF-16": ('{"type": "hello"}'.encode("utf-16"), "bad_json"),
    "an unpaired surrogate": (b'{"type": "text", "text": "a\\ud800b"}', "bad_json"),
    "a surrogate in UTF-8": (b'{"type": "text", "text": "\xed\xa0\x80"}', "bad_json"),
    "deeply nested": (b"[" * 60_000, "bad_json"),
    "1 MB": (raw(type="text", text="a" * 1_000_000), "too_large"),
    "no type": (raw(text="hello"), "unknown_type"),
    "an unknown type": (raw(type="shout", text="hello"), "unknown_type"),
    "a type that is no string": (raw(type=7), "unknown_type"),
    "no text": (raw(type="text"), "bad_field"),
    "text that is a number": (raw(type="text", text=5), "bad_field"),
    "text that is null": (raw(type="text", text=None), "bad_field"),
    "5001 characters": (raw(type="text", text="a" * 5001), "text_too_long"),
    "NUL": (raw(type="text", text="a\0b"), "bad_text"),
    "an escape character": (raw(type="text", text="a\x1b[0m"), "bad_text"),
    "a C1 control character": (raw(type="text", text="a\x9b0m"), "bad_text"),
    "the last C1 control character": (raw(type="text", text="\x9f"), "bad_text"),
    "a C1 control character in a name": (raw(type="text", text="a", speaker="a\x80"), "bad_field"),
    "t that is an object": (raw(type="ping", t={}), "bad_field"),
    "t that is a list": (raw(type="ping", t=[]), "bad_field"),
    "t that is a boolean": (raw(type="ping", t=True), "bad_field"),
    "delete": (raw(type="text", text="\x7f"), "bad_text"),
    "final that is a string": (raw(type="text", text="a", final="true"), "bad_field"),
    "an empty utterance": (raw(type="text", text="a", utterance=""), "bad_field"),
    "a long utterance": (raw(type="text", text="a", utterance="u" * 129), "bad_field"),
    "a control character in a name": (raw(type="text", text="a", speaker="a\nb"), "bad_field"),
    "negative seq": (raw(type="text", text="a", stream="s", seq=-1), "bad_field"),
    "huge seq": (raw(type="text", text="a", stream="s", seq=SEQ_LIMIT), "bad_field"),
    "a seq of 5000 digits": (b'{"type": "text", "text": "a", "stream": "s", "seq": ' + b"9" * 5000 + b"}", "bad_json"),
    "seq that is a float": (raw(type="text", text="a", stream="s", seq=1.5), "bad_field"),
    "seq without stream": (raw(type="text", text="a", seq=1), "bad_field"),
    "stream without seq": (raw(type="text", text="a", stream="s"), "bad_field"),
    "negative revision": (raw(type="text", text="a", revision=-1), "bad_field"),
    "already expired": (raw(type="text", text="a", expires_ms=0), "bad_field"),
    "no such priority": (raw(type="text", text="a", priority=10), "bad_field"),
    "too fast": (raw(type="config", speed=9.0), "bad_field"),
    "speed that is no number": (b'{"type": "config", "speed": NaN}', "bad_field"),
    "no such strategy": (raw(type="config", strategy="cheapest"), "bad_field"),
    "audio that is a string": (raw(type="config", audio="mp3"), "bad_field"),
    "t that is no number": (b'{"type": "ping", "t": NaN}', "bad_field"),
    "t without end": (b'{"type": "ping", "t": -Infinity}', "bad_field"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_gets_a_typed_error(case: str) -> None:
    data, code = BAD[case]
    failure = refusal(data)
    assert failure.code == code
    assert failure.message and len(failure.message) < 300
    assert not failure.retryable


@pytest.mark.parametrize(
    ("data", "field"),
    [
        (raw(type="text", text=5), "text"),
        (raw(type="text", text="a" * 5001), "text"),
        (raw(type="text", text="\0"), "text"),
        (raw(type="text", text="a", stream="s"), "seq"),
        (raw(type="text", text="a", seq=1), "stream"),
        (raw(type="config", speed=9.0), "speed"),
        (raw(type="config", audio={"sample_rate": "fast"}), "audio.sample_rate"),
        (raw(type="shout"), "type"),
        (b"[]", None),
        (b"{", None),
    ],
)
def test_the_field_that_is_to_blame_is_named(data: bytes, field: str | None) -> None:
    failure = refusal(data)
    assert failure.field == field == failure.encode().get("field")


@pytest.mark.parametrize("field", [{"text": 5}, {"text": "a" * 5001}, {"text": "\0"}, {"text": "a", "revision": "one"}])
def test_a_refused_text_that_is_numbered_leaves_no_gap(field: dict[str, Any]) -> None:
    failure = refusal(raw(type="text", stream="s", seq=3, **field))
    assert (failure.stream, failure.seq) == ("s", 3)


def test_a_number_that_cannot_be_is_not_repeated() -> None:
    failure = refusal(raw(type="text", text="a", stream="s", seq=-3))
    assert (failure.stream, failure.seq) == (None, None)


def test_messages() -> None:
    assert parse(b'{"type": "hello", "protocol": 1, "colour": "red"}') == Hello(protocol=1)
    assert parse(raw(type="end")) == End()
    assert parse(raw(type="ping", t=1.5)) == Ping(t=1.5)
    assert parse(raw(type="config", audio={"sample_rate": 48_000})) == Config(audio=AudioFormat(sample_rate=48_000))
    text = parse('{"type": "text", "text": "Grüße, 世界 🙂\\n\\u00e9", "utterance": "u", "final": false}'.encode())
    assert text == Text(text="Grüße, 世界 🙂\né", utterance="u", final=False)


def test_tabs_and_line_ends_are_text_and_so_is_what_comes_after_the_controls() -> None:
    for text in ("a\tb\r\nc", "a\x85b", "a\xa0b", "\xad"):
        assert parse(raw(type="text", text=text)) == Text(text=text)


def test_the_longest_text_fits_however_it_is_written() -> None:
    characters = "\U0001f642" * 5000
    assert parse(raw(type="text", text=characters)) == Text(text=characters)
    assert len(raw(type="text", text=characters)) <= MESSAGE_BYTES


def test_attributes_are_strings() -> None:
    attributes = {
        "utterance": "u",
        "stream": "s",
        "seq": "4",
        "budget_ms": "90",
        "speed": "1.5",
        "language": "de",
        "text": "no",
        "final": "no",
        "other": "x",
    }
    expected = Text(text="Hallo", utterance="u", stream="s", seq=4, budget_ms=90, speed=1.5, language="de", final=False)
    assert from_attributes("Hallo", attributes, final=False) == expected
    assert from_attributes("Hallo", {"utterance": "17"}, final=True) == Text(text="Hallo", utterance="17")


@pytest.mark.parametrize(
    "attributes",
    [{"seq": "four", "stream": "s"}, {"speed": ""}, {"priority": "[]"}, {"speaker": ""}, {"seq": "9" * 5000}, {"seq": "[" * 100_000}],
)
def test_attributes_are_checked(attributes: dict[str, str]) -> None:
    with pytest.raises(ProtocolError) as caught:
        from_attributes("Hallo", attributes, final=True)
    assert caught.value.event.code == "bad_field"


def test_a_trace_is_taken_where_it_is_one_and_else_ignored() -> None:
    known = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
    assert from_attributes("Hallo", {"traceparent": known}, final=True).traceparent == known
    for value in (known, "nonsense", "", 7, None, [], {}, "x" * 10_000):
        message = parse(json.dumps({"type": "text", "text": "Hallo", "traceparent": value}).encode())
        assert isinstance(message, Text) and message.traceparent == (known if value == known else "")


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=3,
)
TYPES = st.sampled_from(["hello", "config", "text", "flush", "cancel", "ping", "end"]) | JSON
NAMES = st.sampled_from([*Text.model_fields, *Config.model_fields, "t", "protocol"])


@examples(60)
@given(st.binary(max_size=200) | st.text().map(lambda text: text.encode("utf-8", "surrogatepass")))
def test_any_bytes_are_a_message_or_an_error(data: bytes) -> None:
    check(data)


@examples(80)
@given(st.dictionaries(NAMES, JSON, max_size=5), TYPES)
def test_any_json_is_a_message_or_an_error(message: dict[str, Any], kind: Any) -> None:
    check(json.dumps({**message, "type": kind}).encode())


@examples(60)
@given(st.text(st.characters(codec=None), max_size=20), st.dictionaries(NAMES, st.text(max_size=8), max_size=4), st.booleans())
def test_any_attributes_are_a_text_or_an_error(text: str, attributes: dict[str, str], final: bool) -> None:
    try:
        assert from_attributes(text, attributes, final=final).final is final
    except ProtocolError as error:
        encode(error.event)


def check(data: bytes) -> None:
    try:
        message = parse(data)
    except ProtocolError as error:
        found = json.loads(encode(error.event))
        assert found["type"] == "error" and found["code"] and found["message"]
    else:
        assert isinstance(message, Message)


WIRE: dict[type[Event], tuple[Event, dict[str, Any]]] = {
    type(event): (event, wire)
    for event, wire in [
        (
            events.Ready(1, "n", ("en",), ("joe",), {"s": Progress(4, 2)}, 0),
            {
                "type": "ready",
                "protocol": 1,
                "node": "n",
                "languages": ["en"],
                "voices": ["joe"],
                "last": {"s": {"held": 4, "spoken": 2}},
                "level": 0,
            },
        ),
        (events.Ack("s", 3), {"type": "ack", "stream": "s", "seq": 3}),
        (events.Spoken("s", 3), {"type": "spoken", "stream": "s", "seq": 3}),
        (events.Missing("s", 1, 2), {"type": "missing", "stream": "s", "from": 1, "to": 2}),
        (events.Gap("s", 1, 2), {"type": "gap", "stream": "s", "from": 1, "to": 2}),
        (
            events.SentenceChosen("s1", "u", "Ünd?", "piper", "joe", False, 7.0, "de"),
            {"type": "sentence", "id": "s1", "utterance": "u", "text": "Ünd?", "engine": "piper", "voice": "joe", "cached": False},
        ),
        (
            events.SpeechStarted("s1", "u", 0.0421, 1.5, "piper"),
            {"type": "speech_started", "id": "s1", "utterance": "u", "ttft_ms": 42, "lag_ms": 1500, "engine": "piper"},
        ),
        (events.SentenceFinished("s1", "u"), {"type": "sentence_finished", "id": "s1", "utterance": "u"}),
        (
            events.SpeechFinished("u", 2.25, 17, True),
            {"type": "speech_finished", "utterance": "u", "position_ms": 2250, "characters": 17, "interrupted": True},
        ),
        (events.Switched("s1", "a", "b", "late"), {"type": "switched", "id": "s1", "from": "a", "to": "b", "why": "late"}),
        (events.Dropped("u", "x", "expired"), {"type": "dropped", "utterance": "u", "text": "x", "why": "expired"}),
        (events.Backlog(3.5), {"type": "backlog", "seconds": 3.5}),
        (
            events.Captioned("s1", "en", "booth", " Hello", False),
            {"type": "caption", "id": "s1", "language": "en", "speaker": "booth", "text": " Hello", "final": False},
        ),
        (events.LevelChanged(1, "busy"), {"type": "level", "level": 1, "why": "busy"}),
        (
            events.Failure("bad_json", "no", stream="s", seq=2, field="text"),
            {"type": "error", "code": "bad_json", "message": "no", "retryable": False, "stream": "s", "seq": 2, "field": "text"},
        ),
        (events.Pong(7), {"type": "pong", "t": 7}),
        (events.Complete(), {"type": "complete"}),
    ]
}


@pytest.mark.parametrize("kind", WIRE)
def test_events_on_the_wire(kind: type[Event]) -> None:
    event, wire = WIRE[kind]
    assert json.loads(encode(event)) == wire


def test_every_event_is_on_the_wire() -> None:
    kinds = {kind for kind in vars(events).values() if isinstance(kind, type) and issubclass(kind, Event) and kind is not Event}
    assert kinds == set(WIRE)
    for kind, (_, wire) in WIRE.items():
        assert len(wire) == sum(kind.wire.get(field.name) != "" for field in fields(kind)) + 1


def test_what_is_not_known_is_left_out() -> None:
    assert json.loads(encode(events.Pong())) == {"type": "pong"}
    assert json.loads(encode(events.Failure("a", "b"))) == {"type": "error", "code": "a", "message": "b", "retryable": False}
