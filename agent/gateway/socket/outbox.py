"""What waits to be sent, and what was sent and may have to be sent again."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass

Payload = str | bytes


@dataclass(frozen=True, slots=True)
class Letter:
    payload: Payload
    is_counted: bool
    """Whether it belongs to the session, not to one connection alone."""
    number: int | None = None
    """In the journal, of one that is sent again."""


class Outbox:
    """Messages in order.

    Its bound is its writers': whoever reads a client waits for :meth:`room`, and sound is only taken when it is empty.
    """

    def __init__(self, limit: int) -> None:
        """``limit``: bytes beyond which it counts as full."""
        self._limit = limit
        self._letters: deque[Letter] = deque()
        self._size = 0
        self._has_room = asyncio.Event()
        self._has_room.set()

    def __len__(self) -> int:
        return len(self._letters)

    @property
    def size(self) -> int:
        """Bytes."""
        return self._size

    def put(self, letter: Letter) -> None:
        self._letters.append(letter)
        self._size += len(letter.payload)
        if self._size > self._limit:
            self._has_room.clear()

    def put_first(self, letter: Letter) -> None:
        self._letters.appendleft(letter)
        self._size += len(letter.payload)

    def take(self) -> Letter | None:
        """The next one, or None."""
        if not self._letters:
            return None
        letter = self._letters.popleft()
        self._size -= len(letter.payload)
        if self._size <= self._limit:
            self._has_room.set()
        return letter

    async def room(self) -> None:
        """Returns when it is not full. Cancelling it loses nothing."""
        await self._has_room.wait()


class Journal:
    """What a session has sent, by number, until the client's end has confirmed it."""

    def __init__(self, limit: int) -> None:
        """``limit``: bytes unconfirmed beyond which no more may be sent."""
        self._limit = limit
        self._kept: deque[Payload] = deque()
        self._size = 0
        self.first = 0
        """Number of the oldest that is kept."""

    @property
    def next(self) -> int:
        """Number of the next one: how many there were."""
        return self.first + len(self._kept)

    @property
    def is_full(self) -> bool:
        return self._size > self._limit

    def add(self, payload: Payload) -> int:
        """Its number."""
        self._kept.append(payload)
        self._size += len(payload)
        return self.next - 1

    def confirm(self, number: int) -> None:
        """All before that number have been received."""
        while self._kept and self.first < number:
            self._size -= len(self._kept.popleft())
            self.first += 1

    def since(self, received: int) -> Iterable[tuple[int, Payload]]:
        """What a client that has so many of them still lacks."""
        self.confirm(received)
        return tuple(enumerate(self._kept, self.first))
