import numpy as np
import pytest

from engines.base import BadSound, Chunk, Mark
from pipeline.inspector import LONGEST_STEP, Inspector

RATE = 24_000
TEXT = "One two three four five."
MARKS = tuple(Mark(start, start + 3, int(index * 0.3 * RATE), exact=True) for index, start in enumerate([0, 4, 8, 14, 19]))


def loud(seconds, level=3000):
    return np.full(int(seconds * RATE), level, dtype=np.int16)


def quiet(seconds):
    return np.zeros(int(seconds * RATE), dtype=np.int16)


def inspect(*sounds, text=TEXT, marks=(), speed=1.0):
    inspector = Inspector(text, RATE, speed=speed)
    for index, sound in enumerate(sounds):
        inspector.check(Chunk(sound, () if index else marks))
    inspector.finish()
    return inspector


def test_speech_passes():
    inspector = inspect(quiet(0.2), loud(0.8), quiet(0.3), loud(0.6), quiet(0.3), marks=MARKS)
    assert inspector.made == int(2.2 * RATE) and inspector.silent == pytest.approx(0.3, abs=0.01)
    inspect(quiet(0), loud(1.5))
    inspect(loud(0.2), text="Oh!")


@pytest.mark.parametrize(
    ("sounds", "says"),
    [
        ([], "no sound"),
        ([quiet(0)], "no sound"),
        ([quiet(1.0)], "only silence"),
        ([quiet(5.0)], "before the first word"),
        ([loud(0.5), quiet(2.5)], "inside"),
        ([loud(0.1)], "0.10 s for 24"),
        ([loud(10.0), loud(12.0)], "no end"),
        ([loud(LONGEST_STEP + 1)], "one step"),
        ([loud(0.5), loud(0.5, 32767)], "100 % of the samples are clipped"),
        ([loud(0.5) / 32768], "float64"),
        ([np.full(100, np.nan, dtype=np.float32)], "float32, not int16, with NaN"),
        ([np.stack([loud(0.5), loud(0.5)])], "shape"),
        ([[1, 2, 3]], "list"),
    ],
)
def test_what_is_no_speech_of_this_text_is_a_failure(sounds, says):
    with pytest.raises(BadSound, match=says):
        inspect(*sounds)


def test_a_step_gives_a_chunk():
    with pytest.raises(BadSound, match="ndarray, not a Chunk"):
        Inspector(TEXT, RATE).check(loud(1.0))


def test_words_that_are_silent_or_missing_at_the_end_are_lost():
    for sounds in [(loud(0.9), quiet(0.6)), (loud(0.9),), (loud(0.7), quiet(0.1))]:
        with pytest.raises(BadSound, match="more words were due"):
            inspect(*sounds, marks=MARKS)
    guessed = tuple(Mark(mark.start, mark.end, mark.sample, exact=False) for mark in MARKS)
    inspect(loud(0.9), quiet(0.6), marks=guessed)


def test_silence_under_a_word_is_noticed_before_the_sentence_has_ended():
    for sounds in [(loud(0.5), quiet(0.75)), (quiet(0.7),)]:
        with pytest.raises(BadSound, match="where it says that it speaks"):
            Inspector(TEXT, RATE).check(Chunk(np.concatenate(sounds), MARKS))
    guessed = tuple(Mark(mark.start, mark.end, mark.sample, exact=False) for mark in MARKS)
    Inspector(TEXT, RATE).check(Chunk(np.concatenate([loud(0.5), quiet(0.75)]), guessed))
    Inspector(TEXT, RATE).check(Chunk(np.concatenate([loud(0.7), quiet(0.4), loud(0.1)]), MARKS))


def test_a_few_samples_at_full_scale_are_speech():
    sound = loud(1.0)
    sound[::40] = 32767
    inspect(sound)


def test_marks_that_cannot_be_true_are_left_out():
    odd = (Mark(-1, 3, 0, True), Mark(5, 5, 0, True), Mark(0, 99, 0, True), Mark(0, 3, -5, True), Mark(0, 3, 0, True))
    assert Inspector(TEXT, RATE).check(Chunk(loud(0.1), odd))[1] == odd[-1:]
