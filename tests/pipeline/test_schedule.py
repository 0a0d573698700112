import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.schedule import Load, Schedule


def test_the_step_that_is_due_first_goes_first_and_ties_keep_their_order():
    schedule = Schedule()
    for name, due in [("late", 3.0), ("first", 1.0), ("second", 1.0)]:
        schedule.push(name, due=due)
    assert [schedule.pop() for _ in range(4)] == ["first", "second", "late", None]


def test_a_discarded_step_is_never_run():
    schedule = Schedule()
    ticket = schedule.push("gone", due=0.0)
    schedule.push("stays", due=1.0)
    schedule.discard(ticket)
    assert len(schedule) == 1
    assert schedule.pop() == "stays"
    assert len(schedule) == 0


@given(st.lists(st.tuples(st.integers(0, 5), st.booleans())))
def test_order_is_by_due_then_arrival(steps):
    schedule = Schedule()
    kept = []
    for index, (due, is_kept) in enumerate(steps):
        ticket = schedule.push(index, due=due)
        if is_kept:
            kept.append((due, index))
        else:
            schedule.discard(ticket)
    assert len(schedule) == len(kept)
    popped = []
    while (step := schedule.pop()) is not None:
        popped.append(step)
    assert popped == [index for _, index in sorted(kept)]


def test_load_is_the_busy_part_of_the_last_seconds():
    load = Load(span=10.0)
    load.on_step(took=2.0, now=2.0)
    load.on_step(took=3.0, now=6.0)
    assert load.fraction(1, now=6.0) == pytest.approx(0.5)
    assert load.fraction(2, now=6.0) == pytest.approx(0.25)
    assert load.fraction(1, now=12.0) == pytest.approx(0.3)
    assert load.fraction(1, now=99.0) == pytest.approx(0.0)
    assert load.fraction(0, now=99.0) == 1.0
