"""The WebSocket door: what it adds to an engine's own first sound, and a hundred clients at once, on the cores that serve them.

What it adds is taken twice, to the same bound: within the very request, from the text's being sent to its first audible sound in the
client's hands, less the engine's work for it there; and in turns with the same engine, asked for the same text past every door in the same
node, by the medians of each text, as one first sound of Piper differs from the next by more than the door adds.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import time
from collections.abc import Iterator, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field

import numpy as np
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosedError, InvalidStatus

from bench.doors import REST
from bench.own import Noted, steady
from bench.passages import LENGTHS, of_length
from bench.processes import Process
from bench.results import Figure, Result, Table, machine, moment, quantile, versions
from bench.rooms import CHARACTER, Arrival, schedule
from bench.rooms import Plan as Schedule
from engines.base import Samples

RATE = 24_000  # hertz: the node's own, so that nothing is converted
FRAME = 240  # samples, 10 ms: the unit in which loudness is judged
AUDIBLE = 32_768 * 10 ** (-50 / 20)  # RMS: the quietest that counts as sound
START = 60.0  # seconds for a node to load its voice on a busy machine
SETTLE = 2.0  # seconds after which an idle node uses nothing
LATEST = 60.0  # seconds after the last text in which everything must have been said
SPOKEN = {"tone": 0.056, "piper": CHARACTER}  # seconds of speech a character takes, pauses between sentences left out
EVERY = 0.5  # seconds between two looks at the node
FIRST_SOUND = 8.0  # milliseconds over the engine's own first sound, p95
PATH = "/ws/synthesize?dialect=native"


@dataclass(frozen=True, slots=True)
class Plan:
    """How much is asked of the node."""

    repeats: int = 50
    """Texts for the first sound, of each length."""
    sessions: int = 100
    seconds: float = 60.0
    """For which texts arrive."""
    duties: tuple[tuple[str, float], ...] = (("tone", 0.20), ("piper", 0.08))
    """Engine, and the part of the time in which a session speaks."""
    seed: int = 1


QUICK = Plan(repeats=10, seconds=15.0)


@dataclass(slots=True)
class Asked:
    """One text, and what came back. Times are seconds of the monotonic clock."""

    utterance: str
    sent: float
    is_alone: bool
    """Nothing older was still to come when it was sent."""
    first: float | None = None
    """When its first audible sound had come."""
    began: float | None = None
    """When its first sound had come: a player that waits for nothing begins then."""
    seconds: float = 0.0
    """Of sound, so far."""
    dry: float = 0.0
    """Seconds for which that player had nothing to play."""
    is_over: bool = False

    def on_sound(self, samples: Samples, now: float) -> None:
        if self.began is None:
            self.began = now
        self.dry += max(0.0, now - (self.began + self.seconds + self.dry))
        self.seconds += len(samples) / RATE
        if self.first is None and is_audible(samples):
            self.first = now


@dataclass(slots=True)
class Client:
    """One session, and everything that it asked for."""

    socket: ClientConnection
    asked: dict[str, Asked] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)
    _speaking: str = ""

    async def say(self, text: str) -> Asked:
        is_alone = all(one.is_over for one in self.asked.values())
        one = Asked(f"u{len(self.asked)}", time.monotonic(), is_alone)
        self.asked[one.utterance] = one
        await self.socket.send(json.dumps({"type": "text", "text": text, "utterance": one.utterance}))
        return one

    async def listen(self) -> None:
        try:
            await self.socket.send('{"type": "hello"}')  # else the node takes it for somebody who has nothing to say
            async for message in self.socket:
                if isinstance(message, bytes):
                    self.asked[self._speaking].on_sound(np.frombuffer(message, dtype=np.int16), time.monotonic())
                else:
                    self._on_event(json.loads(message))
        except ConnectionClosedError as error:
            self.problems.append(str(error))

    def _on_event(self, event: dict[str, str]) -> None:
        match event["type"]:
            case "audio":
                self._speaking = event["utterance"]
            case "speech_finished":
                self.asked[event["utterance"]].is_over = True
            case "error" | "dropped":
                self.problems.append(event.get("message") or event.get("why", ""))

    async def hush(self) -> None:
        """Nothing of it will be heard any more: else the next text would have the time in which this one is."""
        await self.socket.send('{"type": "cancel"}')

    async def quiet(self, timeout: float) -> None:
        """Returns when all of it has come. Raises ``TimeoutError``."""
        async with asyncio.timeout(timeout):
            while not all(one.is_over for one in self.asked.values()):  # noqa: ASYNC110 - a look costs less than telling would
                await asyncio.sleep(0.005)


@dataclass(frozen=True, slots=True)
class Crowd:
    """What many sessions at once came to."""

    engine: str
    duty: float
    texts: int
    refused: int
    lost: int
    problems: int
    ttfa: tuple[float, ...]
    """Seconds from a text being sent to its first audible sound in the client's hands, nothing older waiting."""
    dry: tuple[float, ...]
    """Seconds for which a player had nothing to play, of each text that ran dry."""
    speech: float
    """Seconds of sound."""
    late: float
    """Seconds by which the worst text was sent behind its schedule."""
    memory: float
    """Megabytes for each session."""
    node: float
    """Cores."""
    client: float
    """Cores."""


