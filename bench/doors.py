"""The HTTP door: what it adds to the engine's own first sound, what the cache saves, and what ten thousand requests leave behind.

The node runs in a process of its own; the client in this one, and its work counts as the door's. What the door adds is taken twice, to the
same bound, as `sockets` does: within the very request, and in turns with the same engine past every door of the same node.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import random
import re
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import aiohttp

from bench.own import Noted, steady
from bench.passages import LENGTHS, of_length
from bench.results import Figure, Result, Table, machine, moment, quantile, ratio, versions

ENGINES = ("tone", "piper")
FIRST_BYTE = 10.0  # milliseconds over the engine's own first audio, p95
CACHE = 20.0  # times faster than synthesised
MEMORY = 5.0  # percent between two counts of requests
REST = 0.05  # seconds between two measurements
AT_ONCE = 8  # requests of the many that are under way at the same time
SHORT = 60  # texts among the many: each comes again and again, and changes by its number
FILLING = tuple(
    f"Part {number}. " + " ".join(f"One two three four five six seven eight {number} {line}." for line in range(40)) for number in range(16)
)
"""Half an hour of speech, several times what is kept in memory."""
HEADER = 44  # bytes of a WAV file before its sound


@dataclass(frozen=True, slots=True)
class Plan:
    repeats: int = 40
    """Texts per length and engine."""
    cached: int = 20
    """Texts that are said anew, and again from the cache."""
    first: int = 1_000
    """Short requests before memory is read for the first time."""
    last: int = 10_000
    """And for the last time."""
    seed: int = 1


QUICK = Plan(repeats=4, cached=4, first=200, last=1_000)


@dataclass(frozen=True, slots=True)
class First:
    """One text's first audible sound; seconds."""

    engine: str
    text: str
    alone: float
    """By the engine alone, past every door, in the same node."""
    own: float
    """Of the engine's work for the client, until that sound."""
    over_http: float

    @property
    def added(self) -> float:
        """What the door added to this text."""
        return self.over_http - self.own


@dataclass(frozen=True, slots=True)
class Again:
    """One text as a whole reply; seconds."""

    characters: int
    anew: float
    cached: float


async def run(plan: Plan) -> Result:
    """About six minutes."""
    busy, when, chosen = os.getloadavg()[0], moment(), random.Random(plan.seed)
    firsts = [first for name in ENGINES for first in await _firsts(name, plan, chosen)]
    again = await _again(plan)
    memory = await _memory(plan)
    figures = (
        *[figure for name in ENGINES for figure in _first_bytes(name, [one for one in firsts if one.engine == name])],
        Figure(
            "/synthesize, synthesised over from the cache, Piper, p50",
            ratio(quantile([one.anew for one in again], 0.5), quantile([one.cached for one in again], 0.5)),
            "times",
            least=CACHE,
        ),
        Figure(
            f"memory after {plan.last} short requests, above that after {plan.first}",
            100 * (memory[plan.last] / memory[plan.first] - 1),
            "%",
            most=MEMORY,
        ),
    )
    load = (
        f"A node and one client, loopback; {plan.repeats} texts per length and engine in turns, {plan.cached} texts anew and from the "
        f"cache, {plan.last} short requests, {AT_ONCE} at once"
    )
    tables = (_first_table(firsts), _again_table(again), _memory_table(memory))
    return Result("doors", plan.seed, load, figures, tables, machine(), versions(), when, busy)


def _first_bytes(engine: str, found: Sequence[First]) -> tuple[Figure, Figure]:
    name = f"first audio byte over HTTP, over the engine's own first audio, {engine}"
    apart = steady((one.text, one.alone, one.over_http) for one in found)
    return (
        Figure(f"{name}, in the same request, p95", _ms([one.added for one in found], 0.95), "ms", most=FIRST_BYTE),
        Figure(f"{name}, in turns, medians of texts, p95", _ms(apart, 0.95), "ms", most=FIRST_BYTE),
    )


# First sound


async def _firsts(name: str, plan: Plan, chosen: random.Random) -> list[First]:
    found = []
    async with _node(name) as (node, address), aiohttp.ClientSession(address) as client:
        for text in of_length(158)[:2]:
            await _over_http(client, text)
        for number in range(plan.repeats):
            for length in chosen.sample(LENGTHS, len(LENGTHS)):
                text = of_length(length)[number % len(of_length(length))]
                alone = await node.alone(text)
                await asyncio.sleep(REST)
                over_http = await _over_http(client, text)
                found.append(First(name, text, alone, node.take(text), over_http))
                await asyncio.sleep(REST)
    return found


async def _over_http(client: aiohttp.ClientSession, text: str) -> float:
    """Seconds to the first byte of sound; the node cuts off what is silent before it."""
    begun = time.perf_counter()
    async with client.post("/synthesize/stream", json={"text": text, "use_cache": False}) as answer:
        answer.raise_for_status()
        await answer.content.readexactly(HEADER + 1)
        first = time.perf_counter() - begun
        await answer.read()
    return first


# The cache


