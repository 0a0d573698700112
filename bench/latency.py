"""Time to the first sound at the listener: the node beside its peers in one room, the node's own delay, interruptions."""

from __future__ import annotations

import asyncio
import os
import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from bench.hearing import onset, pauses, spans, starved
from bench.passages import LENGTHS, of_length, passage
from bench.processes import counted, server
from bench.results import Figure, Result, Table, machine, moment, quantile, ratio, versions
from bench.scene import HOLD, NODE, SPEECH, Heard, Scene, milliseconds, rest, scene

PEERS = ("whole", "adapter")
DIRECT = "direct"
TONES = "we speak now"  # what the tones say: short, and with a first word that is audible at once
PAUSES = (0.0, 3.0, 30.0)  # seconds of silence before a text
SHORT_HOLD = 0.3  # seconds of silence that an interruption is followed by at once; a voice pauses for less
AFTERMATH = (1.5, 2.0)  # seconds for which nothing old may come back
PEER_NAMES = {"whole": "piper-tts, whole sentence", "adapter": "livekit-agents StreamAdapter", "direct": "straight into a track"}


@dataclass(frozen=True, slots=True)
class Plan:
    """How much is measured."""

    repeats: int = 8
    """Texts per length and system."""
    passages: int = 3
    """Passages per system."""
    cancels: int = 20
    """Interruptions."""
    tones: tuple[int, int, int] = (30, 10, 4)
    """Tones after each of the pauses."""
    seed: int = 1


QUICK = Plan(repeats=4, passages=1, cancels=6, tones=(12, 4, 1))
"""For a first look; its p95 is the slowest of a handful."""


async def run(plan: Plan, url: str = "") -> Result:
    """All of it, one part after the other. ``url`` names a server with the development keys; empty starts one."""
    busy, when, chosen = os.getloadavg()[0], moment(), random.Random(plan.seed)
    async with server(url) as address:
        room = f"bench-{os.getpid()}"
        async with scene(address, f"{room}-piper", engine="piper", systems=PEERS) as piper:
            heard = await _lengths(piper, plan, chosen)
            spoken = await _passages(piper, plan, chosen)
            silences, ghosts = await _cancels(piper, plan, chosen)
        async with scene(address, f"{room}-tone", engine="tone", systems=(DIRECT,)) as stage:
            tones = await _tones(stage, plan, chosen)
    underruns = counted(piper.processes[NODE].output(), "underruns")
    load = (
        f"One room, one listener that decodes all tracks; {plan.repeats} texts per length and system in turns, "
        f"{plan.cancels} interruptions, {'/'.join(map(str, plan.tones))} tones after pauses of 0/3/30 s"
    )
    dry = Figure("underruns that the node counted in all of this", underruns, "", most=0.0)
    figures = (*_by_length_figures(heard), *_tone_figures(tones), dry, *_cancel_figures(silences, ghosts))
    tables = (_length_table(heard), _gap_table(spoken), _tone_table(tones))
    return Result("latency", plan.seed, load, figures, tables, machine(), versions(), when, busy)


async def _lengths(stage: Scene, plan: Plan, chosen: random.Random) -> list[Heard]:
    """Every system says every text of a round, in turns; the order of lengths differs by round."""
    heard = []
    for number in range(plan.repeats):
        for length in chosen.sample(LENGTHS, len(LENGTHS)):
            text = of_length(length)[number % len(of_length(length))]
            for system in (NODE, *PEERS):
                heard.append(await stage.say(system, text))
                await rest(chosen)
    return heard


async def _passages(stage: Scene, plan: Plan, chosen: random.Random) -> list[Heard]:
    """One paragraph by every system; the peer without sentences of its own is handed them one by one."""
    paragraph = passage("twenty.en").paragraphs[0]
    heard = []
    for _ in range(plan.passages):
        for system in (NODE, *PEERS):
            texts = paragraph if system == "whole" else (" ".join(paragraph),)
            heard.append(await stage.say(system, *texts, hold=1.5))
            await rest(chosen)
    return heard


async def _cancels(stage: Scene, plan: Plan, chosen: random.Random) -> tuple[list[float], int]:
    """Seconds from sending ``cancel`` to the last audible frame, and how often old sound came back after that."""
    text = " ".join(passage("twenty.en").paragraphs[1])
    ear, silences, ghosts = stage.ears[NODE], [], 0
    for _ in range(plan.cancels):
        sent = await stage.send(NODE, text)
        await ear.onset(after=sent.at)
        await rest(chosen, 0.3, 2.5)
        at = await stage.sender.cancel()
        silent = await ear.silence(after=at, hold=SHORT_HOLD, timeout=SPEECH)
        silences.append(silent - at)
        await rest(chosen, *AFTERMATH)
        ghosts += onset(ear.recording(after=silent + SHORT_HOLD).loud, silent + SHORT_HOLD) is not None
    return silences, ghosts


async def _tones(stage: Scene, plan: Plan, chosen: random.Random) -> dict[tuple[str, float], list[Heard]]:
    """Seconds to the first sound of a tone, by system and by the silence before it."""
    found: dict[tuple[str, float], list[Heard]] = {}
    for pause, count in zip(PAUSES, plan.tones, strict=True):
        for _ in range(count):
            await asyncio.sleep(max(pause - HOLD, 0.0))
            for system in chosen.sample((NODE, DIRECT), 2):
                await rest(chosen, 0.05, 0.15)
                heard = await stage.say(system, TONES, hold=HOLD)
                found.setdefault((system, pause), []).append(heard)
    return found


