import numpy as np
import pytest

from engines.base import NO_SAMPLES, Chunk, Mark, Pace
from engines.turns import unbroken

FIRST, SECOND, LAST = (Mark(at, at + 1, at, exact=True) for at in range(3))
CHUNKS = [
    Chunk(NO_SAMPLES, (FIRST,)),
    Chunk(NO_SAMPLES),
    Chunk(np.ones(5, np.int16), (SECOND,)),
    Chunk(np.ones(3, np.int16)),
    Chunk(NO_SAMPLES, (LAST,)),
]


def steps(pace):
    return [(len(chunk.samples), chunk.marks) for chunk in unbroken((chunk for chunk in CHUNKS), pace)]


def test_what_is_prepared_comes_with_its_sound_while_nobody_waits():
    assert steps(Pace()) == [(5, (FIRST, SECOND)), (3, ()), (0, (LAST,))]


def test_each_step_lets_others_have_a_turn():
    assert steps(Pace(is_alone=False)) == [(len(chunk.samples), chunk.marks) for chunk in CHUNKS]


def test_somebody_comes_in_between_two_steps():
    pace = Pace()
    chunks = unbroken((chunk for chunk in [*CHUNKS, *CHUNKS]), pace)
    assert len(next(chunks).samples) == 5
    pace.is_alone = False
    assert [len(chunk.samples) for chunk in chunks] == [3, 0, 0, 0, 5, 3, 0]


def test_what_is_inside_is_closed_and_its_errors_come_through():
    closed = []

    def going():
        try:
            yield CHUNKS[2]
            raise ValueError("broken")
        finally:
            closed.append(True)

    chunks = unbroken(going(), Pace())
    next(chunks)
    chunks.close()
    assert closed == [True]
    chunks = unbroken(going(), Pace())
    next(chunks)
    with pytest.raises(ValueError, match="broken"):
        next(chunks)