async def _again(plan: Plan) -> list[Again]:
    found = []
    async with _node("piper") as (_, address), aiohttp.ClientSession(address) as client:
        texts = [text for length in (81, 158) for text in of_length(length)]
        await _whole(client, texts[0], use_cache=False)
        for number, text in zip(range(plan.cached), itertools.cycle(texts), strict=False):
            numbered = f"{text} {number}."
            anew = await _whole(client, numbered, use_cache=False)
            await _whole(client, numbered, use_cache=True)
            await asyncio.sleep(REST)
            found.append(Again(len(text), anew, await _whole(client, numbered, use_cache=True)))
            await asyncio.sleep(REST)
    return found


async def _whole(client: aiohttp.ClientSession, text: str, *, use_cache: bool) -> float:
    begun = time.perf_counter()
    async with client.post("/synthesize", json={"text": text, "use_cache": use_cache, "response_format": "wav"}) as answer:
        answer.raise_for_status()
        await answer.read()
    return time.perf_counter() - begun


# Memory


async def _memory(plan: Plan) -> dict[int, float]:
    """Megabytes by the number of requests so far."""
    found = {}
    async with _node("tone") as (node, address), aiohttp.ClientSession(address) as client:
        for text in FILLING:  # what the node keeps of what it has said is full before anything is counted
            await _whole(client, text, use_cache=True)
        done = 0
        for count in milestones(plan.first, plan.last):
            numbers = iter(range(done, count))
            async with asyncio.TaskGroup() as tasks:
                for _ in range(AT_ONCE):
                    tasks.create_task(_ask(client, numbers, short_body))
            done = count
            await asyncio.sleep(1.0)
            found[count] = node.process.usage().resident
    return found


def milestones(first: int, last: int) -> list[int]:
    """When memory is read: at the first, at the last, and a few times between them."""
    step = max(1, (last - first) // 4)
    return sorted({*range(first, last, step), last})


def short_body(number: int) -> tuple[str, dict[str, Any]]:
    """A route and what it is asked: every family and format has its turn, most texts come again and a few are new."""
    text = f"Item {number % SHORT}." if number % 5 else f"Item {number}."
    routes: tuple[tuple[str, dict[str, Any]], ...] = (
        ("/synthesize", {"text": text}),
        ("/synthesize", {"text": text, "response_format": "json", "format": "mp3"}),
        ("/synthesize/stream", {"text": text, "format": "opus"}),
        ("/v1/audio/speech", {"model": "tts-1", "voice": "alloy", "input": text}),
        ("/synthesize", {"text": text, "format": "flac", "sample_rate": 16_000, "use_cache": False}),
        ("/synthesize", {"text": "", "voice_id": "nobody"}),
    )
    return routes[number % len(routes)]


async def _ask(client: aiohttp.ClientSession, numbers: Any, body: Callable[[int], tuple[str, dict[str, Any]]]) -> None:
    for number in numbers:
        path, asked = body(number)
        async with client.post(path, json=asked) as answer:
            await answer.read()


# The node


@asynccontextmanager
async def _node(engine: str) -> AsyncIterator[tuple[Noted, str]]:
    """A node without rooms and its address."""
    environment = {
        "LIVEKIT_URL": "",
        "VOICEBOOTH_SELECTION__FALLBACK_CHAIN": engine,
        "VOICEBOOTH_SERVER__PORTS": "0",
        "VOICEBOOTH_CACHE__DIR": "none",
        "VOICEBOOTH_LOG__LEVEL": "WARNING",
        "PYTHONUNBUFFERED": "1",
    }
    async with Noted(environment) as node:
        await node.process.says("alone", timeout=120.0)
        found = re.search(r"^open\s+(\S+)", node.process.output(), re.MULTILINE)
        assert found, node.process.output()
        yield node, found.group(1)


# Tables


def _first_table(firsts: Sequence[First]) -> Table:
    rows = []
    for engine, length in itertools.product(ENGINES, LENGTHS):
        some = [one for one in firsts if (one.engine, len(one.text)) == (engine, length)]
        columns = ([one.alone for one in some], [one.own for one in some], [one.over_http for one in some], [one.added for one in some])
        rows.append((engine, float(length), *[_ms(values, q) for values in columns for q in (0.5, 0.95)]))
    heads = tuple(f"{what} {q}" for what in ("alone", "for the client", "over HTTP", "added") for q in ("p50", "p95"))
    return Table("Milliseconds to the first audible sound", ("engine", "characters", *heads), tuple(rows))


def _again_table(again: Sequence[Again]) -> Table:
    rows = []
    for length in sorted({one.characters for one in again}):
        some = [one for one in again if one.characters == length]
        rows.append((float(length), _ms([one.anew for one in some], 0.5), _ms([one.cached for one in some], 0.5)))
    return Table("Milliseconds for a whole reply, p50", ("characters", "synthesised", "from the cache"), tuple(rows))


def _memory_table(memory: dict[int, float]) -> Table:
    return Table("Resident megabytes", ("requests", "MB"), tuple((float(count), used) for count, used in memory.items()))


def _ms(values: Sequence[float], q: float) -> float | None:
    found = quantile(values, q)
    return None if found is None else 1000 * found
