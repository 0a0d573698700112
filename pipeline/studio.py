"""Everything that makes sound, once a process: engines, the chain that chooses among them, the lanes they run on."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import deque
from collections.abc import AsyncGenerator, Iterable, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Literal, Protocol

from engines.base import NO_SAMPLES, Engine, EngineError, EngineUnavailable, Pace, Request, Samples, SynthesisFailed, Voice
from pipeline.chain import Candidate, Chain, primary
from pipeline.framer import Framer
from pipeline.lanes import Lanes
from pipeline.script import Wish
from pipeline.segmenter import first_clause

log = logging.getLogger(__name__)

LOADING = 120.0  # seconds that a load may take before it counts as hung: a large model from a slow disk
WARM_UP = "One, two, three."  # a sentence short enough to be no delay and long enough for every window size
MOST_MIXED = 64  # voices that were asked for by name and are no engine's own, the latest ones: a name may be a stranger's
COMFORT = 100  # characters: a longer sentence is cut at its first clause when nothing is in hand, as fronts need all of their text


class Timing(Protocol):
    """What the speaker of a sentence knows of its listener."""

    def due(self) -> float:
        """When the next sound is needed: seconds of the loop's clock."""

    def in_hand(self) -> float:
        """Seconds of sound that the listener has not heard yet."""

    def window(self) -> float:
        """Seconds of sound that the next step may make; 0 when the listener waits."""

    def pause(self) -> float:
        """Seconds of silence that belong after this sentence."""

    async def room(self) -> None:
        """Returns when more sound may be made: look-ahead is bounded."""


@dataclass(frozen=True, slots=True)
class Chosen:
    """This voice speaks from here on."""

    engine: str
    voice: Voice
    why: str = ""
    """What kept the one before it from going on; empty for the first choice."""


@dataclass(frozen=True, slots=True)
class Word:
    offset: int
    """Samples into the piece of sound that it comes with."""
    start: int
    """Its characters, in the text that was asked for."""
    end: int


@dataclass(frozen=True, slots=True)
class Sounded:
    """The next piece of sound, at the track's rate."""

    samples: Samples
    words: tuple[Word, ...] = ()
    audible: int | None = None
    """Offset of the first audible sample, in the one piece that holds it."""


@dataclass(frozen=True, slots=True)
class CutBack:
    """The sound of this sentence is to end after so many samples: the engine died inside the word that follows."""

    keep: int


@dataclass(frozen=True, slots=True)
class Ended:
    """The sentence has been made."""

    trailing: float
    """Seconds of silence at its end."""


@dataclass(frozen=True, slots=True)
class EngineStatus:
    name: str
    state: Literal["loading", "ready", "unavailable"]
    reason: str = ""
    voices: int = 0


class _Progress:
    """How far one sentence has come, over all engines that speak parts of it."""

    def __init__(self) -> None:
        self.rest = 0  # the first character that is still to be said
        self.written = 0
        self._words: list[tuple[int, int]] = []  # position of a word in samples, its first character

    def on_sounded(self, sounded: Sounded) -> None:
        self._words += [(self.written + word.offset, word.start) for word in sounded.words]
        self.written += len(sounded.samples)

    def cut_back(self) -> CutBack | None:
        """To the beginning of the word that was being made; None when nothing has sounded."""
        if not self.written:
            return None
        begun = [word for word in self._words if word[0] < self.written]
        if begun:
            self.written, self.rest = begun[-1]
            self._words = begun[:-1]
        else:
            self.written = 0
        return CutBack(self.written)


