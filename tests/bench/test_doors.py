from __future__ import annotations

import pytest

from bench.doors import AT_ONCE, Again, First, _again_table, _first_bytes, _first_table, milestones, short_body


def missed(*over: float, alone: float = 0.1) -> list[str]:
    found = [First("tone", "One.", alone, 0.1, 0.1 + seconds) for seconds in over]
    return [figure.name.split(", ")[-2] for figure in _first_bytes("tone", found) if not figure.is_met]


def test_what_the_door_adds_is_judged_by_its_slowest_twentieth() -> None:
    assert missed(*[0.004] * 20) == []
    assert missed(*[0.004] * 15 + [0.012] * 5) == ["in the same request"]
    assert missed(*[0.012] * 20) == ["in the same request", "medians of texts"]
    assert missed(*[0.004] * 20, alone=0.09) == ["medians of texts"]
    assert len(missed()) == 2


def test_memory_is_read_at_the_first_and_at_the_last() -> None:
    assert milestones(1_000, 10_000) == [1_000, 3_250, 5_500, 7_750, 10_000]
    assert milestones(1, 2) == [1, 2]


def test_the_many_are_of_every_kind() -> None:
    bodies = [short_body(number) for number in range(600)]
    assert {path for path, _ in bodies} == {"/synthesize", "/synthesize/stream", "/v1/audio/speech"}
    texts = [body.get("text", body.get("input")) for _, body in bodies]
    assert 100 < len(set(texts)) < 400
    assert AT_ONCE > 1


def test_tables_have_a_row_for_each() -> None:
    assert len(_first_table([First("tone", "One.", 0.1, 0.1, 0.2)]).rows[0]) == 10
    assert _again_table([Again(81, 0.5, 0.01), Again(81, 0.25, 0.01)]).rows[0] == (81.0, pytest.approx(375.0), pytest.approx(10.0))
