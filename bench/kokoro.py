"""Kokoro in a real room; and alone, beside ``kokoro-onnx`` with the int8 graph in the same process: first sound, whole work, memory."""

from __future__ import annotations

import asyncio
import os
import random
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from bench.engine import Made, measure, windows
from bench.passages import made_up, of_length, passage
from bench.processes import counted, server
from bench.results import BFLOAT16, Figure, Result, Table, machine, moment, quantile, ratio, versions
from bench.scene import NODE, milliseconds, rest, scene
from engines.base import Samples
from engines.kokoro import KokoroEngine
from engines.kokoro.files import cache_folder, find_model, find_voices
from engines.kokoro.voices import Mixture, Styles

LENGTHS = (12, 54, 158)  # characters
MOST = {12: 0.35, 54: 0.20, 158: 0.10}  # of kokoro-onnx's time to first audio
WORK = {True: 0.65, False: 1.1}  # of its seconds per second of audio, on a processor that multiplies bfloat16, and on others
MEMORY = {"float32": 1200.0, "int8": 400.0}  # MB
VOICE = "af_heart"
SHORTEST, LONGEST = 12, 200  # characters of the sentences that are heard in a room
UNBROKEN = "unbroken.en"  # sentences of 111 to 187 characters with neither a comma nor a conjunction among their first 48
HEARD = 250.0  # milliseconds to the sound at a listener
MEASURING = 300.0  # seconds until a process that only loads is given up


@dataclass(frozen=True, slots=True)
class Plan:
    repeats: int = 6
    """Texts per length and system."""
    heard: int = 40
    """Sentences of any length that are heard in a room."""
    seed: int = 1


QUICK = Plan(repeats=2, heard=8)


@dataclass(frozen=True, slots=True)
class Footprint:
    """What a loaded engine adds to a process."""

    runtime: str
    """What its model runs on."""
    memory: float
    """MB."""


def run(plan: Plan, url: str = "") -> Result:
    """Blocks, eight minutes and more: the peer makes each sentence as a whole. ``url``: a server for the room; empty starts one."""
    busy, when, here, chosen = os.getloadavg()[0], moment(), machine(), random.Random(plan.seed)
    heard, unbroken, underruns = asyncio.run(_in_a_room(plan, url))
    engine = KokoroEngine()
    engine.load()
    peer = _peer()
    systems: dict[str, Callable[[str], Iterator[Samples]]] = {
        "engine": lambda text: windows(engine, text, VOICE),
        "kokoro-onnx": lambda text: iter([(peer.create(text, VOICE, lang="en-us")[0] * 32767).astype(np.int16)]),
    }
    rate = engine.voice(VOICE).sample_rate
    for speak in systems.values():
        measure("", "One, two, three.", speak, rate)
    made = []
    for number in range(plan.repeats):
        for length in chosen.sample(LENGTHS, len(LENGTHS)):
            text = of_length(length)[number % len(of_length(length))]
            made += [measure(system, text, speak, rate) for system, speak in systems.items()]
    memory = {precision: _memory(precision) for precision in MEMORY}
    load = (
        f"{plan.heard} sentences of {SHORTEST} to {LONGEST} characters in a room, and {len(unbroken)} that begin without a clause; "
        f"then no room: both systems in one process, {plan.repeats} sentences per length in turns; {engine.build}"
    )
    found = (*room_figures(heard, unbroken, underruns), *figures(made, memory, fast=BFLOAT16 in here["processor"]))
    return Result("kokoro", plan.seed, load, found, (_table(made),), here, versions(), when, busy)


Heard = list[tuple[float, float | None]]
"""Of each sentence, said after a silence: seconds from the text to its sound at the listener, and what the node told."""


async def _in_a_room(plan: Plan, url: str) -> tuple[Heard, Heard, float | None]:
    """Sentences of any length, those without an early clause, and the node's underruns."""
    chosen = random.Random(plan.seed)
    made = [made_up(chosen, chosen.randint(SHORTEST, LONGEST)) for _ in range(plan.heard)]
    heard: Heard = []
    async with server(url) as address, scene(address, f"bench-{os.getpid()}-kokoro", engine="kokoro") as stage:
        for text in (*made, *passage(UNBROKEN).sentences):
            said = await stage.say(NODE, text)
            heard.append((said.ttfa, said.node_ttft))
            await rest(chosen, 0.3, 0.8)
    return heard[: len(made)], heard[len(made) :], counted(stage.processes[NODE].output(), "underruns")


