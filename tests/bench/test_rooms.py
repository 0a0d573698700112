from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.hearing import Span
from bench.listener import Note
from bench.pauses import TRANSPORT
from bench.processes import Usage
from bench.results import Said
from bench.rooms import PARTS, Busy, Idle, Plan, _firsts, _gaps, _heard_until, _room_figures, _said, _slope, schedule
from tests.examples import examples


@given(st.integers(1, 20), st.floats(0.05, 1.0), st.floats(30.0, 120.0), st.integers(0, 5))
@examples(15)
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


def test_speech_is_counted_until_the_end_only() -> None:
    assert _heard_until(10.0, [(9.0, 2.0), (10.0, 3.0), (11.0, 4.0), (15.0, 1.0)]) == pytest.approx(2.0 + 3.0 + 3.0)


def test_a_further_room_costs_the_difference() -> None:
    one = (Usage(0.0, 10.0, 200.0), Usage(10.0, 10.1, 201.0))
    many = (Usage(50.0, 20.0, 219.0), Usage(60.0, 21.1, 220.0))
    idle = _slope(1.5, 150.0, one, many, 19)
    assert idle == Idle(1.5, 150.0, 1.0, pytest.approx((0.11 - 0.01) / 19), 220.0)


def test_some_of_the_longest_texts_are_three_sentences() -> None:
    texts = [arrival.text for arrival in schedule(Plan(seconds=120.0))]
    together = sum(PARTS) + len(PARTS) - 1
    assert 0.3 < sum(len(text) == together for text in texts) / sum(len(text) in (together, 158) for text in texts) < 0.7


def begun(at: float, utterance: str) -> Note:
    return Note(at, {"type": "speech_started", "utterance": utterance})


def test_the_first_sentence_of_each_text_tells_its_ttfa() -> None:
    notes = [begun(1.0, "a"), begun(2.3, "a"), begun(7.0, "b")]
    assert _firsts(notes) == [notes[0].event, notes[2].event]
    assert _firsts(notes)[0] is notes[0].event


def told(type: str, at: float, utterance: str, ttft: float = 0.0) -> Note:
    return Note(at, {"type": type, "utterance": utterance, "ttft_ms": ttft})


def test_what_was_said_when_is_told_from_the_first_sound_of_a_text_to_its_last() -> None:
    notes = [
        told("speech_started", 99.0, "before the run"),
        told("speech_finished", 100.5, "before the run"),
        told("speech_started", 101.0, "a", 120.0),
        told("speech_started", 102.5, "a", 15.0),
        told("speech_finished", 104.0, "a"),
        told("speech_started", 105.0, "cut", 80.0),
        Note(106.0, {"type": "backlog", "seconds": 1.0}),
    ]
    assert _said(notes, 100.0) == [Said(1.0, 4.0, 0.12), Said(5.0, 5.0, 0.08)]


def sound(start: float, end: float) -> Span:
    return Span(start, end, TRANSPORT + start, TRANSPORT + end)


def test_silence_is_counted_between_sentences_of_one_text_only() -> None:
    notes = [begun(1.0, "a"), begun(2.3, "a"), begun(7.0, "b"), begun(9.5, "b")]
    heard = [sound(1.0, 2.0), sound(2.3, 4.0), sound(7.0, 9.0), sound(9.5, 10.0)]
    assert _gaps(notes, heard) == pytest.approx([0.3, 0.5])
    assert _gaps(notes, heard[:3]) == pytest.approx([0.3]), "what was not heard has no silence before it"
    assert _gaps([], heard) == []


def load(speech: float) -> Busy:
    return Busy(40, (0.1,), (), (0.1,), (0.3, 0.4), (), 0, 0, 0.0, (), 0.0, cores=1.5, memory=270.0, speech=speech, seconds=30.0)


def test_a_speaking_room_costs_its_part_of_what_the_load_costs() -> None:
    idle = Idle(1.5, 150.0, 1.0, 0.005, 220.0)
    figures = [figure.value for figure in _room_figures(load(150.0), idle, Plan())]
    assert figures == pytest.approx([350.0, 395.0, 399.0, 0.3, 10.0])
    assert [figure.value for figure in _room_figures(load(0.0), idle, Plan())][-2:] == [None, None]
