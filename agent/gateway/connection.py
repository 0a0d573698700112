"""One HTTP connection as uvicorn serves it, made impatient: a peer that says nothing, or never ends, is not waited for."""

from __future__ import annotations

import asyncio
import json
import logging
import uuid
from http import HTTPStatus
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from agent.gateway.errors import Refused

HEAD_WAIT = 10.0  # seconds from a request's first byte, or from a new connection, to the end of its head
REST_WAIT = 30.0  # seconds that the rest of a body may still come after it was answered: it is thrown away, and whoever sends it reads
HEAD_BYTES = 64 * 1024  # of a request's head: cookies and keys take a few
CONNECTIONS = 4096  # at once; each holds some 20 KB and a file descriptor
ABORT = "voicebooth.abort"
"""In the scope of a request: cuts the connection off at once, whatever is still to be sent."""

log = logging.getLogger(__name__)


class Connection(HttpToolsProtocol):
    """Whenever a peer has to send something before anything can go on, a timer runs:

    1. from the connection, or the first byte of a request, to the end of its head: 10 s;
    2. from an answer that came before the body's end to that end: 30 s.

    While a request is answered its application watches the clock; idle connections are uvicorn's.
    """

    url = b""  # of the request whose head comes
    _timer: asyncio.TimerHandle | None = None
    _is_over = False
    _head = 0  # bytes that came while no request was known

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # uvicorn narrows it, too
        super().connection_made(transport)
        if len(self.connections) > CONNECTIONS:
            log.warning("%d connections: one more is not taken", CONNECTIONS)
            transport.abort()
            return
        self._arm(HEAD_WAIT)

    def connection_lost(self, exc: Exception | None) -> None:
        self._is_over = True
        self._disarm()
        super().connection_lost(exc)

    def handle_websocket_upgrade(self) -> None:
        self._is_over = True
        self._disarm()
        super().handle_websocket_upgrade()

    def on_message_begin(self) -> None:
        super().on_message_begin()
        scope: dict[str, Any] = self.scope  # type: ignore[assignment]
        scope[ABORT] = self.transport.abort

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self._is_over or self.transport.is_closing():
            return
        if self._is_answering:
            self._head = 0
            self._disarm()
        elif self.cycle is not None and self.cycle.more_body:
            """The rest of a body that was answered early: its timer runs."""
        else:
            self._head += len(data)
            if self._head > HEAD_BYTES:
                self._refuse(Refused("head_too_large", f"a request's head holds at most {HEAD_BYTES} bytes", 431))
            elif self._timer is None:
                self._arm(HEAD_WAIT)

    def on_message_complete(self) -> None:
        cycle = self.cycle
        super().on_message_complete()
        if cycle is not None and cycle.response_complete and cycle.more_body:
            cycle.more_body = False  # the rest of a body that was answered early has come: an idle connection like any other
            self._head = 0
            self._disarm()
            self._unset_keepalive_if_required()
            self.timeout_keep_alive_task = self.loop.call_later(self.timeout_keep_alive, self.timeout_keep_alive_handler)

    def on_response_complete(self) -> None:
        super().on_response_complete()
        if not self._is_over and not self._is_answering and self.cycle.more_body:
            self._arm(REST_WAIT)

    @property
    def _is_answering(self) -> bool:
        return self.cycle is not None and not self.cycle.response_complete

    def _arm(self, seconds: float) -> None:
        self._disarm()
        self._timer = self.loop.call_later(seconds, self._give_up)

    def _disarm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _give_up(self) -> None:
        if self.transport.is_closing():
            self.transport.abort()
        elif self.cycle is not None and self.cycle.more_body:
            self.transport.abort()  # answered already
        else:
            self._refuse(Refused("too_slow", f"the request's head did not come within {HEAD_WAIT:g} s", 408))

    def send_400_response(self, msg: str) -> None:
        """What is no HTTP, as uvicorn's parser says."""
        self._refuse(Refused("bad_request", msg, 400))

    def _refuse(self, refused: Refused) -> None:
        """There is no request yet that the application could answer."""
        self._disarm()
        name = uuid.uuid4().hex
        told, status = refused.told(self.url.decode("latin-1"), name)
        body = json.dumps(told).encode()
        head = (
            f"HTTP/1.1 {status} {HTTPStatus(status).phrase}\r\nconnection: close\r\nx-request-id: {name}\r\n"
            f"content-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
        )
        self.transport.write(head.encode() + body)
        self.transport.close()
