"""The chain under faults: a listener in a real room while the first engine goes wrong, what hedges cost, whether forecasts hold."""

from __future__ import annotations

import asyncio
import dataclasses
import os
import random
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from agent.config import Settings
from agent.node import Node
from bench import scripts, trace
from bench.hearing import Tone, tones
from bench.listener import Note
from bench.passages import made_up
from bench.processes import server
from bench.results import Figure, Result, Table, machine, moment, quantile, ratio, versions
from bench.scene import NODE, Scene, milliseconds, rest, scene
from bench.sender import Sent
from bench.sessions import GIVEN_UP, Door
from engines.scripted import Fault
from engines.tone import GAP, pitch_of
from pipeline.events import Dropped, SpeechFinished, SpeechStarted
from pipeline.protocol import Cancel, Text

FALLBACK = "fallback"
SHORT, LONG = (13, 81), 158  # characters of sentences that are said alone; the short ones are held against the same budget
PASSAGE = (41, 54, 81)  # characters of the sentences of a passage without pauses
BUDGET = 250.0  # milliseconds: the node's own
OVER = {"up to 81": 50.0, "158": 150.0}  # milliseconds that may come on top of it while the first engine goes wrong
GAP_MOST = 150.0  # milliseconds of silence at a hand-over
SAME = 0.02  # relative difference of two pitches that are one
DRAIN = 0.4  # seconds after the node's last event until its last sound is in the listener's hands
HEAVY = ("kokoro",)  # engines that cannot say eight sentences at once to their ends: these are cut as soon as they are heard
AT_ONCE = (1, 8)  # sessions in which forecasts are judged
BEFORE = 50  # sentences that a forecast may learn from before it is held against what comes


@dataclass(frozen=True, slots=True)
class Plan:
    """How much is measured."""

    alone: int = 20
    """Sentences of each length that are said after a silence."""
    passage: int = 40
    """Sentences of a passage without pauses."""
    trace: int = 6
    """Paragraphs of four sentences by real engines, of which a picture is drawn."""
    hanging: int = 6
    """Sentences by each system while its first engine hangs for ever."""
    sessions: int = 6
    """At once, for what hedges cost."""
    sentences: int = 15
    """By each of them."""
    forecast: int = 120
    """Sentences by which forecasts are judged, alone and in eight sessions together; the first fifty only teach."""
    engines: tuple[str, ...] = ("kokoro", "piper")
    """Whose forecasts are judged."""
    seed: int = 1


QUICK = Plan(alone=4, passage=18, trace=3, hanging=4, sentences=8, forecast=70)
"""For a first look; its p95 is the slowest of a handful."""


@dataclass(frozen=True, slots=True)
class Programme:
    """What is said while the first engine goes wrong, made up beforehand: it goes wrong in sentences that are named."""

    alone: tuple[str, ...]
    """In the order in which they are said, each after a silence."""
    passage: tuple[str, ...]
    faults: Mapping[str, Fault]
    """By sentence."""


@dataclass(frozen=True, slots=True)
class Said:
    """One sentence, as it was told and as it was heard."""

    text: str
    ttft: float | None
    """Seconds, as the node told it; None when it was not told."""
    heard: float | None
    """Seconds from the text to its sound at the listener, where it was said alone."""
    engine: str
    """Who began it."""
    switched: tuple[Mapping[str, Any], ...]
    """The changes of voice in it, or at its beginning."""
    is_whole: bool
    """Every word was heard once, in order."""
    gap: float
    """Seconds of silence between two of its words, at the most, beyond what is always between them."""


