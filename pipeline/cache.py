"""Sentences that have been said, kept to be said again: memory in front of a disk, and those that are being made just now."""

from __future__ import annotations

import asyncio
import hashlib
import json
import logging
import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Literal, TypeVar

from pydantic import Field

from engines.base import EngineError
from pipeline.archive import Archive, ArchiveBusy
from pipeline.flight import Flight
from pipeline.lanes import PATIENCE, Lanes
from pipeline.recording import Recording
from pipeline.shelf import Shelf

log = logging.getLogger(__name__)
T = TypeVar("T")

MADE_BY = 1  # another number: what is made of the same text by the same engine sounds different from here on
READING = 0.05  # seconds until a disk that does not answer is left alone for this sentence: a fifth of the usual budget
GIVEN_UP = 3  # reads in a row without an answer, after which the disk is left alone for good
OPENING = 30.0  # seconds that opening the file may take: a disk that sleeps, a file that is mended
WRITES = 32  # recordings on their way to the disk, 300 KB each; more are kept in memory only
CLOSING = 1.0  # seconds for what is on its way to the disk when the node ends
SOONEST, LATEST = -math.inf, math.inf  # reads go before writes


@dataclass(frozen=True, slots=True)
class CacheSettings:
    """What is kept of the sentences that have been said."""

    enabled: bool = True
    """Whether any is. Each client can leave it out for itself with ``use_cache``."""
    dir: Literal["none"] | Path | None = None
    """Folder in which they are kept. Empty: this user's cache folder; ``none``: in memory only."""
    memory_mb: Annotated[float, Field(ge=0, le=100_000)] = 32.0
    """Megabytes of them in memory, in front of the disk: 11 minutes of speech."""
    size_mb: Annotated[float, Field(ge=0, le=100_000)] = 500.0
    """Megabytes of sentences: 3 hours of speech. What was asked for least recently makes room. Whole replies over HTTP are kept besides."""
    ttl_seconds: Annotated[float, Field(ge=0, le=31_536_000)] = 86_400.0
    """Seconds after which one is made anew."""
    max_entries: Annotated[int, Field(ge=0, le=1_000_000)] = 1_000
    """Sentences in all."""


@dataclass(frozen=True, slots=True)
class Key:
    """Everything that changes how a sentence sounds."""

    text: str
    """Normalised: two that are read alike are one."""
    engine: str
    build: str
    """Of the engine: library, model, version, its own settings."""
    voice: str
    language: str
    speed: float
    rate: int
    """Hertz."""
    level: float | None
    """dBFS to which voices are brought."""
    options: Mapping[str, float]

    def digest(self) -> bytes:
        """What is kept in its place: the text is nowhere on the disk."""
        return hashlib.sha256(json.dumps([MADE_BY, asdict(self)], sort_keys=True).encode()).digest()


@dataclass(frozen=True, slots=True)
class CacheStats:
    """How full it is, and what it is good for."""

    enabled: bool
    hit_rate: float
    """Part of the sentences that could have been there and were, 0 to 1."""
    total_hits: int
    total_misses: int
    total_followed: int
    """Sentences that were being made for somebody else already: neither hits nor misses."""
    entries: int
    size_bytes: int
    memory_bytes: int
    """What of them is in memory."""
    max_bytes: int
    max_entries: int
    ttl_seconds: float
    evictions: int
    """Sentences that have made room for others."""


Part = tuple[bytes, int, bool]
"""A sentence from one of its characters on, and whether something of it has been heard before."""


