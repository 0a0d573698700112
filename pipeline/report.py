"""What the node has measured of itself: bounded, readable at any time."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from pipeline.journey import Journey

CACHE = "cache"  # stands for the engine of sentences that were said before: nobody's delay but the cache's
KEPT = 1000  # figures of each kind: enough for a p99, a few KB


def quantile(values: Iterable[float], q: float) -> float | None:
    """The nearest-rank quantile; None of nothing."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(q * len(ordered)))] if ordered else None


@dataclass(frozen=True, slots=True)
class Summary:
    """Quantiles of the last figures of one kind, in their unit."""

    count: int
    p50: float | None
    p95: float | None
    p99: float | None


class Series:
    """The last figures of one kind."""

    def __init__(self) -> None:
        self._values: deque[float] = deque(maxlen=KEPT)

    def add(self, value: float) -> None:
        self._values.append(value)

    def summary(self) -> Summary:
        return Summary(len(self._values), *(quantile(self._values, q) for q in (0.50, 0.95, 0.99)))


class Watcher:
    """Is told each figure as it comes, on the node's loop, and must not block. Methods that are not overridden mean: not of interest."""

    def on_started(self, engine: str, *, ttft: float, lag: float, budget: float) -> None:
        """A sentence is heard; seconds, as :class:`pipeline.events.SpeechStarted` has them. ``budget``: what ``ttft`` may have been."""

    def on_made(self, engine: str, language: str, *, work: float, seconds: float) -> None:
        """A sentence has been made: seconds of work, and of sound. ``language``: without its region."""

    def on_failed(self, kind: str) -> None:
        """Nobody could say a sentence; the class of the last error."""

    def on_switched(self, old: str, new: str, why: str) -> None:
        """Another engine speaks where the first one should."""

    def on_journey(self, journey: Journey) -> None:
        """A sentence is over, however it ended."""

    def on_count(self, what: str, number: int) -> None:
        """As :attr:`Report.counts` has it."""


class Report:
    """Counts since the start and the last figures, by engine."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        """``sentences``, ``interrupted``, ``underruns``, ``switched``, and ``dropped:<why>``."""
        self._ttft: dict[str, Series] = {}
        self._lag: dict[str, Series] = {}
        self._cost: dict[str, Series] = {}
        self._watchers: list[Watcher] = []

    def watch(self, watcher: Watcher) -> None:
        """Tell it everything from here on."""
        self._watchers.append(watcher)

    def on_started(self, engine: str, *, ttft: float, lag: float, budget: float) -> None:
        self._ttft.setdefault(engine, Series()).add(ttft)
        self._lag.setdefault(engine, Series()).add(lag)
        self.on_count("sentences")
        for watcher in self._watchers:
            watcher.on_started(engine, ttft=ttft, lag=lag, budget=budget)

    def on_made(self, engine: str, language: str, *, work: float, seconds: float) -> None:
        if seconds:
            self._cost.setdefault(engine, Series()).add(work / seconds)
        for watcher in self._watchers:
            watcher.on_made(engine, language, work=work, seconds=seconds)

    def on_failed(self, kind: str) -> None:
        for watcher in self._watchers:
            watcher.on_failed(kind)

    def on_switched(self, old: str, new: str, why: str) -> None:
        self.on_count("switched")
        for watcher in self._watchers:
            watcher.on_switched(old, new, why)

    def on_journey(self, journey: Journey) -> None:
        for watcher in self._watchers:
            watcher.on_journey(journey)

    def on_count(self, what: str, number: int = 1) -> None:
        self.counts[what] += number
        for watcher in self._watchers:
            watcher.on_count(what, number)

    def snapshot(self) -> dict[str, Any]:
        """Counts, and by engine the quantiles in seconds; ``rtf``: seconds of work for each second of sound."""
        return {
            "counts": dict(self.counts),
            "ttft": {engine: series.summary() for engine, series in self._ttft.items()},
            "lag": {engine: series.summary() for engine, series in self._lag.items()},
            "rtf": {engine: series.summary() for engine, series in self._cost.items()},
        }
