import base64
import json
from dataclasses import replace

import pytest

from agent.gateway.errors import Refused
from agent.gateway.settings import AudioSettings
from agent.gateway.socket.incremental import Incremental
from agent.gateway.socket.orders import TakeVoice
from pipeline.events import Dropped, Failure, SentenceChosen, SentenceFinished, Spoken
from pipeline.protocol import Cancel, Flush
from tests.agent.gateway.conftest import decoded
from tests.agent.gateway.socket.scene import TRACK, sent, sound, terms, texts, told


def ask(dialect, **message):
    return dialect.on_text(json.dumps(message), 0.0)


@pytest.fixture
def incremental():
    found = Incremental(terms())
    ask(found)
    return found


def choose(dialect, id, utterance="stream 1"):
    dialect.on_event(SentenceChosen(id, utterance, "", "tone", "tone-en", False), 0.0)


def test_a_config_is_answered_with_the_rate():
    orders = ask(Incremental(terms()), voice_description="a low voice", emotion="sad", sample_rate=16_000)
    (ready,) = sent(orders)
    assert (ready["type"], ready["sample_rate"]) == ("ready", 16_000)
    assert ["emotion" in words for words in ready["warnings"]] == [True]


def test_a_config_that_cannot_be_is_told_by_the_name_that_it_has():
    (error,) = sent(ask(Incremental(terms()), speaker_id="nobody"))
    assert (error["code"], error["field"], error["message"].partition(":")[0]) == ("unknown_voice", "speaker_id", "speaker_id")


def test_a_config_that_brings_a_voice_is_ready_once_it_is_taken():
    incremental = Incremental(terms())
    (_, take) = ask(incremental, voice_clone_reference="aaaa")
    assert isinstance(take, TakeVoice)
    assert [error["code"] for error in sent(ask(incremental, text="Too early."))] == ["not_ready"]
    orders = incremental.on_voice(replace(take.plan, config=take.plan.config.model_copy(update={"voice": "en-clone-1"})))
    assert [message["type"] for message in sent(orders)] == ["ready"] and told(orders)[0].voice == "en-clone-1"
    assert texts(ask(incremental, text="Hello."))


def test_a_config_whose_voice_nobody_takes_is_none():
    incremental = Incremental(terms())
    ask(incremental, voice_clone_reference="aaaa")
    (error,) = sent(incremental.on_voice(Refused("clone_unavailable", "nobody can", 503)))
    assert (error["code"], error["recoverable"]) == ("clone_unavailable", True)
    assert [error["code"] for error in sent(ask(incremental, text="Hello."))] == ["config_required"]
    ask(incremental, voice_clone_reference="aaaa")
    assert [message["type"] for message in sent(ask(incremental))] == ["ready"]  # another config takes its place


def test_a_stream_is_one_file_of_the_format_that_was_named():
    incremental = Incremental(replace(terms(), audio=AudioSettings(sample_rate=16_000), request_id="upgrade"))
    (ready,) = sent(ask(incremental, format="mp3", priority=0, timeout=5, trim_silence=True))
    assert (ready["sample_rate"], ready["format"], ready["request_id"]) == (16_000, "mp3", "upgrade")
    assert [words.partition(":")[0] for words in ready["warnings"]] == ["trim_silence", "timeout"]
    for number in (1, 2):
        (text,) = texts(ask(incremental, text="One."))
        ask(incremental, type="end_of_stream")
        choose(incremental, f"s{number}", f"stream {number}")
        said = [*incremental.on_sound(TRACK, sound(0.5, sentence=f"s{number}")), *incremental.on_event(Spoken("text", text.seq + 1), 0.0)]
        *audio, complete = sent(said)
        rate, samples = decoded(b"".join(base64.b64decode(message["data"]) for message in audio))
        assert text.priority == 0 and {message["format"] for message in audio} == {"mp3"}
        assert complete["duration_seconds"] == 0.5 and len(samples) / rate == pytest.approx(0.5, abs=0.1) and rate == 16_000


def test_text_grows_one_utterance_until_the_end_of_the_stream(incremental):
    orders = [*ask(incremental, text="Good mor"), *ask(incremental, text="ning. And"), *ask(incremental, type="end_of_stream")]
    said = texts(orders)
    assert [(text.text, text.final, text.seq) for text in said] == [("Good mor", False, 0), ("ning. And", False, 1), ("", True, 2)]
    assert len({text.utterance for text in said}) == 1
    choose(incremental, "s1")
    (audio,) = sent(incremental.on_sound(TRACK, sound(0.1)))
    assert base64.b64decode(audio.pop("data")) == sound(0.1).samples.tobytes()
    assert audio == {"type": "audio", "sample_rate": 24_000, "sequence": 0, "sentence": 0}
    assert incremental.on_event(Spoken("text", 1), 0.0) == []
    (complete,) = sent(incremental.on_event(Spoken("text", 2), 0.0))
    assert (complete["type"], complete["duration_seconds"]) == ("complete", 0.1)


