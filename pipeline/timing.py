"""What the maker of a sentence knows of who listens to it: one, or several that want the same."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

from pipeline.chain import Track


class Timing(Protocol):
    """What the speaker of a sentence knows of its listener."""

    @property
    def track(self) -> Track: ...

    def due(self) -> float:
        """When the next sound is needed: seconds of the loop's clock."""

    def in_hand(self) -> float:
        """Seconds of sound that are made and not yet heard."""

    def window(self, cost: float) -> float:
        """Seconds of sound that the next step may make; 0 when the listener waits. ``cost``: seconds of work a second of speech."""

    def pause(self) -> float:
        """Seconds of silence that belong after this sentence."""

    async def room(self) -> None:
        """Returns when more sound may be made: look-ahead is bounded."""


class Together:
    """A :class:`Timing` for a sentence that others follow: it is made for whoever needs it soonest.

    Its own listener may get more than a look-ahead of it, when somebody else needs it sooner: at the most what is left of the sentence.
    """

    def __init__(self, own: Timing) -> None:
        self._own = own
        self._others: list[Timing] = []
        self._waiting = 0
        self._wanted = asyncio.Event()

    @property
    def track(self) -> Track:
        return self._own.track

    def due(self) -> float:
        return min(timing.due() for timing in (self._own, *self._others))

    def in_hand(self) -> float:
        return min(timing.in_hand() for timing in (self._own, *self._others))

    def window(self, cost: float) -> float:
        return min(timing.window(cost) for timing in (self._own, *self._others))

    def pause(self) -> float:
        return self._own.pause()

    async def room(self) -> None:
        """Returns also while somebody else has nothing left to say."""
        own, wanted = asyncio.ensure_future(self._own.room()), asyncio.ensure_future(self._wanted.wait())
        try:
            await asyncio.wait((own, wanted), return_when=asyncio.FIRST_COMPLETED)
            if own.done():
                own.result()
        finally:
            own.cancel()
            wanted.cancel()

    @contextmanager
    def joined(self, other: Timing) -> Iterator[None]:
        """It is made for that one, too."""
        self._others.append(other)
        try:
            yield
        finally:
            self._others.remove(other)

    @contextmanager
    def wanted(self) -> Iterator[None]:
        """Somebody who has joined waits for the next sound."""
        self._waiting += 1
        self._wanted.set()
        try:
            yield
        finally:
            self._waiting -= 1
            if not self._waiting:
                self._wanted.clear()
