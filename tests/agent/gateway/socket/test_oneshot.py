import base64
import json

import pytest

from agent.gateway.settings import WsSettings
from agent.gateway.socket.oneshot import OneShot
from pipeline.events import Dropped, Failure, SentenceChosen, SpeechStarted, Spoken, Switched
from tests.agent.gateway.socket.scene import TRACK, opened, sent, sound, terms, texts, told

HEARD = Spoken("text", 0)


def ask(dialect, **message):
    return dialect.on_text(json.dumps(message), 0.0)


@pytest.fixture
def oneshot():
    return OneShot(terms())


def test_an_utterance_is_chunks_and_one_last_word(oneshot):
    orders = ask(oneshot, text="Hello.", request_id="mine", speed=1.5)
    assert [text.text for text in texts(orders)] == ["Hello."]
    assert told(orders)[0].speed == 1.5
    oneshot.on_event(SentenceChosen("s1", "text", "Hello.", "tone", "tone-en", False), 0.0)
    oneshot.on_event(SpeechStarted("s1", "text", 0.025, 0.03, "tone"), 0.0)
    oneshot.on_event(Switched("s1", "piper", "tone", "slow"), 0.0)
    chunks = sent(oneshot.on_sound(TRACK, sound(0.2)))
    assert [chunk["sequence"] for chunk in chunks] == [0, 1, 2]
    assert all(chunk["is_final"] is False and len(base64.b64decode(chunk["audio_chunk"])) <= 4096 for chunk in chunks)
    assert b"".join(base64.b64decode(chunk["audio_chunk"]) for chunk in chunks) == sound(0.2).samples.tobytes()
    (last,) = sent(oneshot.on_event(HEARD, 0.0))
    assert last == {
        "audio_chunk": "",
        "sample_rate": 24_000,
        "sequence": 3,
        "is_final": True,
        "duration_seconds": 0.2,
        "model_used": "tone:tone-en",
        "ttfa_ms": 25,
        "fallback": [{"engine": "piper", "reason": "slow"}],
        "request_id": "mine",
    }


def test_without_stream_the_last_word_holds_everything(oneshot):
    ask(oneshot, text="Hello.", stream=False)
    assert oneshot.on_sound(TRACK, sound(0.2)) == []
    (last,) = sent(oneshot.on_event(HEARD, 0.0))
    assert base64.b64decode(last["audio_chunk"]) == sound(0.2).samples.tobytes()


def test_further_utterances_wait_and_are_answered_in_order(oneshot):
    ask(oneshot, text="One.", request_id="1")
    assert ask(oneshot, text="Two.", request_id="2") == []
    oneshot.on_sound(TRACK, sound())
    after = oneshot.on_event(HEARD, 0.0)
    assert sent(after)[0]["request_id"] == "1"
    assert [text.text for text in texts(after)] == ["Two."] and opened(after) == 1
    oneshot.on_sound(TRACK, sound())
    assert sent(oneshot.on_event(HEARD, 0.0))[0]["request_id"] == "2"


def test_a_full_queue_refuses_and_goes_on():
    oneshot = OneShot(terms(ws=WsSettings(max_queued=1)))
    ask(oneshot, text="One.")
    ask(oneshot, text="Two.")
    (refused,) = sent(ask(oneshot, text="Three.", request_id="3"))
    assert (refused["code"], refused["is_final"], refused["request_id"]) == ("queue_full", True, "3")


@pytest.mark.parametrize(
    ("message", "code", "field"),
    [
        ({}, "text_required", "text"),
        ({"text": 3}, "text_required", "text"),
        ({"text": " \n"}, "text_required", "text"),
        ({"text": "a" * 5001}, "text_too_long", "text"),
        ({"text": "a\x00b"}, "bad_text", "text"),
        ({"text": "<speak>a</speak>"}, "not_supported", "text"),
        ({"text": "a", "stream": "yes"}, "bad_field", "stream"),
        ({"text": "a", "speed": 3}, "out_of_bounds", "speed"),
        ({"text": "a", "speed": "fast"}, "wrong_type", "speed"),
        ({"text": "a", "options": {"speed": 3}}, "out_of_bounds", "options.speed"),
        ({"text": "a", "sample_rate": 11}, "unsupported_value", "sample_rate"),
        ({"text": "a", "language": "xx"}, "unsupported_language", "language"),
        ({"text": "a", "language": 5}, "wrong_type", "language"),
        ({"text": "a", "voice_id": "../../etc/passwd"}, "unknown_voice", "voice_id"),
        ({"text": "a", "voice_id": "a\nb"}, "unknown_voice", "voice_id"),
        ({"text": "a", "voice_id": "a", "voice": "b"}, "conflicting_fields", "voice_id"),
        ({"text": "a", "engine": "nobody"}, "unknown_engine", "engine"),
        ({"text": "a", "voice_clone_reference": "%%%"}, "bad_base64", "voice_clone_reference"),
        ({"text": "a", "voice_clone_reference": "aaaa"}, "clone_unavailable", "voice_clone_reference"),
        ({"type": "shout", "text": "a"}, "unknown_message", "type"),
    ],
)
def test_what_cannot_be_said_is_answered_with_the_field_at_fault(oneshot, message, code, field):
    orders = ask(oneshot, **message)
    (error,) = sent(orders)
    assert (error["type"], error["code"], error["field"], error["is_final"]) == ("error", code, field, True)
    assert not told(orders)
    assert texts(ask(oneshot, text="And it goes on."))


@pytest.mark.parametrize(
    ("events", "code"),
    [
        ([Dropped("text", "Hello.", "failed"), HEARD], "synthesis_failed"),
        ([Dropped("text", "...", "nothing_to_say"), HEARD], "nothing_to_say"),
        ([Failure("draining", "the node ends", True)], "draining"),
    ],
)
def test_what_was_not_said_is_told_once(oneshot, events, code):
    ask(oneshot, text="Hello.", request_id="mine")
    told = [message for event in events for message in sent(oneshot.on_event(event, 0.0))]
    assert [(message["code"], message["request_id"], message["is_final"]) for message in told] == [(code, "mine", True)]


def test_cancel_drops_what_waits_and_what_is_said(oneshot):
    ask(oneshot, text="One.")
    ask(oneshot, text="Two.")
    orders = ask(oneshot, type="cancel")
    assert sent(orders) == [{"type": "cancelled"}] and opened(orders) == 1
    assert oneshot.on_sound(TRACK, sound()) == []
    assert oneshot.on_event(HEARD, 0.0) == []
    assert texts(ask(oneshot, text="Three."))


def test_what_has_no_effect_is_said(oneshot):
    ask(oneshot, text="Hello.", pitch=1.2, emotion="happy")
    oneshot.on_sound(TRACK, sound())
    warnings = sent(oneshot.on_event(HEARD, 0.0))[-1]["warnings"]
    assert any("emotion" in words for words in warnings) and any("pitch" in words for words in warnings)
