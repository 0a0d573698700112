"""More sessions than Kokoro can carry, and engines that are loaded while others speak: one node, real engines, in this process."""

from __future__ import annotations

import asyncio
import os
import random
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from agent import heap
from agent.config import Settings
from agent.node import Node
from bench.passages import LENGTHS, made_up
from bench.results import Figure, Result, Table, machine, moment, quantile, ratio, versions
from bench.scene import milliseconds
from bench.sessions import Door
from pipeline.events import Dropped, Event, Failure, SpeechFinished, SpeechStarted, Switched
from pipeline.protocol import Config, Text

BETTER, QUICK_ENGINE = "kokoro", "piper"
TTFA = 300.0  # milliseconds
PROBES = 2  # texts of each length that are said before the crowd comes, to know how long they take
HELD = 0.95  # of the sessions that are to speak at a time: with fewer it was not this crowd that was measured
SPREAD = 0.25  # of the time between two texts of a session: how far each may lie from its place
SHORT, MIDDLE = 13, 81  # characters of a sentence while it is calm; and while engines are loaded
CALM = 90.0  # seconds for which the way back is waited for: a track that has just been there may stay away for 60
PAUSE = 1.0  # seconds of silence before each sentence while it is calm: longer than the pause after which a voice goes back
STILL = 60.0  # milliseconds of a loop that stands still which a track makes up for
LATEST = 120.0  # seconds after the last text in which everything must have been said
SETTLE = 2.0  # seconds of speech before a load and after it


@dataclass(frozen=True, slots=True)
class Plan:
    """How much is asked of the node."""

    sessions: int = 12
    duty: float = 0.4
    """Part of the time in which a session speaks."""
    seconds: float = 120.0
    """For which texts arrive."""
    speakers: int = 8
    """Sessions that speak without a pause while an engine is loaded."""
    loads: int = 3
    seed: int = 1


QUICK = Plan(seconds=40.0, loads=1)
"""For a first look."""


@dataclass(frozen=True, slots=True)
class Arrival:
    """One text of the schedule."""

    at: float
    """Seconds from the beginning."""
    session: int
    text: str


@dataclass(frozen=True, slots=True)
class Crowded:
    """What became of it."""

    started: tuple[SpeechStarted, ...]
    """Of the crowd, in no order."""
    problems: int
    """Dropped texts, errors, and texts that were not said to their end."""
    underruns: int
    speaking: float
    """Sessions that spoke at a time, on average, from when all had begun until the last text."""
    switches: Counter[str]
    """By their reason."""
    late: float
    """Seconds for which the node's loop stood still at the most."""
    back: tuple[float | None, ...]
    """Seconds from the end of the crowd's speech until each session was with the better voice again; None when it was not."""
    seconds: float


@dataclass(frozen=True, slots=True)
class Loaded:
    """What speakers noticed of an engine that was loaded."""

    took: tuple[float, ...]
    """Seconds of each load, warm-up included."""
    underruns: int
    late: float
    """Seconds for which the node's loop stood still at the most."""
    problems: int
    started: tuple[SpeechStarted, ...]


def schedule(plan: Plan, period: float) -> tuple[Arrival, ...]:
    """In order of time; the same for the same seed. No text twice, each length as often as any other, sessions out of step.

    ``period``: seconds between two texts of a session.
    """
    chosen = random.Random(plan.seed)
    lengths = _shuffled(chosen)
    arrivals = []
    for session in range(plan.sessions):
        offset = chosen.uniform(0.0, period)
        for number in range(-1, int(plan.seconds / period) + 2):  # those before the first and after the last may lie within, too
            at = offset + (number + chosen.uniform(-SPREAD, SPREAD)) * period
            if 0.0 <= at < plan.seconds:
                arrivals.append(Arrival(at, session, made_up(chosen, next(lengths))))
    return tuple(sorted(arrivals, key=lambda arrival: arrival.at))


def _shuffled(chosen: random.Random) -> Iterator[int]:
    while True:
        yield from chosen.sample(LENGTHS, len(LENGTHS))


def at_a_time(spells: Sequence[tuple[float, float]], start: float, end: float) -> float:
    """How many of these, each from when to when, there were at a time, on average, between ``start`` and ``end``."""
    return sum(max(0.0, min(until, end) - max(since, start)) for since, until in spells) / (end - start)


