"""Everything that makes sound, once a process: engines, the chain that chooses among them, the lanes they run on."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import defaultdict
from collections.abc import AsyncGenerator, Callable, Coroutine, Iterable, Iterator, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace
from functools import partial
from typing import Literal

import numpy as np

from engines.base import Engine, EngineError, EngineUnavailable, Pace, Request, Samples, Voice
from pipeline.cache import Cache, Key
from pipeline.chain import TIERS, Candidate, Chain, find_voice, primary
from pipeline.inspector import Inspector
from pipeline.journey import Leg
from pipeline.lanes import PATIENCE, Lanes, NoLane, StepGivenUp
from pipeline.level import level_of
from pipeline.loudness import TARGET, Loudness
from pipeline.performance import Event, Means, Performance
from pipeline.script import Wish
from pipeline.take import Take
from pipeline.timing import Timing

log = logging.getLogger(__name__)

LOADING = 120.0  # seconds that a load or the first step may take before it counts as hung: a large model from a slow disk
ALLOWANCE = LOADING / PATIENCE  # as lanes take it
SHORT = "One, two, three."  # a sentence short enough to be no delay and long enough for every window size
LONG = "The interpreters have taken their seats, and the first speaker of the morning may begin."  # how the front grows
WARM_UP = (SHORT, SHORT)  # the first sentence of an engine pays for what is made once; the one after it is measured
SETTLE = 2.0  # seconds that steps get at the end: much more than one takes, and nobody waits for one that hangs
CALM = 0.3  # of the lanes' time: below it a sentence of ours keeps nobody waiting, and tells what there is time for
BUSY = 0.25  # seconds after which a probe that found no idle lane looks again
SPARED = 2  # spare lanes that no probe may take: an engine that hangs in all the others is known well enough
LARGEST = 0.5  # seconds of sound in one step: what sentences that share the lanes come to; larger ones would take memory before any room
PROBE = 10.0  # seconds in which a voice that rests must have said a sentence of ours
RETRY, LONGEST_RETRY = 5.0, 300.0  # seconds until an engine that could not be loaded is tried again: twice as long each time, up to that
UNLOADING = 30.0  # seconds in which those who speak with an engine may finish their sentences before it is unloaded
LOOK = 0.05  # seconds between two looks whether they have
MOST_MEANT = 500  # wishes whose meaning is remembered: ids times languages that one node is asked for
MOST_MIXED = 64  # voices that were asked for by name and are no engine's own, the latest ones: a name may be a stranger's


Meaning = Callable[[str, Iterable[Voice], str], tuple[str, str] | None]
"""What an id means that is no voice's, for a text in that language: the id of one of these voices and a tier, each may be empty; None
when it means nothing."""


@dataclass(frozen=True, slots=True)
class EngineStatus:
    name: str
    state: Literal["loading", "ready", "unavailable", "unloaded"]
    reason: str = ""
    voices: int = 0
    build: str = ""
    """As the engine says it, of one that is ready."""
    network: bool = False
    """Whether its sound comes over a network."""


@dataclass(frozen=True, slots=True)
class _Heard:
    """What a rehearsal gave."""

    text: str
    samples: Samples
    first: float
    """Seconds of work until the first audible sample."""
    cost: float
    """Seconds of work for each second of speech."""


def pauses() -> Iterator[float]:
    """Seconds before each further attempt to load an engine, for ever."""
    pause = RETRY
    while True:
        yield pause
        pause = min(2 * pause, LONGEST_RETRY)


class Studio:
    """Loads engines and turns text into sound with whichever can.

    1. A sentence is said completely, by one engine or by several that go on at the word where another one failed.
    2. No engine is left running: when a sentence is abandoned, its generator is closed between two steps.
    3. Engines come and go while others speak. One that could not be loaded is tried again by itself, ever more rarely.
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
        meaning: Meaning = lambda id, voices, language: None,
    ) -> None:
        """``rate``: hertz of every track. ``level``: dBFS to which every voice is brought; None leaves them as they are. ``cache``: of
        sentences; None makes each anew. ``meaning``: of ids under which voices may be asked for besides their own.
        """
        self._engines = {engine.name: engine for engine in engines}
        self._status = {name: EngineStatus(name, "loading") for name in self._engines}
        self._offers: dict[str, tuple[Voice, ...]] = {}
        self._spoken: dict[str, tuple[Voice, ...]] = {}  # the same, and those that were lent for somebody's own texts
        self._mixed: dict[str, Voice] = {}
        self._meaning = meaning
        self._meant: dict[tuple[str, str, str], tuple[str, str] | None] = {}
        self.chain = chain
        self._loudness: dict[tuple[str, str], Loudness] = {}
        self._level = level
        self._rehearsing: set[asyncio.Task[None]] = set()
        self._retrying: dict[str, asyncio.Task[None]] = {}
        self._changing: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)  # by engine: one load or unload at a time
        self._timer: asyncio.TimerHandle | None = None
        self.lanes = lanes
        self.rate = rate
        self.cache = cache
        self._builds: dict[str, str] = {}
        self._ready: dict[str, tuple[str, int]] = {}  # build and voices, as they were loaded
        self._means = Means(self._engines, chain, lanes, rate, self._gain, self._unsettled, self._measure, self._arm, cache, self._key)

    def budget(self, wish: Wish) -> float:
        """Seconds from a complete sentence to its first audible sample."""
        if wish.budget is not None:
            return wish.budget
        voice, tier = self._mean(wish)
        return TIERS[tier] if tier else self.chain.budget(self._spoken, voice)

    @property
    def status(self) -> tuple[EngineStatus, ...]:
        return tuple(self._status.values())

    def level(self) -> tuple[int, str]:
        """How degraded this node is, and why: as :func:`pipeline.level.level_of` has it."""
        down = {status.name: "" if status.state == "ready" else status.reason or status.state for status in self.status}
        return level_of({name: why or ("it rests" if self.chain.rests(name) else "") for name, why in down.items()})

    @property
    def offers(self) -> dict[str, tuple[Voice, ...]]:
        """Voices by engine, of the engines that are ready; with those that were mixed for somebody, and without those that were cloned:
        who has lent a voice does not offer it to others."""
        return self._offers

    @property
    def builds(self) -> tuple[tuple[str, str, int], ...]:
        """Of the engines that are ready: name, build, and a number for their own voices. Another one whenever the same text may sound
        different; a number means nothing beyond this process."""
        return tuple((name, *self._ready[name]) for name in self._offers)

    def preferred(self, wish: Wish) -> str:
        """The engine that is to say it as long as none rests and all are in time; empty where nobody speaks the language, or where
        whoever is heard first is to."""
        if (wish.strategy or self.chain.settings.strategy) == "speed_first":
            return ""
        found = self._candidates(wish, with_resting=True)
        return found[0].engine if found else ""

    @property
    def cloning(self) -> tuple[str, ...]:
        """Engines that are ready and take voices from recordings, in order of preference."""
        return tuple(name for name in self._offers if self._engines[name].can_clone)

    async def clone(self, engine: str, recording: bytes, language: str) -> Voice:
        """The voice in a recording, which speaks under its id from now on and is offered to nobody. The id comes from the content: the same
        recording has the same one.

        Raises :exc:`engines.base.BadReference`, and other :exc:`EngineError`.
        """
        mine = self._engine(engine)
        take = partial(mine.clone, recording, language=language)
        due = asyncio.get_running_loop().time()
        voice = await self.lanes.run(take, due=due, network=mine.network, loads=True, allowance=ALLOWANCE, owner=engine)
        self._mix(voice.id, replace(voice, is_cloned=True))
        return voice

    def has_voice(self, id: str) -> bool:
        """Whether it may be asked for: it is somebody's own, or means a kind of voice, whose nearest one speaks then.

        Some engines mix a voice when it is asked for (``af_heart:0.6+af_bella:0.4``).
        """
        if id in self._mixed and self._mixed[id].engine in self._offers:
            self._mixed[id] = self._mixed.pop(id)  # the latest one, now
            return True
        if find_voice(id, (voice for voices in self._spoken.values() for voice in voices)) is not None:
            return True
        for name in self._offers if id else ():
            with contextlib.suppress(EngineError):
                self._mix(id, replace(self._engines[name].voice(id), id=id))
                return True
        return bool(id) and self._meaning(id, (), "") is not None

    def _mix(self, id: str, voice: Voice) -> None:
        known = self._mixed.pop(id, None)
        self._mixed[id] = voice
        if known == voice:
            return
        if len(self._mixed) > MOST_MIXED:
            self._forget(self._mixed.pop(next(iter(self._mixed))))
        self._offer()

    def _mean(self, wish: Wish) -> tuple[str, str]:
        """Id of the voice that is meant, and the tier that was asked for; each may be empty."""
        asked = wish.voice, wish.language, wish.engine
        if asked not in self._meant:
            self.has_voice(wish.voice)  # one that was mixed for it may have made room for others since
            if len(self._meant) >= MOST_MEANT:
                self._meant.clear()
            offered = [voice for voices in self._spoken.values() for voice in voices]
            is_own = not wish.voice or find_voice(wish.voice, offered) is not None
            mine = [voice for voice in offered if voice.engine == wish.engine]
            found = None if is_own else self._meaning(wish.voice, mine or offered, wish.language)
            self._meant[asked] = found
        return self._meant[asked] or (wish.voice, "")

    def _offer(self) -> None:
        """A new object whenever there is another voice: as long as it is the same one, the chain remembers who can say what."""
        offers = {name: engine.voices() for name, engine in self._engines.items() if self._status[name].state == "ready"}
        for voice in self._mixed.values():
            if voice.engine in offers:
                offers[voice.engine] += (voice,)
        self._spoken = offers
        self._offers = {name: tuple(voice for voice in voices if not voice.is_cloned) for name, voices in offers.items()}
        self._meant.clear()

    def _forget(self, voice: Voice) -> None:
        """Else what strangers ask for would fill the memory."""
        self._loudness.pop((voice.engine, voice.id), None)
        self.chain.forget(Candidate(voice.engine, voice))

    def languages(self) -> tuple[str, ...]:
        """Primary languages that somebody here speaks, in order of first mention."""
        return tuple(dict.fromkeys(primary(voice.language) for voices in self.offers.values() for voice in voices))

    def speaks(self, language: str) -> bool:
        return primary(language) in self.languages()

    async def load(self) -> None:
        """Load every engine and warm it up by speaking; one that cannot be had is told by its status, and tried again later."""
        async with asyncio.TaskGroup() as tasks:
            for engine in self._engines.values():
                tasks.create_task(self._load_at_start(engine))
            if self.cache is not None:
                tasks.create_task(self.cache.open())

    async def load_engine(self, name: str) -> None:
        """Make it ready while others speak; returns at once when it is.

        Raises :exc:`EngineError`, and then it is tried again later.
        """
        engine = self._engine(name)
        async with self._changing[name]:
            if self._status[name].state == "ready":
                return
            self._end_retry(name)
            self._status[name] = EngineStatus(name, "loading")
            error = await self._load(engine)
        if error is not None:
            self._try_again(engine, error)
            raise error

    async def unload_engine(self, name: str) -> None:
        """Give its memory back while others speak; who speaks with it finishes the sentence, the next one goes to somebody else.

        Raises :exc:`EngineError` when somebody has not finished in time: then it stays.
        """
        engine = self._engine(name)
        async with self._changing[name]:
            self._end_retry(name)
            before = self._status[name]
            self._status[name] = EngineStatus(name, "unloaded")
            self._offer()
            self.lanes.shut(name)
            after = before
            try:
                async with asyncio.timeout(UNLOADING):
                    while self.lanes.holds(name):  # noqa: ASYNC110 - rare, and a look costs nothing
                        await asyncio.sleep(LOOK)
                await self.lanes.run(engine.unload, due=0.0, network=engine.network, loads=True, allowance=ALLOWANCE, owner=name)
                after = EngineStatus(name, "unloaded")
            except TimeoutError:
                raise EngineUnavailable(f"engine {name} still speaks after {UNLOADING:.0f} s", remedy="unload it later") from None
            except EngineError as error:
                after = EngineStatus(name, "unavailable", str(error))
                raise
            finally:
                self.lanes.reopen(name)
                self._status[name] = after
                self._offer()
            self._mixed = {id: voice for id, voice in self._mixed.items() if voice.engine != name}
            self.chain.forget_engine(name)

    def _engine(self, name: str) -> Engine:
        if name not in self._engines:
            raise EngineUnavailable(f"there is no engine {name!r} here", remedy=f"engines: {', '.join(self._engines)}")
        return self._engines[name]

    async def _load_at_start(self, engine: Engine) -> None:
        async with self._changing[engine.name]:
            error = await self._load(engine)
        if error is not None:
            log.warning("engine %s is not available: %s", engine.name, error)
            self._try_again(engine, error)

    def _try_again(self, engine: Engine, error: EngineError) -> None:
        if isinstance(error, StepGivenUp | NoLane):
            return  # its load hangs: another one would hang, too
        self._retrying[engine.name] = asyncio.create_task(self._retry(engine), name=f"load {engine.name} again")

    def _end_retry(self, name: str) -> None:
        task = self._retrying.pop(name, None)
        if task is not None:
            task.cancel()

    async def _retry(self, engine: Engine) -> None:
        for pause in pauses():
            await asyncio.sleep(pause)
            async with self._changing[engine.name]:
                before = self._status[engine.name]
                error = await self._load(engine, is_again=True)
            if error is None:
                log.info("engine %s is available now", engine.name)
                return
            if str(error) != before.reason:
                log.warning("engine %s is still not available: %s", engine.name, error)
            if isinstance(error, StepGivenUp | NoLane):
                return

    async def _load(self, engine: Engine, *, is_again: bool = False) -> EngineError | None:
        """What kept it from being ready. ``is_again``: no library is loaded in vain where it is known what is missing."""
        try:
            run = partial(self.lanes.run, due=0.0, network=engine.network, owner=engine.name)
            if is_again and await run(lambda: bool(engine.missing()), loads=True):
                return EngineUnavailable(self._status[engine.name].reason)
            await run(engine.load, loads=True, allowance=ALLOWANCE)
            self._builds[engine.name] = await run(lambda: engine.build)
            voices = engine.voices()
            if not voices:
                raise EngineUnavailable(f"engine {engine.name} has no voice", remedy="see `voicebooth models`")
            heard = [await self._rehearse(engine, voices[0], text, allowance=ALLOWANCE) for text in WARM_UP][1:]
        except EngineError as error:
            self._status[engine.name] = EngineStatus(engine.name, "unavailable", str(error))
            return error
        self.chain.forget_engine(engine.name)
        self._loudness = {key: known for key, known in self._loudness.items() if key[0] != engine.name}
        self._ready[engine.name] = self._builds[engine.name], hash(repr(voices))
        self._on_warm(engine, voices[0], heard)
        self._status[engine.name] = EngineStatus(engine.name, "ready", "", len(voices), self._builds[engine.name], engine.network)
        self._offer()
        self._spawn(self._practise(engine, voices[0], heard), f"practise {engine.name}")
        return None

    async def _practise(self, engine: Engine, voice: Voice, heard: Sequence[_Heard]) -> None:
        """It can speak already. A longer sentence tells how its work grows, and how loud it is."""
        try:
            self._on_warm(engine, voice, [*heard, await self._rehearse(engine, voice, LONG, allowance=ALLOWANCE)])
        except EngineError as error:
            log.warning("engine %s could not say a longer sentence: %s", engine.name, error)

    def _on_warm(self, engine: Engine, voice: Voice, heard: Sequence[_Heard]) -> None:
        firsts = [(len(one.text), one.first) for one in heard]
        self.chain.on_warm(engine.name, firsts, cost=heard[-1].cost, network=engine.network, cores=engine.cores)
        self._hear(Candidate(engine.name, voice), heard[-1].samples)

    async def _rehearse(
        self, engine: Engine, voice: Voice, text: str, *, allowance: float | None = None, begins_only: bool = False
    ) -> _Heard:
        """A sentence of ours, in time that nobody else needs; ``begins_only``: up to its first sound. Raises :exc:`EngineError`."""
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
                    inspector.finish()
                    break
                work += steps.took
                sounds.append(inspector.check(chunk)[0])
                first = first or (work if inspector.is_audible else 0.0)
                if first and begins_only:
                    break
        finally:
            steps.close()
        samples = np.concatenate(sounds)
        return _Heard(text, samples, first, work * voice.sample_rate / len(samples))

    async def aclose(self) -> None:
        """Ends rehearsals and lanes; waits, for a bounded time, until the last steps have ended."""
        if self._timer is not None:
            self._timer.cancel()
        for task in (*self._rehearsing, *self._retrying.values()):
            task.cancel()
        if self.cache is not None:
            await self.cache.aclose()
        self.lanes.close()
        await self.lanes.settle(SETTLE)

    async def speak(self, text: str, wish: Wish, timing: Timing, legs: list[Leg] | None = None) -> AsyncGenerator[Event, None]:
        """Say one normalised sentence; iterate it with :func:`contextlib.aclosing`. ``legs``: as :class:`Performance` has them.

        Raises :exc:`EngineUnavailable` when nobody here speaks the language, :exc:`SynthesisFailed` when all have failed.
        """
        candidates = self._candidates(wish)
        if not candidates:
            who = f"engine {wish.engine} is not loaded, or does not speak" if wish.is_strict else "no engine that is loaded speaks"
            raise EngineUnavailable(f"{who} {wish.language!r}", remedy="see `voicebooth doctor`")
        able = [candidate for candidate in candidates if not self.lanes.hangs(candidate.engine)]
        if not able:
            raise EngineUnavailable(f"engine {candidates[0].engine} hangs in too many lanes", remedy="restart the node")
        performance = Performance(self._means, able, text, wish, timing, legs)
        async with aclosing(performance.sounds()) as events:
            async for event in events:
                yield event

    def _candidates(self, wish: Wish, *, with_resting: bool = False) -> list[Candidate]:
        voice, _ = self._mean(wish)
        return self.chain.candidates(
            self._spoken,
            language=wish.language,
            voice=voice,
            engine=wish.engine,
            strategy=wish.strategy,
            strict=wish.is_strict,
            with_resting=with_resting,
        )

    def _key(self, candidate: Candidate, text: str, wish: Wish) -> bytes | None:
        """Under what its sound is kept; None where it is not."""
        build = self._builds.get(candidate.engine)
        if build is None or not wish.use_cache or candidate.voice.is_cloned:
            return None
        engine, voice = candidate.key
        return Key(text, engine, build, voice, wish.language, wish.speed, self.rate, self._level, {}).digest()

    # How loud

    def _gain(self, candidate: Candidate) -> float:
        """Of a voice that nobody has heard yet, that of the engine's first one: engines differ by more than their voices do."""
        known = self._loudness.get(candidate.key)
        if known is not None and known.gain is not None:
            return known.gain
        others = (other.gain for (engine, _), other in self._loudness.items() if engine == candidate.engine)
        return next((gain for gain in others if gain is not None), 1.0)

    def _unsettled(self, candidate: Candidate) -> Loudness | None:
        """What is known of a voice of which more has to be heard; None of others, and where voices are left as they are."""
        if self._level is None:
            return None
        known = self._loudness.get(candidate.key) or Loudness(candidate.voice.sample_rate, target=self._level)
        return None if known.is_settled else known

    def _measure(self, candidate: Candidate, take: Take) -> None:
        self._hear(candidate, *take.raw or ())

    def _hear(self, candidate: Candidate, *sounds: Samples) -> None:
        """That voice has said this well, once more or for the first time."""
        known = self._unsettled(candidate)
        if known is None:
            return
        for samples in sounds:
            known.learn(samples)
        self._loudness[candidate.key] = known

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
        for candidate in self.chain.probes(asyncio.get_running_loop().time(), is_calm=self.lanes.load() <= CALM):
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
            begins_only = self.chain.is_only_late(candidate)
            async with asyncio.timeout(PROBE):
                for text in (SHORT, LONG):
                    heard = await self._rehearse(self._engines[candidate.engine], candidate.voice, text, begins_only=begins_only)
                    firsts.append((len(text), heard.first))
                    cost = heard.cost
                    self._hear(candidate, heard.samples)
        except EngineError as error:
            why = str(error)
        except TimeoutError:
            why = f"it said nothing within {PROBE:.0f} s"
        log.info("voice %s of %s %s", candidate.voice.id, candidate.engine, "can speak" if firsts else f"cannot speak: {why}")
        self.chain.on_probed(candidate, firsts, cost=cost, now=asyncio.get_running_loop().time())
        self._arm()