@dataclass(frozen=True, slots=True)
class Faulty:
    """What was said while the first engine went wrong now and then."""

    alone: tuple[Said, ...]
    passage: tuple[Said, ...]
    faults: tuple[scripts.Told, ...]
    seconds: float
    """For which all of that took."""

    @property
    def all(self) -> tuple[Said, ...]:
        return self.alone + self.passage

    def fault(self, said: Said) -> scripts.Told | None:
        return next((fault for fault in self.faults if fault.text in said.text), None)

    def preferred(self) -> float | None:
        """The part of the healthy sentences that the first engine said, all of each."""
        healthy = [said for said in self.all if self.fault(said) is None]
        by_first = [said for said in healthy if said.engine == "faulty" and all(change["to"] == "faulty" for change in said.switched)]
        return ratio(float(len(by_first)), float(len(healthy)))

    def changes(self) -> tuple[int, int]:
        """Changes of voice that a fault forced, the way back from them included, and all others."""
        forced = others = 0
        was_forced = False
        for said in self.all:
            for change in said.switched:
                if change["to"] != "faulty":
                    was_forced = self.fault(said) is not None or "rests" in change["why"]
                forced, others = forced + was_forced, others + (not was_forced)
        return forced, others

    def gaps(self) -> list[float]:
        """Seconds of silence at hand-overs inside a sentence."""
        return [said.gap for said in self.all if said.switched and (fault := self.fault(said)) is not None and fault.at]


@dataclass(frozen=True, slots=True)
class Rescued:
    """One sentence whose first engine hangs."""

    heard: float
    """Seconds from the text to its sound at the listener."""
    is_whole: bool
    """Every word was heard once, in order."""
    ttft: float | None = None
    """Seconds, as the node told it; None for a peer."""


@dataclass(frozen=True, slots=True)
class Work:
    """What several sessions in one process came to."""

    sentences: int
    hedged: int
    worked: float
    """Seconds of work by all engines, what hangs left out."""
    wasted: float
    """Of that, by those who ran beside another engine and were not heard."""
    decided: float
    """Seconds of decisions, all of them."""
    ttft: tuple[float, ...]
    lost: int


async def run(plan: Plan, url: str = "") -> Result:
    """All of it, one part after the other. ``url`` names a server with the development keys; empty starts one."""
    busy, when, chosen = os.getloadavg()[0], moment(), random.Random(plan.seed)
    asked = programme(plan, chosen)
    with scripts.package(asked.faults) as folder:
        environment = scripts.environment(folder)
        async with server(url) as address:
            room = f"bench-{os.getpid()}"
            async with scene(address, f"{room}-faulty", engine="faulty,sound", environment=environment) as stage:
                faulty = await _under_faults(stage, asked, chosen)
            told = await trace.run(plan.trace, address, f"{room}-trace", chosen)
            both = scene(address, f"{room}-hanging", engine="hanging,sound", systems=(FALLBACK,), environment=environment, is_cold=True)
            async with both as stage:
                hanging = await _hanging(stage, plan, chosen)
    work = {first: [await _work(plan, first, hedges) for hedges in (None, 0.0)] for first in ("dicing", "wavering")}
    held = {(engine, sessions): await _forecasts(plan, engine, sessions) for engine in plan.engines for sessions in AT_ONCE}
    load = (
        f"Scripted engines in a real room: {3 * plan.alone} sentences after a silence and {plan.passage} without pauses, the first engine "
        f"stalling, hanging, dying, slow or silent in {len(asked.faults)} of them; {plan.trace} paragraphs by real engines; "
        f"{plan.hanging} sentences while the first engine hangs for ever; hedges in {plan.sessions} sessions; forecasts of "
        f"{' and '.join(plan.engines)} over {plan.forecast} sentences each"
    )
    figures = (
        *_fault_figures(faulty),
        *_hanging_figures(hanging),
        *_work_figures(*work["dicing"]),
        *_hedge_figures(*work["wavering"]),
        *_forecast_figures(held),
    )
    tables = (_fault_table(faulty), _hanging_table(hanging))
    return Result(
        "chain", plan.seed, load, figures, tables, machine(), versions(), when, busy, trace=told, order=trace.ORDER, budget=BUDGET
    )