class Cache:
    """Used on the loop; the disk is read and written in its lane.

    1. Nothing waits for the disk but a recording that is known to be there, and that for 50 ms at the most.
    2. A disk that fails is left alone until the next start; memory goes on.
    """

    def __init__(
        self, settings: CacheSettings, lanes: Lanes, *, folder: Path | None = None, clock: Callable[[], float] | None = None
    ) -> None:
        """``folder``: where the disk's part lies; None for memory only. ``clock``: seconds that count on while no node runs."""
        in_memory = min(settings.memory_mb, settings.size_mb)
        self._memory, self._disk = (
            Shelf(most_bytes=round(megabytes * 1e6), most_entries=settings.max_entries, ttl=settings.ttl_seconds)
            for megabytes in (in_memory, settings.size_mb)
        )
        self.settings = settings
        self._lanes = lanes
        self._clock = clock or _wall_clock
        self._recordings: dict[bytes, tuple[Recording, float]] = {}  # those on the memory's shelf, and when each gets too old
        self._archive = Archive(folder) if folder is not None else None
        self._used: dict[bytes, float] = {}  # since the disk was told last; bounded by what it holds
        self._late = 0  # reads in a row that the disk did not answer
        self._flights: dict[Part, Flight] = {}
        self._writing: set[asyncio.Task[None]] = set()
        self.hits = self.misses = self.followed = 0
        """Sentences since the start."""

    async def open(self) -> None:
        """Learns what an earlier node has left. Until then, and where that fails, memory serves alone."""
        archive = self._archive
        if archive is None:
            return
        self._archive = None
        try:
            places = await self._on_disk(archive.open, due=SOONEST, allowance=OPENING / PATIENCE)
            gone = self._disk.restore(places, self._clock())
            if gone:
                await self._on_disk(lambda: archive.tidy(gone=gone, used={}), due=SOONEST)
        except EngineError as error:
            log.warning("speech is cached in memory only: %s", error)
            return
        self._archive = archive

    async def aclose(self) -> None:
        """What is on its way to the disk gets there, if that takes no more than a second."""
        if self._archive is None:
            return
        archive, used = self._archive, self._used
        if self._writing:
            _, late = await asyncio.wait(self._writing, timeout=CLOSING)
            for task in late:
                task.cancel()
        self._archive = None
        try:
            async with asyncio.timeout(CLOSING):
                await self._on_disk(lambda: archive.tidy(gone=(), used=used), due=SOONEST)
                await self._on_disk(archive.close, due=SOONEST)
        except (EngineError, TimeoutError) as error:
            log.warning("the file of cached speech was not closed: %s", error)

    # What has been said

    async def find(self, keys: Iterable[bytes]) -> dict[bytes, Recording]:
        """Those of them that are kept. Does not suspend unless one has to be read from the disk."""
        found, now = {}, self._clock()
        for key in keys:
            recording = self._recall(key, now)
            if recording is None and self._archive is not None and self._disk.use(key, now):
                recording = await self._read(key)
            if recording is not None:
                found[key] = recording
        return found

    def age(self, key: bytes) -> float:
        """Seconds since what :meth:`find` has given was kept; as many as it may be kept where nobody knows."""
        now = self._clock()
        end = self._recordings[key][1] if key in self._memory else self._disk.end(key) if key in self._disk else now
        return now + self.settings.ttl_seconds - end

    def _recall(self, key: bytes, now: float) -> Recording | None:
        if not self._memory.use(key, now):
            return None
        recording, end = self._recordings[key]
        if self._disk.use(key, now):
            self._used[key] = now
        return recording if now < end else None

    async def _read(self, key: bytes) -> Recording | None:
        archive, now, end = self._archive, self._clock(), self._disk.end(key)
        assert archive is not None
        try:
            async with asyncio.timeout(READING):
                content = await self._on_disk(lambda: archive.read(key), due=SOONEST)
        except TimeoutError as error:
            self._late += 1
            if self._late >= GIVEN_UP:
                self._lose_disk(error)
            return None
        except EngineError as error:
            self._lose_disk(error)
            return None
        self._late = 0
        recording = Recording.decode(content) if content is not None else None
        if recording is None:
            self._disk.drop(key)
            return None
        self._used[key] = now
        self._remember(key, recording, now, end)
        return recording

    def keep(self, key: bytes, recording: Recording) -> None:
        """At once in memory, and soon on the disk."""
        now = self._clock()
        self._remember(key, recording, now, now + self.settings.ttl_seconds)
        if self._archive is not None and len(self._writing) < WRITES:
            task = asyncio.create_task(self._write(self._archive, key, recording, now), name="cache")
            self._writing.add(task)
            task.add_done_callback(self._writing.discard)

    def _remember(self, key: bytes, recording: Recording, now: float, end: float) -> None:
        self._recordings[key] = recording, end
        for gone in self._memory.put(key, recording.size, now):
            self._recordings.pop(gone, None)

    async def _write(self, archive: Archive, key: bytes, recording: Recording, now: float) -> None:
        gone = self._disk.put(key, recording.size, now)
        used, self._used = self._used, {}
        for name in gone:
            used.pop(name, None)
        try:
            if key in gone:
                await self._on_disk(lambda: archive.tidy(gone=gone, used=used), due=LATEST)
            else:
                await self._on_disk(lambda: archive.write(key, recording.encode(), stored=now, gone=gone, used=used), due=LATEST)
        except ArchiveBusy:
            self._disk.drop(key)
        except EngineError as error:
            self._lose_disk(error)

    async def clear(self) -> None:
        """Forget everything, on the disk as well."""
        self._memory.clear()
        self._recordings.clear()
        self._disk.clear()
        self._used.clear()
        if self._writing:
            await asyncio.wait(self._writing, timeout=CLOSING)
            self._disk.clear()
        archive = self._archive
        if archive is not None:
            try:
                await self._on_disk(archive.clear, due=SOONEST)
            except EngineError as error:
                self._lose_disk(error)

    def stats(self) -> CacheStats:
        shelf = self._disk if self._archive is not None else self._memory
        asked = self.hits + self.misses
        return CacheStats(
            enabled=True,
            hit_rate=self.hits / asked if asked else 0.0,
            total_hits=self.hits,
            total_misses=self.misses,
            total_followed=self.followed,
            entries=len(shelf),
            size_bytes=shelf.size,
            memory_bytes=self._memory.size,
            max_bytes=shelf.most_bytes,
            max_entries=shelf.most_entries,
            ttl_seconds=shelf.ttl,
            evictions=shelf.evictions,
        )

    async def _on_disk(self, call: Callable[[], T], *, due: float, allowance: float | None = None) -> T:
        return await self._lanes.run(call, due=due, disk=True, allowance=allowance)

    def _lose_disk(self, error: Exception) -> None:
        if self._archive is not None:
            log.warning("speech is cached in memory only from here on: %s", error or "the disk does not answer")
            self._archive = None

    # What is being said

    def flight(self, part: Part) -> Flight | None:
        """Whatever is being made of it just now."""
        return self._flights.get(part)

    def begin(self, part: Part, flight: Flight) -> None:
        """Others may follow it, until :meth:`end`."""
        self._flights[part] = flight

    def end(self, part: Part) -> None:
        del self._flights[part]


def no_stats(settings: CacheSettings) -> CacheStats:
    """Of a cache that is switched off."""
    return CacheStats(False, 0.0, 0, 0, 0, 0, 0, 0, round(settings.size_mb * 1e6), settings.max_entries, settings.ttl_seconds, 0)


def _wall_clock() -> float:
    return datetime.now(UTC).timestamp()
