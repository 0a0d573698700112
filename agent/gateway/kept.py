"""Whole replies that were made before, encoded: in memory, in front of the sentences that the node keeps."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from typing import Generic, Protocol, TypeVar

from pipeline.cache import CacheSettings, CacheStats
from pipeline.shelf import Shelf

OVERHEAD = 1_024  # bytes beside the sound: facts, keys, objects


class Kept(Protocol):
    @property
    def data(self) -> bytes: ...


T = TypeVar("T", bound=Kept)


class Replies(Generic[T]):
    """As much of them in memory, and for as long, as of sentences. What was asked for least recently makes room. Takes ``now``."""

    def __init__(self, settings: CacheSettings) -> None:
        most = min(settings.memory_mb, settings.size_mb) if settings.enabled else 0.0
        self._shelf = Shelf(most_bytes=round(most * 1e6), most_entries=settings.max_entries, ttl=settings.ttl_seconds)
        self._replies: dict[bytes, tuple[T, float]] = {}  # and when each is too old
        self._ttl = settings.ttl_seconds

    def find(self, key: bytes, now: float) -> T | None:
        if not self._shelf.use(key, now):
            return None
        reply, end = self._replies[key]
        return reply if now < end else None

    def keep(self, key: bytes, reply: T, now: float, *, age: float = 0.0) -> None:
        """``age``: seconds since the oldest of what it was made of was said."""
        self._replies[key] = reply, now + self._ttl - age
        for gone in self._shelf.put(key, len(reply.data) + OVERHEAD, now):
            self._replies.pop(gone, None)

    def beside(self, sentences: CacheStats) -> CacheStats:
        """What is kept in all: ``sentences``, and these."""
        shelf = self._shelf
        if not sentences.enabled:
            return sentences
        return replace(
            sentences,
            entries=sentences.entries + len(shelf),
            size_bytes=sentences.size_bytes + shelf.size,
            memory_bytes=sentences.memory_bytes + shelf.size,
            max_bytes=sentences.max_bytes + shelf.most_bytes,
            max_entries=sentences.max_entries + shelf.most_entries,
            evictions=sentences.evictions + shelf.evictions,
        )

    def clear(self) -> None:
        self._shelf.clear()
        self._replies.clear()


def digest(*parts: object) -> bytes:
    """Of everything that changes a reply; the text itself is not kept."""
    return hashlib.sha256(repr(parts).encode("utf-8", "backslashreplace")).digest()
