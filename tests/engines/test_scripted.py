import numpy as np
import pytest

from engines.base import Pace, Request, SynthesisFailed
from engines.scripted import Clipped, Dice, Die, End, Hang, Late, Odd, Script, Scripted, Silent, Slow, level_of
from tests.words import distinct_words

TEXT = "w1 w2, w3 w4."


def say(script=None, fault=None, text=TEXT):
    spent = []
    engine = Scripted("engine", script or Script(step=0.05), faults={0: fault} if fault else None, work=spent.append, rehearsals=1)
    list(engine.synthesize(Request("Warm."), Pace()))
    spent.clear()
    chunks, error = [], None
    try:
        chunks += engine.synthesize(Request(text), Pace())
    except Exception as raised:  # noqa: BLE001 - it raises whatever it is told
        error = raised
    assert engine.begun == engine.closed == 2
    return chunks, spent, error


def levels(chunks):
    return [chunk.samples[0] for chunk in chunks]


def test_every_word_is_told_by_its_level_and_marked():
    chunks, spent, error = say()
    assert levels(chunks) == [level_of(f"w{n}") for n in (1, 2, 3, 4)] and len(set(levels(chunks))) == 4
    marks = [mark for chunk in chunks for mark in chunk.marks]
    assert [TEXT[mark.start : mark.end] for mark in marks] == ["w1", "w2,", "w3", "w4."]
    assert [mark.sample for mark in marks] == [0, 4800, 9600, 14400]
    assert spent == pytest.approx([0.05] * 4) and error is None


def test_work_grows_with_the_text_and_the_crowd():
    _, spent, _ = say(Script(front=0.1, front_character=0.01, step=0.02))
    assert spent[0] == pytest.approx(0.1 + 0.01 * len(TEXT))
    crowded = Scripted("engine", Script(step=0.1, crowding=1.0), work=spent.append)
    other = crowded.synthesize(Request("Other."), Pace())
    next(other)
    spent.clear()
    next(crowded.synthesize(Request("Mine."), Pace()))
    assert spent == pytest.approx([0.2])


@pytest.mark.parametrize(
    ("fault", "expected"),
    [(Late(1, 0.4), [0.05, 0.45, 0.05, 0.05]), (Slow(2, 4.0), [0.05, 0.05, 0.2, 0.2]), (Hang(3), [0.05, 0.05, 0.05, 3600.0])],
)
def test_time_goes_wrong(fault, expected):
    _, spent, error = say(fault=fault)
    assert spent[: len(expected)] == pytest.approx(expected, abs=0.06) and error is None


def test_it_dies_in_the_middle_of_a_word():
    chunks, _, error = say(fault=Die(2))
    assert isinstance(error, SynthesisFailed)
    assert [len(chunk.samples) for chunk in chunks] == [4800, 4800, 2400]
    _, _, error = say(fault=Die(0, ZeroDivisionError("oops")))
    assert isinstance(error, ZeroDivisionError)


def test_sound_goes_wrong():
    assert len(say(fault=End(2))[0]) == 2
    assert levels(say(fault=Silent(2))[0])[2:] == [0, 0]
    assert np.abs(say(fault=Clipped(1))[0][1].samples.astype(int)).min() >= 32767
    assert say(fault=Odd(1))[0][1].samples.dtype == float
    assert np.isnan(say(fault=Odd(1, "nan"))[0][1].samples).all()
    assert say(fault=Odd(1, "stereo"))[0][1].samples.shape == (2, 4800)
    assert say(fault=Odd(1, "nothing"))[0][1] is None


def test_distinct_words_have_distinct_levels():
    words = distinct_words(300)
    assert len(words) == len(set(words)) == len({level_of(word) for word in words}) == 300


def test_dice_are_the_same_for_the_same_seed():
    faults = [[dice.get(n) for n in range(200)] for dice in (Dice(1), Dice(1), Dice(2))]
    assert faults[0] == faults[1] != faults[2]
    assert 0.2 < sum(fault is not None for fault in faults[0]) / 200 < 0.4


def test_no_word_is_nothing_to_say():
    with pytest.raises(SynthesisFailed):
        next(Scripted("engine").synthesize(Request("..."), Pace()))
