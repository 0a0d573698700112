from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.loudness import ENOUGH, GLIDE, MOST, SETTLED, TARGET, Gain, Loudness, amplify, fade_in, is_near
from tests.examples import examples

RATE = 22_050


def voice(level, seconds=2.0, pauses=0, rate=RATE, seed=1):
    """Noise at so many dBFS, with pauses in it."""
    noise = np.random.default_rng(seed).uniform(-1, 1, int(seconds * rate)) * 3**0.5 * 10 ** (level / 20) * 32768
    parts = np.array_split(np.clip(noise, -32768, 32767).astype(np.int16), pauses + 1)
    silence = np.zeros(rate // 2, dtype=np.int16)
    return np.concatenate([piece for part in parts for piece in (part, silence)])


def heard(*sounds):
    known = Loudness(RATE)
    for sound in sounds:
        known.learn(sound)
    return known


def level(sound):
    return heard(sound).level


def decibels(gain):
    return 20 * np.log10(gain)


@pytest.mark.parametrize("pauses", [0, 3])
def test_pauses_do_not_count(pauses):
    assert level(voice(-25, pauses=pauses)) == pytest.approx(-25, abs=0.7)


@examples(30)
@given(st.floats(-29, -13), st.floats(-29, -13))
def test_voices_are_equally_loud_afterwards(one, other):
    levels = [level(amplify(voice(at), heard(voice(at)).gain)) for at in (one, other)]
    assert levels == [pytest.approx(TARGET, abs=0.3)] * 2


def test_the_gain_is_bounded_and_never_clips():
    assert heard(voice(-45)).gain == pytest.approx(10 ** (MOST / 20))
    assert heard(voice(-6)).gain == pytest.approx(10 ** (-MOST / 20))
    peaked = voice(-28)
    peaked[100] = 30_000
    assert np.abs(amplify(peaked, heard(peaked).gain).astype(int)).max() < 32_767


def test_of_too_little_speech_nothing_is_known_until_more_of_it_is_heard():
    short = voice(-27, seconds=0.2)
    assert heard(short).gain is None and heard(np.zeros(RATE, dtype=np.int16)).gain is None
    assert decibels(heard(short, short, short).gain) == pytest.approx(6, abs=0.3)


@examples(30)
@given(st.lists(st.integers(0, RATE // 2), max_size=20))
def test_it_does_not_matter_in_what_pieces_it_is_heard(sizes):
    sound = voice(-27, seconds=2.5)
    bounds = np.minimum(np.cumsum([0, *sizes]), len(sound)).tolist()
    pieces = [sound[start:end] for start, end in zip(bounds, [*bounds[1:], len(sound)], strict=True)]
    assert heard(*pieces).level == pytest.approx(heard(sound).level, abs=0.01)


def test_what_has_been_heard_for_long_enough_stays():
    known = heard(voice(-27, seconds=SETTLED + 0.1))
    before = known.gain
    known.learn(voice(-12, seconds=60))
    assert known.is_settled and known.gain == before and not heard(voice(-27, seconds=1.0)).is_settled


def test_a_copy_learns_alone():
    known = heard(voice(-27, seconds=0.4))
    known.copy().learn(voice(-12))
    assert known.gain is None


@examples(50)
@given(st.floats(-30, -12), st.floats(0.4, 2.5), st.sampled_from([0.05, 0.15, 0.4, 1.0]))
def test_an_unknown_voice_comes_to_the_target_without_a_jump_and_without_pumping(at, start, piece):
    gain = Gain(RATE, start, Loudness(RATE))
    sound = voice(at, seconds=5.0)
    size = int(piece * RATE)
    nows = [(gain.feed(sound[first : first + size]), gain.now)[1] for first in range(0, len(sound), size)]
    assert all(abs(decibels(after / before)) <= GLIDE * piece + 1e-6 for before, after in pairwise(nows))
    assert decibels(gain.now) == pytest.approx(TARGET - at, abs=0.5)
    turns = np.sign(np.round(np.diff(decibels(np.array([gain.start, *nows]))), 1))
    assert len(set(turns[turns != 0])) <= 1, "up or down, and not both"


def test_the_gain_moves_inside_a_piece_and_not_between_two():
    gain = Gain(RATE, 1.0, Loudness(RATE))
    flat = np.full(RATE // 2, 1000, dtype=np.int16)
    sound = np.concatenate([gain.feed(flat[: RATE // 10])] + [gain.feed(flat) for _ in range(6)])
    assert np.abs(np.diff(sound.astype(int))).max() <= 1
    assert sound[-1] > 1.5 * sound[0]


def test_what_is_known_from_the_first_piece_is_not_glided_to():
    gain = Gain(RATE, 1.0, Loudness(RATE))
    assert level(gain.feed(voice(-27, seconds=2 * ENOUGH))) == pytest.approx(TARGET, abs=0.3)
    assert gain.start == gain.now


def test_a_voice_that_is_known_keeps_its_gain():
    gain = Gain(RATE, 0.5)
    assert gain.feed(np.full(RATE, 1000, dtype=np.int16))[-1] == 500 and gain.now == 0.5


def test_what_nobody_takes_for_a_difference_is_near():
    assert is_near(1.0, 1.1) and is_near(1.1, 1.0) and not is_near(1.0, 1.2) and not is_near(1.2, 1.0)


def test_fading_in_changes_the_beginning_only():
    sound = np.full(100, 1000, dtype=np.int16)
    faded = fade_in(sound, 50)
    assert faded[0] == 0 and list(faded) == sorted(faded) and (faded[50:] == 1000).all() and (sound == 1000).all()
    assert len(fade_in(sound[:10], 50)) == 10
