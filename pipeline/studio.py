"""Everything that makes sound, once a process: engines, the chain that chooses among them, the lanes they run on."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncGenerator, Coroutine, Iterable, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from engines.base import Engine, EngineError, EngineUnavailable, Pace, Request, Samples, Voice
from pipeline.cache import Cache, Key
from pipeline.chain import Candidate, Chain, find_voice, primary
from pipeline.inspector import Inspector
from pipeline.lanes import Lanes
from pipeline.level import level_of
from pipeline.loudness import TARGET, gain_for
from pipeline.performance import Event, Means, Performance
from pipeline.script import Wish
from pipeline.take import Take
from pipeline.timing import Timing

log = logging.getLogger(__name__)

LOADING = 120.0  # seconds that a load or the first step may take before it counts as hung: a large model from a slow disk
SHORT = "One, two, three."  # a sentence short enough to be no delay and long enough for every window size
LONG = "The interpreters have taken their seats, and the first speaker of the morning may begin."  # how the front grows
WARM_UP = (SHORT, SHORT)  # the first sentence of an engine pays for what is made once; the one after it is measured
SETTLE = 2.0  # seconds that steps get at the end: much more than one takes, and nobody waits for one that hangs
BUSY = 0.25  # seconds after which a probe that found no idle lane looks again
SPARED = 2  # spare lanes that no probe may take: an engine that hangs in all the others is known well enough
LARGEST = 0.5  # seconds of sound in one step: what sentences that share the lanes come to; larger ones would take memory before any room
PROBE = 10.0  # seconds in which a voice that rests must have said a sentence of ours
MOST_MIXED = 64  # voices that were asked for by name and are no engine's own, the latest ones: a name may be a stranger's


@dataclass(frozen=True, slots=True)
class EngineStatus:
    name: str
    state: Literal["loading", "ready", "unavailable"]
    reason: str = ""
    voices: int = 0


@dataclass(frozen=True, slots=True)
class _Heard:
    """What a rehearsal gave."""

    text: str
    samples: Samples
    first: float
    """Seconds of work until the first audible sample."""
    cost: float
    """Seconds of work for each second of speech."""


class Studio:
    """Loads engines and turns text into sound with whichever can.

    1. A sentence is said completely, by one engine or by several that go on at the word where another one failed.
    2. No engine is left running: when a sentence is abandoned, its generator is closed between two steps.
    """

    def __init__(
        self,
        engines: Iterable[Engine],
        chain: Chain,
        lanes: Lanes,
        *,
        rate: int = 24_000,
        level: float | None = TARGET,
        cache: Cache | None = None,
    ) -> None:
        """``rate``: hertz of every track. ``level``: dBFS to which every voice is brought; None leaves them as they are. ``cache``: of
        sentences; None makes each anew."""
        self._engines = {engine.name: engine for engine in engines}
        self._status = {name: EngineStatus(name, "loading") for name in self._engines}
        self._offers: dict[str, tuple[Voice, ...]] = {}
        self._mixed: dict[str, Voice] = {}
        self.chain = chain
        self._gains: dict[tuple[str, str], float] = {}
        self._level = level
        self._rehearsing: set[asyncio.Task[None]] = set()
        self._timer: asyncio.TimerHandle | None = None
        self.lanes = lanes
        self.rate = rate
        self.cache = cache
        self._builds: dict[str, str] = {}
        self._means = Means(self._engines, chain, lanes, rate, self._gain, self._measure, self._arm, cache, self._key)

    def budget(self, wish: Wish) -> float:
        """Seconds from a complete sentence to its first audible sample."""
        return self.chain.budget(self.offers, wish.voice) if wish.budget is None else wish.budget

    @property
    def status(self) -> tuple[EngineStatus, ...]:
        return tuple(self._status.values())

    def level(self) -> tuple[int, str]:
        """How degraded this node is, and why: as :func:`pipeline.level.level_of` has it."""
        down = {status.name: "" if status.state == "ready" else status.reason or status.state for status in self.status}
        return level_of({name: why or ("it rests" if self.chain.rests(name) else "") for name, why in down.items()})

    @property
    def offers(self) -> dict[str, tuple[Voice, ...]]:
        """Voices by engine, of the engines that are ready; with those that were mixed for somebody."""
        return self._offers

    def has_voice(self, id: str) -> bool:
        """Whether somebody here speaks with it. Some engines mix a voice when it is asked for (``af_heart:0.6+af_bella:0.4``)."""
        if id in self._mixed:
            self._mixed[id] = self._mixed.pop(id)  # the latest one, now
            return True
        if find_voice(id, (voice for voices in self.offers.values() for voice in voices)) is not None:
            return True
        for name in self._offers if id else ():
            with contextlib.suppress(EngineError):
                self._mixed[id] = replace(self._engines[name].voice(id), id=id)
                if len(self._mixed) > MOST_MIXED:
                    self._forget(self._mixed.pop(next(iter(self._mixed))))
                self._offer()
                return True
        return False

    def _offer(self) -> None:
        """A new object whenever there is another voice: as long as it is the same one, the chain remembers who can say what."""
        offers = {name: engine.voices() for name, engine in self._engines.items() if self._status[name].state == "ready"}
        for voice in self._mixed.values():
            offers[voice.engine] += (voice,)
        self._offers = offers

    def _forget(self, voice: Voice) -> None:
        """Else what strangers ask for would fill the memory."""
        self._gains.pop((voice.engine, voice.id), None)
        self.chain.forget(Candidate(voice.engine, voice))

    def languages(self) -> tuple[str, ...]:
        """Primary languages that somebody here speaks, in order of first mention."""
        return tuple(dict.fromkeys(primary(voice.language) for voices in self.offers.values() for voice in voices))

    def speaks(self, language: str) -> bool:
        return primary(language) in self.languages()

    async def load(self) -> None:
        """Load every engine and warm it up by speaking; one that cannot be had is told by its status."""
        async with asyncio.TaskGroup() as tasks:
            for engine in self._engines.values():
                tasks.create_task(self._load(engine))
            if self.cache is not None:
                tasks.create_task(self.cache.open())

    async def _load(self, engine: Engine) -> None:
        try:
            await self.lanes.run(engine.load, due=0.0, network=engine.network, allowance=LOADING)
            self._builds[engine.name] = await self.lanes.run(lambda: engine.build, due=0.0, network=engine.network)
            voices = engine.voices()
            if not voices:
                raise EngineUnavailable(f"engine {engine.name} has no voice", remedy="see `voicebooth models`")
            heard = [await self._rehearse(engine, voices[0], text, allowance=LOADING) for text in WARM_UP][1:]
        except EngineError as error:
            self._status[engine.name] = EngineStatus(engine.name, "unavailable", str(error))
            log.warning("engine %s is not available: %s", engine.name, error)
            return
        self._on_warm(engine, voices[0], heard)
        self._status[engine.name] = EngineStatus(engine.name, "ready", voices=len(voices))
        self._offer()
        self._spawn(self._practise(engine, voices[0], heard), f"practise {engine.name}")

    async def _practise(self, engine: Engine, voice: Voice, heard: Sequence[_Heard]) -> None:
        """It can speak already. A longer sentence tells how its work grows, and how loud it is."""
        try:
            self._on_warm(engine, voice, [*heard, await self._rehearse(engine, voice, LONG, allowance=LOADING)])
        except EngineError as error:
            log.warning("engine %s could not say a longer sentence: %s", engine.name, error)

    def _on_warm(self, engine: Engine, voice: Voice, heard: Sequence[_Heard]) -> None:
        firsts = [(len(one.text), one.first) for one in heard]
        self.chain.on_warm(engine.name, firsts, cost=heard[-1].cost, network=engine.network)
        self._gains[engine.name, voice.id] = self._gain_of(heard[-1].samples, voice.sample_rate)

    async def _rehearse(self, engine: Engine, voice: Voice, text: str, *, allowance: float | None = None) -> _Heard:
        """A sentence of ours, in time that nobody else needs. Raises :exc:`EngineError`."""
        pace = Pace()
        chunks = engine.synthesize(Request(text, voice.id), pace)
        steps = self.lanes.steps(chunks, pace, network=engine.network, allowance=allowance, owner=engine.name)
        inspector = Inspector(text, voice.sample_rate)
        sounds: list[Samples] = []
        first = work = 0.0
        try:
            while True:
                window = min(inspector.made / voice.sample_rate, LARGEST)  # as for a listener who has waited: what is made is in hand
                chunk = await steps.next(due=asyncio.get_running_loop().time() + PROBE, window=window)
                if chunk is None:
                    break
                work += steps.took
                sounds.append(inspector.check(chunk)[0])
                first = first or (work if inspector.is_audible else 0.0)
            inspector.finish()
        finally:
            steps.close()
        samples = np.concatenate(sounds)
        return _Heard(text, samples, first, work * voice.sample_rate / len(samples))

    async def aclose(self) -> None:
        """Ends rehearsals and lanes; waits, for a bounded time, until the last steps have ended."""
        if self._timer is not None:
            self._timer.cancel()
        for task in self._rehearsing:
            task.cancel()
        if self.cache is not None:
            await self.cache.aclose()
        self.lanes.close()
        await self.lanes.settle(SETTLE)

    async def speak(self, text: str, wish: Wish, timing: Timing) -> AsyncGenerator[Event, None]:
        """Say one normalised sentence; iterate it with :func:`contextlib.aclosing`.

        Raises :exc:`EngineUnavailable` when nobody here speaks the language, :exc:`SynthesisFailed` when all have failed.
        """
        candidates = self.chain.candidates(
            self.offers, language=wish.language, voice=wish.voice, engine=wish.engine, strategy=wish.strategy, strict=wish.is_strict
        )
        if not candidates:
            who = f"engine {wish.engine} is not loaded, or does not speak" if wish.is_strict else "no engine that is loaded speaks"
            raise EngineUnavailable(f"{who} {wish.language!r}", remedy="see `voicebooth doctor`")
        able = [candidate for candidate in candidates if not self.lanes.hangs(candidate.engine)]
        if not able:
            raise EngineUnavailable(f"engine {candidates[0].engine} hangs in too many lanes", remedy="restart the node")
        performance = Performance(self._means, able, text, wish, timing)
        async with aclosing(performance.sounds()) as events:
            async for event in events:
                yield event

    def _key(self, candidate: Candidate, text: str, wish: Wish) -> bytes | None:
        """Under what its sound is kept; None where it is not."""
        build = self._builds.get(candidate.engine)
        if build is None or not wish.use_cache or candidate.voice.is_cloned:
            return None
        engine, voice = candidate.key
        return Key(text, engine, build, voice, wish.language, wish.speed, self.rate, self._level, {}).digest()

    # How loud

    def _gain(self, candidate: Candidate) -> float | None:
        return 1.0 if self._level is None else self._gains.get(candidate.key)

    def _measure(self, candidate: Candidate, take: Take) -> None:
        if take.raw and candidate.key not in self._gains:
            self._gains[candidate.key] = self._gain_of(np.concatenate(take.raw), candidate.voice.sample_rate)

    def _gain_of(self, samples: Samples, rate: int) -> float:
        return 1.0 if self._level is None else gain_for(samples, rate, target=self._level)

    # Voices that rest

    def _arm(self) -> None:
        """One timer, for the voice that is to be tried next."""
        if self._timer is not None:
            self._timer.cancel()
        at = self.chain.next_probe()
        self._timer = None if at is None else asyncio.get_running_loop().call_at(at, self._on_timer)

    def _on_timer(self) -> None:
        if not self.lanes.has_idle() or self.lanes.spares < SPARED:
            self._timer = asyncio.get_running_loop().call_later(BUSY, self._on_timer)
            return
        for candidate in self.chain.probes(asyncio.get_running_loop().time()):
            self._spawn(self._probe(candidate), f"probe {candidate.engine}")
        self._arm()

    def _spawn(self, rehearsal: Coroutine[None, None, None], name: str) -> None:
        task = asyncio.create_task(rehearsal, name=name)
        self._rehearsing.add(task)
        task.add_done_callback(self._rehearsing.discard)

    async def _probe(self, candidate: Candidate) -> None:
        firsts: list[tuple[int, float]] = []
        cost, why = 0.0, ""
        try:
            if self.lanes.hangs(candidate.engine):
                raise EngineUnavailable("it hangs in too many lanes")
            async with asyncio.timeout(PROBE):
                for text in (SHORT, LONG):
                    heard = await self._rehearse(self._engines[candidate.engine], candidate.voice, text)
                    firsts.append((len(text), heard.first))
                    cost = heard.cost
        except EngineError as error:
            why = str(error)
        except TimeoutError:
            why = f"it said nothing within {PROBE:.0f} s"
        log.info("voice %s of %s %s", candidate.voice.id, candidate.engine, "can speak" if firsts else f"cannot speak: {why}")
        self.chain.on_probed(candidate, firsts, cost=cost, now=asyncio.get_running_loop().time())
        self._arm()
