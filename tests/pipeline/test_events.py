"""How events look on the wire."""

from __future__ import annotations

import dataclasses

import pytest

from pipeline import events
from pipeline.events import (
    Dropped,
    Event,
    Failure,
    Gap,
    LevelChanged,
    Missing,
    Pong,
    Progress,
    Ready,
    SpeechFinished,
    SpeechStarted,
    Switched,
)

KINDS = [kind for kind in vars(events).values() if isinstance(kind, type) and issubclass(kind, Event) and kind is not Event]


@pytest.mark.parametrize(
    ("event", "wire"),
    [
        (
            SpeechStarted("s1", "u1", 0.0624, 1.5, "piper"),
            {"type": "speech_started", "id": "s1", "utterance": "u1", "ttft_ms": 62, "lag_ms": 1500, "engine": "piper"},
        ),
        (
            SpeechFinished("u1", 2.35, 26, True),
            {"type": "speech_finished", "utterance": "u1", "position_ms": 2350, "characters": 26, "interrupted": True},
        ),
        (Missing("a", 3, 4), {"type": "missing", "stream": "a", "from": 3, "to": 4}),
        (Gap("a", 3, 4), {"type": "gap", "stream": "a", "from": 3, "to": 4}),
        (Switched("s1", "piper", "tone", "it broke"), {"type": "switched", "id": "s1", "from": "piper", "to": "tone", "why": "it broke"}),
        (Dropped("u1", "...", "nothing_to_say"), {"type": "dropped", "utterance": "u1", "text": "...", "why": "nothing_to_say"}),
        (LevelChanged(1, "slow"), {"type": "level", "level": 1, "why": "slow"}),
        (Failure("bad_json", "not JSON"), {"type": "error", "code": "bad_json", "message": "not JSON", "retryable": False}),
        (
            Failure("overloaded", "later", True, "a", 0),
            {"type": "error", "code": "overloaded", "message": "later", "retryable": True, "stream": "a", "seq": 0},
        ),
        (Pong(None), {"type": "pong"}),
        (Pong(0), {"type": "pong", "t": 0}),
    ],
)
def test_seconds_become_milliseconds_and_keywords_get_their_names(event: Event, wire: dict[str, object]) -> None:
    assert event.encode() == wire


def test_ready_says_how_far_each_stream_has_come() -> None:
    ready = Ready(1, "node", ("en",), ("joe",), {"a": Progress(4, -1)}, 0)
    assert ready.encode()["last"] == {"a": {"held": 4, "spoken": -1}}


def test_each_type_has_one_name_and_cannot_be_changed() -> None:
    assert len({kind.type for kind in KINDS}) == len(KINDS)
    for kind in KINDS:
        assert dataclasses.is_dataclass(kind)
        assert kind.__dataclass_params__.frozen  # type: ignore[attr-defined]
