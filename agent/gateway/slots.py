"""How many requests for speech are answered at once; the next ones wait a little, and then are told to come again."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from agent.gateway.errors import Refused

COME_AGAIN = 1.0  # seconds: a slot is taken for about as long as it takes to speak a sentence or two


class Slots:
    """Used on one loop. Whoever waits longest is next."""

    def __init__(self, count: int, wait: float) -> None:
        """``wait``: seconds that a request may wait for its turn."""
        self._count = count
        self._wait = wait
        self._free = asyncio.Semaphore(count)
        self.taken = 0
        self.waiting = 0

    @property
    def is_full(self) -> bool:
        return self.taken >= self._count

    @asynccontextmanager
    async def one(self, *, wait: float | None = None) -> AsyncIterator[None]:
        """``wait``: seconds, in place of the usual. Raises :exc:`Refused` when none became free."""
        await self.take(wait=wait)
        try:
            yield
        finally:
            self.give_back()

    async def take(self, *, wait: float | None = None) -> None:
        """:meth:`give_back` is owed. Cancelling it takes none. Raises :exc:`Refused`."""
        self.waiting += 1
        try:
            async with asyncio.timeout(self._wait if wait is None else wait):
                await self._free.acquire()
        except TimeoutError:
            words = f"{self._count} requests for speech are being answered (limits.concurrent_requests); try again"
            raise Refused("at_capacity", words, 503, retry_after=COME_AGAIN) from None
        finally:
            self.waiting -= 1
        self.taken += 1

    def give_back(self) -> None:
        self.taken -= 1
        self._free.release()
