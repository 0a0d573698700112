from __future__ import annotations

import numpy as np
import pytest

from bench.hearing import Recording
from bench.latency import DIRECT, PAUSES, _tone_figures
from bench.listener import Reception
from bench.scene import NODE, Heard

SILENCE = Recording(np.zeros(0, np.int16), np.zeros(0))


def heard(system: str, ttfa: float) -> Heard:
    return Heard(system, 12, ttfa, None, 1.0, 0.1, Reception(0.0, 0.0, 0.0), "u", SILENCE)


def test_the_nodes_own_delay_is_what_it_adds_to_a_track() -> None:
    tones = {(system, pause): [heard(system, seconds)] * 3 for pause in PAUSES for system, seconds in ((NODE, 0.060), (DIRECT, 0.050))}
    tones[NODE, 30.0] = [heard(NODE, 0.065)] * 3
    delay, after_3, after_30 = _tone_figures(tones)
    assert [figure.value for figure in (delay, after_3, after_30)] == [pytest.approx(10.0), pytest.approx(0.0), pytest.approx(5.0)]
    assert delay.is_met and delay.most == 15.0


def test_what_was_not_heard_has_no_delay() -> None:
    assert all(figure.value is None and not figure.is_met for figure in _tone_figures({}))
