"""Sessions at all doors that keep connections: who has one, and how many there are against the one bound for all of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol


class Guest(Protocol):
    """Whoever was let in to a session."""

    @property
    def name(self) -> str: ...

    def check(self) -> None:
        """Before more is said to it. Raises :exc:`agent.gateway.errors.Refused`: 401 when it may not stay, 429 when it has to wait."""

    def spend(self, seconds: float) -> None:
        """So much sound was made for it."""


class Seats:
    """Each door counts its own; what is left is left for whoever comes first. Used on one loop."""

    def __init__(self, count: int) -> None:
        self.count = count
        """How many there may be."""
        self._doors: list[Callable[[], int]] = []

    def watch(self, taken: Callable[[], int]) -> None:
        """One more door, by how many are taken there now."""
        self._doors.append(taken)

    @property
    def taken(self) -> int:
        return sum(taken() for taken in self._doors)

    @property
    def is_full(self) -> bool:
        return self.taken >= self.count
