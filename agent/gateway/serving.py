"""The HTTP and WebSocket door while it is open: uvicorn on the node's own loop, which stays the node's."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import socket
from collections.abc import Iterator
from types import TracebackType
from typing import Self

import uvicorn
from fastapi import FastAPI

from agent.gateway.connection import Connection
from agent.gateway.settings import ServerSettings, WsSettings
from agent.gateway.socket.wire import Wire

BACKLOG = 512  # connections that wait to be taken: a burst of clients that all come at once
LAST_ANSWERS = 1.0  # seconds for answers that are on their way when the door closes: Ctrl-C promises an end within 2
KEEP_ALIVE = 30  # seconds for which an idle connection stays open: clients that come again soon save its making
LOOK = 0.01  # seconds between two looks whether the server has begun


class DoorFailed(Exception):
    """The door cannot be opened; ``str()`` says why and what mends it, in one line."""


class _Server(uvicorn.Server):
    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """The process's signals belong to the command that runs it."""
        yield


class Doors:
    """``async with Doors(app, ...)``: open inside, closed after it. Runs on the loop that entered it.

    1. Every port is bound before any is served, or :exc:`DoorFailed` names the one that cannot be.
    2. Closing takes no new connections, lets short answers end, and cuts the rest off after a second.
    """

    def __init__(self, app: FastAPI, settings: ServerSettings, ws: WsSettings) -> None:
        self._settings = settings
        config = uvicorn.Config(
            app,
            http=Connection,
            ws=Wire,
            ws_max_size=ws.message_bytes,
            ws_ping_interval=ws.keepalive_s,
            ws_ping_timeout=ws.stall_s + ws.keepalive_s,  # who does not read answers no ping either, and is to be told which it was
            ws_per_message_deflate=False,  # sound does not get smaller, and each connection would keep 300 KB for trying
            lifespan="on",
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,
            timeout_keep_alive=KEEP_ALIVE,
            timeout_graceful_shutdown=1,
            backlog=BACKLOG,
        )
        self._server = _Server(config)
        self._sockets: list[socket.socket] = []
        self.addresses: tuple[str, ...] = ()
        """Where it can be reached once it is open, ``http://127.0.0.1:8003``."""

    async def __aenter__(self) -> Self:
        try:
            for port in self._settings.ports:
                self._sockets.append(_bind(self._settings.host, port))
        except DoorFailed:
            self._close_sockets()
            raise
        self.addresses = tuple(_address(*each.getsockname()[:2]) for each in self._sockets)
        self._serving = asyncio.create_task(self._server.serve(self._sockets), name="http")
        while not (self._server.started or self._serving.done()):  # noqa: ASYNC110 - the server tells nobody
            await asyncio.sleep(LOOK)
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        self._server.should_exit = True
        _, late = await asyncio.wait((self._serving,), timeout=2 * LAST_ANSWERS)
        if late:
            self._serving.cancel()
            await asyncio.wait((self._serving,), timeout=LAST_ANSWERS)
        self._close_sockets()

    def _close_sockets(self) -> None:
        for each in self._sockets:
            each.close()


def _bind(host: str, port: int) -> socket.socket:
    """A listening socket. Raises :exc:`DoorFailed`."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    except OSError as error:
        raise DoorFailed(f"server.host {host!r} is no address of this machine: {error.strerror}") from error
    bound = socket.socket(family, kind, protocol)
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        bound.bind(address)
    except OSError as error:
        bound.close()
        why = "is in use already" if error.errno == errno.EADDRINUSE else f"cannot be used: {os.strerror(error.errno or 0)}"
        mend = "set server.ports to another, for example `--set server.ports=8004`"
        raise DoorFailed(f"port {port} on {host} {why}; {mend}") from error
    bound.setblocking(False)
    return bound


def _address(host: str, port: int) -> str:
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
