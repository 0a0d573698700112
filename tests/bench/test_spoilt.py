from __future__ import annotations

import numpy as np
import pytest

from bench.scripts import Deal, Told, told
from bench.spoilt import Spoilt
from engines.base import Chunk, Pace, Request, SynthesisFailed
from engines.scripted import ENDLESS, Die, Fault, Hang, Late, Script, Scripted, Silent, Slow, level_of

TEXT = "One after the other, and more."
WORD = 2400  # samples


class Wide(Scripted):
    """Two words a step: what goes wrong begins in the middle of one."""

    def synthesize(self, request: Request, pace: Pace):
        chunks = list(super().synthesize(request, pace))
        for first, second in zip(chunks[::2], chunks[1::2], strict=True):
            yield Chunk(np.concatenate([first.samples, second.samples]), first.marks + second.marks)


def spoilt(fault: Fault | None, waited: list[float] | None = None) -> Spoilt:
    """``waited`` takes the seconds that it waits."""
    inside = Wide("inside", Script(word=0.1))
    engine = Spoilt("outside", inside, Deal({} if fault is None else {TEXT: fault}), [].append if waited is None else waited.append)
    engine.load()
    return engine


def words(engine: Spoilt) -> list[int]:
    """The levels at which they were said."""
    made = np.concatenate([chunk.samples for chunk in engine.synthesize(Request(TEXT), Pace())])
    return made[WORD // 2 :: WORD].tolist()


SAID = [level_of(word) for word in TEXT.split()]


def test_it_is_another_engine_with_the_voices_of_the_one_inside() -> None:
    engine = spoilt(None)
    assert [voice.engine for voice in engine.voices()] == ["outside"] and engine.voices()[0].id == "inside-en"
    assert words(engine) == SAID


@pytest.mark.parametrize("at", [0, 3])
def test_it_goes_wrong_at_its_word_once_and_tells_so(caplog: pytest.LogCaptureFixture, at: int) -> None:
    caplog.set_level("INFO")
    engine = spoilt(Silent(at=at))
    assert words(engine) == SAID[:at] + [0] * (len(SAID) - at)
    assert words(engine) == SAID
    assert told("\n".join(f'{{"message": "{record.getMessage()}"}}' for record in caplog.records)) == [Told("Silent", at, TEXT)]


@pytest.mark.parametrize("fault", [Die(at=0), Die(at=4), Hang(at=0), Hang(at=4)])
def test_it_dies_or_hangs_after_what_it_has_said(fault: Fault) -> None:
    waited: list[float] = []
    chunks = spoilt(fault, waited).synthesize(Request(TEXT), Pace())
    said = 0
    with pytest.raises(SynthesisFailed):
        for chunk in chunks:
            said += len(chunk.samples)
    assert said == fault.at * WORD and waited == [ENDLESS] * isinstance(fault, Hang)


@pytest.mark.parametrize(("fault", "waits"), [(Late(at=3), 1), (Late(at=0), 1), (Slow(at=3), 1), (Slow(at=0), 3)])
def test_what_is_late_or_slow_says_everything_later(fault: Fault, waits: int) -> None:
    waited: list[float] = []
    assert words(spoilt(fault, waited)) == SAID
    assert len(waited) == waits and all(seconds >= 0 for seconds in waited)
    assert isinstance(fault, Slow) or waited == [0.4]