def programme(plan: Plan, chosen: random.Random) -> Programme:
    """No sentence twice; at each length and in the passage the same part of them goes wrong."""
    known: set[str] = set()

    def fresh(length: int) -> str:
        while (text := made_up(chosen, length)) in known:
            pass
        known.add(text)
        return text

    alone = [[fresh(length) for _ in range(plan.alone)] for length in (*SHORT, LONG)]
    passage = tuple(fresh(chosen.choice(PASSAGE)) for _ in range(plan.passage))
    turns = [chosen.sample(texts, len(texts)) for texts in zip(*alone, strict=True)]
    return Programme(tuple(text for turn in turns for text in turn), passage, scripts.deal([*alone, passage], chosen))


# In a room, while the first engine goes wrong


async def _under_faults(stage: Scene, asked: Programme, chosen: random.Random) -> Faulty:
    start, alone = time.monotonic(), []
    for text in asked.alone:
        alone += await _say(stage, text)
        await rest(chosen, 0.3, 0.8)
    said = await _say(stage, *asked.passage)
    seconds = time.monotonic() - start
    return Faulty(tuple(alone), tuple(said), tuple(scripts.told(stage.processes[NODE].output())), seconds)


async def _say(stage: Scene, *texts: str) -> list[Said]:
    """One text of these sentences by the node; returns when the listener has heard it."""
    log = stage.sender.log
    sent = await stage.send(NODE, " ".join(texts))
    await log.wait("speech_finished", utterance=sent.utterance, timeout=GIVEN_UP * len(texts))
    await asyncio.sleep(DRAIN)
    notes = [note for note in log.notes if note.arrival >= sent.at]
    recording = stage.ears[NODE].recording(after=sent.at)
    loud = recording.loud
    heard = loud[0] - sent.at if loud and len(texts) == 1 else None
    return judge(texts, notes, tones(recording.samples, 48_000), heard=heard)


def judge(texts: Sequence[str], notes: Sequence[Note], found: Sequence[Tone], *, heard: float | None = None) -> list[Said]:
    """Holds what was told and heard against what was to be said."""
    ids = {note.event["text"].strip(): note.event["id"] for note in notes if note.event["type"] == "sentence"}
    started = {note.event["id"]: note.event for note in notes if note.event["type"] == "speech_started"}
    said, at = [], 0
    for text in texts:
        id = ids.get(text, "")
        words = [pitch_of(word) for word in text.split()]
        mine = found[at : at + len(words)]
        is_whole = len(mine) == len(words) and np.allclose([tone.pitch for tone in mine], words, rtol=SAME)
        if not is_whole:  # what is left is looked for from its own beginning on
            mine = ()
        at = at + len(words) if is_whole else _resume(found, at, texts, text)
        gaps = [after.start - before.end - GAP for before, after in pairwise(mine)]
        begun = started.get(id, {})
        switched = tuple(note.event for note in notes if note.event["type"] == "switched" and note.event["id"] == id)
        ttft = begun["ttft_ms"] / 1000 if begun else None
        said.append(Said(text, ttft, heard, begun.get("engine", ""), switched, is_whole, max([0.0, *gaps])))
    if said and at < len(found):
        said[-1] = dataclasses.replace(said[-1], is_whole=False)  # more was heard than was to be said
    return said


def _resume(found: Sequence[Tone], at: int, texts: Sequence[str], text: str) -> int:
    """Where the sentence after ``text`` begins in what was heard: at its first three words; where they are not, nowhere."""
    following = texts.index(text) + 1
    if following == len(texts):
        return len(found)
    words = [pitch_of(word) for word in texts[following].split()[:3]]
    for start in range(at, len(found) - len(words) + 1):
        if np.allclose([tone.pitch for tone in found[start : start + len(words)]], words, rtol=SAME):
            return start
    return at


# While it hangs for ever, beside livekit-agents


