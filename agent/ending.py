"""How a running command is told to end: SIGTERM lets what was accepted be heard, Ctrl-C does not."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Coroutine
from types import TracebackType
from typing import Any, Self

SIGNALS = (signal.SIGINT, signal.SIGTERM)
WITHIN = 1.8  # seconds from ``now`` to the end of the process: each part has less, but one after the other they may come to more


class Ending:
    """Used as a context around what runs, on the loop of the main thread.

    1. The first SIGTERM sets ``asked``. SIGINT, and a second SIGTERM, set ``asked`` and ``now``.
    2. Whatever comes after ``now`` ends the process as if nobody had listened; and 1.8 seconds after it nothing is waited for.
    """

    def __init__(self) -> None:
        self.asked = asyncio.Event()
        """It shall end."""
        self.now = asyncio.Event()
        """And not wait for anything."""

    def __enter__(self) -> Self:
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None
        for number in SIGNALS:
            self._loop.add_signal_handler(number, self.on_signal, number)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._timer is not None:
            self._timer.cancel()
        for number in SIGNALS:
            self._loop.remove_signal_handler(number)

    def on_signal(self, number: signal.Signals) -> None:
        if self.now.is_set():
            for each in SIGNALS:
                self._loop.remove_signal_handler(each)
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)
        elif number == signal.SIGINT or self.asked.is_set():
            self.now.set()
            self._timer = self._loop.call_later(WITHIN, self.on_signal, number)
        self.asked.set()

    async def unless_now(self, work: Coroutine[Any, Any, object]) -> bool:
        """Run it to its end, or cancel it when the end shall be now. Whether it ran to its end; its errors are raised."""
        return await _until(work, self.now)

    async def unless_asked(self, work: Coroutine[Any, Any, object]) -> bool:
        """The same, but any wish for an end cancels it."""
        return await _until(work, self.asked)


async def _until(work: Coroutine[Any, Any, object], event: asyncio.Event) -> bool:
    task, waiter = asyncio.ensure_future(work), asyncio.ensure_future(event.wait())
    try:
        await asyncio.wait((task, waiter), return_when=asyncio.FIRST_COMPLETED)
        if task.done():
            await task
            return True
        return False
    finally:
        waiter.cancel()
        if not task.done():
            task.cancel()
            await asyncio.wait((task,))
