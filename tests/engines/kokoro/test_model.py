from __future__ import annotations

import numpy as np
import pytest

from engines.kokoro.harmonics import Harmonics
from engines.kokoro.model import EARLIER, ONSET, Prepared
from engines.kokoro.sound import Source

SILENT, LOUD = ONSET - 9, ONSET + 10


def prepared(energy, durations=(14, 6, 20)):
    """A sentence of 40 frames of 25 ms, of which the first are a silence; its energy as told, then loud."""
    columns = np.zeros((1, 6, sum(durations)), np.float32)
    columns[0, -1] = np.concatenate([energy, np.full(sum(durations) - len(energy), LOUD)])
    pitch = np.full(2 * sum(durations), 150.0, np.float32)
    return Prepared(np.array(durations), Source(columns, Harmonics(pitch, (0.2,) * 9 + (0.0,))), ())


@pytest.mark.parametrize(
    ("silent", "lead"),
    [(0, 0), (1, 0), (2, 2), (9, 2 * 9 - EARLIER), (14, 2 * 14 - EARLIER)],
)
def test_sound_begins_a_little_before_its_energy_rises(silent, lead):
    assert prepared([SILENT] * silent).lead == lead


def test_and_never_later_than_its_first_phoneme():
    assert prepared([SILENT] * 30).lead == 2 * 14 - EARLIER
