"""Many rooms in one node: texts arrive by a schedule that waits for no answer; the node alone is looked at."""

from __future__ import annotations

import asyncio
import os
import random
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

from agent.pump import TrackSettings
from bench.hearing import Span, spans, starved
from bench.listener import Ear, Listener, Note
from bench.passages import LENGTHS, of_length
from bench.pauses import gaps_before
from bench.processes import Process, Usage, counted, node, running, server
from bench.results import Figure, Result, Said, Table, machine, moment, quantile, ratio, versions
from bench.scene import SETTLE, START, TRACK, milliseconds
from bench.sender import Sender

LISTENERS = 4  # rooms in which somebody listens and decodes: a listener costs more than the node's side of a room
PARTS = (13, 54, 81)  # characters of the sentences of a text that has three: together about as long as the longest that is one
CHARACTER = 0.050  # seconds of speech a character takes with the voice at hand; what was reached is measured
IDLE = 10.0  # seconds over which an idle node is looked at
MUTED = TrackSettings().linger + 1.0  # seconds after the last sound in which a track has gone to sleep
LATEST = 60.0  # seconds after the last text in which everything must have been said
SPREAD = 0.25  # of the time between two texts of a room: how far each may lie from its place
EVERY = 0.5  # seconds between two looks at the node
READY_WORDS = "ready   node"  # what `voicebooth run` prints when rooms can be sent to it


@dataclass(frozen=True, slots=True)
class Plan:
    """How much is asked of the node."""

    rooms: int = 20
    duty: float = 0.25
    """Part of the time in which a room speaks."""
    seconds: float = 120.0
    """For which texts arrive."""
    engine: str = "piper"
    seed: int = 1


QUICK = Plan(seconds=30.0)


@dataclass(frozen=True, slots=True)
class Arrival:
    """One text of the schedule."""

    at: float
    """Seconds from the beginning."""
    room: int
    text: str


@dataclass(frozen=True, slots=True)
class Idle:
    """What rooms without speech cost the node."""

    ready: float
    """Seconds from its start until it said so."""
    alone: float
    """Megabytes resident before any room."""
    memory: float
    """Megabytes for each further room."""
    cores: float
    """Cores for each further room."""
    all: float
    """Megabytes resident with all rooms."""


@dataclass(frozen=True, slots=True)
class Busy:
    """What the node did under load."""

    asked: int
    ttft: tuple[float, ...]
    """Seconds, of the first sentence of each text; so is ``lag``."""
    said: tuple[Said, ...]
    """In no order."""
    lag: tuple[float, ...]
    gaps: tuple[float, ...]
    """Seconds of silence between two sentences of one text, in the rooms with a listener."""
    listener: tuple[float, ...]
    """Seconds from a text being sent to its sound, in the rooms with a listener."""
    lost: int
    """Texts that were not said to their end."""
    problems: int
    """``dropped`` and ``error`` events."""
    concealed: float
    """Seconds that the listeners' decoders had to invent."""
    starved: tuple[float, ...]
    """Waits above 60 ms between two frames at a listener."""
    late: float
    """Seconds by which the worst text was sent behind its schedule: above 0.1 the load was not what it says."""
    cores: float
    memory: float
    """Megabytes, the largest."""
    speech: float
    """Room-seconds of speech within the time over which ``cores`` is counted."""
    seconds: float
    """That time."""

    @property
    def speaking(self) -> float:
        """Rooms that speak at a time, on average."""
        return self.speech / self.seconds


def schedule(plan: Plan) -> tuple[Arrival, ...]:
    """In order of time; the same for the same seed. Lengths are mixed evenly, rooms begin out of step; half of the longest texts are
    three sentences."""
    chosen = random.Random(plan.seed)
    spoken = CHARACTER * sum(LENGTHS) / len(LENGTHS)
    period = spoken / plan.duty
    arrivals = []
    for room in range(plan.rooms):
        offset = chosen.uniform(0.0, period)
        for number in range(int(plan.seconds / period) + 1):
            at = offset + (number + chosen.uniform(-SPREAD, SPREAD)) * period
            length = chosen.choice(LENGTHS)
            parts = PARTS if length == LENGTHS[-1] and chosen.random() < 0.5 else (length,)
            text = " ".join(chosen.choice(of_length(part)) for part in parts)
            if 0.0 <= at < plan.seconds:
                arrivals.append(Arrival(at, room, text))
    return tuple(sorted(arrivals, key=lambda arrival: arrival.at))


