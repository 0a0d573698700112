import pytest

from pipeline.breaker import Breaker, BreakerSettings, State

SETTINGS = BreakerSettings(failures=3, rest=5.0, longest_rest=15.0)


def opened(now=100.0):
    breaker = Breaker(SETTINGS)
    assert [breaker.on_failed(now=now) for _ in range(3)] == [False, False, True]
    return breaker


def test_it_opens_after_failures_in_a_row():
    breaker = Breaker(SETTINGS)
    for _ in range(20):
        assert not breaker.on_failed(now=1.0) and not breaker.on_failed(now=1.0)
        breaker.on_spoken()
    assert breaker.is_closed
    assert not opened().is_closed


def test_an_engine_that_says_it_cannot_be_used_is_left_alone_at_once():
    breaker = Breaker(SETTINGS)
    assert breaker.on_failed(now=1.0, for_good=True) and not breaker.is_closed
    assert not breaker.on_failed(now=2.0, for_good=True), "it opens once"


def test_a_sentence_of_ours_is_tried_after_the_rest_and_only_one_at_a_time():
    breaker = opened(now=100.0)
    assert breaker.probe_at == 105.0 and not breaker.probe(104.9)
    assert breaker.probe(105.0)
    assert breaker.state is State.PROBING and not breaker.is_closed and not breaker.probe(200.0)
    breaker.on_probed(True, now=106.0)
    assert breaker.is_closed and breaker.probe_at is None


def test_the_rest_grows_with_each_probe_that_fails_to_its_bound_and_is_short_again_after_a_success():
    breaker, now = opened(now=0.0), 0.0
    rests = []
    for _ in range(4):
        rests.append(breaker.probe_at - now)
        now = breaker.probe_at
        assert breaker.probe(now)
        breaker.on_probed(False, now=now)
    assert rests == [5.0, 10.0, 15.0, 15.0]
    assert breaker.probe(now + 15.0)
    breaker.on_probed(True, now=now + 15.0)
    for _ in range(3):
        breaker.on_failed(now=200.0)
    assert breaker.probe_at == pytest.approx(205.0)


def test_a_last_hope_that_speaks_closes_it():
    breaker = opened()
    breaker.on_spoken()
    assert breaker.is_closed and breaker.probe_at is None


def test_a_failure_while_it_is_probed_changes_nothing():
    breaker = opened(now=0.0)
    breaker.probe(5.0)
    assert not breaker.on_failed(now=6.0) and breaker.state is State.PROBING


def test_a_service_that_says_for_how_long_is_left_alone_for_as_long_within_the_bound():
    breaker = Breaker(SETTINGS)
    assert breaker.on_failed(now=1.0, for_good=True, rest=12.0) and breaker.probe_at == 13.0
    breaker = Breaker(SETTINGS)
    assert breaker.on_failed(now=1.0, for_good=True, rest=9_999.0) and breaker.probe_at == 16.0
