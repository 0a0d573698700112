"""One sentence's making: takes by one engine or several, watched by the clock, until all of it has been said once."""

from __future__ import annotations

import asyncio
import functools
import logging
from collections.abc import AsyncGenerator, Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import aclosing, contextmanager
from dataclasses import dataclass, replace

from engines.base import Engine, EngineError, SynthesisFailed, Voice
from pipeline.cache import Cache, Part
from pipeline.chain import Ask, Candidate, Chain
from pipeline.flight import Flight
from pipeline.forecast import CROWDED, SLACK, Foreseen
from pipeline.journey import How, Leg
from pipeline.lanes import Lanes
from pipeline.loudness import Loudness, is_near
from pipeline.pace import reached, word_start
from pipeline.recording import Recording
from pipeline.script import Wish
from pipeline.take import Order, Sounded, Take, first_length
from pipeline.timing import Timing, Together

log = logging.getLogger(__name__)

RECHOOSE = 0.020  # seconds between two looks at a sentence that waits for a lane: the frame of a track, which nobody hears
LEAST_WAIT = 0.005  # seconds between two looks at an engine that is late while its listener's sound stands still
HOPELESS = 10.0  # times the patience with an engine: so late, it is given up however much sound is in hand
RACE = 2.0  # times the patience with an engine while a hedge runs beside it: whoever is heard first wins
WORD_OVER = 0.120  # seconds of silence after which a word has ended: no stop inside a word is as long


@dataclass(frozen=True, slots=True)
class Chosen:
    """This voice speaks from here on."""

    engine: str
    voice: Voice
    old: str = ""
    """The engine that was heard on this track before, when that was another voice and nobody asked for this one."""
    why: str = ""
    """What kept the one before it from going on; empty when there was none."""
    is_cached: bool = False
    """It has said this before, and that is what will be heard."""
    age: float = 0.0
    """Seconds since then."""


@dataclass(frozen=True, slots=True)
class CutBack:
    """The last so many samples of this sentence are taken back: what they say will be said by another voice."""

    count: int


@dataclass(frozen=True, slots=True)
class Ended:
    """The sentence has been made."""

    trailing: float
    """Seconds of silence at its end."""
    work: float = 0.0
    """Seconds that whoever has ended it worked on it."""


Event = Chosen | Sounded | CutBack | Ended


class Overdue(EngineError):
    """Its next sound should have come by now."""


@dataclass(frozen=True, slots=True)
class Means:
    """What there is to make sound with."""

    engines: Mapping[str, Engine]
    chain: Chain
    lanes: Lanes
    rate: int
    """Hertz of every track."""
    gain: Callable[[Candidate], float]
    """Factor that makes a voice as loud as the others, as far as is known."""
    loudness: Callable[[Candidate], Loudness | None]
    """What is known of a voice that has not been heard for long enough; None of all others."""
    on_measured: Callable[[Candidate, Take], None]
    """Such a voice has spoken."""
    on_probe: Callable[[], None]
    """A voice may want to be tried with a sentence of ours."""
    cache: Cache | None = None
    key: Callable[[Candidate, str, Wish], bytes | None] = lambda candidate, text, wish: None
    """Under what that voice's sound of a text is kept; None where it is not."""


class Progress:
    """How far one sentence has come, over all the takes that speak parts of it. Pure."""

    def __init__(self, text: str, rate: int) -> None:
        self._text = text
        self._rate = rate
        self.rest = 0
        """The first character that is still to be said."""
        self.written = 0
        self._words: list[tuple[int, int, int]] = []  # position of a word in samples, its characters

    @property
    def is_over(self) -> bool:
        return not any(map(str.isalnum, self._text[self.rest :]))

    def on_sounded(self, sounded: Sounded) -> None:
        self._words += [(self.written + word.offset, word.start, word.end) for word in sounded.words]
        self.written += len(sounded.samples)

    def cut_back(self, take: Take) -> CutBack | None:
        """To the last word boundary in what has been made; None when this take has made nothing."""
        if not take.said:
            return None
        written = self.written
        base = written - take.said
        end = self.written - round(take.trailing * self._rate)
        begun = [word for word in self._words if base <= word[0] < end]
        following = next((word[:2] for word in self._words if word[0] >= end), None)
        if following is None and (ahead := take.next_word()) is not None:
            following = base + ahead[0], ahead[1]
        if not begun:
            self._guess(take, end)
        elif following is not None and following[0] <= self.written:
            self.written, self.rest = max(end, min(following[0], self.written)), following[1]
        elif following is None and take.trailing >= WORD_OVER:
            self.rest = begun[-1][2]
        else:
            self.written, self.rest, _ = begun[-1]
        self._words = [word for word in self._words if word[0] < self.written]
        return CutBack(written - self.written)

    def _guess(self, take: Take, end: int) -> None:
        """Of an engine without marks only its pace is known. Goes on at the word that ought to be next, and cuts nothing."""
        said = (end - self.written + take.said) / self._rate * take.order.speed
        index = reached(self._text, take.order.rest, said)
        self.rest = max(take.order.rest, word_start(self._text, index))


