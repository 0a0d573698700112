"""What holds for every request before anybody looks at it: a name, a size, a time, and a count."""

from __future__ import annotations

import asyncio
import logging
import uuid
from collections.abc import Callable, MutableMapping
from dataclasses import dataclass
from typing import Any, Protocol

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from agent.gateway.connection import ABORT
from agent.gateway.errors import Refused
from agent.gateway.notes import Notes, begin, on_refused
from agent.gateway.places import method_of, path_of
from agent.gateway.settings import LimitSettings, StreamSettings
from pipeline.journey import read_traceparent

REQUEST_ID = "X-Request-ID"
PROBES = frozenset({"/health", "/ready", "/live", "/metrics"})
"""Asked by machines every few seconds: as long as all is well, the log tells of them at DEBUG only."""
UNANSWERED = 499  # in place of a status, where the caller hung up before there was one
NAME_LENGTH = 128  # characters of a request's name that a caller gives


@dataclass(frozen=True, slots=True)
class Exchange:
    """One request and its answer, as they are counted."""

    handler: str
    """The route's path, never the caller's own words."""
    method: str
    status: int
    seconds: float
    received: int
    """Bytes of the body."""
    sent: int
    """Bytes of the answer."""
    is_fault: bool = False
    """Whether it failed in a way that no status tells: the answer had begun."""


class Tally(Protocol):
    def on_request(self) -> None: ...

    def on_exchange(self, exchange: Exchange) -> None: ...


class Bounds:
    """Middleware around everything else.

    1. Each request has a name, its caller's or a new one, and each answer carries it.
    2. A body above the limit is refused with 413, one that does not come in time with 408.
    3. A caller that does not read its answer is cut off.
    4. Each leaves one line in the log, with its name; so do the lines that are written on its behalf.
    """

    def __init__(self, app: ASGIApp, limits: LimitSettings, stream: StreamSettings, tally: Tally) -> None:
        self._app = app
        self._limits = limits
        self._stall = stream.stall_s
        self._tally = tally

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        loop = asyncio.get_running_loop()
        passage = _Passage(scope, receive, send, self._limits, self._stall)
        notes = begin(Notes(passage.name, "http", read_traceparent(Headers(scope=scope).get("traceparent"))))
        since = loop.time()
        self._tally.on_request()
        try:
            await self._app(scope, passage.receive, passage.send)
        finally:
            seconds = loop.time() - since
            place, method = path_of(scope), method_of(scope)
            exchange = Exchange(place, method, passage.status, seconds, passage.received, passage.sent, notes.is_fault)
            self._tally.on_exchange(exchange)
            level = logging.DEBUG if place in PROBES and passage.status < 400 else logging.INFO
            notes.write(f"{method} {place} {passage.status}", took=seconds, level=level)


class _Passage:
    """What passes in and out for one request."""

    def __init__(self, scope: Scope, receive: Receive, send: Send, limits: LimitSettings, stall: float) -> None:
        headers = Headers(scope=scope)
        self.name = name_of(headers)
        scope.setdefault("state", {})["request_id"] = self.name
        self._abort: Callable[[], None] = scope.get(ABORT, lambda: None)
        self._receive, self._send = receive, send
        self._limits = limits
        self._stall = stall
        self._end = asyncio.get_running_loop().time() + limits.body_wait_s
        self._declared = _length(headers)
        self._is_whole = False
        self.received = self.sent = 0
        self.status = UNANSWERED

    async def receive(self) -> Message:
        """Raises :exc:`Refused`."""
        if self._declared > self._limits.body_bytes:
            raise _too_large(self._limits)
        if self._is_whole:
            return await self._receive()  # whoever asks now waits for the caller to go away
        try:
            async with asyncio.timeout_at(self._end):
                message = await self._receive()
        except TimeoutError:
            words = f"the request did not arrive within {self._limits.body_wait_s:g} s"
            raise Refused("too_slow", words, 408) from None
        self.received += len(message.get("body", b""))
        if self.received > self._limits.body_bytes:
            raise _too_large(self._limits)
        self._is_whole = message["type"] != "http.request" or not message.get("more_body", False)
        return message

    async def send(self, message: MutableMapping[str, Any]) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            MutableHeaders(scope=message)[REQUEST_ID] = self.name
        self.sent += len(message.get("body", b""))
        try:
            async with asyncio.timeout(self._stall):
                await self._send(message)
        except TimeoutError:
            on_refused("slow_reader", is_fault=True)
            self._abort()
            raise Stalled from None


class Stalled(OSError):
    """A caller does not read what it is sent, and was cut off."""


def name_of(headers: Headers) -> str:
    """A request's name: its caller's, if that is printable and short, else a new one."""
    given = headers.get(REQUEST_ID, "")
    return given if 0 < len(given) <= NAME_LENGTH and given.isascii() and given.isprintable() else uuid.uuid4().hex


def _length(headers: Headers) -> int:
    declared = headers.get("content-length", "")
    return int(declared) if declared.isascii() and declared.isdigit() and len(declared) < NAME_LENGTH else 0


def _too_large(limits: LimitSettings) -> Refused:
    return Refused("body_too_large", f"the body holds at most {limits.body_bytes} bytes", 413)
