"""Which engine and which voice say a sentence, under its budget, and who is next when they cannot. Pure."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any

from pydantic import Field

from engines.base import EngineUnavailable, ServiceFailed, SynthesisFailed, Voice
from pipeline.breaker import Breaker, BreakerSettings
from pipeline.forecast import Forecast, Foreseen
from pipeline.protocol import Strategy

CHARACTER = 0.065  # seconds of speech a character: what people speak at, for how long a track will be busy
STREAM = 0.9  # seconds of work for a second of speech, above which one voice cannot keep up: its steps follow each other
MINUTE = 60.0  # seconds
FULL = 0.85  # of the lanes' time, for all that speak now: the rest is for those who begin, and for what else the machine does
TOKENS = 3.0  # hedges that may be saved up: a burst of trouble, not a habit
MOST_WISHES = 500  # wishes whose candidates are remembered: languages times voices that one node is asked for
UNKNOWN = [(30, 0.3)], 0.5  # characters and seconds to the first sound, cost: of an engine that was never warmed up
QUALITY: Mapping[str, float] = {"xtts": 4.4, "edge": 4.3, "kokoro": 4.2, "piper": 3.6, "tone": 1.0}
"""1 to 5, to begin with. XTTS and Edge are rated by what others say of them: neither has been heard while this was written."""
UNRATED = 3.0  # what other engines count as: one's own is no worse than what has just passed
TIERS: Mapping[str, float] = {"fast": 0.150, "standard": 0.250, "premium": 0.400}  # seconds to the first audible sample
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
    """Seconds from a complete sentence to its first audible sample, where neither the text nor its voice's tier says otherwise."""
    quality: Mapping[str, float] = field(default_factory=lambda: dict(QUALITY))
    """How good each engine sounds, 1 to 5; others count as 3. ``quality_first`` goes by it."""
    quality_threshold: Annotated[float, Field(ge=1, le=5)] = 3.0
    """Engines rated below it are tried last."""
    pause: Annotated[float, Field(ge=0.1, le=60)] = 0.6
    """Seconds without speech after which a track that load has moved goes back to the voice it should have."""
    change_again: Annotated[float, Field(ge=1, le=3600)] = 30.0
    """Seconds after such a change at which it goes back even without a pause."""
    changes: Annotated[float, Field(gt=0, le=1000)] = 2.0
    """Changes of voice a minute that a track may make when no fault forces them, there and back counted; beyond these it stays away."""
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
    is_forced: bool = False
    """True while it is away from the voice it should have because that failed, was overdue or rests."""
    returned: float = -math.inf
    """When it went back last after a change that nothing had forced."""
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
    made: frozenset[str] = frozenset()
    """Engines whose sound is there already: they take no time and no lane."""
    firsts: Mapping[str, int] = field(default_factory=dict)
    """Characters with which each engine would begin; all of them where it is not named."""


class Hedges:
    """Counts how often two engines may work on one sentence."""

    def __init__(self, share: float) -> None:
        self._share = share
        self._tokens = 0.0
        self.sentences = self.taken = 0
        """Of all since the start; and those for which two worked."""

    def on_sentence(self) -> None:
        self.sentences += 1
        self._tokens = min(TOKENS, self._tokens + self._share)

    @property
    def is_allowed(self) -> bool:
        return self._tokens >= 1 - 1e-9

    def take(self) -> None:
        self.taken += 1
        self._tokens -= 1


