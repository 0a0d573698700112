from __future__ import annotations

from collections import Counter

import pytest

from bench import crowd
from bench.crowd import Crowded, Loaded, Plan, at_a_time, schedule
from bench.passages import LENGTHS
from bench.sessions import Door
from pipeline.events import SpeechFinished, SpeechStarted
from pipeline.protocol import Config, Message, Text


def test_a_schedule_asks_for_its_duty_and_says_nothing_twice() -> None:
    plan, text = Plan(), 4.4
    period = text / plan.duty
    arrivals = schedule(plan, period)
    assert arrivals == schedule(plan, period)
    assert [arrival.at for arrival in arrivals] == sorted(arrival.at for arrival in arrivals)
    assert len({arrival.text for arrival in arrivals}) == len(arrivals)
    assert {arrival.session for arrival in arrivals} == set(range(plan.sessions))
    character = text * len(LENGTHS) / sum(LENGTHS)
    speech = character * sum(len(arrival.text) for arrival in arrivals)
    assert speech / (plan.sessions * plan.seconds) == pytest.approx(plan.duty, rel=0.03)
    lengths = Counter(len(arrival.text) for arrival in arrivals)
    assert set(lengths) == set(LENGTHS) and max(lengths.values()) - min(lengths.values()) <= 1
    spells = [(arrival.at, arrival.at + character * len(arrival.text)) for arrival in arrivals]
    assert at_a_time(spells, period, plan.seconds) == pytest.approx(plan.duty * plan.sessions, rel=1 - crowd.HELD)


class Reader:
    """A node, or a stage of it, that says a character in 50 ms, and pauses for no time."""

    def __init__(self) -> None:
        self.asked: list[Message] = []
        self.closed: list[str] = []
        self.doors: list[Door] = []

    def stage(self, name: str, door: Door) -> Reader:
        stage = Reader()
        stage.asked, stage.doors = self.asked, [door]
        return stage

    async def close_stage(self, name: str) -> None:
        self.closed.append(name)

    def on_message(self, sender: str, message: Message) -> None:
        self.asked.append(message)
        if isinstance(message, Text):
            self.doors[0].send(sender, SpeechFinished(message.utterance or "", 0.05 * len(message.text), len(message.text), False))


async def test_the_time_that_a_text_takes_is_the_mean_over_all_lengths() -> None:
    node = Reader()
    assert await crowd._text_seconds(node, Plan()) == pytest.approx(0.05 * sum(LENGTHS) / len(LENGTHS))
    texts = [message.text for message in node.asked if isinstance(message, Text)]
    assert Counter(map(len, texts)) == dict.fromkeys(LENGTHS, crowd.PROBES) and len(set(texts)) == len(texts)
    assert all(message.engine == "piper" for message in node.asked if isinstance(message, Config)) and len(node.closed) == len(LENGTHS)


def test_what_is_spoken_at_a_time_is_counted_where_it_is_looked_for() -> None:
    assert at_a_time([(0.0, 4.0), (3.0, 12.0), (20.0, 30.0), (0.0, 1.0)], 2.0, 10.0) == pytest.approx((2 + 7) / 8)


def started(engine: str, ttft: float) -> SpeechStarted:
    return SpeechStarted("i", "u", ttft, ttft, engine)


GOOD = Crowded(
    started=(started("kokoro", 0.2),) * 10 + (started("piper", 0.1),) * 10,
    problems=0,
    underruns=0,
    speaking=4.8,
    switches=Counter({"kokoro would be late": 3}),
    late=0.02,
    back=(1.0,) * 12,
    seconds=60.0,
)


def missed(found: Crowded) -> list[str]:
    return [figure.name.partition(": ")[2] for figure in crowd._crowd_figures(found, Plan()) if not figure.is_met]


def test_a_crowd_is_held_against_what_it_must_reach() -> None:
    assert missed(GOOD) == []
    bad = Crowded((started("kokoro", 0.4),) * 20, 1, 1, 3.8, Counter(), 0.2, (*[1.0] * 11, None), 60.0)
    assert missed(bad) == [
        "underruns that the node counted",
        "the node's loop stood still, at the most",
        "TTFA at the node, p95",
        "dropped texts, errors, and texts not said to their end",
        "sessions that spoke at a time, on average, of 4.8",
        "sessions that are back with kokoro, of 12",
    ]
    named = {figure.name.partition(": ")[2]: figure.value for figure in crowd._crowd_figures(GOOD, Plan())}
    assert named["sentences by piper"] == 50.0 and named["changes of voice, a session and minute"] == pytest.approx(0.25)


def test_a_load_is_held_against_what_speakers_notice() -> None:
    for found, count in ((Loaded((3.0,), 0, 0.02, 0, ()), 0), (Loaded((3.0,), 1, 0.1, 1, ()), 3)):
        assert sum(not figure.is_met for figure in crowd._load_figures(found, Plan())) == count


def test_the_table_has_a_row_for_each_engine() -> None:
    table = crowd._table(GOOD)
    assert [row[:2] for row in table.rows] == [("kokoro", 10.0), ("piper", 10.0)]
    assert "3 times “kokoro would be late”" in table.title and all(len(row) == len(table.columns) for row in table.rows)
