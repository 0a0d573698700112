"""Which engine and which voice say a sentence, under its budget, and who is next when they cannot. Pure."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated

from pydantic import Field

from engines.base import EngineUnavailable, SynthesisFailed, Voice
from pipeline.breaker import Breaker, BreakerSettings
from pipeline.forecast import Forecast
from pipeline.protocol import Strategy

CHARACTER = 0.065  # seconds of speech a character: what people speak at, for how long a track will be busy
STREAM = 0.9  # seconds of work for a second of speech, above which one voice cannot keep up: its steps follow each other
FULL = 0.85  # of the lanes' time, for all that speak now: the rest is for those who begin, and for what else the machine does
TOKENS = 3.0  # hedges that may be saved up: a burst of trouble, not a habit
MOST_WISHES = 500  # wishes whose candidates are remembered: languages times voices that one node is asked for
UNKNOWN = [(30, 0.3)], 0.5  # characters and seconds to the first sound, cost: of an engine that was never warmed up
REFRESH = 5.0  # seconds between sentences of ours for a voice that is passed over because it would be late: it may be faster by now


@dataclass(frozen=True, slots=True)
class ChainSettings:
    """In what order engines are tried, and when they change."""

    order: tuple[str, ...] = ("piper", "tone")
    """Names of engines, the preferred one first."""
    strategy: Strategy = "auto"
    """``auto``: the first engine that is in time. ``quality_first``: the best-sounding one that can keep up. ``speed_first``: the one that
    is heard first. ``manual``: only the first engine, or the one asked for, whatever happens."""
    budget: Annotated[float, Field(ge=0.02, le=10)] = 0.25
    """Seconds from a complete sentence to its first audible sample, where the text does not say otherwise."""
    quality: tuple[str, ...] = ("xtts", "edge", "kokoro", "piper", "tone")
    """Names of engines, the best-sounding first: what ``quality_first`` goes by. Others come after these."""
    pause: Annotated[float, Field(ge=0.1, le=60)] = 0.6
    """Seconds without speech after which a track goes back to the voice it should have."""
    change_again: Annotated[float, Field(ge=1, le=3600)] = 30.0
    """Seconds after a change at which a track goes back to the voice it should have, even without a pause."""
    hedges: Annotated[float, Field(ge=0, le=1)] = 0.1
    """Part of all sentences for which a second engine may be started before the first one has failed."""
    breaker: BreakerSettings = field(default_factory=BreakerSettings)


@dataclass(frozen=True, slots=True)
class Candidate:
    """An engine and the voice of it that comes nearest to what was asked for."""

    engine: str
    voice: Voice

    @property
    def key(self) -> tuple[str, str]:
        return self.engine, self.voice.id


@dataclass(slots=True, eq=False)
class Track:
    """What the chain knows of one track. Made by its speaker, changed by the chain only."""

    spoken: Candidate | None = None
    """Who spoke last."""
    wish: tuple[str, str, str] = ("", "", "")
    """Language, voice and engine that it was asked for."""
    changed: float = -math.inf
    """When its voice was changed last."""
    until: float = -math.inf
    """Until when its listener hears speech, as far as is known."""


@dataclass(frozen=True, slots=True)
class Ask:
    """One sentence, or the rest of it, that needs a voice now."""

    characters: int
    left: float
    """Seconds until its first sound is needed: what is left of the budget, or what is in hand if that is more."""
    waits: Mapping[str, float] = field(default_factory=dict)
    """Seconds that each engine would wait for a lane; none where it is not named."""
    lanes: int = 1
    """Steps that compute at once."""
    strategy: str = ""
    wish: tuple[str, str, str] = ("", "", "")
    """Language, voice and engine that are asked for."""


class Hedges:
    """Counts how often two engines may work on one sentence."""

    def __init__(self, share: float) -> None:
        self._share = share
        self._tokens = 0.0

    def on_sentence(self) -> None:
        self._tokens = min(TOKENS, self._tokens + self._share)

    @property
    def is_allowed(self) -> bool:
        return self._tokens >= 1 - 1e-9

    def take(self) -> None:
        self._tokens -= 1


class Chain:
    """Knows every voice's forecast and breaker, and decides by them. It is told what became of its decisions.

    1. A sentence in ``auto`` goes to the first engine in order that is in time for it, and that the lanes can bear.
    2. A track keeps its voice while that is in time.
    """

    def __init__(self, settings: ChainSettings) -> None:
        self.settings = settings
        self.hedges = Hedges(settings.hedges)
        self._forecasts: dict[tuple[str, str], Forecast] = {}
        self._breakers: dict[tuple[str, str], Breaker] = {}
        self._overdue: dict[tuple[str, str], list[tuple[int, float]]] = {}
        self._warm: dict[str, tuple[Sequence[tuple[int, float]], float]] = {}
        self._refresh: dict[tuple[str, str], float] = {}
        self._asked: dict[tuple[str, str], float] = {}
        self._network: set[str] = set()
        self._tracks: dict[Track, None] = {}
        self._offers: Mapping[str, Sequence[Voice]] = {}
        self._found: dict[tuple[str, str, str], list[Candidate]] = {}
        self._known: dict[tuple[str, str], Candidate] = {}

    # Who can

    def candidates(
        self, offers: Mapping[str, Sequence[Voice]], *, language: str, voice: str, engine: str, strategy: str
    ) -> list[Candidate]:
        """Who can say it, the preferred one first; empty when nobody speaks the language.

        ``offers``: voices by engine, of the engines that are loaded; the same object while they are the same. ``voice`` and ``engine``:
        wishes, may be empty. Voices that rest are left out while others speak; when all rest they are the last hope.
        """
        if offers is not self._offers or len(self._found) >= MOST_WISHES:
            self._offers, self._found = offers, {}
        wish = language, voice, engine
        if wish not in self._found:
            self._found[wish] = self._find(offers, *wish)
        found = self._found[wish]
        strategy = strategy or self.settings.strategy
        if strategy == "manual":
            return found[:1]
        found = [candidate for candidate in found if self.breaker(candidate).is_closed] or found
        if strategy == "quality_first" and not engine:
            rank = {name: place for place, name in enumerate(self.settings.quality)}
            found = sorted(found, key=lambda candidate: rank.get(candidate.engine, len(rank)))
        return found

    def _find(self, offers: Mapping[str, Sequence[Voice]], language: str, voice: str, engine: str) -> list[Candidate]:
        order = [name for name in dict.fromkeys((engine, *self.settings.order)) if name in offers]
        wished = find_voice(voice, (v for voices in offers.values() for v in voices))
        if wished is not None and not engine:
            order.sort(key=lambda name: name != wished.engine)
        return [Candidate(name, best) for name in order if (best := _nearest(offers[name], wished, voice, language)) is not None]

    # Who shall

    def choose(self, candidates: Sequence[Candidate], ask: Ask, track: Track, *, now: float) -> Candidate:
        """Who says it. Decides only; :meth:`on_chosen` follows. ``candidates``: at least one."""
        strategy = ask.strategy or self.settings.strategy
        if len(candidates) == 1 or strategy == "manual":
            return candidates[0]
        if strategy == "speed_first":
            return min(candidates, key=lambda candidate: self.expect(candidate, ask))
        others = self._demand(track, now)
        bearable = [candidate for candidate in candidates if self._fits(candidate, others, ask.lanes)]
        if not bearable:  # too much is going on already: whatever adds the least
            return min(candidates, key=lambda candidate: self.forecast(candidate).cost)
        if strategy == "quality_first":
            return bearable[0]
        if self._stays(ask, track, now):
            bearable.sort(key=lambda candidate: candidate != track.spoken)
        for candidate in bearable:
            if self.expect(candidate, ask) <= ask.left:
                return candidate
        return min(bearable, key=lambda candidate: self.expect(candidate, ask))

    def expect(self, candidate: Candidate, ask: Ask) -> float:
        """Seconds from now to its first audible sample, at the quantile that should hold."""
        return self.forecast(candidate).first(ask.characters, wait=ask.waits.get(candidate.engine, 0.0))

    def _stays(self, ask: Ask, track: Track, now: float) -> bool:
        settings = self.settings
        return track.wish == ask.wish and now - track.until < settings.pause and now - track.changed < settings.change_again

    def _fits(self, candidate: Candidate, others: float, lanes: int) -> bool:
        cost = self.forecast(candidate).cost
        return cost <= STREAM and (candidate.engine in self._network or others + cost <= FULL * lanes)

    def _demand(self, track: Track, now: float) -> float:
        """Lanes that are needed by all the other tracks that speak now."""
        for gone in [other for other in self._tracks if other.until <= now]:
            del self._tracks[gone]
        spoken = (other.spoken for other in self._tracks if other is not track)
        return sum(self.forecast(one).cost for one in spoken if one is not None and one.engine not in self._network)

    # What became of it

    def on_warm(self, engine: str, firsts: Sequence[tuple[int, float]], *, cost: float, network: bool = False) -> None:
        """An engine was loaded and has spoken sentences of ours, as :class:`Forecast` counts."""
        self._warm[engine] = firsts, cost
        self._forecasts = {key: forecast for key, forecast in self._forecasts.items() if key[0] != engine}
        (self._network.add if network else self._network.discard)(engine)

    def on_chosen(self, candidate: Candidate, ask: Ask, track: Track, *, now: float, preferred: Sequence[Candidate] = ()) -> str:
        """It begins. Gives the reason when that is a change of the track's voice, else nothing.

        ``preferred``: those that could have been chosen before it.
        """
        self._asked[candidate.key] = now
        for other in preferred:
            slow = self.forecast(other).cost > STREAM or self.expect(other, ask) > ask.left
            if slow and self.breaker(other).is_closed:
                self._refresh.setdefault(other.key, max(now, self._asked.get(other.key, now) + REFRESH))
        old, why = track.spoken, ""
        if old is not None and old != candidate:
            if track.wish != ask.wish:
                why = "asked for"
            elif not self.breaker(old).is_closed:
                why = f"{old.engine} rests"
            elif self.expect(old, ask) > ask.left:
                why = f"{old.engine} would be late"
            else:
                why = "back to the preferred voice" if self._is_before(candidate, old) else f"the lanes are too full for {old.engine}"
            track.changed = now
        track.spoken, track.wish = candidate, ask.wish
        track.until = max(track.until, now) + ask.characters * CHARACTER
        self._tracks[track] = None
        return why

    def _is_before(self, one: Candidate, other: Candidate) -> bool:
        order = self.settings.order
        return one.engine in order and (other.engine not in order or order.index(one.engine) < order.index(other.engine))

    def on_first(self, candidate: Candidate, characters: int, *, work: float, wait: float | None = None, took: float = 0.0) -> None:
        """Its first sound has come, as :meth:`Forecast.on_first` counts."""
        self._overdue.pop(candidate.key, None)
        self.forecast(candidate).on_first(characters, work=work, wait=wait, took=took)

    def on_step(self, candidate: Candidate, window: float, took: float) -> None:
        self.forecast(candidate).on_step(window, took)

    def on_spoken(self, candidate: Candidate, track: Track, *, work: float, seconds: float, until: float) -> None:
        """It has said all it was asked for, with so much work; its listener hears speech until then."""
        self.breaker(candidate).on_spoken()
        self.forecast(candidate).on_made(work=work, seconds=seconds)
        track.until = until

    def on_overdue(self, candidate: Candidate, characters: int, *, work: float, now: float) -> bool:
        """Its first sound had not come after so much work. True when its breaker has opened.

        One that hangs says nothing about the others. One that is late time and again has become slow: then it is learned.
        """
        late = self._overdue.setdefault(candidate.key, [])
        late.append((characters, work))
        opened = self.breaker(candidate).on_failed(now=now)
        if opened:
            for seen, worked in late:
                self.forecast(candidate).on_first(seen, work=worked)
            late.clear()
        return opened

    def on_failed(self, candidate: Candidate, error: Exception, *, now: float) -> bool:
        """True when its breaker has opened."""
        return self.breaker(candidate).on_failed(now=now, for_good=isinstance(error, EngineUnavailable))

    # Breakers and their probes

    def next_probe(self) -> float | None:
        """When :meth:`probes` should be asked; None when every voice speaks, and none is passed over."""
        resting = [breaker.probe_at for breaker in self._breakers.values() if breaker.probe_at is not None]
        return min([*resting, *self._refresh.values()], default=None)

    def probes(self, now: float) -> list[Candidate]:
        """Voices that are to say a sentence of ours now; :meth:`on_probed` follows for each."""
        keys = [key for key, at in self._refresh.items() if at <= now]
        for key in keys:
            del self._refresh[key]
            self._asked[key] = now
        keys += [key for key, breaker in self._breakers.items() if breaker.probe(now)]
        return [self._known[key] for key in dict.fromkeys(keys)]

    def on_probed(self, candidate: Candidate, firsts: Sequence[tuple[int, float]], *, cost: float, now: float) -> None:
        """What sentences of ours took, as in :meth:`on_warm`; nothing when they were not said.

        A voice that is faster than was thought begins anew: waiting until its slow sentences are forgotten would take minutes.
        """
        old = self.forecast(candidate)
        if firsts:
            old.cost = min(old.cost, cost)
            fresh = Forecast(firsts, cost=old.cost)
            if all(fresh.first(size) < old.first(size) for size, _ in firsts):
                self._forecasts[candidate.key] = fresh
        if self.breaker(candidate).is_closed and not firsts:
            self.on_failed(candidate, SynthesisFailed("a sentence of ours was not said"), now=now)
        elif not self.breaker(candidate).is_closed:
            self.breaker(candidate).on_probed(bool(firsts), now=now)

    def breaker(self, candidate: Candidate) -> Breaker:
        found = self._breakers.get(candidate.key)
        if found is None:
            found = self._breakers[candidate.key] = Breaker(self.settings.breaker)
            self._known[candidate.key] = candidate
        return found

    def forecast(self, candidate: Candidate) -> Forecast:
        found = self._forecasts.get(candidate.key)
        if found is None:
            firsts, cost = self._warm.get(candidate.engine, UNKNOWN)
            found = self._forecasts[candidate.key] = Forecast(firsts, cost=cost)
        return found


def primary(language: str) -> str:
    """The language of a tag without its region or script: ``en`` of ``en-US`` (BCP 47)."""
    return language.replace("_", "-").split("-")[0].lower()


def find_voice(id: str, voices: Iterable[Voice]) -> Voice | None:
    return next((voice for voice in voices if id and voice.id == id), None)


def _nearest(voices: Sequence[Voice], wished: Voice | None, id: str, language: str) -> Voice | None:
    """The voice asked for, else the same language, and of these the same region and gender; the engine's own order decides ties."""
    speakers = [voice for voice in voices if primary(voice.language) == primary(language)]
    gender = wished.gender if wished else ""
    tag = language.replace("_", "-").lower()
    return min(
        speakers,
        key=lambda voice: (voice.id != id, bool(gender) and voice.gender != gender, voice.language.lower() != tag),
        default=None,
    )
