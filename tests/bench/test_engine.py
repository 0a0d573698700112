from __future__ import annotations

import numpy as np

from bench.engine import is_audible

RATE = 22_050


def test_sound_counts_when_any_ten_milliseconds_of_it_are_above_the_threshold() -> None:
    silence = np.zeros(RATE, dtype=np.int16)
    assert not is_audible(silence, RATE)
    late = silence.copy()
    late[-300:] = 200
    assert is_audible(late, RATE)
    faint = np.full(RATE, 100, dtype=np.int16)
    assert not is_audible(faint, RATE)
    assert not is_audible(late[:100], RATE)
