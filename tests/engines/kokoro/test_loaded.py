from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from engines.kokoro.harmonics import HOP, RATE
from engines.kokoro.loaded import FALL, Ending
from tests.examples import examples


@examples(40)
@given(st.lists(st.booleans(), min_size=1, max_size=60), st.integers(0, 60 * HOP), st.integers(1, 12))
def test_a_piece_ends_after_its_silence_and_not_before_its_last_phoneme(blocks, last, step):
    sound = np.repeat(np.where(blocks, 0.1, 0.0), HOP).astype(np.float32)
    ending, heard = Ending(last, FALL), []
    for start in range(0, len(sound), step * HOP):
        heard.append(ending.trim(sound[start : start + step * HOP]))
        if ending.is_reached:
            break
    got = np.concatenate(heard)
    assert np.array_equal(got, sound[: len(got)])
    if ending.is_reached:
        assert len(got) > last
        assert not got[-round(FALL * RATE) :].any()
    else:
        assert len(got) == len(sound)