async def _hanging(stage: Scene, plan: Plan, chosen: random.Random) -> dict[str, list[Rescued]]:
    """By system, in the order in which they were said."""
    found: dict[str, list[Rescued]] = {NODE: [], FALLBACK: []}
    for _ in range(plan.hanging):
        text = made_up(chosen, 54)
        for system in found:
            sent = await stage.send(system, text)
            ear = stage.ears[system]
            began = await ear.onset(after=sent.at, timeout=GIVEN_UP)
            ended = await ear.silence(after=began, hold=1.5, timeout=GIVEN_UP)
            heard = [tone.pitch for tone in tones(ear.recording(after=sent.at).between(sent.at, ended + DRAIN).samples, 48_000)]
            words = [pitch_of(word) for word in text.split()]
            is_whole = len(heard) == len(words) and np.allclose(heard, words, rtol=SAME)
            found[system].append(Rescued(began - sent.at, is_whole, _told(stage, sent) if system == NODE else None))
            await rest(chosen)
    return found


def _told(stage: Scene, sent: Sent) -> float | None:
    """Seconds from a text that has been heard to its first sound, as the node told it."""
    notes = (note.event for note in stage.sender.log.notes if note.event["type"] == "speech_started")
    return next((event["ttft_ms"] / 1000 for event in notes if event["utterance"] == sent.utterance), None)


# In one process, at the pace of listeners


@asynccontextmanager
async def _node(**settings: Any) -> AsyncIterator[Node]:
    async with Node(Settings.model_validate({"cache": {"enabled": False}, **settings})) as node:
        await node.ready()
        yield node


async def _talk(node: Node, name: str, chosen: random.Random, count: int, lengths: Sequence[int], *, is_cut: bool = False) -> Door:
    """One session: sentence after sentence, each after a silence. ``is_cut``: cut as soon as it is heard."""
    door = Door()
    stage = node.stage(name, door)
    for number in range(count):
        utterance = f"u{number}"
        stage.on_message("bench", Text(text=made_up(chosen, chosen.choice(lengths)), utterance=utterance))
        if is_cut:
            await door.wait((SpeechStarted, Dropped), utterance)
            stage.on_message("bench", Cancel())
        await door.wait((SpeechFinished, Dropped), utterance)
        await rest(chosen, 0.2, 1.0)
    await node.close_stage(name)
    await door.close()
    return door


class _Losers:
    """Adds up what engines did that ran beside another one and were not heard."""

    def __init__(self, report: Any) -> None:
        self.seconds = 0.0
        self._told = report.on_journey
        report.on_journey = self._on_journey

    def _on_journey(self, journey: Any) -> None:
        self.seconds += sum(leg.end - leg.begin for leg in journey.legs if leg.how == "lost")
        self._told(journey)


async def _work(plan: Plan, first: str, hedges: float | None) -> Work:
    """The same sentences and faults with hedges and without. ``first``: the engine that goes wrong."""
    chain = {} if hedges is None else {"hedges": hedges}
    with scripts.within() as engines:
        async with _node(selection={"fallback_chain": [first, "sound"]}, chain=chain) as node:
            losers = _Losers(node.report)
            watch = _Stopwatch(node.studio.chain, ("candidates", "choose", "on_chosen"))
            doors = await asyncio.gather(
                *(_talk(node, f"s{n}", random.Random(plan.seed + n), plan.sentences, (*SHORT, LONG)) for n in range(plan.sessions))
            )
            events = [event for door in doors for event in door.events]
            taken, sentences = node.studio.chain.hedges.taken, node.studio.chain.hedges.sentences
            worked = sum(engine.worked for engine in engines)
    ttft = tuple(event.ttft for event in events if isinstance(event, SpeechStarted))
    return Work(sentences, taken, worked, losers.seconds, watch.seconds, ttft, sum(isinstance(event, Dropped) for event in events))


class _Stopwatch:
    """Adds up the time that an object spends in some of its methods."""

    def __init__(self, target: object, methods: Sequence[str]) -> None:
        self.seconds = 0.0
        for name in methods:
            setattr(target, name, self._timed(getattr(target, name)))

    def _timed(self, method: Callable[..., Any]) -> Callable[..., Any]:
        def timed(*positional: Any, **named: Any) -> Any:
            start = time.perf_counter()
            try:
                return method(*positional, **named)
            finally:
                self.seconds += time.perf_counter() - start

        return timed


