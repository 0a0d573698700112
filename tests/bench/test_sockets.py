from __future__ import annotations

import numpy as np
import pytest

from bench.results import Figure
from bench.sockets import RATE, Asked, Client, Crowd, First, Plan, _crowd_figures, _crowd_table, _first_figures, _first_rows, is_audible


def silence(seconds: float) -> np.ndarray:
    return np.zeros(round(seconds * RATE), dtype=np.int16)


def tone(seconds: float) -> np.ndarray:
    return np.full(round(seconds * RATE), 3000, dtype=np.int16)


def test_sound_is_audible_when_ten_milliseconds_of_it_are() -> None:
    assert not is_audible(silence(0.1))
    assert is_audible(np.concatenate([silence(0.1), tone(0.01)]))
    assert not is_audible(np.full(RATE, 80, dtype=np.int16))
    assert not is_audible(silence(0))


def test_a_player_runs_dry_where_sound_comes_later_than_it_is_heard() -> None:
    one = Asked("u0", 10.0, True)
    one.on_sound(silence(0.1), 10.05)
    one.on_sound(tone(0.4), 10.1)
    assert (one.began, one.first, one.dry) == (10.05, 10.1, 0.0)
    one.on_sound(tone(0.5), 10.75)  # all before it had been heard at 10.55
    assert one.dry == pytest.approx(0.2)
    one.on_sound(tone(0.5), 11.2)  # and that lasts until 11.25
    assert one.dry == pytest.approx(0.2)


def test_sound_belongs_to_the_text_that_was_announced() -> None:
    client = Client(None)  # type: ignore[arg-type]  # it only hears
    client.asked = {name: Asked(name, 0.0, True) for name in ("u0", "u1")}
    client._on_event({"type": "audio", "utterance": "u1"})
    assert client._speaking == "u1"
    client._on_event({"type": "speech_finished", "utterance": "u1"})
    client._on_event({"type": "dropped", "why": "failed"})
    client._on_event({"type": "error", "message": "no"})
    assert [one.is_over for one in client.asked.values()] == [False, True]
    assert client.problems == ["failed", "no"]


def missed(figures: list[Figure]) -> list[str]:
    return [figure.name.rpartition(": ")[2] for figure in figures if not figure.is_met]


def test_what_a_crowd_must_reach() -> None:
    good = Crowd("piper", 0.08, 200, 0, 0, 0, (0.1, 0.2), (), 400.0, 0.001, 1.1, 1.0, 0.3)
    assert missed(_crowd_figures(good, Plan())) == []
    bad = Crowd("piper", 0.08, 200, 1, 1, 1, (0.1, 0.3), (0.02,), 400.0, 0.001, 2.1, 1.0, 0.3)
    assert len(missed(_crowd_figures(bad, Plan()))) == 6
    assert _crowd_table([good, bad]).rows[1][5] == 20.0


@pytest.mark.parametrize("engine", ["tone", "piper"])
def test_the_first_sound_is_held_against_every_engine_s_own(engine: str) -> None:
    quick, slow = [First("One.", 0.11, 0.11, 0.112)] * 2, [First("One.", 0.11, 0.11, 0.119)] * 2
    once, slowed = First("One.", 0.09, 0.11, 0.112), [First("One.", 0.1, 0.11, 0.112)] * 2
    request, turns = (f"first audio over the engine's own {way}, p95" for way in ("in the same request", "in turns, medians of texts"))
    assert [figure.most for figure in _first_figures(engine, slow)] == [None, 8.0] * 2
    assert missed(_first_figures(engine, slow)) == [request, turns]
    assert missed(_first_figures(engine, slowed)) == [turns]
    assert missed(_first_figures(engine, [*quick, once])) == missed(_first_figures(engine, quick)) == []
    assert [row[:3] for row in _first_rows(engine, quick)][-2] == (engine, "over the engine's work for it", 2.0)
