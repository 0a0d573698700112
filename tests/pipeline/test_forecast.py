import heapq
import random

import pytest

from pipeline.forecast import COLD, MARGIN, SLACK, Excess, Forecast, Line

SEEDS = range(8)
HOLDS = pytest.approx(0.945, abs=0.045)  # 90 to 99 %


def length(dice):
    return min(300, max(5, int(dice.lognormvariate(4.0, 0.7))))


def work_of(dice, characters, load=1.0):
    """A front that reads everything and a first window; now and then the machine is elsewhere."""
    burst = dice.uniform(1.5, 3.0) if dice.random() < 0.03 else 1.0
    return (0.025 + 0.0006 * characters) * dice.lognormvariate(0.0, 0.12) * burst * load


def cold():
    return Forecast([(16, 0.030), (88, 0.070)], cost=0.2)


@pytest.mark.parametrize("seed", SEEDS)
def test_it_holds_alone_after_fifty_sentences(seed):
    dice, forecast, held = random.Random(seed), cold(), []
    for _ in range(600):
        characters = length(dice)
        work = work_of(dice, characters)
        held.append(work <= forecast.first(characters))
        forecast.on_first(characters, work=work, foreseen=forecast.foresee(characters, wait=0.0), took=work)
    assert sum(held[50:]) / len(held[50:]) == HOLDS


@pytest.mark.parametrize("seed", SEEDS)
def test_it_holds_with_eight_sessions_that_share_two_lanes(seed):
    """Sentences come at random, take the lane that is free first, and slow each other down."""
    dice, forecast, held = random.Random(seed), cold(), []
    now, lanes = 0.0, [0.0, 0.0]
    for _ in range(800):
        now += dice.expovariate(8 / 4.0)  # each of the eight says a sentence every four seconds
        characters = length(dice)
        free = heapq.heappop(lanes)
        busy = sum(until > now for until in (free, *lanes))
        work = work_of(dice, characters, load=1 + 0.5 * busy)
        seen = max(0.0, free - now) * dice.uniform(0.5, 1.5)  # what is known of the queue is a guess, too
        took = max(0.0, free - now) + work
        heapq.heappush(lanes, now + took + 6 * work)
        held.append(took <= forecast.first(characters, wait=seen))
        forecast.on_first(characters, work=work, foreseen=forecast.foresee(characters, wait=seen), took=took)
    assert sum(held[50:]) / len(held[50:]) == HOLDS


@pytest.mark.parametrize("seed", SEEDS)
def test_it_holds_while_the_load_comes_and_goes(seed):
    dice, forecast, held = random.Random(seed), cold(), []
    for index in range(900):
        characters = length(dice)
        work = work_of(dice, characters, load=3.0 if index // 150 % 2 else 1.0)
        held.append(work <= forecast.first(characters))
        forecast.on_first(characters, work=work, foreseen=forecast.foresee(characters, wait=0.0), took=work)
    assert sum(held[50:]) / len(held[50:]) == HOLDS


def test_it_is_not_bought_by_forecasting_far_too_much():
    dice, forecast = random.Random(1), cold()
    for _ in range(300):
        characters = length(dice)
        work = work_of(dice, characters)
        forecast.on_first(characters, work=work, foreseen=forecast.foresee(characters, wait=0.0), took=work)
    for characters in (20, 60, 150):
        assert 1.1 < forecast.first(characters) / (0.025 + 0.0006 * characters) < 2.0


def test_a_cold_engine_is_expected_at_its_warm_up_and_somewhat_later_for_more_text():
    forecast = Forecast([(16, 0.1)], cost=0.5)
    assert forecast.first(16) == pytest.approx(0.1 * COLD)
    assert 0.3 < forecast.first(80) < 1.0
    assert forecast.first(16, wait=0.2) == pytest.approx(0.3 * COLD)
    assert forecast.patience(16) == pytest.approx(0.1 * COLD + SLACK)
    assert forecast.cost == 0.5


def test_a_warm_up_of_two_lengths_tells_the_others():
    forecast = Forecast([(16, 0.05), (88, 0.10)], cost=0.5)
    assert forecast.first(52) == pytest.approx(0.075 * COLD)
    assert forecast.first(160) == pytest.approx(0.15 * COLD)


def test_lengths_are_learned():
    forecast = cold()
    for characters in [12, 54, 158] * 30:
        forecast.on_first(
            characters, work=0.02 + 0.001 * characters, foreseen=forecast.foresee(characters, wait=0.0), took=0.02 + 0.001 * characters
        )
    for characters in (12, 100, 158):
        assert forecast.first(characters) == pytest.approx(0.02 + 0.001 * characters, rel=0.1)


def test_a_sentence_that_others_pass_tells_nothing_about_waiting():
    one, other = cold(), cold()
    for _ in range(60):
        one.on_first(50, work=0.05, foreseen=one.foresee(50, wait=0.0), took=0.05)
        other.on_first(50, work=0.05, foreseen=other.foresee(50, wait=0.0), took=0.05)
        other.on_first(50, work=0.05)
    assert one.first(50) == pytest.approx(other.first(50), rel=0.05)


def test_whether_it_held_is_kept_of_urgent_sentences():
    forecast = cold()
    for took in (0.01, 9.0):
        forecast.on_first(50, work=0.01, foreseen=forecast.foresee(50, wait=0.0), took=took)
    forecast.on_first(50, work=9.0)
    assert list(forecast.outcomes) == [True, False]


def test_steps_are_expected_by_what_they_may_make():
    forecast = cold()
    for window in [0.1, 0.5, 2.0] * 40:
        forecast.on_step(window, 0.02 + 0.1 * window)
    assert forecast.step_patience(0.5) == pytest.approx(0.07 * MARGIN + SLACK, rel=0.15)
    assert forecast.step_patience(2.0) == pytest.approx(0.22 * MARGIN + SLACK, rel=0.15)


def test_the_cost_of_speech_follows_slowly():
    forecast = cold()
    for _ in range(60):
        forecast.on_made(work=2.0, seconds=4.0)
    forecast.on_made(work=1.0, seconds=0.0)
    assert forecast.cost == pytest.approx(0.5, rel=0.02)


def test_a_line_never_falls_and_never_reaches_nothing():
    line = Line([(10, 0.1)], slope_share=0.5)
    for size, seconds in [(10, 0.3), (20, 0.2), (40, 0.1)] * 20:
        line.add(size, seconds)
    assert line.at(1) == line.at(1000) == pytest.approx(0.2, rel=0.2)
    steep = Line([(100, 1.0)], slope_share=1.0)
    assert steep.at(0) > 0


def test_excess_asks_for_more_than_it_has_seen_when_it_was_too_low_too_often():
    excess = Excess()
    for index in range(100):
        excess.add(1.0 + index)
    assert excess.now > 100.0


def test_a_forecast_is_judged_by_what_it_said_when_the_sentence_was_begun():
    forecast = Forecast([(50, 0.1)], cost=0.1)
    before = forecast.foresee(50, wait=0.0)
    for _ in range(30):
        forecast.on_first(50, work=0.4)  # others', meanwhile
    assert forecast.first(50) > 0.35 > before.first
    forecast.on_first(50, work=0.35, foreseen=before, took=0.35)
    assert list(forecast.outcomes) == [False]
