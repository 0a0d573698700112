"""How many sessions there are at all doors that keep connections, against the one bound for all of them."""

from __future__ import annotations

from collections.abc import Callable


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