class Chain:
    """Knows every voice's forecast and breaker, and decides by them. It is told what became of its decisions.

    1. A sentence in ``auto`` goes to the first engine in order that is in time for it, and that the lanes can bear.
    2. A track keeps its voice while that is in time. What a fault has moved goes back with the next sentence for which the first engine
       is in time again; what load has moved goes back after a pause or a while, and not so often that it exceeds ``changes``.
    """

    def __init__(self, settings: ChainSettings) -> None:
        self.settings = settings
        self.hedges = Hedges(settings.hedges)
        self.failures: Counter[str] = Counter()
        """By engine: sentences that it did not end, or was too late to begin."""
        self._forecasts: dict[tuple[str, str], Forecast] = {}
        self._breakers: dict[tuple[str, str], Breaker] = {}
        self._overdue: dict[tuple[str, str], list[tuple[int, float]]] = {}
        self._warm: dict[str, tuple[Sequence[tuple[int, float]], float]] = {}
        self._refresh: dict[tuple[str, str], float] = {}
        self._asked: dict[tuple[str, str], float] = {}
        self._cores: dict[str, float] = {}
        self._network: set[str] = set()
        self._tracks: dict[Track, None] = {}
        self._offers: Mapping[str, Sequence[Voice]] = {}
        self._found: dict[tuple[str, str, str], list[Candidate]] = {}
        self._known: dict[tuple[str, str], Candidate] = {}

    # Who can

    def candidates(
        self,
        offers: Mapping[str, Sequence[Voice]],
        *,
        language: str,
        voice: str,
        engine: str,
        strategy: str,
        strict: bool = False,
        with_resting: bool = False,
    ) -> list[Candidate]:
        """Who can say it, the preferred one first; empty when nobody speaks the language.

        ``offers``: voices by engine, of the engines that are loaded; the same object while they are the same. ``voice`` and ``engine``:
        wishes, may be empty; ``strict``: that engine or none. Voices that rest are left out while others speak, unless they are wanted,
        too (``with_resting``); when all rest they are the last hope.
        """
        if offers is not self._offers or len(self._found) >= MOST_WISHES:
            self._offers, self._found = offers, {}
        wish = language, voice, engine
        if wish not in self._found:
            self._found[wish] = self._find(offers, *wish)
        found = self._found[wish]
        strategy = strategy or self.settings.strategy
        if strict and engine:
            return [candidate for candidate in found if candidate.engine == engine]
        if strategy == "manual":
            return found[:1]
        if not with_resting:
            found = [candidate for candidate in found if self.breaker(candidate).is_closed] or found
        if strategy == "quality_first" and not engine:
            found = sorted(found, key=lambda candidate: -self._quality(candidate))
        return sorted(found, key=lambda candidate: candidate.engine != engine and self._is_poor(candidate))

    def budget(self, offers: Mapping[str, Sequence[Voice]], voice: str) -> float:
        """Seconds to the first audible sample of a text that names none: by the tier of the voice it asks for, else the setting."""
        wished = find_voice(voice, (v for voices in offers.values() for v in voices))
        return TIERS.get(wished.tier, self.settings.budget) if wished is not None else self.settings.budget

    def _quality(self, candidate: Candidate) -> float:
        return self.settings.quality.get(candidate.engine, UNRATED)

    def _is_poor(self, candidate: Candidate) -> bool:
        return self._quality(candidate) < self.settings.quality_threshold

    def _find(self, offers: Mapping[str, Sequence[Voice]], language: str, voice: str, engine: str) -> list[Candidate]:
        order = [name for name in dict.fromkeys((engine, *self.settings.order)) if name in offers]
        wished = find_voice(voice, (v for voices in offers.values() for v in voices))
        if wished is not None and not engine:
            order.sort(key=lambda name: name != wished.engine)
        found: list[Candidate] = []
        for name in order:
            like = wished or (found[0].voice if found else None)  # who goes on for another one sounds as near to it as can be had
            best = _nearest(offers[name], like, voice, language)
            if best is not None:
                found.append(Candidate(name, best))
        return found

    # Who shall

    def choose(self, candidates: Sequence[Candidate], ask: Ask, track: Track, *, now: float) -> Candidate:
        """Who says it. Decides only; :meth:`on_chosen` follows. ``candidates``: at least one."""
        strategy = ask.strategy or self.settings.strategy
        if len(candidates) == 1 or strategy == "manual":
            return candidates[0]
        if strategy == "speed_first":
            return min(candidates, key=lambda candidate: (self._is_poor(candidate), self.expect(candidate, ask)))
        others = self._demand(track, now)
        bearable = [one for one in candidates if one.engine in ask.made or self._fits(one, others, ask.lanes)]
        if not bearable:  # too much is going on already: whatever adds the least
            return min(candidates, key=lambda candidate: self.forecast(candidate).cost)
        stays = self._stays(ask, track, now)
        if track.wish == ask.wish:  # its own voice before anybody else's, but for the one that it should go back to
            bearable.sort(key=lambda candidate: (candidate != candidates[0] or stays) + (candidate != track.spoken))
        if strategy == "quality_first":
            return bearable[0]
        for candidate in bearable:
            if self.expect(candidate, ask) <= ask.left:
                return candidate
        return min(bearable, key=lambda candidate: self.expect(candidate, ask))

    def expect(self, candidate: Candidate, ask: Ask) -> float:
        """Seconds from now to its first audible sample, at the quantile that should hold."""
        if candidate.engine in ask.made:
            return 0.0
        characters = ask.firsts.get(candidate.engine, ask.characters)
        return self.forecast(candidate).first(characters, wait=ask.waits.get(candidate.engine, 0.0))

    def _stays(self, ask: Ask, track: Track, now: float) -> bool:
        """Whether a track keeps a voice that is not the one it should have."""
        settings = self.settings
        if track.wish != ask.wish or track.is_forced:
            return False
        is_rationed = now - track.returned < 2 * MINUTE / settings.changes
        return is_rationed or (now - track.until < settings.pause and now - track.changed < settings.change_again)

    def _fits(self, candidate: Candidate, others: float, lanes: int) -> bool:
        has_room = candidate.engine in self._network or others + self._takes(candidate) <= FULL * lanes
        return has_room and self.forecast(candidate).cost <= STREAM

    def _takes(self, candidate: Candidate) -> float:
        """Lanes that it needs while it speaks: a step that keeps two cores busy leaves no other lane its own."""
        return self.forecast(candidate).cost * self._cores.get(candidate.engine, 1.0)

    def _demand(self, track: Track, now: float) -> float:
        """Lanes that are needed by all the other tracks that speak now."""
        for gone in [other for other in self._tracks if other.until <= now]:
            del self._tracks[gone]
        spoken = (other.spoken for other in self._tracks if other is not track)
        return sum(self._takes(one) for one in spoken if one is not None and one.engine not in self._network)

    # What became of it

    def forget(self, candidate: Candidate) -> None:
        """This voice is offered no more: nothing is kept of it."""
        kept: tuple[dict[tuple[str, str], Any], ...]
        kept = (self._forecasts, self._breakers, self._overdue, self._refresh, self._asked, self._known)
        for known in kept:
            known.pop(candidate.key, None)

    def forget_engine(self, engine: str) -> None:
        """It has been unloaded, or loaded anew: what rested may be well now."""
        for candidate in [known for known in self._known.values() if known.engine == engine]:
            self.forget(candidate)

    def on_warm(self, engine: str, firsts: Sequence[tuple[int, float]], *, cost: float, network: bool = False, cores: float = 1.0) -> None:
        """An engine was loaded and has spoken sentences of ours, as :class:`Forecast` counts. ``cores``: that a step keeps busy.

        Voices that have said others' sentences since keep what was learned from these.
        """
        self._warm[engine] = firsts, cost
        self._cores[engine] = cores
        self._forecasts = {key: forecast for key, forecast in self._forecasts.items() if key[0] != engine or forecast.has_learned}
        (self._network.add if network else self._network.discard)(engine)

    def on_chosen(
        self, candidate: Candidate, ask: Ask, track: Track, *, now: float, preferred: Sequence[Candidate] = (), failed: str = ""
    ) -> str:
        """It begins. Gives the reason when that is a change of the track's voice that was not asked for, else nothing.

        ``preferred``: those that come before it, and could have been chosen. ``failed``: what went wrong in this sentence with the one
        that it goes on for.
        """
        if candidate.engine not in ask.made:
            self._asked[candidate.key] = now
        for other in preferred:
            slow = self.forecast(other).cost > STREAM or self.expect(other, ask) > ask.left
            if slow and self.breaker(other).is_closed:
                self._refresh.setdefault(other.key, max(now, self._asked.get(other.key, now) + REFRESH))
        old, why = track.spoken, ""
        if old is not None and old != candidate:
            is_back = is_gone = False
            if failed:
                why = failed
            elif track.wish != ask.wish:
                why = ""
            elif is_gone := bool(self._offers) and old.engine not in self._offers:
                why = f"{old.engine} has been unloaded"
            elif not self.breaker(old).is_closed:
                why = f"{old.engine} rests"
            elif is_back := old not in preferred:
                why = "back to the preferred voice"
            else:
                why = f"{old.engine} would be late" if self.expect(old, ask) > ask.left else f"the lanes are too full for {old.engine}"
            if is_back and not track.is_forced:
                track.returned = now
            track.changed, track.is_forced = now, bool(failed) or is_gone or not self.breaker(old).is_closed
        track.spoken, track.wish = candidate, ask.wish
        track.until = max(track.until, now) + ask.characters * CHARACTER
        if candidate.engine in ask.made:
            self._tracks.pop(track, None)
        else:
            self._tracks[track] = None
        return why

    def on_first(self, candidate: Candidate, characters: int, *, work: float, foreseen: Foreseen | None = None, took: float = 0.0) -> None:
        """Its first sound has come, as :meth:`Forecast.on_first` counts."""
        self._overdue.pop(candidate.key, None)
        self.forecast(candidate).on_first(characters, work=work, foreseen=foreseen, took=took)

    def on_step(self, candidate: Candidate, window: float, took: float) -> None:
        self.forecast(candidate).on_step(window, took)

    def on_spoken(self, candidate: Candidate, track: Track, *, work: float, seconds: float, until: float) -> None:
        """It has said all it was asked for, with so much work; its listener hears speech until then."""
        self.breaker(candidate).on_spoken()
        self.forecast(candidate).on_made(work=work, seconds=seconds)
        track.until = until

    def on_repeated(self, track: Track, *, until: float) -> None:
        """A sentence that was there already has been said: nothing is learned, but that its listener hears speech until then."""
        track.until = until

    def on_overdue(self, candidate: Candidate, characters: int, *, work: float, now: float) -> bool:
        """Its first sound had not come after so much work. True when its breaker has opened.

        One that hangs says nothing about the others. One that is late time and again has become slow: then it is learned.
        """
        late = self._overdue.setdefault(candidate.key, [])
        late.append((characters, work))
        self.failures[candidate.engine] += 1
        opened = self.breaker(candidate).on_failed(now=now)
        if opened:
            for seen, worked in late:
                self.forecast(candidate).on_first(seen, work=worked)
            late.clear()
        return opened

    def on_failed(self, candidate: Candidate, error: Exception, *, now: float) -> bool:
        """True when its breaker has opened."""
        self.failures[candidate.engine] += 1
        rest = error.retry_after if isinstance(error, ServiceFailed) else 0.0
        for_good = isinstance(error, EngineUnavailable) or rest > 0 or (isinstance(error, SynthesisFailed) and not error.is_retryable)
        return self.breaker(candidate).on_failed(now=now, for_good=for_good, rest=rest)

    def outcomes(self) -> dict[tuple[str, str], list[bool]]:
        """By engine and voice: of its latest urgent sentences, whether the forecast of the first sound held."""
        return {key: list(forecast.outcomes) for key, forecast in self._forecasts.items()}

    # Breakers and their probes

    def next_probe(self) -> float | None:
        """When :meth:`probes` should be asked; None when every voice speaks, and none is passed over."""
        resting = [breaker.probe_at for breaker in self._breakers.values() if breaker.probe_at is not None]
        return min([*resting, *self._refresh.values()], default=None)

    def probes(self, now: float, *, is_calm: bool = True) -> list[Candidate]:
        """Voices that are to say a sentence of ours now; :meth:`on_probed` follows for each.

        ``is_calm``: those that are passed over have their turn too; otherwise it comes later.
        """
        keys = [key for key, at in self._refresh.items() if at <= now]
        if is_calm:
            for key in keys:
                del self._refresh[key]
                self._asked[key] = now
        else:
            self._refresh |= dict.fromkeys(keys, now + REFRESH)
            keys = []
        keys += [key for key, breaker in self._breakers.items() if breaker.probe(now)]
        return [self._known[key] for key in dict.fromkeys(keys)]

    def is_only_late(self, candidate: Candidate) -> bool:
        """It can speak and keep up; how soon it begins is all that a sentence of ours has to tell."""
        return self.breaker(candidate).is_closed and self.forecast(candidate).cost <= STREAM

    def on_probed(self, candidate: Candidate, firsts: Sequence[tuple[int, float]], *, cost: float, now: float) -> None:
        """What sentences of ours took, as in :meth:`on_warm`; nothing when they were not said.

        A voice that is faster than was thought begins anew: waiting until its slow sentences are forgotten would take minutes.
        Otherwise it is learned from: a voice that is passed over because too little is known of it would never be known.
        """
        old = self.forecast(candidate)
        if firsts:
            old.cost = min(old.cost, cost)
            fresh = Forecast(firsts, cost=old.cost)
            if all(fresh.first(size) < old.first(size) for size, _ in firsts):
                self._forecasts[candidate.key] = fresh
            else:
                for size, first in firsts:
                    old.on_first(size, work=first)
        if self.breaker(candidate).is_closed and not firsts:
            self.on_failed(candidate, SynthesisFailed("a sentence of ours was not said"), now=now)
        elif not self.breaker(candidate).is_closed:
            self.breaker(candidate).on_probed(bool(firsts), now=now)

    def rests(self, engine: str) -> bool:
        """Whether no voice of it that was asked for speaks now."""
        asked = [breaker.is_closed for (name, _), breaker in self._breakers.items() if name == engine]
        return bool(asked) and not any(asked)

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


def equivalents(voice: Voice, offers: Mapping[str, Sequence[Voice]], order: Sequence[str]) -> list[Voice]:
    """Who goes on for a voice whose engine cannot, the first choice first: of each other engine the nearest one."""
    others = (_nearest(offers[name], voice, voice.id, voice.language) for name in order if name in offers and name != voice.engine)
    return [other for other in others if other is not None]


def _nearest(voices: Sequence[Voice], wished: Voice | None, id: str, language: str) -> Voice | None:
    """The voice asked for, else the same language, and of these the same region and gender; the engine's own order decides ties. A voice
    that was cloned speaks for nobody but who asks for it."""
    speakers = [voice for voice in voices if primary(voice.language) == primary(language) and (voice.id == id or not voice.is_cloned)]
    gender = wished.gender if wished else ""
    tag = language.replace("_", "-").lower()
    return min(
        speakers,
        key=lambda voice: (voice.id != id, bool(gender) and voice.gender != gender, voice.language.lower() != tag),
        default=None,
    )
