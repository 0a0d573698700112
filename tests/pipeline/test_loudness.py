import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.loudness import MOST, TARGET, amplify, fade_in, gain_for, integrated

RATE = 22_050


def voice(level, seconds=2.0, pauses=0):
    """Noise at so many dBFS, with pauses in it."""
    noise = np.random.default_rng(1).uniform(-1, 1, int(seconds * RATE)) * 3**0.5 * 10 ** (level / 20) * 32768
    parts = np.array_split(np.clip(noise, -32768, 32767).astype(np.int16), pauses + 1)
    silence = np.zeros(RATE // 2, dtype=np.int16)
    return np.concatenate([piece for part in parts for piece in (part, silence)])


@pytest.mark.parametrize("pauses", [0, 3])
def test_pauses_do_not_count(pauses):
    assert integrated(voice(-25, pauses=pauses), RATE) == pytest.approx(-25, abs=0.7)


@settings(max_examples=30, deadline=None)
@given(st.floats(-29, -13), st.floats(-29, -13))
def test_voices_are_equally_loud_afterwards(one, other):
    levels = [integrated(amplify(voice(level), gain_for(voice(level), RATE)), RATE) for level in (one, other)]
    assert levels == [pytest.approx(TARGET, abs=0.3)] * 2


def test_the_gain_is_bounded_and_never_clips():
    assert gain_for(voice(-45), RATE) == pytest.approx(10 ** (MOST / 20))
    assert gain_for(voice(-6), RATE) == pytest.approx(10 ** (-MOST / 20))
    peaked = voice(-28)
    peaked[100] = 30_000
    assert np.abs(amplify(peaked, gain_for(peaked, RATE)).astype(int)).max() < 32_767


def test_too_little_speech_is_left_as_it_is():
    assert gain_for(voice(-40, seconds=0.2), RATE) == 1.0
    assert gain_for(np.zeros(RATE, dtype=np.int16), RATE) == 1.0


def test_fading_in_changes_the_beginning_only():
    sound = np.full(100, 1000, dtype=np.int16)
    faded = fade_in(sound, 50)
    assert faded[0] == 0 and list(faded) == sorted(faded) and (faded[50:] == 1000).all() and (sound == 1000).all()
    assert len(fade_in(sound[:10], 50)) == 10
