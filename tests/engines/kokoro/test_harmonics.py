from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engines.kokoro.harmonics import COLUMNS, HOP, RATE, Harmonics
from tests.examples import examples

WEIGHTS = (*np.linspace(-0.4, 0.5, 9), -0.03)


def pitch(frames, seed=1):
    random = np.random.default_rng(seed)
    hertz = 180 + np.cumsum(random.normal(0, 4, frames))
    hertz[frames // 3 : frames // 2] = 0  # a voiceless stretch
    return hertz.astype(np.float32)


@examples(20)
@given(st.integers(3, 40), st.data())
def test_a_window_is_a_slice_of_the_whole(frames, data):
    start = data.draw(st.integers(0, frames - 1))
    end = data.draw(st.integers(start + 1, frames))
    source = Harmonics(pitch(frames), WEIGHTS)
    whole = source.window(0, frames)
    window = source.window(start, end)
    assert window.shape == (1, 22, COLUMNS * (end - start) + 1)
    same = whole[..., COLUMNS * start : COLUMNS * end + 1]
    assert np.abs(window[:, :11] - same[:, :11]).max() < 1e-5
    turn = np.angle(np.exp(1j * (window[:, 11:] - same[:, 11:])))[same[:, :11] > 1e-3]
    assert np.abs(turn).max(initial=0) < 0.02


def test_the_fundamental_is_the_pitch():
    sound = Harmonics(np.full(80, 200.0, np.float32), (1.0, *[0.0] * 9))._sound(0, 80)
    assert len(sound) == 80 * HOP == RATE
    assert int(np.argmax(np.abs(np.fft.rfft(sound)))) == 200


def test_there_is_no_voice_below_ten_hertz():
    sound = Harmonics(np.full(10, 9.0, np.float32), WEIGHTS)._sound(0, 10)
    assert sound == pytest.approx(np.full(10 * HOP, np.tanh(-0.03)), abs=1e-6)


def test_the_phase_does_not_tire():
    """After a minute, float32 phases would be off by a tenth of a turn."""
    long = Harmonics(np.full(60 * 80, 211.0, np.float32), (0.0,) * 8 + (1.0, 0.0))
    late = long._sound(4700, 4702)
    time = (np.arange(4700 * HOP, 4702 * HOP) + 0.5 + HOP / 2) / RATE
    best = max(abs(float(np.corrcoef(late, np.sin(2 * np.pi * 211 * 9 * time + turn))[0, 1])) for turn in np.linspace(0, np.pi, 181))
    assert best > 0.99
