import base64
import json
from dataclasses import replace

import numpy as np
import pytest

from agent.gateway.errors import Refused
from agent.gateway.settings import AudioSettings, WsSettings
from agent.gateway.socket.oneshot import OneShot
from agent.gateway.socket.orders import TakeVoice
from pipeline.events import Dropped, Failure, SentenceChosen, SpeechStarted, Spoken, Switched
from pipeline.playout import Sound
from tests.agent.gateway.conftest import decoded
from tests.agent.gateway.socket.scene import RATE, TRACK, opened, sent, sound, terms, texts, told

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


def lent(take, **changes):
    return replace(take.plan, config=take.plan.config.model_copy(update={"voice": "en-clone-1"}), **changes)


def test_a_voice_that_was_brought_is_taken_before_its_text_is_said(oneshot):
    orders = ask(oneshot, text="Hello.", request_id="1", voice_clone_reference="aaaa")
    assert opened(orders) == 1 and not told(orders)
    (take,) = [order for order in orders if isinstance(order, TakeVoice)]
    assert take.wanted.reference == "aaaa"
    assert ask(oneshot, text="Meanwhile.", request_id="2") == []
    config, text = told(oneshot.on_voice(lent(take, warnings=("it is hoarse",))))
    assert (config.voice, config.use_cache, text.text) == ("en-clone-1", False, "Hello.")
    oneshot.on_sound(TRACK, sound())
    after = oneshot.on_event(HEARD, 0.0)
    assert sent(after)[0]["warnings"] == ["it is hoarse"]
    assert [text.text for text in texts(after)] == ["Meanwhile."]


def test_a_voice_that_nobody_takes_is_told_once_and_the_next_text_is_said(oneshot):
    ask(oneshot, text="Hello.", request_id="1", voice_clone_reference="aaaa")
    ask(oneshot, text="Next.", request_id="2")
    after = oneshot.on_voice(Refused("clone_unavailable", "nobody can", 503, field="voice_clone_reference"))
    (error,) = sent(after)
    assert (error["code"], error["request_id"], error["is_final"]) == ("clone_unavailable", "1", True)
    assert [text.text for text in texts(after)] == ["Next."]


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
        ({"text": "a", "voice": "nobody"}, "unknown_voice", "voice"),
        ({"text": "a", "speaker_id": "nobody"}, "unknown_voice", "speaker_id"),
        ({"text": "a", "options": {"voice": "nobody"}}, "unknown_voice", "options.voice"),
        ({"text": "a", "engine": "nobody"}, "unknown_engine", "engine"),
        ({"text": "a", "model_name": "nobody"}, "unknown_engine", "model_name"),
        ({"text": "a", "voice_clone_reference": "%%%"}, "bad_base64", "voice_clone_reference"),
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
        ([Dropped("text", "Hello.", "filtered"), HEARD], "content_filtered"),
        ([Dropped("text", "...", "nothing_to_say"), HEARD], "nothing_to_say"),
        ([Failure("draining", "the node ends", True)], "draining"),
    ],
)
def test_what_was_not_said_is_told_once(oneshot, events, code):
    ask(oneshot, text="Hello.", request_id="mine")
    told = [message for event in events for message in sent(oneshot.on_event(event, 0.0))]
    assert [(message["code"], message["request_id"], message["is_final"]) for message in told] == [(code, "mine", True)]


def test_cancel_drops_what_waits_and_what_is_said(oneshot):
    ask(oneshot, text="One.", request_id="1")
    ask(oneshot, text="Two.", request_id="2")
    orders = ask(oneshot, type="cancel")
    *finals, answer = sent(orders)
    assert answer == {"type": "cancelled"} and opened(orders) == 1
    assert [(word["code"], word["is_final"], word["request_id"]) for word in finals] == [("cancelled", True, "1"), ("cancelled", True, "2")]
    assert oneshot.on_sound(TRACK, sound()) == []
    assert oneshot.on_event(HEARD, 0.0) == []
    assert texts(ask(oneshot, text="Three."))