def is_audible(samples: Samples) -> bool:
    """Whether 10 ms of it are above -50 dBFS; of what is shorter, all of it."""
    count = max(len(samples) // FRAME, 1)
    frames = np.array_split(samples.astype(np.float64), count)
    return any(bool(np.sqrt(np.mean(frame**2)) > AUDIBLE) for frame in frames if len(frame))


async def run(plan: Plan) -> Result:
    busy, when = os.getloadavg()[0], moment()
    figures: list[Figure] = []
    rows: list[tuple[str | float | None, ...]] = []
    crowds: list[Crowd] = []
    for engine, duty in plan.duties:
        async with _node(engine) as node:
            process = node.process
            await process.says("ready   node", timeout=START)
            address = re.findall(r"open\s+(http://\S+)", process.output())[0].replace("http", "ws", 1)
            found = await _first_sounds(plan, node, address)
            figures += _first_figures(engine, found)
            rows += _first_rows(engine, found)
            crowds.append(await _crowd(plan, engine, duty, process, address))
    figures += [figure for crowd in crowds for figure in _crowd_figures(crowd, plan)]
    said = (
        f"{plan.repeats} texts of each length one at a time; then {plan.sessions} sessions for {plan.seconds:.0f} s, "
        + ", ".join(f"{crowd.engine} at {crowd.duty:.0%} duty ({crowd.texts} texts)" for crowd in crowds)
        + "; client and node on the same cores, cache off"
    )
    first = Table("Milliseconds to the first audible sound", ("engine", "", "p50", "p95", "p99"), tuple(rows))
    return Result("sockets", plan.seed, said, tuple(figures), (first, _crowd_table(crowds)), machine(), versions(), when, busy)


def _node(engine: str) -> Noted:
    """One that has no rooms, on a free port."""
    settings = {
        "LIVEKIT_URL": "",
        "VOICEBOOTH_SERVER__PORTS": "0",
        "VOICEBOOTH_SELECTION__FALLBACK_CHAIN": engine,
        "VOICEBOOTH_CACHE__ENABLED": "false",  # what is measured is how sentences are made
        "VOICEBOOTH_LOG__FORMAT": "json",
    }
    return Noted(settings)


# The first sound


@dataclass(frozen=True, slots=True)
class First:
    """One text's first audible sound; seconds."""

    text: str
    alone: float
    """By the engine alone, past every door, in the same node."""
    own: float
    """Of the engine's work for the client, until that sound."""
    there: float
    """In the client's hands, from when the text was sent."""

    @property
    def over(self) -> float:
        """What the door added to this text."""
        return self.there - self.own


async def _first_sounds(plan: Plan, node: Noted, address: str) -> list[First]:
    """The same texts in turns: by the engine alone, and through the door."""
    found = []
    async with connect(address + PATH, compression=None, max_size=None) as socket:
        client = Client(socket)
        listening = asyncio.create_task(client.listen())
        for number in range(plan.repeats + 1):
            for length in LENGTHS:
                text = of_length(length)[number % len(of_length(length))]
                alone = await node.alone(text)
                await asyncio.sleep(REST)
                one = await client.say(text)
                await client.quiet(LATEST)
                await client.hush()
                await asyncio.sleep(REST)
                if number and one.first is not None:  # the first time pays for what is made once
                    found.append(First(text, alone, node.take(text), one.first - one.sent))
        listening.cancel()
        await asyncio.gather(listening, return_exceptions=True)
    return found


def _first_figures(engine: str, found: Sequence[First]) -> list[Figure]:
    name = f"WebSocket, {engine}: first audio over the engine's own"
    apart = steady((one.text, one.alone, one.there) for one in found)
    figures = []
    for way, seconds in ((" in the same request", [one.over for one in found]), (" in turns, medians of texts", apart)):
        figures.append(Figure(f"{name}{way}, p50", _milliseconds(quantile(seconds, 0.5)), "ms"))
        figures.append(Figure(f"{name}{way}, p95", _milliseconds(quantile(seconds, 0.95)), "ms", most=FIRST_SOUND))
    return figures


def _first_rows(engine: str, found: Sequence[First]) -> Iterator[tuple[str | float | None, ...]]:
    for name, seconds in (
        ("engine alone", [one.alone for one in found]),
        ("engine for the client", [one.own for one in found]),
        ("WebSocket", [one.there for one in found]),
        ("over the engine's work for it", [one.over for one in found]),
        ("over the engine alone, each time", [one.there - one.alone for one in found]),
    ):
        yield engine, name, *(_milliseconds(quantile(seconds, q)) for q in (0.5, 0.95, 0.99))


# Many at once


async def _crowd(plan: Plan, engine: str, duty: float, process: Process, address: str) -> Crowd:
    arrivals = schedule(Schedule(rooms=plan.sessions, duty=duty * CHARACTER / SPOKEN[engine], seconds=plan.seconds, seed=plan.seed))
    await asyncio.sleep(SETTLE)
    alone = process.usage().resident
    refused = 0
    async with AsyncExitStack() as stack, asyncio.TaskGroup() as listening:
        clients: list[Client] = []
        for _ in range(plan.sessions):
            try:
                clients.append(Client(await stack.enter_async_context(connect(address + PATH, compression=None, max_size=None))))
            except (InvalidStatus, OSError, TimeoutError):
                refused += 1
        tasks = [listening.create_task(client.listen()) for client in clients]
        before, spent, began = process.usage(), time.process_time(), time.monotonic()
        late, largest = await _ask(process, clients, arrivals, began)
        await asyncio.sleep(max(0.0, began + plan.seconds - time.monotonic()))
        after, taken = process.usage(), time.process_time() - spent
        lost = await _rest(clients)
        largest = max(largest, process.usage().resident)
        for task in tasks:
            task.cancel()
    asked = [one for client in clients for one in client.asked.values()]
    return Crowd(
        engine=engine,
        duty=duty,
        texts=len(asked),
        refused=refused,
        lost=lost,
        problems=sum(len(client.problems) for client in clients),
        ttfa=tuple(one.first - one.sent for one in asked if one.is_alone and one.first is not None),
        dry=tuple(one.dry for one in asked if one.dry > 0),
        speech=sum(one.seconds for one in asked),
        late=late,
        memory=(largest - alone) / plan.sessions,
        node=after.cores(before),
        client=taken / (after.at - before.at),
    )


async def _ask(process: Process, clients: Sequence[Client], arrivals: Sequence[Arrival], began: float) -> tuple[float, float]:
    """Every text at its time, whatever the node does. The worst delay, and the node's largest size, megabytes."""
    late = largest = 0.0
    for arrival in arrivals:
        while (left := began + arrival.at - time.monotonic()) > 0:
            await asyncio.sleep(min(left, EVERY))
            largest = max(largest, process.usage().resident)
        late = max(late, -left)
        if arrival.room < len(clients):
            await clients[arrival.room].say(arrival.text)
    return late, largest


async def _rest(clients: Sequence[Client]) -> int:
    """Texts that were not said to their end in the time that everything has."""
    deadline = time.monotonic() + LATEST
    for client in clients:
        try:
            await client.quiet(max(deadline - time.monotonic(), 0.01))
        except TimeoutError:
            continue
    return sum(not one.is_over for client in clients for one in client.asked.values())


def _crowd_figures(crowd: Crowd, plan: Plan) -> list[Figure]:
    prefix = f"{plan.sessions} WebSocket sessions, {crowd.engine} at {crowd.duty:.0%} duty: "
    return [
        Figure(f"{prefix}speech of each session, of its time", 100 * crowd.speech / (plan.sessions * plan.seconds), "%"),
        Figure(f"{prefix}refused", float(crowd.refused), "", most=0.0),
        Figure(f"{prefix}texts not said to their end", float(crowd.lost), "", most=0.0),
        Figure(f"{prefix}dropped texts and errors", float(crowd.problems), "", most=0.0),
        Figure(f"{prefix}TTFA at the client, p50", _milliseconds(quantile(crowd.ttfa, 0.5)), "ms"),
        Figure(f"{prefix}TTFA at the client, p95", _milliseconds(quantile(crowd.ttfa, 0.95)), "ms", most=250.0),
        Figure(f"{prefix}texts that ran dry against real time", float(len(crowd.dry)), "", most=0.0),
        Figure(f"{prefix}the node's memory for each", crowd.memory, "MB", most=2.0),
    ]


def _crowd_table(crowds: Sequence[Crowd]) -> Table:
    columns = (
        "engine",
        "texts",
        "seconds of speech",
        "TTFA p99, ms",
        "worst, ms",
        "longest dry, ms",
        "node, cores",
        "client, cores",
        "late, ms",
    )
    rows: list[tuple[str | float | None, ...]] = [
        (
            crowd.engine,
            crowd.texts,
            round(crowd.speech, 1),
            *(_milliseconds(quantile(crowd.ttfa, q)) for q in (0.99, 1.0)),
            round(max(crowd.dry, default=0.0) * 1000, 1),
            round(crowd.node, 3),
            round(crowd.client, 3),
            round(crowd.late * 1000, 1),
        )
        for crowd in crowds
    ]
    return Table("Many sessions at once", columns, tuple(rows))


def _milliseconds(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds * 1000, 2)