async def run(plan: Plan) -> Result:
    """Both parts, one after the other, each in a node of its own."""
    busy, when = os.getloadavg()[0], moment()
    async with _node() as node:
        crowded = await _crowd(node, plan, await _text_seconds(node, plan) / plan.duty)
    async with _node() as node:
        loaded = await _loading(node, plan)
    load = (
        f"One node in the bench's process with {BETTER} and {QUICK_ENGINE}, tracks read at the pace of the clock; {plan.sessions} sessions "
        f"at {plan.duty:.0%} duty ({crowded.speaking / plan.sessions:.1%} measured) for {plan.seconds:.0f} s, {len(crowded.started)} "
        f"sentences of 13 to 158 characters by a fixed schedule, none twice; {plan.speakers} sessions that speak without a pause while "
        f"{BETTER} is loaded {plan.loads} times"
    )
    figures = (*_crowd_figures(crowded, plan), *_load_figures(loaded, plan))
    return Result("crowd", plan.seed, load, figures, (_table(crowded),), machine(), versions(), when, busy)


@asynccontextmanager
async def _node() -> AsyncIterator[Node]:
    settings = {"selection": {"fallback_chain": [BETTER, QUICK_ENGINE]}, "cache": {"enabled": False}}  # each run says the same texts
    async with Node(Settings.model_validate(settings)) as node:
        await node.ready()
        heap.settle()  # as `voicebooth run` does
        await asyncio.sleep(SETTLE)  # the longer rehearsals follow the short ones
        yield node


# A crowd


async def _text_seconds(node: Node, plan: Plan) -> float:
    """For how long a text of the schedule is heard, on average, from the engine that says nearly all of them."""
    chosen = random.Random(f"{plan.seed}-seconds")

    async def heard(length: int) -> float:
        door = Door()
        stage = node.stage(f"m{length}", door)
        stage.on_message("bench", Config(engine=QUICK_ENGINE, strict_engine=True))
        for number in range(PROBES):
            stage.on_message("bench", Text(text=made_up(chosen, length), utterance=f"u{number}"))
            await door.wait(SpeechFinished, f"u{number}")
        await node.close_stage(f"m{length}")
        await door.close()
        return sum(event.position for event in door.of(SpeechFinished)) / PROBES

    return sum(await asyncio.gather(*map(heard, LENGTHS))) / len(LENGTHS)


async def _crowd(node: Node, plan: Plan, period: float) -> Crowded:
    spells: list[tuple[float, float]] = []

    def on_event(event: Event) -> None:
        if isinstance(event, SpeechFinished):
            now = time.monotonic() - start
            spells.append((now - event.position, now))

    doors = [Door(on_event) for _ in range(plan.sessions)]
    stages = [node.stage(f"s{number}", door) for number, door in enumerate(doors)]
    arrivals, asked = schedule(plan, period), list[tuple[Door, str]]()
    dry, start = node.report.counts["underruns"], time.monotonic()
    for number, arrival in enumerate(arrivals):
        await asyncio.sleep(max(0.0, start + arrival.at - time.monotonic()))
        stages[arrival.session].on_message("bench", Text(text=arrival.text, utterance=f"u{number}"))
        asked.append((doors[arrival.session], f"u{number}"))
    deadline, lost = time.monotonic() + LATEST, 0
    for door, utterance in asked:
        try:
            await door.wait((SpeechFinished, Dropped), utterance, timeout=max(deadline - time.monotonic(), 0.01))
        except TimeoutError:
            lost += 1
    seconds = time.monotonic() - start
    started = [event for door in doors for event in door.of(SpeechStarted)]
    speaking = at_a_time(spells, period, plan.seconds)
    switches = Counter(event.why for door in doors for event in door.of(Switched))
    underruns, late = node.report.counts["underruns"] - dry, max(door.late for door in doors)
    back = await _way_back(stages, doors, plan)
    problems = lost + sum(len(door.of(Dropped)) + len(door.of(Failure)) for door in doors)
    for door in doors:
        await door.close()
    return Crowded(tuple(started), problems, underruns, speaking, switches, late, back, seconds)


async def _way_back(stages: Sequence[Any], doors: Sequence[Door], plan: Plan) -> tuple[float | None, ...]:
    """One after the other says a short sentence, round after round, until the better voice is heard from each."""
    chosen = random.Random(-plan.seed)
    back: list[float | None] = [None] * len(doors)
    start, number = time.monotonic(), 0
    while None in back and time.monotonic() - start < CALM:
        for index in [index for index, at in enumerate(back) if at is None]:
            await asyncio.sleep(PAUSE)
            left = start + CALM - time.monotonic()
            if left <= 0:
                break
            number += 1
            stages[index].on_message("bench", Text(text=made_up(chosen, SHORT), utterance=f"calm{number}"))
            try:
                await doors[index].wait((SpeechFinished, Dropped), f"calm{number}", timeout=left)
            except TimeoutError:
                continue  # it still has older things to say, or says nothing at all: it is not back
            if [event.engine for event in doors[index].of(SpeechStarted)][-1:] == [BETTER]:
                back[index] = time.monotonic() - start
    return tuple(back)


# An engine that is loaded while others speak