class Performance:
    """Makes one sentence sound.

    1. It is said completely and once, or :exc:`SynthesisFailed` tells that nobody could.
    2. No take is left open, whoever wins and however it ends.
    """

    def __init__(
        self, means: Means, candidates: Sequence[Candidate], text: str, wish: Wish, timing: Timing, legs: list[Leg] | None = None
    ) -> None:
        """``candidates``: at least one, the preferred one first. ``legs``: who had a part in it is noted there, when that part is over."""
        self._means = means
        self._chain = means.chain
        self._candidates = candidates
        self._text = text
        self._wish = wish
        self._own = timing
        self._timing: Timing = timing if means.cache is None or not wish.use_cache else Together(timing)
        self._loop = asyncio.get_running_loop()
        self._progress = Progress(text, means.rate)
        self._takes: list[Take] = []  # the one that shall speak, and a hedge
        self._foreseen: dict[Take, Foreseen] = {}  # of those whose listener waits
        self._tried: set[str] = set()
        self._late: list[Candidate] = []  # that were overdue: the last hope when all others have failed
        self._flights: dict[Take, tuple[Part, Flight]] = {}  # those that others may follow
        self._announced: Take | None = None
        self._legs: list[Leg] = [] if legs is None else legs
        self._why = ""
        self._is_over = False

    async def sounds(self) -> AsyncGenerator[Event, None]:
        """Iterate it with :func:`contextlib.aclosing`. Raises :exc:`SynthesisFailed`."""
        self._chain.hedges.on_sentence()
        try:
            while not self._is_over:
                if not self._takes:
                    made = await self._made(self._left())
                    candidate = self._choose(self._left(), made)
                    if candidate.engine in made:
                        with self._leg(candidate, made[candidate.engine]):
                            async with aclosing(self._repeat(candidate, made[candidate.engine])) as events:
                                async for event in events:
                                    yield event
                        continue
                    self._open(candidate)
                for event in [*await self._watch(), *self._look()]:
                    yield event
                    if isinstance(event, Sounded) and not self._is_over:
                        await self._timing.room()
        finally:
            for take in self._takes:
                self._close(take)

    # Choosing

    def _left(self) -> list[Candidate]:
        """Who has not been tried."""
        busy = {take.candidate.engine for take in self._takes}
        return [one for one in self._candidates if one.engine not in self._tried and one.engine not in busy]

    def _choose(self, left: Sequence[Candidate], made: Mapping[str, Recording | Flight] | None = None) -> Candidate:
        if not left:
            left, self._late = self._late[:1], []  # whoever was merely late may take its time now: nobody else is there
            self._candidates = left
            self._tried = set()
        if not left:
            raise SynthesisFailed(f"every engine failed, the last one with: {self._why}")
        there = frozenset(engine for engine, what in (made or {}).items() if isinstance(what, Recording) or what.has_sound)
        return self._chain.choose(left, self._ask(left, there), self._timing.track, now=self._loop.time())

    def _ask(self, candidates: Iterable[Candidate], made: frozenset[str] = frozenset()) -> Ask:
        wish, due, rest = self._wish, self._timing.due(), self._progress.rest
        left = len(self._text) - rest
        waits, firsts = {}, {}
        for candidate in candidates:
            engine = self._means.engines[candidate.engine]
            waits[engine.name] = self._means.lanes.wait(due, network=engine.network)
            is_long = self._is_long(candidate, left)
            firsts[engine.name] = first_length(self._text, rest, engine.comfort, wish.language) if is_long else left
        asked = wish.language, wish.voice, wish.engine
        return Ask(left, self._time_left(), waits, self._means.lanes.count, wish.strategy, asked, made, firsts)

    def _time_left(self) -> float:
        """Seconds until the listener hears a gap, or hears the first sound too late."""
        return self._timing.in_hand() if self._progress.written else self._timing.due() - self._loop.time()

    def _order(self, candidate: Candidate) -> Order:
        return Order(
            text=self._text,
            rest=self._progress.rest,
            language=self._wish.language,
            speed=self._wish.speed,
            rate=self._means.rate,
            pause=self._timing.pause(),
            traceparent=self._wish.origin.traceparent,
            request_id=self._wish.origin.request,
            gain=self._means.gain(candidate),
            loudness=self._means.loudness(candidate),
            fades_in=self._progress.written > 0,
        )

    def _is_long(self, candidate: Candidate, characters: int) -> bool:
        """Whether the listener may have heard all that is in hand before the first sound of so many characters is made."""
        work = self._chain.forecast(candidate).work(characters) * (CROWDED if self._means.lanes.live else 1.0)
        return self._timing.in_hand() < work

    def _open(self, candidate: Candidate) -> None:
        order = self._order(candidate)
        engine = self._means.engines[candidate.engine]
        is_long = functools.partial(self._is_long, candidate)
        take = Take(candidate, engine, order, self._means.lanes, now=self._loop.time(), is_long=is_long)
        if self._timing.in_hand() <= 0:
            wait = self._means.lanes.wait(self._timing.due(), network=engine.network)
            self._foreseen[take] = self._chain.forecast(candidate).foresee(take.characters, wait=wait)
        self._takes.append(take)
        cache, part = self._means.cache, self._part(candidate)
        if cache is None or part is None:
            return
        if not order.rest and not order.fades_in:
            cache.misses += 1
        if cache.flight(part) is None:
            assert isinstance(self._timing, Together)
            self._flights[take] = part, Flight(take, self._timing)
            cache.begin(*self._flights[take])

    def _close(self, take: Take, *, overdue: bool = False, error: EngineError | None = None, how: How = "left") -> None:
        """Leave it, once; those who follow it are told."""
        if take.begun is not None:
            how = "spoke" if take.is_whole else "late" if isinstance(error, Overdue) else "failed" if error is not None else how
            told = "" if error is None else type(error).__name__
            self._legs.append(Leg(take.candidate.engine, take.begun, self._loop.time(), how, told))
        take.close(overdue=overdue)
        if take in self._flights:
            assert self._means.cache is not None
            part, flight = self._flights.pop(take)
            self._means.cache.end(part)
            flight.end(error)

    @contextmanager
    def _leg(self, candidate: Candidate, made: Recording | Flight) -> Iterator[None]:
        """Its part is that it made this earlier, or makes it for somebody else."""
        begin = self._loop.time()
        try:
            yield
        finally:
            how: How = "cached" if isinstance(made, Recording) else "followed"
            self._legs.append(Leg(candidate.engine, begin, self._loop.time(), how))

    # What has been made for others

    def _part(self, candidate: Candidate) -> Part | None:
        """What would be said of it now; None where nobody else may have it."""
        key = self._means.key(candidate, self._text, self._wish)
        return None if key is None else (key, self._progress.rest, self._progress.written > 0)

    async def _made(self, left: Iterable[Candidate]) -> dict[str, Recording | Flight]:
        """By engine what is kept of it, or being made."""
        cache = self._means.cache
        parts = {} if cache is None else {one.engine: part for one in left if (part := self._part(one)) is not None}
        if cache is None or not parts:
            return {}
        whole = [key for key, rest, has_begun in parts.values() if not rest and not has_begun]
        kept = await cache.find(whole) if whole else {}
        made: dict[str, Recording | Flight] = {}
        for engine, part in parts.items():
            flight = cache.flight(part)
            if part[0] in kept:
                made[engine] = kept[part[0]]
            elif flight is not None and flight.take.order.pause <= self._timing.pause():
                made[engine] = flight
        return made

    async def _repeat(self, candidate: Candidate, made: Recording | Flight) -> AsyncGenerator[Event, None]:
        """Says what has been said before, or what is just being made for somebody else."""
        cache = self._means.cache
        assert cache is not None
        chosen = self._announce(candidate, is_there=True)
        if isinstance(made, Recording):
            key = self._means.key(candidate, self._text, self._wish)
            yield replace(chosen, is_cached=True, age=0.0 if key is None else cache.age(key))
            cache.hits += 1
            made = made.ending_within(self._own.pause(), self._means.rate)
            for piece in made.pieces(self._means.rate):
                yield piece
                await self._timing.room()
            yield self._on_repeated(made.trailing)
            return
        yield chosen
        cache.followed += 1
        index = 0
        with made.joined(self._own):
            while (sounded := await made.get(index)) is not None:
                index += 1
                self._progress.on_sounded(sounded)
                yield sounded
                await self._own.room()
        if made.take.is_whole:
            yield self._on_repeated(made.take.trailing)
            return
        if made.error is not None:
            self._give_up(candidate, made.error)
        for event in self._cut_back(made.take):
            yield event

    def _on_repeated(self, trailing: float) -> Ended:
        self._is_over = True
        self._chain.on_repeated(self._own.track, until=self._loop.time() + self._own.in_hand())
        return Ended(trailing)

    # Watching

    async def _watch(self) -> list[Event]:
        """Until a step has ended, or it is time to look whether one is late."""
        for take in list(self._takes):
            if take.future is None:
                try:
                    take.start(due=self._timing.due(), window=self._timing.window(self._chain.forecast(take.candidate).cost))
                except EngineError as error:
                    return self._fail(take, error)
        futures = [take.future for take in self._takes if take.future is not None]
        await asyncio.wait(futures, timeout=self._patience(), return_when=asyncio.FIRST_COMPLETED)
        return []

    def _patience(self) -> float | None:
        """Seconds until the first take must be looked at; None when nothing could be done about it."""
        now, take = self._loop.time(), self._takes[0]
        if take.is_queued:
            return RECHOOSE if len(self._takes) == 1 and self._left() else None
        if (soonest := self._soonest(take, now)) > now:
            return soonest - now
        times = [at for at in (self._late_at(take), self._hedge_at(take)) if at is not None]
        return max(LEAST_WAIT, min(times) - now) if times else None

    def _look(self) -> list[Event]:
        events: list[Event] = []
        if self._takes and self._announced is not self._takes[0] and not self._takes[0].is_queued:
            events.append(self._announce_take(self._takes[0]))
        for take in list(self._takes):
            if take not in self._takes:
                continue  # another one was heard first
            if take.future is not None and take.future.done():
                events += self._take_in(take)
            elif take is self._takes[0]:
                events += self._review(take)
        return events

    def _review(self, take: Take) -> list[Event]:
        """It has not ended its step. Is that late, and is there anything to be done?"""
        now = self._loop.time()
        if take.is_queued:
            left = self._left() if len(self._takes) == 1 else []
            if left and (better := self._choose([take.candidate, *left])) != take.candidate:
                self._close(take)
                self._takes.remove(take)
                self._open(better)
        elif (late_at := self._late_at(take)) is not None and now >= late_at:
            worked = take.running(now) + (take.silent_work if take.part_sounds else take.part_work)
            return self._fail(take, Overdue(f"{take.candidate.engine} is late: no sound after {worked:.2f} s of work"))
        elif (hedge_at := self._hedge_at(take)) is not None and now >= hedge_at:
            rescuer = self._choose(self._left())
            if self._means.lanes.has_idle(network=self._means.engines[rescuer.engine].network):
                self._chain.hedges.take()
                self._open(rescuer)
        return []

    def _soonest(self, take: Take, now: float) -> float:
        """Before that nothing has to be decided about it, whatever the others can do."""
        limit = self._limit(take)
        if not take.part_sounds and len(self._takes) == 1 and self._chain.hedges.is_allowed:
            limit = min(limit, self._chain.forecast(take.candidate).work(take.characters) - take.part_work)
        return now - take.running(now) + limit

    def _late_at(self, take: Take) -> float | None:
        """When its step is overdue and there is just time for somebody else; None when it is not in a lane, or there is nobody else."""
        limit = self._limit(take)
        now = self._loop.time()
        running = take.running(now)
        if not running and (take.future is None or take.is_queued):
            return None
        if len(self._takes) > 1:
            return now - running + RACE * limit
        needed = self._needed_at()
        return None if needed is None else min(max(now - running + limit, needed), now - running + HOPELESS * limit)

    def _hedge_at(self, take: Take) -> float | None:
        """When a second engine may begin, before the first one is overdue."""
        if take.part_sounds or len(self._takes) > 1 or not self._chain.hedges.is_allowed:
            return None
        needed = self._needed_at()
        if needed is None:
            return None
        now = self._loop.time()
        expected = self._chain.forecast(take.candidate).work(take.characters) - take.part_work
        return max(now - take.running(now) + expected, needed)

    def _limit(self, take: Take) -> float:
        forecast = self._chain.forecast(take.candidate)
        if take.part_sounds:
            patience = forecast.step_patience(take.window) * (CROWDED if self._means.lanes.live > 1 else 1.0)
            return max(0.0, patience - take.silent_work)
        return max(0.0, forecast.patience(take.characters) - take.part_work)

    def _needed_at(self) -> float | None:
        """When somebody else would have to begin, so that the listener notices nothing."""
        left = self._left()
        if not left:
            return None
        ask = self._ask(left)
        rescuer = self._chain.choose(left, ask, self._timing.track, now=self._loop.time())
        return self._loop.time() + ask.left - self._chain.expect(rescuer, ask) - SLACK

    # What came of it

    def _announce_take(self, take: Take) -> Chosen:
        self._announced = take
        return self._announce(take.candidate)

    def _announce(self, candidate: Candidate, *, is_there: bool = False) -> Chosen:
        track = self._timing.track
        old = track.spoken
        preferred = self._candidates[: self._candidates.index(candidate)] if not self._tried else ()
        ask = self._ask([candidate, *preferred], frozenset([candidate.engine] if is_there else ()))
        why = self._chain.on_chosen(candidate, ask, track, now=self._loop.time(), preferred=preferred, failed=self._why)
        if preferred:
            self._means.on_probe()
        return Chosen(candidate.engine, candidate.voice, old.engine if old is not None and why else "", why)

    def _take_in(self, take: Take) -> list[Event]:
        """Its step has ended."""
        was_front = not take.part_sounds
        try:
            sounded = take.finish()
        except EngineError as error:
            return self._fail(take, error)
        self._learn(take, was_front=was_front)
        events: list[Event] = []
        if sounded is not None:
            events += self._win(take)
            self._progress.on_sounded(sounded)
            if take in self._flights:
                self._flights[take][1].on_sounded(sounded)
            events.append(sounded)
        if take.is_whole:
            self._is_over = True
            self._on_spoken(take)
            self._keep(take)
            self._takes.remove(take)
            self._close(take)
            events.append(Ended(take.trailing, take.work))
        return events

    def _win(self, take: Take) -> list[Event]:
        """It is heard: nobody else is needed."""
        for other in self._takes:
            if other is not take:
                self._close(other, overdue=other.running(self._loop.time()) > self._limit(other), how="lost")
                self._why = f"hedge: {take.candidate.engine} was faster"
        self._takes = [take]
        return [] if self._announced is take else [self._announce_take(take)]

    def _learn(self, take: Take, *, was_front: bool) -> None:
        candidate = take.candidate
        if was_front and take.part_sounds:
            foreseen, took = self._foreseen.pop(take, None), self._loop.time() - take.opened
            self._chain.on_first(candidate, take.characters, work=take.part_work, foreseen=foreseen, took=took)
        elif not was_front and take.took:
            self._chain.on_step(candidate, take.window, take.took)

    def _on_spoken(self, take: Take) -> None:
        until = self._loop.time() + self._own.in_hand()
        seconds = take.said / self._means.rate
        self._chain.on_spoken(take.candidate, self._timing.track, work=take.work, seconds=seconds, until=until)
        if take.order.loudness is not None:
            self._means.on_measured(take.candidate, take)

    def _keep(self, take: Take) -> None:
        """A sentence that one voice has said from beginning to end, all of it as loud as the next one of it will be."""
        found, cache = self._flights.get(take), self._means.cache
        if found is None or cache is None:
            return
        (key, rest, has_begun), flight = found
        gain = self._means.gain(take.candidate)
        if not rest and not has_begun and is_near(take.gain.start, gain) and is_near(take.gain.now, gain):
            cache.keep(key, flight.recording())

    def _fail(self, take: Take, error: EngineError) -> list[Event]:
        """It does not go on. What has been made is cut back to whole words."""
        now, candidate = self._loop.time(), take.candidate
        log.warning("engine %s failed after %d samples: %s", candidate.engine, self._progress.written, error)
        work = take.part_work + take.running(now)
        is_late = isinstance(error, Overdue)
        self._close(take, overdue=is_late, error=error)
        self._takes.remove(take)
        self._give_up(candidate, error)
        if is_late and not take.part_sounds:
            rests = self._chain.on_overdue(candidate, take.characters, work=work, now=now)
        else:
            rests = self._chain.on_failed(candidate, error, now=now)
        if rests:
            self._means.on_probe()
        return self._cut_back(take)

    def _give_up(self, candidate: Candidate, error: EngineError) -> None:
        """Somebody else goes on."""
        self._tried.add(candidate.engine)
        self._why = str(error)
        if isinstance(error, Overdue):
            self._late.append(candidate)

    def _cut_back(self, take: Take) -> list[Event]:
        cut = self._progress.cut_back(take)
        if cut is None:
            return []
        if self._progress.is_over:
            self._is_over = True
            return [cut, Ended(0.0)]
        return [cut]