async def run(plan: Plan, url: str = "") -> Result:
    busy, when = os.getloadavg()[0], moment()
    async with server(url) as address:
        process = node(address, engine=plan.engine)
        async with AsyncExitStack() as stack:
            await stack.enter_async_context(running(process))
            ready = await process.says(READY_WORDS, timeout=START)
            await asyncio.sleep(1.0)
            alone = process.usage().resident
            senders: list[Sender] = []
            await _enter(stack, address, 0, senders)
            quiet_one = await _idle(process)
            for number in range(1, plan.rooms):
                await _enter(stack, address, number, senders)
            quiet_all = await _idle(process)
            idle = _slope(ready, alone, quiet_one, quiet_all, plan.rooms - 1)
            listeners = [await stack.enter_async_context(Listener(address, sender.name)) for sender in senders[:LISTENERS]]
            ears = [await listener.ear(TRACK) for listener in listeners]
            await _warm(senders)
            load = await _load(plan, process, senders, ears)
        underruns = counted(process.output(), "underruns")
    said = (
        f"{plan.rooms} rooms in one node, {plan.duty:.0%} duty for {plan.seconds:.0f} s, {load.asked} texts of 13 to 158 characters by a "
        f"fixed schedule, server on the same cores, {len(ears)} listeners that decode, engine {plan.engine}"
    )
    figures = (*_idle_figures(idle), *_busy_figures(load, underruns, plan), *_room_figures(load, idle, plan))
    return Result("rooms", plan.seed, said, figures, (_table(load),), machine(), versions(), when, busy, said=load.said)


async def _enter(stack: AsyncExitStack, url: str, number: int, senders: list[Sender]) -> Sender:
    """A further room, with the node in it."""
    sender = await stack.enter_async_context(Sender(url, f"bench-{os.getpid()}-{number}", identity=f"upstream-{number}"))
    await sender.ready(timeout=START)
    senders.append(sender)
    return sender


async def _idle(process: Process) -> tuple[Usage, Usage]:
    await asyncio.sleep(SETTLE + MUTED)
    before = process.usage()
    await asyncio.sleep(IDLE)
    return before, process.usage()


def _slope(ready: float, alone: float, one: tuple[Usage, Usage], all_: tuple[Usage, Usage], further: int) -> Idle:
    more = max(further, 1)
    cores = (all_[1].cores(all_[0]) - one[1].cores(one[0])) / more
    return Idle(ready, alone, (all_[1].resident - one[1].resident) / more, cores, all_[1].resident)


async def _warm(senders: Sequence[Sender]) -> None:
    """One short text in every room: what happens once, at a track's first word, is not what is measured here."""
    for sender in senders:
        sent = await sender.say("Good morning.")
        await sender.log.wait("speech_finished", utterance=sent.utterance, timeout=START)