def test_what_has_no_effect_is_said(oneshot):
    ask(oneshot, text="Hello.", pitch=1.2, emotion="happy", normalize_audio=True, trim_silence=True, include_audio=False)
    oneshot.on_sound(TRACK, sound())
    warnings = sent(oneshot.on_event(HEARD, 0.0))[-1]["warnings"]
    assert [words.partition(":")[0] for words in warnings] == ["emotion", "normalize_audio", "trim_silence", "include_audio"]


@pytest.mark.parametrize(("format", "begin"), [("wav", b"RIFF"), ("flac", b"fLaC"), ("mp3", b"\xff"), ("ogg", b"OggS"), ("aac", b"\xff")])
@pytest.mark.parametrize("is_streamed", [True, False])
def test_sound_comes_in_the_format_that_was_named(oneshot, format, begin, is_streamed):
    for _ in range(2):  # the next one is a file of its own
        ask(oneshot, text="Hello.", format=format, stream=is_streamed)
        messages = [*sent(oneshot.on_sound(TRACK, sound(0.5))), *sent(oneshot.on_event(HEARD, 0.0))]
        data = b"".join(base64.b64decode(message["audio_chunk"]) for message in messages)
        rate, samples = decoded(data)
        assert data.startswith(begin) and {message["format"] for message in messages} == {format}
        assert (messages[-1]["sample_rate"], messages[-1]["duration_seconds"]) == (24_000, 0.5)
        assert rate == (48_000 if format == "ogg" else 24_000), "Opus is always decoded so"
        assert len(samples) / rate == pytest.approx(0.5, abs=0.1)
        assert (len(messages) > 1) is is_streamed


def test_what_is_done_to_sound_over_http_is_done_here(oneshot):
    tone = (8000 * np.sin(np.arange(RATE) * 2 * np.pi * 220 / RATE)).astype(np.int16)
    ask(oneshot, text="Hello.", pitch=2.0)
    messages = [*sent(oneshot.on_sound(TRACK, Sound("s1", tone))), *sent(oneshot.on_event(HEARD, 0.0))]
    made = np.frombuffer(b"".join(base64.b64decode(message["audio_chunk"]) for message in messages), dtype="<i2")
    assert np.argmax(np.abs(np.fft.rfft(made.astype(float)))) * RATE / len(made) == pytest.approx(440, abs=5)
    assert messages[-1]["duration_seconds"] == pytest.approx(1.0, abs=0.1)


def test_the_rate_is_that_of_the_message_else_of_the_node():
    oneshot = OneShot(replace(terms(), audio=AudioSettings(sample_rate=16_000)))
    for fields, rate in (({}, 16_000), ({"sample_rate": 8_000}, 8_000), ({"options": {}}, 22_050)):
        ask(oneshot, text="Hello.", **fields)
        (*_, last) = [*sent(oneshot.on_sound(TRACK, sound())), *sent(oneshot.on_event(HEARD, 0.0))]
        assert last["sample_rate"] == rate


def test_priority_is_told_to_the_stage(oneshot):
    assert [text.priority for text in texts(ask(oneshot, text="Hello.", priority=0))] == [0]


def test_a_reply_has_as_long_as_its_request_says(oneshot):
    assert oneshot.timer() is None
    for id, timeout in (("slow", 5.0), ("waits", 2.0), ("patient", None)):
        oneshot.on_text(json.dumps({"text": "Hello.", "request_id": id, "timeout": timeout}), 10.0)
    assert oneshot.timer() == 12.0
    (late,) = sent(oneshot.on_timer(12.0))
    assert (late["request_id"], late["code"], late["is_final"]) == ("waits", "timeout", True)
    assert oneshot.timer() == 15.0 and oneshot.on_timer(14.9) == []
    orders = oneshot.on_timer(15.0)
    assert [(word["request_id"], word["code"]) for word in sent(orders)] == [("slow", "timeout")]
    assert opened(orders) == 1 and len(texts(orders)) == 1, "what is too late is silenced, and the next one is said"
    assert oneshot.timer() is None


def test_the_first_request_has_the_name_of_the_upgrade():
    oneshot = OneShot(replace(terms(), request_id="upgrade"))
    names = []
    for _ in range(2):
        ask(oneshot, text="Hello.")
        oneshot.on_sound(TRACK, sound())
        names.append(sent(oneshot.on_event(HEARD, 0.0))[-1]["request_id"])
    assert names == ["upgrade", "id-0"]
