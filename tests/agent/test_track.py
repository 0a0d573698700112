import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.capture import FRAME
from agent.track import LATE, Pulse, TrackSettings

SETTINGS = TrackSettings(linger=2.0, lead=0.02)


def test_frames_are_due_every_ten_milliseconds_however_late_the_loop_wakes():
    pulse = Pulse(SETTINGS, now=5.0)
    pulse.on_frame(now=5.0, is_sound=True)
    assert pulse.delay(now=5.004) == pytest.approx(0.006)
    pulse.on_frame(now=5.013, is_sound=True)
    assert pulse.delay(now=5.013) == pytest.approx(0.007)


def test_a_short_lateness_is_made_up_for_and_a_long_one_is_not():
    pulse = Pulse(SETTINGS, now=0.0)
    sent, now = 0, 0.03
    while pulse.delay(now=now) == 0:
        pulse.on_frame(now=now, is_sound=True)
        sent += 1
    assert sent == 4
    pulse = Pulse(SETTINGS, now=0.0)
    sent = 0
    while pulse.delay(now=10.0) == 0:
        pulse.on_frame(now=10.0, is_sound=True)
        sent += 1
    assert sent <= LATE / FRAME + 1


def test_silence_leads_for_as_long_as_the_setting_says():
    pulse = Pulse(SETTINGS, now=0.0)
    assert pulse.is_leading
    pulse.on_frame(now=0.0, is_sound=False)
    assert pulse.is_leading
    pulse.on_frame(now=0.01, is_sound=False)
    assert not pulse.is_leading


def test_a_stretch_ends_when_nothing_was_said_or_announced_for_a_while():
    pulse = Pulse(SETTINGS, now=0.0)
    pulse.on_frame(now=1.0, is_sound=True)
    assert not pulse.is_over(now=2.9, wanted=-1)
    assert pulse.is_over(now=3.1, wanted=-1)
    assert not pulse.is_over(now=3.1, wanted=1.5)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.floats(min_value=0.0, max_value=0.05), min_size=50, max_size=50))
def test_over_time_there_are_as_many_frames_as_the_clock_asks_for(naps: list[float]):
    pulse, now, sent = Pulse(SETTINGS, now=0.0), 0.0, 0
    for nap in naps:
        now += nap
        while pulse.delay(now=now) == 0:
            pulse.on_frame(now=now, is_sound=True)
            sent += 1
    assert abs(sent - now / FRAME) <= 1.01
