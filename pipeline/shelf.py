"""What a bounded store keeps: what was used least recently goes first, and what is old goes in any case. Pure."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Place:
    """One thing on the shelf."""

    key: bytes
    size: int
    """Bytes."""
    stored: float
    """When it was put there, in seconds."""
    used: float
    """When it was asked for last."""


class Shelf:
    """Knows what lies where, not what it is: whoever has the things takes away what :meth:`put` and :meth:`expire` name.

    At no time are there more than ``most_bytes`` in ``most_entries``, and nothing is found ``ttl`` seconds after it was put there.
    """

    def __init__(self, *, most_bytes: int, most_entries: int, ttl: float) -> None:
        self.most_bytes = most_bytes
        self.most_entries = most_entries
        self.ttl = ttl
        self.size = 0
        """Bytes in all."""
        self.evictions = 0
        """Things that had to make room for others, since the start."""
        self._places: OrderedDict[bytes, tuple[int, float]] = OrderedDict()  # size and when it was stored; by use, the latest last
        self._ages: OrderedDict[bytes, float] = OrderedDict()  # when it was stored; the oldest first

    def __len__(self) -> int:
        return len(self._places)

    def __contains__(self, key: bytes) -> bool:
        return key in self._places

    def restore(self, places: Iterable[Place], now: float) -> list[bytes]:
        """What was there in an earlier life; gives those that may not stay."""
        known = {place.key: place for place in places if place.stored <= now}
        gone = {place.key for place in places} - known.keys()
        for place in sorted(known.values(), key=lambda place: place.stored):
            self._ages[place.key] = place.stored
        for place in sorted(known.values(), key=lambda place: place.used):
            self._places[place.key] = place.size, place.stored
            self.size += place.size
        return [*gone, *self.expire(now), *self._make_room()]

    def put(self, key: bytes, size: int, now: float) -> list[bytes]:
        """Gives those that have to go for it; itself, when there is no place for it at all."""
        self.drop(key)
        gone = self.expire(now)
        if size > self.most_bytes or self.most_entries < 1 or self.ttl <= 0:
            return [*gone, key]
        self._places[key] = size, now
        self._ages[key] = now
        self.size += size
        return gone + self._make_room()

    def use(self, key: bytes, now: float) -> bool:
        """False when it is not there, or too old."""
        place = self._places.get(key)
        if place is None or not now - self.ttl < place[1]:
            return False
        self._places.move_to_end(key)
        return True

    def end(self, key: bytes) -> float:
        """When it will be too old; it has to be there."""
        return self._places[key][1] + self.ttl

    def drop(self, key: bytes) -> None:
        """It is not there any more."""
        place = self._places.pop(key, None)
        if place is not None:
            self.size -= place[0]
            del self._ages[key]

    def expire(self, now: float) -> list[bytes]:
        """Gives those that have become too old."""
        gone = []
        while self._ages:
            key, stored = next(iter(self._ages.items()))
            if now - self.ttl < stored:
                break
            gone.append(key)
            self.drop(key)
        return gone

    def clear(self) -> None:
        self._places.clear()
        self._ages.clear()
        self.size = 0

    def _make_room(self) -> list[bytes]:
        gone = []
        while self.size > self.most_bytes or len(self._places) > self.most_entries:
            key = next(iter(self._places))
            gone.append(key)
            self.drop(key)
        self.evictions += len(gone)
        return gone
