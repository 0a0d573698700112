from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.processes import Usage
from bench.rooms import Idle, Plan, _slope, schedule


@given(st.integers(1, 20), st.floats(0.05, 1.0), st.floats(30.0, 120.0), st.integers(0, 5))
@settings(max_examples=15, deadline=None)
def test_a_schedule_lies_within_its_time_and_asks_for_its_duty(rooms: int, duty: float, seconds: float, seed: int) -> None:
    plan = Plan(rooms=rooms, duty=duty, seconds=seconds, seed=seed)
    arrivals = schedule(plan)
    assert arrivals == schedule(plan)
    assert [arrival.at for arrival in arrivals] == sorted(arrival.at for arrival in arrivals)
    assert all(0 <= arrival.at < seconds and 0 <= arrival.room < rooms for arrival in arrivals)
    expected = rooms * seconds * duty / 3.825  # seconds of a text of 76.5 characters
    assert abs(len(arrivals) - expected) <= 2 * rooms


def test_another_seed_is_another_schedule() -> None:
    assert schedule(Plan(seed=1)) != schedule(Plan(seed=2))


def test_a_further_room_costs_the_difference() -> None:
    one = (Usage(0.0, 10.0, 200.0), Usage(10.0, 10.1, 201.0))
    many = (Usage(50.0, 20.0, 219.0), Usage(60.0, 21.1, 220.0))
    idle = _slope(1.5, 150.0, one, many, 19)
    assert idle == Idle(1.5, 150.0, 1.0, pytest.approx((0.11 - 0.01) / 19))
