"""What the node has measured of itself: bounded, readable at any time."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

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


class Report:
    """Counts since the start and the last figures, by engine."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        """``sentences``, ``interrupted``, ``underruns``, ``switched``, and ``dropped:<why>``."""
        self._ttft: dict[str, Series] = {}
        self._lag: dict[str, Series] = {}

    def on_started(self, engine: str, *, ttft: float, lag: float) -> None:
        """Both in seconds, as :class:`pipeline.events.SpeechStarted` has them."""
        self.counts["sentences"] += 1
        self._ttft.setdefault(engine, Series()).add(ttft)
        self._lag.setdefault(engine, Series()).add(lag)

    def on_count(self, what: str, number: int = 1) -> None:
        self.counts[what] += number

    def snapshot(self) -> dict[str, Any]:
        """Counts, and by engine the quantiles in seconds."""
        return {
            "counts": dict(self.counts),
            "ttft": {engine: series.summary() for engine, series in self._ttft.items()},
            "lag": {engine: series.summary() for engine, series in self._lag.items()},
        }