def _by_length_figures(heard: Sequence[Heard]) -> Iterable[Figure]:
    for length in LENGTHS:
        for peer in PEERS:
            for q in (0.5, 0.95):
                ours, theirs = (quantile(_ttfa(heard, system, length), q) for system in (NODE, peer))
                must = 0.40 if (length, peer) == (158, "whole") else None
                name = f"listener, {length} characters, node against {PEER_NAMES[peer]}, p{q * 100:.0f}"
                yield Figure(name, ratio(ours, theirs), "", most=must)


def _tone_figures(tones: dict[tuple[str, float], list[Heard]]) -> Iterable[Figure]:
    delays = {pause: _above(tones, pause, 0.95) for pause in PAUSES}
    yield Figure(
        "node's own delay: tone above the same sound pushed straight into a track, p95", milliseconds(delays[0.0]), "ms", most=15.0
    )
    for pause in PAUSES[1:]:
        delay, base = delays[pause], delays[0.0]
        more = None if delay is None or base is None else delay - base
        yield Figure(f"the same after a pause of {pause:.0f} s, on top of that, p95", milliseconds(more), "ms", most=40.0)


def _cancel_figures(silences: Sequence[float], ghosts: int) -> Iterable[Figure]:
    yield Figure("`cancel` to silence at the listener, p50", milliseconds(quantile(silences, 0.5)), "ms")
    yield Figure("`cancel` to silence at the listener, p95", milliseconds(quantile(silences, 0.95)), "ms", most=150.0)
    yield Figure("old sound after `cancel`", float(ghosts), "times", most=0.0)


def _length_table(heard: Sequence[Heard]) -> Table:
    rows = []
    for length in LENGTHS:
        for system in (NODE, *PEERS):
            mine = [one for one in heard if (one.system, one.characters) == (system, length)]
            told = [one.node_ttft for one in mine if one.node_ttft is not None]
            rows.append(
                (
                    f"{length}",
                    PEER_NAMES.get(system, system),
                    *(milliseconds(quantile(told, q)) for q in (0.5, 0.95)),
                    *(milliseconds(quantile([one.ttfa for one in mine], q)) for q in (0.5, 0.95)),
                    quantile([one.real_time for one in mine], 0.5),
                    quantile([one.cpu_per_second for one in mine], 0.5),
                )
            )
    title = "Milliseconds from text to first audible sound; real time: seconds from text to the end of the sound, per second of sound"
    columns = (
        *("characters", "system", "node p50", "node p95", "listener p50", "listener p95"),
        *("real time p50", "core-seconds per second of speech p50"),
    )
    return Table(title, columns, tuple(rows))


def _gap_table(heard: Sequence[Heard]) -> Table:
    rows = []
    between = len(passage("twenty.en").paragraphs[0]) - 1
    for system in (NODE, *PEERS):
        mine = [one.recording for one in heard if one.system == system]
        gaps = [gap for recording in mine for gap in sorted(pauses(spans(recording)))[-between:]]
        starved_ = [wait for recording in mine for wait in starved(recording)]
        rows.append(
            (
                PEER_NAMES.get(system, system),
                *(milliseconds(quantile(gaps, q)) for q in (0.5, 0.95, 1.0)),
                milliseconds(max(starved_, default=0.0)),
            )
        )
    title = f"Milliseconds of silence between {between + 1} sentences, at the listener (the {between} longest silences of the paragraph)"
    return Table(title, ("system", "p50", "p95", "longest", "longest wait for a frame"), tuple(rows))


def _tone_table(tones: dict[tuple[str, float], list[Heard]]) -> Table:
    rows = []
    for pause in PAUSES:
        for system in (NODE, DIRECT):
            mine = tones.get((system, pause), [])
            rows.append(
                (
                    f"{pause:.0f}",
                    PEER_NAMES.get(system, system),
                    *(milliseconds(quantile([one.ttfa for one in mine], q)) for q in (0.5, 0.95)),
                    *(milliseconds(quantile([one.node_ttft for one in mine if one.node_ttft is not None], q)) for q in (0.5, 0.95)),
                    milliseconds(quantile([one.reception.buffered for one in mine], 0.5)),
                )
            )
    title = "Milliseconds from text to the first audible sample of a tone, after seconds of silence"
    columns = ("silence", "system", "listener p50", "listener p95", "node p50", "node p95", "in the listener's jitter buffer p50")
    return Table(title, columns, tuple(rows))


def _ttfa(heard: Sequence[Heard], system: str, length: int) -> list[float]:
    return [one.ttfa for one in heard if (one.system, one.characters) == (system, length)]


def _above(tones: dict[tuple[str, float], list[Heard]], pause: float, q: float) -> float | None:
    """Seconds by which the node's quantile lies above that of the sound that goes straight into a track."""
    ours, theirs = (quantile([one.ttfa for one in tones.get((system, pause), [])], q) for system in (NODE, DIRECT))
    return None if ours is None or theirs is None else ours - theirs
