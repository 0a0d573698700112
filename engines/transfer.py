"""An asynchronous exchange with a service, driven in short blocking steps: what network engines are made of."""

from __future__ import annotations

import asyncio
import email.utils
from collections import deque
from collections.abc import Callable, Coroutine, Mapping
from datetime import UTC, datetime
from typing import Any, Generic, TypeVar

T = TypeVar("T")

POLL = 0.05  # seconds that a step waits for something to come: so soon at the latest does it notice that it has been closed
FAREWELLS = 8  # times that a library is cancelled: some answer the first time with a farewell of their own, and wait for its answer
LONGEST_REST = 3600.0  # seconds for which a service may ask to be left alone: what is more is a mistake of its clock


class Silence(TimeoutError):
    """Nothing has come for as long as the caller's patience lasts."""


class Transfer(Generic[T]):
    """Runs ``talk`` while somebody waits for it, on that somebody's thread, and lets it stand still in between.

    1. Nothing is read ahead: what comes faster than it is taken waits in the kernel's buffers, and slows its sender.
    2. :meth:`close` breaks off at once, however far it has come: no farewell is waited for.

    The thread must not run an event loop of its own; it may be another one each time.
    """

    def __init__(self, talk: Callable[[Callable[[T], None]], Coroutine[Any, Any, None]], *, first: float, next: float) -> None:
        """``talk`` hands over each message that it receives to the function that it is given.

        ``first``, ``next``: seconds of waiting for the first message, and for each one after it.
        """
        self._patience, self._next = first, next
        self._loop = _Loop()
        self._messages: deque[T] = deque()
        self._news: asyncio.Future[None] | None = None
        self._task = self._loop.create_task(talk(self._on_message))

    @property
    def is_over(self) -> bool:
        """True when everything that came has been taken, and it ended well."""
        task = self._task
        return task.done() and not self._messages and not task.cancelled() and task.exception() is None

    def wait(self, limit: float) -> list[T]:
        """What has come, in order; nothing when nothing came within ``limit`` seconds.

        Raises what ``talk`` raised, after its messages, and :exc:`Silence`.
        """
        if not self._messages and not self._task.done():
            self._news = self._loop.create_future()
            self._loop.run_until_complete(
                asyncio.wait((self._task, self._news), timeout=limit, return_when=asyncio.FIRST_COMPLETED),
            )
            self._news.cancel()
            self._news = None
        if not self._messages and self._task.done():
            self._task.result()
        elif self._messages:
            self._patience = self._next
        else:
            self._patience -= limit
            if self._patience <= 0:
                raise Silence("nothing comes")
        messages = list(self._messages)
        self._messages.clear()
        return messages

    def close(self) -> None:
        """Ends it; idempotent."""
        if self._loop.is_closed():
            return
        for transport in self._loop.transports:
            transport.abort()
        for _ in range(FAREWELLS):
            self._loop.run_until_complete(asyncio.sleep(0))
            if not self._task.cancel():
                break
        if self._task.done() and not self._task.cancelled():
            self._task.exception()  # somebody has looked at it
        self._loop.run_until_complete(self._loop.shutdown_asyncgens())
        self._loop.close()

    def _on_message(self, message: T) -> None:
        self._messages.append(message)
        if self._news is not None and not self._news.done():
            self._news.set_result(None)


def told(problem: Exception) -> str:
    """An error of aiohttp's or of the network's, in a few words."""
    cause = getattr(problem, "os_error", problem)  # the errors of its connector wrap one of the system's
    host = getattr(problem, "host", None)
    words = getattr(cause, "strerror", None) or str(cause) or type(problem).__name__
    return f"{host}: {words}" if isinstance(host, str) else words


class _Loop(asyncio.SelectorEventLoop):
    """Knows its connections, to break them off."""

    def __init__(self) -> None:
        super().__init__()
        self.transports: list[asyncio.Transport] = []

    async def create_connection(self, *arguments: Any, **more: Any) -> Any:
        transport, protocol = await super().create_connection(*arguments, **more)
        self.transports.append(transport)
        return transport, protocol


def retry_after(headers: Mapping[str, str] | None, default: float) -> float:
    """Seconds for which a service asks to be left alone, by its header ``Retry-After`` (RFC 9110, 10.2.3): a number or a date."""
    value = ((headers or {}).get("Retry-After") or "").strip()
    if value.isdecimal():
        return min(float(value), LONGEST_REST)
    try:
        date = email.utils.parsedate_to_datetime(value)
    except ValueError:
        return default
    if date.tzinfo is None:
        date = date.replace(tzinfo=UTC)
    return min(max(0.0, (date - datetime.now(UTC)).total_seconds()), LONGEST_REST)