class Studio:
    """Loads engines and turns text into sound with whichever can.

    1. A sentence is said completely by the first candidate, or the next one goes on at the word where it failed.
    2. No engine is left running: when a sentence is abandoned, its generator is closed between two steps.
    """

    def __init__(self, engines: Iterable[Engine], chain: Chain, lanes: Lanes, *, rate: int = 24_000) -> None:
        """``rate``: hertz of every track."""
        self._engines = {engine.name: engine for engine in engines}
        self._status = {name: EngineStatus(name, "loading") for name in self._engines}
        self._mixed: dict[str, Voice] = {}
        self._chain = chain
        self.lanes = lanes
        self.rate = rate

    @property
    def budget(self) -> float:
        """Seconds from a complete sentence to its first audible sample, where the text does not say otherwise."""
        return self._chain.settings.budget

    @property
    def status(self) -> tuple[EngineStatus, ...]:
        return tuple(self._status.values())

    @property
    def offers(self) -> dict[str, tuple[Voice, ...]]:
        """Voices by engine, of the engines that are ready; with those that were mixed for somebody."""
        ready = {name: engine.voices() for name, engine in self._engines.items() if self._status[name].state == "ready"}
        for voice in self._mixed.values():
            if voice.engine in ready:
                ready[voice.engine] += (voice,)
        return ready

    def has_voice(self, id: str) -> bool:
        """Whether somebody here speaks with it. Some engines mix a voice when it is asked for (``af_heart:0.6+af_bella:0.4``)."""
        if any(voice.id == id for voices in self.offers.values() for voice in voices):
            return True
        for name, engine in self._engines.items():
            with contextlib.suppress(EngineError):
                if self._status[name].state == "ready":
                    self._mixed[id] = engine.voice(id)
                    if len(self._mixed) > MOST_MIXED:
                        del self._mixed[next(iter(self._mixed))]
                    return True
        return False

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

    async def _load(self, engine: Engine) -> None:
        try:
            await self.lanes.run(engine.load, due=0.0, allowance=LOADING)
            voices = engine.voices()
            await self.lanes.run(lambda: _warm_up(engine, voices), due=0.0, allowance=LOADING)
            self._status[engine.name] = EngineStatus(engine.name, "ready", voices=len(voices))
        except EngineError as error:
            self._status[engine.name] = EngineStatus(engine.name, "unavailable", str(error))
            log.warning("engine %s is not available: %s", engine.name, error)

    async def speak(self, text: str, wish: Wish, timing: Timing) -> AsyncGenerator[Chosen | Sounded | CutBack | Ended, None]:
        """Say one normalised sentence; iterate it with :func:`contextlib.aclosing`.

        Raises :exc:`EngineUnavailable` when nobody here speaks the language, :exc:`SynthesisFailed` when all have failed.
        """
        candidates = self._chain.candidates(
            self.offers,
            language=wish.language,
            voice=wish.voice,
            engine=wish.engine,
            strategy=wish.strategy,
            now=asyncio.get_running_loop().time(),
        )
        if not candidates:
            raise EngineUnavailable(f"no engine that is loaded speaks {wish.language!r}", remedy="see `voicebooth doctor`")
        progress, why = _Progress(), ""
        for candidate in candidates:
            yield Chosen(candidate.engine, candidate.voice, why)
            try:
                async with aclosing(self._say(candidate, text, wish, progress, timing)) as sounds:
                    async for sound in sounds:
                        yield sound
            except EngineError as error:
                why = str(error)
                log.warning("engine %s failed after %d samples: %s", candidate.engine, progress.written, why)
                self._chain.on_failed(candidate.engine, now=asyncio.get_running_loop().time())
                if (cut := progress.cut_back()) is not None:
                    yield cut
            else:
                self._chain.on_spoken(candidate.engine)
                return
        raise SynthesisFailed(f"every engine failed, the last one with: {why}")

    async def _say(
        self, candidate: Candidate, text: str, wish: Wish, progress: _Progress, timing: Timing
    ) -> AsyncGenerator[Sounded | Ended, None]:
        """What is left of the text, by one engine. Raises :exc:`EngineError`."""
        engine, voice = self._engines[candidate.engine], candidate.voice
        framer = Framer(voice.sample_rate, self.rate, pause=timing.pause())
        request = Request("", voice.id, wish.language, wish.speed)
        made, said = 0, 0  # samples at the engine's rate; samples written by this engine, at the track's
        waiting: deque[tuple[int, int, int]] = deque()  # marks whose sound has not gone out: engine sample, start, end
        for start, part in _parts(text, progress.rest, wish.language, in_hand=timing.in_hand() > 0):
            pace = Pace()
            steps = self.lanes.steps(engine.synthesize(replace(request, text=part), pace), pace, network=engine.network)
            begun = made
            try:
                while (chunk := await steps.next(due=timing.due(), window=timing.window())) is not None:
                    waiting.extend((begun + mark.sample, start + mark.start, start + mark.end) for mark in chunk.marks)
                    made += len(chunk.samples)
                    framed = framer.feed(chunk.samples)
                    if len(framed.samples):
                        sounded = Sounded(framed.samples, _due_words(waiting, framer, said, len(framed.samples)), framed.audible)
                        said += len(framed.samples)
                        progress.on_sounded(sounded)
                        yield sounded
                        await timing.room()
            finally:
                steps.close()
        rest = framer.feed(NO_SAMPLES, last=True)
        if not framer.is_audible:
            raise SynthesisFailed(f"{candidate.engine} gave only silence for {len(text)} characters")
        yield Sounded(rest.samples, _due_words(waiting, framer, said, None), rest.audible)
        yield Ended(framer.trailing)


def _warm_up(engine: Engine, voices: Sequence[Voice]) -> None:
    if not voices:
        raise EngineUnavailable(f"engine {engine.name} has no voice", remedy="see `voicebooth models`")
    for _ in engine.synthesize(Request(WARM_UP, voices[0].id), Pace()):
        pass


def _parts(text: str, rest: int, language: str, *, in_hand: bool) -> list[tuple[int, str]]:
    """What is left to say, and where it begins; in two when the listener waits and a clause can go first."""
    cut = 0 if in_hand or len(text) - rest <= COMFORT else first_clause(text[rest:], COMFORT, language)
    bounds = [rest, rest + cut, len(text)] if cut else [rest, len(text)]
    return [(start, text[start:end]) for start, end in pairwise(bounds)]


def _due_words(waiting: deque[tuple[int, int, int]], framer: Framer, said: int, count: int | None) -> tuple[Word, ...]:
    """The words that begin in the ``count`` samples after ``said``; all that are left when there is no more sound."""
    words = []
    while waiting and (count is None or framer.position(waiting[0][0]) < said + count):
        sample, start, end = waiting.popleft()
        words.append(Word(max(0, framer.position(sample) - said), start, end))
    return tuple(words)