def _peer() -> Any:
    """kokoro-onnx with the same graph and voices, which it wants in one archive."""
    from kokoro_onnx import Kokoro

    table = Styles(*find_voices(None, cache_folder())).style(Mixture.parse(VOICE)).reshape(-1, 1, 256)
    with tempfile.TemporaryDirectory() as scratch:
        archive = Path(scratch, "voices.npz")
        np.savez(archive, **{VOICE: table})  # type: ignore[arg-type]
        return Kokoro(str(find_model(None, cache_folder())), str(archive))


def _memory(precision: str) -> Footprint:
    """What the engine takes that is loaded with this precision, and else as it would be by itself."""
    program = (
        "import gc, psutil, numpy\n"
        "from engines.kokoro import KokoroEngine, KokoroSettings\n"
        "before = psutil.Process().memory_info().rss\n"
        f"engine = KokoroEngine(KokoroSettings(precision={precision!r}))\n"
        "engine.load()\ngc.collect()\n"
        "print((psutil.Process().memory_info().rss - before) / 1e6, engine.build, sep='\\n')\n"
    )
    for _ in range(2):  # the first one may have to try which runtime is the fastest, and has loaded them all then
        told = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=MEASURING, check=True)
    memory, build = told.stdout.splitlines()
    return Footprint(runtime_of(build), float(memory))


def runtime_of(build: str) -> str:
    """The third word of what an engine says of itself."""
    return build.split()[2]


def room_figures(heard: Heard, unbroken: Heard, underruns: float | None) -> tuple[Figure, ...]:
    found = []
    for which, some in (
        (f"sentences of {SHORTEST} to {LONGEST} characters", heard),
        ("long sentences that begin without a clause", unbroken),
    ):
        name = f"Kokoro in a real room, {len(some)} {which}"
        waits = [ttfa for ttfa, _ in some]
        told = [ttft for _, ttft in some if ttft is not None]
        found += [
            Figure(f"{name}: text to sound at the listener, p50", milliseconds(quantile(waits, 0.5)), "ms"),
            Figure(f"{name}: text to sound at the listener, p95", milliseconds(quantile(waits, 0.95)), "ms", most=HEARD),
            Figure(f"{name}: TTFA at the node, p95", milliseconds(quantile(told, 0.95)), "ms"),
        ]
    return (*found, Figure(f"Kokoro in a real room, {len(heard) + len(unbroken)} sentences: underruns", underruns, "", most=0.0))


def figures(made: Sequence[Made], memory: dict[str, Footprint], *, fast: bool) -> tuple[Figure, ...]:
    found = [
        Figure(
            f"Kokoro alone, {length} characters, time to first audio against kokoro-onnx, p50",
            ratio(*(quantile([one.first for one in _of(made, system, length)], 0.5) for system in ("engine", "kokoro-onnx"))),
            "",
            most=MOST[length],
        )
        for length in LENGTHS
    ]
    for name, cost, most in (("seconds", "whole", WORK[fast]), ("core-seconds", "cpu", None)):
        costs = [_cost(made, system, cost) for system in ("engine", "kokoro-onnx")]
        found.append(Figure(f"Kokoro alone, whole work in {name} per second of audio, against kokoro-onnx", ratio(*costs), "", most=most))
    for precision, taken in memory.items():
        found.append(Figure(f"Kokoro in memory, {precision} on {taken.runtime}", taken.memory, "MB", most=MEMORY[precision]))
    return tuple(found)


def _cost(made: Sequence[Made], system: str, cost: str) -> float:
    mine = [one for one in made if one.system == system]
    return float(sum(getattr(one, cost) for one in mine) / sum(one.audio for one in mine))


def _of(made: Sequence[Made], system: str, length: int) -> list[Made]:
    return [one for one in made if (one.system, one.characters) == (system, length)]


def _table(made: Sequence[Made]) -> Table:
    rows = []
    for length in LENGTHS:
        for system in ("engine", "kokoro-onnx"):
            mine = _of(made, system, length)
            firsts = [quantile([one.first for one in mine], q) or 0.0 for q in (0.5, 0.95)]
            whole = quantile([one.whole for one in mine], 0.5) or 0.0
            rates = [quantile([value / one.audio for one in mine for value in [getattr(one, cost)]], 0.5) for cost in ("whole", "cpu")]
            rows.append((str(length), system, *(1000 * first for first in firsts), 1000 * whole, *rates))
    columns = ("characters", "system", "first p50", "first p95", "whole p50", "real-time factor", "core-seconds per second of audio")
    return Table("Milliseconds to the first audible sample and to the last one", columns, tuple(rows))
