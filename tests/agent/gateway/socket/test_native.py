import base64
import json

import pytest

from agent.gateway.socket.native import Native
from agent.gateway.socket.orders import Hush, Refuse, Resume
from pipeline.events import Pong, Ready, SentenceChosen, SentenceFinished, Spoken
from pipeline.speaker import Caption, TrackKey
from tests.agent.gateway.socket.scene import RATE, TRACK, sent, sound, terms, texts, told

FRENCH = TrackKey("booth", "fr")


def ask(dialect, **message):
    return dialect.on_text(json.dumps(message), 0.0)


@pytest.fixture
def native():
    found = Native(terms())
    found.on_event(SentenceChosen("s1", "u1", "Hello.", "tone", "tone-en", False), 0.0)
    return found


def test_messages_go_to_the_stage_and_events_to_the_client(native):
    (text,) = told(ask(native, type="text", text="Hello.", stream="s", seq=0))
    assert (text.text, text.seq) == ("Hello.", 0)
    assert sent(native.on_event(Spoken("s", 0), 0.0)) == [{"type": "spoken", "stream": "s", "seq": 0}]


def test_a_text_holds_as_much_as_the_settings_have():
    native = Native(terms(text_chars=10))
    assert texts(ask(native, type="text", text="a" * 10))
    (refused,) = ask(native, type="text", text="a" * 11, stream="s", seq=3)
    event = refused.error.event
    assert (event.code, event.stream, event.seq) == ("text_too_long", "s", 3) and "at most 10" in event.message


def test_sound_is_announced_when_whose_it_is_changes(native):
    first, frame = sent(native.on_sound(TRACK, sound()))
    about = {"type": "audio", "id": "s1", "track": "booth-en", "encoding": "linear16", "sample_rate": RATE, "utterance": "u1"}
    assert first == about and frame == sound().samples.tobytes()
    assert [type(message) for message in sent(native.on_sound(TRACK, sound()))] == [bytes]
    assert sent(native.on_sound(FRENCH, sound(sentence="s2")))[0]["track"] == "booth-fr"
    assert sent(native.on_sound(TRACK, sound()))[0]["id"] == "s1"


def test_words_are_told_where_they_begin(native):
    assert sent(native.on_caption(Caption(TRACK, "s1", "Good", False)))[0]["position_ms"] == 0
    native.on_sound(TRACK, sound(0.25))
    (word,) = sent(native.on_caption(Caption(TRACK, "s1", " morning", False)))
    about = {"type": "caption", "id": "s1", "language": "en", "speaker": "booth"}
    assert word == {**about, "text": " morning", "final": False, "position_ms": 250}
    assert sent(native.on_caption(Caption(TRACK, "s1", "", True))) == [{**about, "text": "", "final": True, "position_ms": 250}]
    assert sent(native.on_caption(Caption(TRACK, "s2", "Next", False)))[0]["position_ms"] == 0


def test_sound_comes_in_the_format_that_was_asked_for(native):
    ask(native, type="config", audio={"encoding": "mulaw", "sample_rate": 8000, "delivery": "base64"})
    sounds = [*sent(native.on_sound(TRACK, sound(0.5))), *sent(native.on_event(SentenceFinished("s1", "u1"), 0.0))]
    assert sounds.pop()["type"] == "sentence_finished"  # after the last of its sound
    assert [message["sequence"] for message in sounds] == list(range(len(sounds)))
    assert sum(len(base64.b64decode(message["data"])) for message in sounds) == pytest.approx(4000, abs=4)


@pytest.mark.parametrize("audio", [{"encoding": "mp3"}, {"sample_rate": 1}, {"delivery": "pigeon"}])
def test_a_format_that_there_is_not_is_refused(native, audio):
    (refusal,) = ask(native, type="config", audio=audio)
    assert isinstance(refusal, Refuse) and refusal.error.event.code == "bad_field"
    assert refusal.error.event.field == f"audio.{next(iter(audio))}"


@pytest.mark.parametrize("raw", ["{", "[]", "null", '{"type": "shout"}', '{"type": "text", "text": 5}', '"\\ud800"', "\ud800"])
def test_what_is_no_message_is_refused_and_the_session_goes_on(native, raw):
    (refusal,) = native.on_text(raw, 0.0)
    assert isinstance(refusal, Refuse)


def test_a_hello_with_a_session_takes_it_up(native):
    orders = ask(native, type="hello", session="mine", received=7)
    assert orders[0] == Resume("mine", 7) and told(orders)[0].type == "hello"
    assert not [order for order in ask(native, type="hello") if isinstance(order, Resume)]


def test_ready_tells_whether_it_was_taken_up_and_is_not_part_of_it(native):
    ready = Ready(1, "n", ("en",), ("tone-en",), {}, 0)
    (order,) = native.on_event(ready, 0.0)
    assert not order.is_counted and order.message["resumed"] is False and order.message["audio"]["sample_rate"] == RATE
    native.on_sound(TRACK, sound())
    assert order.message["text_chars"] == 5_000
    native.on_resumed(7)
    again = native.on_event(ready, 0.0)[0].message
    assert (again["resumed"], again["from"]) == (True, 7)
    assert sent(native.on_sound(TRACK, sound()))[0]["type"] == "audio"  # said anew in the new connection
    assert not native.on_event(Pong(1), 0.0)[0].is_counted


def test_a_cancel_of_everything_empties_the_client_too(native):
    assert Hush() in ask(native, type="cancel")
    assert Hush() not in ask(native, type="cancel", utterance="u1")