def test_the_next_stream_may_come_before_the_last_is_complete_and_counts_anew(incremental):
    ask(incremental, text="One.")
    ask(incremental, type="end_of_stream")
    ask(incremental, text="Two.")
    ask(incremental, type="end_of_stream")
    choose(incremental, "a")
    choose(incremental, "b", "stream 2")  # made while the first is sent
    incremental.on_sound(TRACK, sound(sentence="a"))
    incremental.on_event(SentenceFinished("a", "stream 1"), 0.0)
    assert sent(incremental.on_event(Spoken("text", 1), 0.0))[0]["duration_seconds"] == 0.1
    (audio,) = sent(incremental.on_sound(TRACK, sound(0.3, sentence="b")))
    assert (audio["sequence"], audio["sentence"]) == (0, 0)
    assert sent(incremental.on_event(Spoken("text", 3), 0.0))[0]["duration_seconds"] == 0.3


def test_an_empty_stream_is_complete_at_once(incremental):
    (end,) = texts(ask(incremental, type="end_of_stream"))
    assert incremental.on_event(Dropped(end.utterance, "", "nothing_to_say"), 0.0) == []
    assert sent(incremental.on_event(Spoken("text", end.seq), 0.0))[0]["duration_seconds"] == 0.0


def test_flush_speaks_what_waits(incremental):
    assert ask(incremental, type="flush") == []
    ask(incremental, text="incomplete")
    assert told(ask(incremental, type="flush")) == [Flush(utterance="stream 1")]


def test_cancel_forgets_the_stream(incremental):
    ask(incremental, text="One. Two")
    ask(incremental, type="end_of_stream")
    orders = ask(incremental, type="cancel")
    assert told(orders) == [Cancel()] and sent(orders) == [{"type": "cancelled"}]
    assert incremental.on_event(Dropped("stream 1", "One.", "cancelled"), 0.0) == []
    assert incremental.on_event(Spoken("text", 1), 0.0) == []
    assert [text.utterance for text in texts(ask(incremental, text="New."))] == ["stream 2"]


@pytest.mark.parametrize(
    ("message", "code"),
    [
        ({"text": "too early"}, "config_required"),
        ({"type": "flush"}, "config_required"),
        ({"type": "end_of_stream"}, "config_required"),
        ({"voice_id": "nobody"}, "unknown_voice"),
        ({"sample_rate": 1}, "unsupported_value"),
    ],
)
def test_before_a_config_everything_else_is_refused(message, code):
    incremental = Incremental(terms())
    (error,) = sent(ask(incremental, **message))
    assert (error["type"], error["code"], error["recoverable"]) == ("error", code, True)
    assert sent(ask(incremental))[0]["type"] == "ready"


@pytest.mark.parametrize(
    ("message", "code"),
    [
        ({"type": "shout"}, "unknown_message"),
        ({"text": 5}, "text_required"),
        ({"text": "a" * 5001}, "text_too_long"),
        ({"text": "a\x07"}, "bad_text"),
        ({"text": "<speak>"}, "not_supported"),
        ({"type": "config"}, "stream_open"),
    ],
)
def test_a_message_that_is_refused_costs_no_stream(incremental, message, code):
    ask(incremental, text="Fine.")
    assert [error["code"] for error in sent(ask(incremental, **message))] == [code]
    assert [text.seq for text in texts(ask(incremental, text="Still fine."))] == [1]


def test_a_sentence_that_fails_is_told_and_the_stream_goes_on(incremental):
    ask(incremental, text="One. Two.")
    (error,) = sent(incremental.on_event(Dropped("stream 1", "One.", "failed"), 0.0))
    assert (error["code"], error["recoverable"]) == ("synthesis_failed", True)
    (error,) = sent(incremental.on_event(Dropped("stream 1", "One.", "filtered"), 0.0))
    assert (error["code"], error["field"], error["recoverable"]) == ("content_filtered", "text", True)
    (error,) = sent(incremental.on_event(Failure("internal", "the track failed", True), 0.0))
    assert error["code"] == "internal"


def test_streams_that_wait_are_bounded(incremental):
    for _ in range(16):
        ask(incremental, type="end_of_stream")
    assert sent(ask(incremental, type="end_of_stream"))[0]["code"] == "queue_full"


def test_signs_of_life_need_no_answer(incremental):
    assert ask(incremental, type="keepalive") == []
