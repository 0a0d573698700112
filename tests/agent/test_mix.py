from __future__ import annotations

import numpy as np

from agent.mix import Mix
from engines.base import Samples
from pipeline.playout import Cue, PlayoutBuffer

RATE = 24_000


def buffer(*samples: Samples) -> PlayoutBuffer:
    made = PlayoutBuffer(RATE, on_cue=lambda cue, now: None)
    for part in samples:
        made.write("s", part)
    return made


def level(value: int, count: int = 480) -> Samples:
    return np.full(count, value, dtype=np.int16)


def test_nothing_is_heard_of_nobody() -> None:
    mix = Mix(RATE)
    assert mix.is_empty
    assert mix.read(480, 0.0) is None


def test_one_voice_is_heard_as_it_is() -> None:
    mix = Mix(RATE)
    mix.add(buffer())
    mix.add(buffer(level(1000)))
    assert not mix.is_empty
    assert mix.read(480, 0.0) is not None
    assert mix.is_empty
    assert mix.read(480, 0.02) is None


def test_two_voices_are_heard_at_once() -> None:
    mix = Mix(RATE)
    mix.add(buffer(level(1000)))
    mix.add(buffer(level(-300, 240)))
    heard = mix.read(480, 0.0)
    assert heard is not None
    assert heard.dtype == np.int16
    assert np.array_equal(heard, np.concatenate([level(700, 240), level(1000, 240)]))


def test_two_loud_voices_do_not_wrap_around() -> None:
    mix = Mix(RATE)
    mix.add(buffer(level(30_000)))
    mix.add(buffer(level(30_000)))
    heard = mix.read(480, 0.0)
    assert heard is not None
    assert heard.max() == heard.min() == 32_767


def test_a_cue_alone_is_something_to_read() -> None:
    passed = []
    silent = PlayoutBuffer(RATE, on_cue=lambda cue, now: passed.append((cue.kind, now)))
    silent.cue(Cue("s", "unsaid"))
    mix = Mix(RATE)
    mix.add(silent)
    assert not mix.is_empty
    assert mix.read(480, 3.0) is None
    assert passed == [("unsaid", 3.0)]
