from __future__ import annotations

import random

from bench.browser import PAUSES, Heard, Plan, _figures, _pauses, _table


def heard(pause: float, onset: float) -> Heard:
    return Heard(pause, onset, 0.010, 0.020)


def test_a_slow_browser_misses_the_figure() -> None:
    fast, slow = ({figure.name: figure for figure in _figures([heard(0.1, onset)] * 20, [0.08])} for onset in (0.070, 0.130))
    name = "direct WebRTC, text sent to sound heard in Chromium, p95"
    assert (round(fast[name].value or 0), fast[name].is_met) == (70, True)
    assert (round(slow[name].value or 0), slow[name].is_met) == (130, False)


def test_figures_are_told_by_the_silence_before() -> None:
    rows = _table([heard(0.15, 0.060), heard(0.18, 0.080), heard(12.09, 0.050)]).rows
    assert [row[:2] for row in rows] == [("0.1", 2.0), ("1", 0.0), ("3", 0.0), ("12", 1.0)]
    assert [round(row[-2] or 0) if isinstance(row[-2], float) else row[-2] for row in rows] == [70, None, None, 50]


def test_pauses_come_in_the_seed_s_order() -> None:
    plan = Plan(tones=(3, 2, 1, 0))
    assert _pauses(plan, random.Random(1)) == _pauses(plan, random.Random(1))
    assert sorted(_pauses(plan, random.Random(1))) == [PAUSES[0]] * 3 + [PAUSES[1]] * 2 + [PAUSES[2]]
