import json
from dataclasses import replace

import pytest

from agent.gateway.socket.orders import Hush
from agent.gateway.socket.speak import Speak
from pipeline.events import Dropped, Failure, Spoken
from pipeline.protocol import Cancel
from tests.agent.gateway.socket.scene import TRACK, closed, sent, sound, terms, texts, told


def ask(dialect, now=0.0, **message):
    return dialect.on_text(json.dumps(message), now)


def speaker(**query):
    found = Speak(terms(query))
    return found, found.on_open(0.0)


@pytest.mark.parametrize(
    ("query", "size"),
    [({}, 4800), ({"encoding": "mulaw"}, 800), ({"encoding": "alaw", "sample_rate": "16000"}, 1600), ({"sample_rate": "48000"}, 9600)],
)
def test_the_query_fixes_how_it_sounds(query, size):
    speak, opening = speaker(**query)
    (metadata,) = sent(opening)
    assert (metadata["type"], metadata["request_id"], metadata["model_name"]) == ("Metadata", "id-0", "default")
    assert {"model_version", "model_uuid"} <= set(metadata)
    ask(speak, type="Speak", text="Hello.")
    ask(speak, type="Flush")
    frames = [*sent(speak.on_sound(TRACK, sound(0.1))), *sent(speak.on_event(Spoken("text", 1), 0.0))]
    assert sum(len(frame) for frame in frames if isinstance(frame, bytes)) == pytest.approx(size, abs=4)


@pytest.mark.parametrize(
    ("query", "code"),
    [
        ({"encoding": "mp3"}, "unsupported_value"),
        ({"sample_rate": "22050"}, "unsupported_value"),
        ({"sample_rate": "x"}, "unsupported_value"),
        ({"model": "nobody"}, "unknown_voice"),
        ({"model": "n" * 300}, "unknown_voice"),
        ({"model": "nova" + " " * 200}, "too_long"),
    ],
)
def test_a_query_that_cannot_be_met_is_an_error_with_its_field_and_the_end(query, code):
    _, opening = speaker(**query)
    assert [(message["type"], message["code"], message["field"]) for message in sent(opening)] == [("Error", code, *query)]
    assert closed(opening) == [1008]


def test_metadata_has_the_name_of_the_upgrade():
    (metadata,) = sent(Speak(replace(terms(), request_id="upgrade")).on_open(0.0))
    assert metadata["request_id"] == "upgrade"


@pytest.mark.parametrize("model", ["tone-fr", "tone", "default", "en-us-female-fast"])
def test_a_model_is_a_voice_or_an_engine(model):
    _, opening = speaker(model=model)
    assert sent(opening)[0]["type"] == "Metadata"


def test_flushed_follows_what_was_flushed():
    speak, _ = speaker()
    ask(speak, type="Speak", text="One. ")
    ask(speak, type="Speak", text="Two")
    (end,) = texts(ask(speak, type="Flush"))
    assert end.final and end.utterance == "part 0"
    assert [text.utterance for text in texts(ask(speak, type="Speak", text="Three"))] == ["part 1"]
    assert speak.on_event(Spoken("text", 1), 0.0) == []
    assert sent(speak.on_event(Spoken("text", 2), 0.0)) == [{"type": "Flushed", "sequence_id": 0}]


def test_clear_answers_what_was_flushed_and_then_itself():
    speak, _ = speaker()
    ask(speak, type="Speak", text="One.")
    ask(speak, type="Flush")
    ask(speak, type="Speak", text="Two")
    orders = ask(speak, type="Clear")
    assert told(orders) == [Cancel()] and Hush() in orders
    assert sent(orders) == [{"type": "Flushed", "sequence_id": 0}, {"type": "Cleared", "sequence_id": 1}]
    assert speak.on_event(Spoken("text", 1), 0.0) == []
    assert [text.utterance for text in texts(ask(speak, type="Speak", text="Three"))] == ["part 2"]


def test_the_twenty_first_flush_in_a_minute_is_none():
    speak, _ = speaker()
    for second in range(20):
        assert told(ask(speak, float(second), type="Flush"))
    (warning,) = sent(ask(speak, 59.0, type="Flush"))
    assert (warning["type"], warning["code"]) == ("Warning", "too_many_flushes")
    assert told(ask(speak, 60.0, type="Flush"))


def test_close_speaks_what_waits_and_then_ends():
    speak, _ = speaker()
    ask(speak, type="Speak", text="One")
    (end,) = texts(ask(speak, type="Close"))
    assert end.final
    assert sent(ask(speak, type="Speak", text="Too late"))[0]["code"] == "closing"
    assert closed(speak.on_event(Spoken("text", end.seq), 0.0)) == [1000]


@pytest.mark.parametrize(
    ("message", "code"),
    [
        ({"type": "Speak"}, "text_required"),
        ({"type": "Speak", "text": "a" * 2001}, "text_too_long"),
        ({"type": "shout"}, "unknown_message"),
        ({}, "unknown_message"),
    ],
)
def test_a_message_that_cannot_be_taken_is_a_warning(message, code):
    speak, _ = speaker()
    (warning,) = sent(ask(speak, **message))
    assert (warning["type"], warning["code"]) == ("Warning", code)
    assert texts(ask(speak, type="Speak", text="And it goes on."))


def test_garbage_is_an_error_and_the_end():
    speak, _ = speaker()
    orders = speak.on_text("{", 0.0)
    assert [message["type"] for message in sent(orders)] == ["Error"] and closed(orders) == [1007]
    orders = speak.on_binary()
    assert [message["type"] for message in sent(orders)] == ["Error"] and closed(orders) == [1003]


def test_what_is_not_said_is_a_warning_and_a_node_that_ends_an_error():
    speak, _ = speaker()
    assert sent(speak.on_event(Dropped("part 0", "One.", "failed"), 0.0))[0]["code"] == "synthesis_failed"
    assert sent(speak.on_event(Dropped("part 0", "One.", "filtered"), 0.0))[0]["code"] == "content_filtered"
    orders = speak.on_event(Failure("draining", "the node ends", True), 0.0)
    assert sent(orders)[0]["type"] == "Error" and closed(orders) == [1001]


@pytest.mark.parametrize(("code", "status"), [("not_finished", 409), ("overloaded", 503), ("rate_limited", 429), ("internal", 500)])
def test_a_failure_is_refused_with_the_status_of_its_code(monkeypatch, code, status):
    seen = []
    speak, _ = speaker()
    monkeypatch.setattr(speak, "refuse", lambda refused: seen.append(refused) or [])
    speak.on_event(Failure(code, "why"), 0.0)
    assert [(refused.code, refused.status) for refused in seen] == [(code, status)]


def test_keep_alive_is_not_answered():
    speak, _ = speaker()
    assert ask(speak, type="KeepAlive") == []