async def _load(plan: Plan, process: Process, senders: Sequence[Sender], ears: Sequence[Ear]) -> Busy:
    arrivals = schedule(plan)
    hidden = sum([(await ear.reception()).concealed for ear in ears])
    before, start, late, memory = process.usage(), time.monotonic(), 0.0, 0.0
    sent: list[tuple[int, str, float]] = []

    async def say(arrival: Arrival) -> None:
        one = await senders[arrival.room].say(arrival.text)
        sent.append((arrival.room, one.utterance, one.at))

    async with asyncio.TaskGroup() as group:
        for arrival in arrivals:
            while (left := start + arrival.at - time.monotonic()) > 0:
                await asyncio.sleep(min(left, EVERY))
                memory = max(memory, process.usage().resident)
            late = max(late, -left)
            group.create_task(say(arrival))
        await asyncio.sleep(max(start + plan.seconds - time.monotonic(), 0.0))
    after, end = process.usage(), time.monotonic()
    lost = await _outstanding(senders, sent)
    notes = [note for sender in senders for note in sender.log.notes if note.arrival >= start]
    begun = [sender.log.of("speech_started", after=start) for sender in senders]
    started = [event for log in begun for event in _firsts(log)]
    finished = [(note.arrival, note.event["position_ms"] / 1000) for note in notes if note.event["type"] == "speech_finished"]
    heard = [await ears[room].onset(after=at, timeout=0.1) - at for room, _, at in sent if room < len(ears) and _was_quiet(ears[room], at)]
    recordings = [ear.recording(after=start) for ear in ears]
    waits = tuple(wait for recording in recordings for wait in starved(recording))
    gaps = tuple(gap for log, recording in zip(begun, recordings, strict=False) for gap in _gaps(log, spans(recording)))
    return Busy(
        asked=len(arrivals),
        ttft=tuple(event["ttft_ms"] / 1000 for event in started),
        said=tuple(said for sender in senders for said in _said(sender.log.notes, start)),
        lag=tuple(event["lag_ms"] / 1000 for event in started),
        gaps=gaps,
        listener=tuple(heard),
        lost=lost,
        problems=sum(note.event["type"] in ("dropped", "error") for note in notes),
        concealed=sum([(await ear.reception()).concealed for ear in ears]) - hidden,
        starved=waits,
        late=late,
        cores=after.cores(before),
        memory=max(memory, after.resident),
        speech=_heard_until(end, finished),
        seconds=after.at - before.at,
    )


def _heard_until(end: float, finished: Iterable[tuple[float, float]]) -> float:
    """Seconds of speech heard by ``end``, of what ended at a time and was so many seconds long: the part after ``end`` is not counted."""
    return sum(max(length - max(at - end, 0.0), 0.0) for at, length in finished)


async def _outstanding(senders: Sequence[Sender], sent: Sequence[tuple[int, str, float]]) -> int:
    """Texts that were not said to their end within the time that everything has."""
    deadline = time.monotonic() + LATEST
    lost = 0
    for room, utterance, _ in sent:
        try:
            left = max(deadline - time.monotonic(), 0.01)
            note = await senders[room].log.wait("speech_finished", utterance=utterance, timeout=left)
            lost += bool(note.event["interrupted"])
        except TimeoutError:
            lost += 1
    return lost


def _firsts(begun: Iterable[Note]) -> list[Mapping[str, Any]]:
    """The ``speech_started`` of the first sentence of each text, of those of one room."""
    found: dict[str, Mapping[str, Any]] = {}
    for note in begun:
        found.setdefault(note.event["utterance"], note.event)
    return list(found.values())


def _said(notes: Iterable[Note], start: float) -> list[Said]:
    """The texts of one room that began to be heard at ``start`` or after it, from all that its sender was told."""
    found: dict[str, Said] = {}
    for note in notes:
        at, text = round(note.arrival - start, 3), note.event.get("utterance", "")
        if at >= 0 and note.event["type"] == "speech_started":
            found.setdefault(text, Said(at, at, note.event["ttft_ms"] / 1000))
        elif text in found and note.event["type"] == "speech_finished":
            found[text] = replace(found[text], end=at)
    return list(found.values())


def _gaps(begun: Sequence[Note], heard: Sequence[Span]) -> list[float]:
    """Seconds of silence before each sentence that follows another one of its text; ``begun`` are the ``speech_started`` of one room."""
    silences = gaps_before([note.arrival for note in begun], heard)
    follows = [before.event["utterance"] == note.event["utterance"] for before, note in pairwise(begun)]
    return [gap for is_next, gap in zip(follows, silences[1:], strict=True) if is_next and gap is not None]


