"""Whose step runs next, and how much the lanes can still take."""

from __future__ import annotations

import heapq
from collections import deque
from typing import Generic, TypeVar

LATELY = 0.1  # weight of the newest step in what steps take: the last ten or so, which is about half a second of a busy lane

T = TypeVar("T")


class Schedule(Generic[T]):
    """Steps that wait for a lane, the one whose listener runs dry first in front; ties in order of arrival."""

    def __init__(self) -> None:
        self._heap: list[tuple[float, int, T]] = []
        self._arrivals = 0
        self._discarded: set[int] = set()

    def push(self, step: T, *, due: float) -> int:
        """``due``: when its sound is needed, in seconds. Gives a ticket for :meth:`discard`."""
        self._arrivals += 1
        heapq.heappush(self._heap, (due, self._arrivals, step))
        return self._arrivals

    def discard(self, ticket: int) -> None:
        """A step that nobody waits for any more. Must be waiting still."""
        self._discarded.add(ticket)

    def pop(self) -> T | None:
        while self._heap:
            _, ticket, step = heapq.heappop(self._heap)
            if ticket not in self._discarded:
                return step
            self._discarded.remove(ticket)
        return None

    def ahead(self, due: float) -> int:
        """How many would be taken before a step that is due then."""
        return sum(other <= due and ticket not in self._discarded for other, ticket, _ in self._heap)

    def __len__(self) -> int:
        return len(self._heap) - len(self._discarded)


class Load:
    """The part of the lanes' time that was spent on steps, over the last seconds."""

    def __init__(self, *, span: float = 5.0) -> None:
        """``span``: seconds looked back; long enough to even out sentences, short enough to see a crowd come."""
        self._span = span
        self._steps: deque[tuple[float, float]] = deque()
        self._busy = 0.0
        self.step = 0.0
        """Seconds that a step takes, lately."""

    def on_step(self, *, took: float, now: float) -> None:
        self.step += (took - self.step) * LATELY
        self._steps.append((now, took))
        self._busy += took
        self._forget(now)

    def fraction(self, lanes: int, *, now: float) -> float:
        """0 when idle, 1 when every lane was busy all the time."""
        self._forget(now)
        return min(1.0, max(0.0, self._busy / (self._span * lanes))) if lanes else 1.0

    def _forget(self, now: float) -> None:
        while self._steps and self._steps[0][0] <= now - self._span:
            self._busy -= self._steps.popleft()[1]
