"""What carries frozen messages from any thread to one event loop: bounded, in order, one wake-up for many."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections import deque
from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")


class Mailbox(Generic[T]):
    """1. ``post`` may be called from any thread and never blocks; what does not fit is refused and counted.
    2. Letters are taken in the order in which they were posted.
    3. ``on_mail`` is called on the receiving loop once there is something to take, not once a letter.
    """

    def __init__(self, capacity: int, loop: asyncio.AbstractEventLoop, on_mail: Callable[[], None]) -> None:
        self._capacity = capacity
        self._loop = loop
        self._on_mail = on_mail
        self._letters: deque[T] = deque()
        self._lock = threading.Lock()
        self._has_rung = False
        self.refused = 0
        """Letters that did not fit."""

    def __len__(self) -> int:
        return len(self._letters)

    def post(self, letter: T, *, urgent: bool = False) -> bool:
        """False when it did not fit. ``urgent`` letters always do: their writer bounds them, and losing one would be a fault."""
        with self._lock:
            if len(self._letters) >= self._capacity and not urgent:
                self.refused += 1
                return False
            self._letters.append(letter)
            if self._has_rung:
                return True
            self._has_rung = True
        with contextlib.suppress(RuntimeError):  # the receiving loop has ended: there is nobody to read
            self._loop.call_soon_threadsafe(self._ring)
        return True

    def take(self) -> T | None:
        """The oldest letter; None when there is none. On the receiving loop."""
        with self._lock:
            return self._letters.popleft() if self._letters else None

    def _ring(self) -> None:
        with self._lock:
            self._has_rung = False
        self._on_mail()