def _was_quiet(ear: Ear, at: float) -> bool:
    """Whether nothing older was still being said when a text was sent: then the next sound is its own."""
    return not ear.recording(after=at - 0.5).between(at - 0.5, at).loud and bool(ear.recording(after=at).loud)


def _idle_figures(idle: Idle) -> tuple[Figure, ...]:
    return (
        Figure("node with one Piper voice, before any room: resident", idle.alone, "MB", most=300.0),
        Figure("node with one Piper voice: ready after", idle.ready, "s", most=3.0),
        Figure("a further room, idle: memory", idle.memory, "MB", most=3.0),
        Figure("a further room, idle: of a core, connection included", idle.cores * 100, "%", most=0.8),
    )


def _busy_figures(load: Busy, underruns: float | None, plan: Plan) -> tuple[Figure, ...]:
    prefix = f"{plan.rooms} rooms at {plan.duty:.0%} duty: "
    return (
        *(Figure(f"{prefix}TTFA at the node, p{q * 100:.0f}", milliseconds(quantile(load.ttft, q)), "ms") for q in (0.5, 0.99)),
        Figure(f"{prefix}TTFA at the node, p95", milliseconds(quantile(load.ttft, 0.95)), "ms", most=250.0),
        *(Figure(f"{prefix}lag at the node, p{q * 100:.0f}", milliseconds(quantile(load.lag, q)), "ms") for q in (0.5, 0.95, 0.99)),
        Figure(f"{prefix}underruns that the node counted", underruns, "", most=0.0),
        Figure(f"{prefix}texts not said to their end", float(load.lost), "", most=0.0),
        Figure(f"{prefix}dropped texts and errors", float(load.problems), "", most=0.0),
        Figure(f"{prefix}the node's use of the cores", load.cores, "cores"),
        Figure(f"{prefix}the node's memory, resident", load.memory, "MB"),
    )


def _room_figures(load: Busy, idle: Idle, plan: Plan) -> Iterator[Figure]:
    """What a room that speaks costs and how it sounds. Memory that speech has taken is told for the rooms that speak at a time."""
    prefix = f"{plan.rooms} rooms at {plan.duty:.0%} duty: "
    for q in (0.5, 0.95, 0.99):
        name = f"{prefix}silence between two sentences of a text at a listener, p{q * 100:.0f}"
        yield Figure(name, milliseconds(quantile(load.gaps, q)), "ms")
    yield Figure(f"{prefix}a speaking room: of the node's cores, what idle rooms take included", ratio(load.cores, load.speaking), "cores")
    yield Figure(f"{prefix}a speaking room: memory beyond that of all rooms idle", ratio(load.memory - idle.all, load.speaking), "MB")


def _table(load: Busy) -> Table:
    rows: tuple[tuple[str | float | None, ...], ...] = (
        ("TTFA at the node, ms", *(milliseconds(quantile(load.ttft, q)) for q in (0.5, 0.95, 0.99, 1.0))),
        ("lag at the node, ms", *(milliseconds(quantile(load.lag, q)) for q in (0.5, 0.95, 0.99, 1.0))),
        (
            "text to sound at a listener, nothing older waiting, ms",
            *(milliseconds(quantile(load.listener, q)) for q in (0.5, 0.95, 0.99, 1.0)),
        ),
        (
            "silence between two sentences of a text at a listener, ms",
            *(milliseconds(quantile(load.gaps, q)) for q in (0.5, 0.95, 0.99, 1.0)),
        ),
        ("waits above 60 ms for a frame at a listener, ms", *(milliseconds(quantile(load.starved, q)) for q in (0.5, 0.95, 0.99, 1.0))),
    )
    title = (
        f"Under load: {load.speaking:.1f} rooms speaking at a time on average, {len(load.gaps)} silences between sentences heard, "
        f"{load.concealed * 1000:.0f} ms of sound invented by decoders, {len(load.starved)} waits for a frame at listeners; "
        f"worst text sent {load.late * 1000:.0f} ms late"
    )
    return Table(title, ("", "p50", "p95", "p99", "worst"), rows)