async def _loading(node: Node, plan: Plan) -> Loaded:
    doors = [Door() for _ in range(plan.speakers)]
    is_over = asyncio.Event()
    took = []
    async with asyncio.TaskGroup() as group:
        for number, door in enumerate(doors):
            group.create_task(_speak_on(node, f"l{number}", door, random.Random(f"{plan.seed}-{number}"), is_over))
        await asyncio.sleep(2 * SETTLE)
        for _ in range(plan.loads):
            await node.studio.unload_engine(BETTER)
            await asyncio.sleep(SETTLE)
            start = time.monotonic()
            await node.studio.load_engine(BETTER)
            took.append(time.monotonic() - start)
            await asyncio.sleep(SETTLE)
        is_over.set()
    for door in doors:
        await door.close()
    problems = sum(len(door.of(Dropped)) + len(door.of(Failure)) for door in doors)
    started = tuple(event for door in doors for event in door.of(SpeechStarted))
    return Loaded(tuple(took), node.report.counts["underruns"], max(door.late for door in doors), problems, started)


async def _speak_on(node: Node, name: str, door: Door, chosen: random.Random, is_over: asyncio.Event) -> None:
    """Sentence after sentence by the quick engine, always one more than is being heard."""
    stage, number = node.stage(name, door), 0
    stage.on_message("bench", Config(engine=QUICK_ENGINE, strict_engine=True))
    while not is_over.is_set():
        stage.on_message("bench", Text(text=made_up(chosen, MIDDLE), utterance=f"u{number}"))
        if number:
            await door.wait((SpeechFinished, Dropped), f"u{number - 1}")
        number += 1
    await door.wait((SpeechFinished, Dropped), f"u{number - 1}")


# What it comes to


def _crowd_figures(found: Crowded, plan: Plan) -> Iterator[Figure]:
    name = f"{plan.sessions} sessions at {plan.duty:.0%} duty, {BETTER} and {QUICK_ENGINE}"
    ttft = [event.ttft for event in found.started]
    yield Figure(f"{name}: underruns that the node counted", float(found.underruns), "", most=0.0)
    yield Figure(f"{name}: the node's loop stood still, at the most", milliseconds(found.late), "ms", most=STILL)
    for q, most in ((0.5, None), (0.95, TTFA)):
        yield Figure(f"{name}: TTFA at the node, p{q * 100:.0f}", milliseconds(quantile(ttft, q)), "ms", most=most)
    yield Figure(f"{name}: lag at the node, p95", milliseconds(quantile([event.lag for event in found.started], 0.95)), "ms")
    yield Figure(f"{name}: dropped texts, errors, and texts not said to their end", float(found.problems), "", most=0.0)
    moved = sum(event.engine == QUICK_ENGINE for event in found.started)
    yield Figure(f"{name}: sentences by {QUICK_ENGINE}", ratio(100.0 * moved, float(len(found.started))), "%")
    asked = plan.duty * plan.sessions
    yield Figure(f"{name}: sessions that spoke at a time, on average, of {asked:.3g}", found.speaking, "", least=HELD * asked)
    changes = sum(found.switches.values())
    yield Figure(f"{name}: changes of voice, a session and minute", changes * 60 / found.seconds / plan.sessions, "")
    back = [at for at in found.back if at is not None]
    count = float(len(found.back))
    yield Figure(f"calm afterwards: sessions that are back with {BETTER}, of {count:.0f}", float(len(back)), "", least=count)
    yield Figure("calm afterwards: the last of them after", max(back, default=None), "s")


def _load_figures(found: Loaded, plan: Plan) -> Iterator[Figure]:
    name = f"loading {BETTER} {len(found.took)} times while {plan.speakers} sessions speak without a pause"
    yield Figure(f"{name}: underruns that the node counted", float(found.underruns), "", most=0.0)
    yield Figure(f"{name}: the node's loop stood still, at the most", milliseconds(found.late), "ms", most=STILL)
    yield Figure(f"{name}: dropped texts and errors", float(found.problems), "", most=0.0)
    yield Figure(f"{name}: TTFA at the node, p95", milliseconds(quantile([event.ttft for event in found.started], 0.95)), "ms")
    yield Figure(f"{name}: one load, warm-up included", max(found.took, default=None), "s")


def _table(found: Crowded) -> Table:
    rows: list[tuple[str | float | None, ...]] = []
    for engine in (BETTER, QUICK_ENGINE):
        mine = [event.ttft for event in found.started if event.engine == engine]
        rows.append((engine, float(len(mine)), *(milliseconds(quantile(mine, q)) for q in (0.5, 0.95, 1.0))))
    why = ", ".join(f"{count} times “{reason}”" for reason, count in found.switches.most_common())
    title = f"The crowd by engine, TTFA at the node in milliseconds; voices were changed {why or 'never'}"
    return Table(title, ("engine", "sentences begun", "p50", "p95", "worst"), tuple(rows))