async def _forecasts(plan: Plan, engine: str, sessions: int) -> list[bool]:
    """Whether the forecast of the first sound held, sentence by sentence, once the voice was known."""
    async with _node(selection={"fallback_chain": [engine]}) as node:
        each, is_cut = -(-plan.forecast // sessions), sessions == 1 or engine in HEAVY
        async with AsyncExitStack() as stack:
            group = await stack.enter_async_context(asyncio.TaskGroup())
            for number in range(sessions):
                chosen = random.Random(plan.seed + number)
                group.create_task(_talk(node, f"s{number}", chosen, each, (*SHORT, 54, LONG), is_cut=is_cut))
        return [held for outcomes in node.studio.chain.outcomes().values() for held in outcomes[BEFORE:]]


# What it comes to


def _fault_figures(found: Faulty) -> Iterator[Figure]:
    whole, count = sum(said.is_whole for said in found.all), float(len(found.all))
    name = f"the first engine goes wrong in {sum(found.fault(said) is not None for said in found.all)} of {count:.0f} sentences"
    yield Figure(f"{name}: sentences heard completely and once", float(whole), "", least=count)
    for length, over in OVER.items():
        mine = [said for said in found.alone if (len(said.text) == LONG) == (length == "158")]
        told = milliseconds(_p95([said.ttft for said in mine]))
        yield Figure(f"{name}: TTFA at the node, {length} characters, p95", told, "ms", most=BUDGET + over)
        heard = milliseconds(quantile([said.heard for said in mine if said.heard is not None], 0.95))
        yield Figure(f"{name}: the same at the listener", heard, "ms")
    gaps = found.gaps()
    title = f"{name}: silence at {len(gaps)} hand-overs inside a sentence, p95"
    yield Figure(title, milliseconds(quantile(gaps, 0.95)), "ms", most=GAP_MOST)
    part = found.preferred()
    yield Figure(f"{name}: healthy sentences by the preferred engine", None if part is None else 100 * part, "%", least=80.0)
    forced, others = found.changes()
    minutes = found.seconds / 60
    yield Figure(f"{name}: changes of voice beyond those that a fault forced", others / minutes, "a minute", most=2.0)
    yield Figure(f"{name}: changes of voice that a fault forced, the ways back included", forced / minutes, "a minute")


def _p95(told: Sequence[float | None]) -> float | None:
    """None when it is not known of all of them: what was not told may have been the worst."""
    known = [ttft for ttft in told if ttft is not None]
    return quantile(known, 0.95) if len(known) == len(told) else None


def _hanging_figures(found: Mapping[str, Sequence[Rescued]]) -> Iterator[Figure]:
    name = "a first engine that hangs for ever"
    told = milliseconds(_p95([one.ttft for one in found[NODE]]))
    yield Figure(f"{name}, node: TTFA at the node, p95", told, "ms", most=BUDGET + OVER["up to 81"])
    for system, title in ((NODE, "node"), (FALLBACK, "livekit-agents' FallbackAdapter")):
        first, later = _first_and_later(found[system])
        yield Figure(f"{name}, {title}: first sentence, text to sound at the listener", milliseconds(first), "ms")
        yield Figure(f"{name}, {title}: later sentences, text to sound at the listener, p50", milliseconds(quantile(later, 0.5)), "ms")
        count = float(len(found[system]))
        least = count if system == NODE else None
        whole = float(sum(one.is_whole for one in found[system]))
        yield Figure(f"{name}, {title}: sentences heard completely and once, of {count:.0f}", whole, "", least=least)


def _first_and_later(found: Sequence[Rescued]) -> tuple[float | None, list[float]]:
    """Seconds from the text to its sound at the listener."""
    heard = [one.heard for one in found]
    return (heard[0] if heard else None), heard[1:]


def _work_figures(hedged: Work, without: Work) -> Iterator[Figure]:
    share = ratio(100.0 * hedged.hedged, float(hedged.sentences))
    yield Figure("hedges: sentences with two engines at once", share, "%", most=10.0)
    yield Figure("hedges: total work of the engines against none", ratio(hedged.worked, without.worked), "", most=1.12)
    for name, work in (("with hedges", hedged), ("without", without)):
        yield Figure(f"hedges: TTFA at the node {name}, p95", milliseconds(quantile(work.ttft, 0.95)), "ms")
    yield Figure("hedges: sentences dropped, with and without", float(hedged.lost + without.lost), "", most=0.0)
    decided = ratio(1e6 * hedged.decided, float(hedged.sentences))
    yield Figure("decisions of the chain, a sentence", decided, "us", most=200.0)


def _hedge_figures(hedged: Work, without: Work) -> Iterator[Figure]:
    """Of an engine that is a little late now and then."""
    name = f"hedges, a first engine that is a little late in {100 * scripts.SHARE / 2:.0f} % of {hedged.sentences} sentences"
    yield Figure(f"{name}: sentences with two engines at once", float(hedged.hedged), "", least=1.0, most=0.1 * hedged.sentences)
    own = hedged.worked - hedged.wasted
    yield Figure(f"{name}: total work against that without those who were not heard", ratio(hedged.worked, own), "", most=1.12)
    for way, work in (("with hedges", hedged), ("without", without)):
        yield Figure(f"{name}: TTFA at the node {way}, p95", milliseconds(quantile(work.ttft, 0.95)), "ms")
    yield Figure(f"{name}: sentences dropped, with and without", float(hedged.lost + without.lost), "", most=0.0)


def _forecast_figures(held: Mapping[tuple[str, int], Sequence[bool]]) -> Iterator[Figure]:
    for (engine, sessions), outcomes in held.items():
        at_once = f"{sessions} sessions at once" + ", cut once heard" * (engine in HEAVY)
        name = f"{engine} alone" if sessions == 1 else f"{engine}, {at_once}"
        share = ratio(100.0 * sum(outcomes), float(len(outcomes)))
        title = f"forecast of the first sound (p95), {name}: holds, of {len(outcomes)} sentences after the first {BEFORE}"
        yield Figure(title, share, "%", most=99.0, least=90.0)


def _fault_table(found: Faulty) -> Table:
    rows = []
    for kind in ("", *(kind.__name__ for kind in scripts.KINDS)):
        mine = [said for said in found.alone if (fault.kind if (fault := found.fault(said)) is not None else "") == kind]
        told = [said.ttft for said in mine if said.ttft is not None]
        both = [said for said in found.all if (fault.kind if (fault := found.fault(said)) is not None else "") == kind]
        gaps = [said.gap for said in both]
        whole = float(sum(said.is_whole for said in both))
        rows.append(
            (
                kind.lower() or "none",
                float(len(both)),
                whole,
                *(milliseconds(quantile(told, q)) for q in (0.5, 0.95)),
                *(milliseconds(quantile(gaps, q)) for q in (0.5, 0.95, 1.0)),
            )
        )
    columns = ("fault", "sentences", "heard completely and once", "TTFA p50", "TTFA p95", "silence inside p50", "p95", "longest")
    return Table("By what went wrong with the first engine; milliseconds", columns, tuple(rows))


def _hanging_table(found: Mapping[str, Sequence[Rescued]]) -> Table:
    rows = []
    for system, title in ((NODE, "node"), (FALLBACK, "livekit-agents FallbackAdapter")):
        first, later = _first_and_later(found[system])
        rows.append((title, *(milliseconds(one) for one in (first, quantile(later, 0.5), quantile(later, 1.0)))))
    title = (
        "Milliseconds from text to sound at the listener while the first engine hangs for ever; the peer's time-out is 10 s, twice retried"
    )
    return Table(title, ("system", "first sentence", "later ones p50", "worst of them"), tuple(rows))
