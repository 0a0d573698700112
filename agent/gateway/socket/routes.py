"""The WebSocket door: `/ws/synthesize` and `/v1/speak`, who is let in, and the sessions that may be taken up again."""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import Awaitable, Callable, Coroutine
from functools import partial
from importlib.metadata import version
from typing import Any

from fastapi import APIRouter, WebSocket
from fastapi.responses import JSONResponse
from uvicorn.protocols.utils import ClientDisconnected

from agent.gateway.bounds import REQUEST_ID, name_of
from agent.gateway.clone import take_voice
from agent.gateway.errors import Refused
from agent.gateway.notes import Notes, begin, on_refused
from agent.gateway.places import path_of
from agent.gateway.seats import Guest, Seats
from agent.gateway.slots import Slots
from agent.gateway.socket import dialect as dialects
from agent.gateway.socket.connection import Connection
from agent.gateway.socket.dialect import Dialect, Terms, answer, named, spoken_in
from agent.gateway.socket.incremental import Incremental
from agent.gateway.socket.native import Native
from agent.gateway.socket.oneshot import OneShot
from agent.gateway.socket.orders import REFUSED
from agent.gateway.socket.session import Session
from agent.gateway.socket.speak import Speak
from agent.gateway.socket.wire import SCOPE, Wire
from agent.gateway.socket.wishes import read_object
from agent.gateway.speech import make_plan
from agent.node import Node
from pipeline.journey import read_traceparent

log = logging.getLogger(__name__)

FULL_WAIT = 5.0  # seconds after which a client that found the door full may knock again
KINDS: dict[str, type[Dialect]] = {kind.name: kind for kind in (Native, OneShot, Incremental, Speak)}

Admit = Callable[[WebSocket], Awaitable[Guest]]
"""Lets in or raises :exc:`Refused` with the HTTP status of the refused upgrade."""


class Door:
    """All WebSocket sessions of a node. On its loop."""

    def __init__(self, node: Node, seats: Seats, slots: Slots, admit: Admit) -> None:
        """``seats``: shared with all others who keep sessions here; ``slots``: with all who take voices from recordings."""
        self._node = node
        self._seats = seats
        self._slots = slots
        self._admit = admit
        self._entering = 0  # clients that were let in and have no connection yet
        seats.watch(lambda: self.sessions)
        self._settings = node.settings
        self._connections: set[Connection] = set()
        self._named: dict[str, Session] = {}  # sessions that may be taken up again, connected or not
        self._lost: dict[str, asyncio.TimerHandle] = {}  # those of them whose client is away, until they are given up
        self._closing: set[asyncio.Task[None]] = set()
        self._version = version("voicebooth")

    @property
    def sessions(self) -> int:
        """How many there are, those included whose client may still come back."""
        return self._entering + len(self._connections) + len(self._lost)

    async def serve(self, socket: WebSocket, dialect: str | None = None) -> None:
        """From the upgrade to the end. ``dialect``: the path speaks it, whatever the client says."""
        await self._tell_of(socket, self._serve(socket, dialect))

    async def turn_away(self, socket: WebSocket) -> None:
        """Where nobody is behind the path."""
        await self._tell_of(socket, self._turn_away(socket))

    async def _tell_of(self, socket: WebSocket, visit: Coroutine[Any, Any, None]) -> None:
        """A name, and a line in the log."""
        name = socket.state.request_id = name_of(socket.headers)
        notes = begin(Notes(name, "websocket", read_traceparent(socket.headers.get("traceparent"))))
        since = asyncio.get_running_loop().time()
        try:
            await visit
        finally:
            took = asyncio.get_running_loop().time() - since
            notes.write(f"{path_of(socket.scope)} {'refused' if notes.error else 'ended'}", took=took)

    async def _turn_away(self, socket: WebSocket) -> None:
        try:
            await self._admit(socket)
            raise Refused("not_found", "there is no WebSocket here: /ws/synthesize and /v1/speak are two", 404)
        except Refused as refused:
            await _deny(socket, refused, socket.state.request_id)

    async def _serve(self, socket: WebSocket, dialect: str | None) -> None:
        name = socket.state.request_id
        try:
            if self._node.is_draining:
                raise Refused("draining", "this node is about to end", 503, retry_after=FULL_WAIT)
            if self._seats.is_full:
                words = f"{self._seats.count} sessions are open, and no more may be (limits.sessions)"
                raise Refused("at_capacity", words, 503, retry_after=FULL_WAIT)
        except Refused as refused:
            await _deny(socket, refused, name)
            return
        self._entering += 1
        try:
            connection = await self._enter(socket, name)
        finally:
            self._entering -= 1
        if connection is None:
            return
        self._connections.add(connection)
        try:
            await self._run(connection, dialect)
        finally:
            self._connections.discard(connection)
            if connection.word is not None:
                on_refused(connection.word.code)
            session = connection.session
            if session is not None and session.name and connection.was_lost and session.closing is None and not session.is_broken:
                self._keep(session)
            elif session is not None:
                self._forget(session)

    async def _enter(self, socket: WebSocket, name: str) -> Connection | None:
        """None when it may not come in, or did not wait."""
        try:
            guest = await self._admit(socket)
        except Refused as refused:
            await _deny(socket, refused, name)
            return None
        wire = socket.scope["extensions"][SCOPE]
        assert isinstance(wire, Wire)
        try:
            await socket.accept(answer(socket.scope["subprotocols"]), headers=[(REQUEST_ID.lower().encode(), name.encode())])
        except (ClientDisconnected, OSError):
            return None
        return Connection(socket, wire, self._settings.ws, self, guest)

    async def _run(self, connection: Connection, dialect: str | None) -> None:
        socket = connection.socket
        try:
            chosen = dialect or named(socket.scope["subprotocols"], socket.query_params)
        except Refused as refused:
            connection.end(REFUSED, refused)
            return
        await connection.run(chosen)

    # For connections

    def choose(self, connection: Connection, first: str) -> str:
        return spoken_in(read_object(first))

    def begin(self, connection: Connection, dialect: str) -> Session:
        settings = self._settings
        terms = Terms(
            rate=self._node.studio.rate,
            settle=partial(make_plan, self._node),
            fresh=partial(secrets.token_hex, 16),
            node=settings.node.name,
            version=self._version,
            query=dict(connection.socket.query_params),
            ws=settings.ws,
            limits=settings.limits,
            stream=settings.stream,
            audio=settings.audio,
            request_id=connection.socket.state.request_id,
        )
        return Session(
            self._node,
            KINDS[dialect](terms),
            connection.guest,
            settings.ws.send_queue_bytes,
            resume=partial(self._resume, connection),
            take=partial(take_voice, self._node, self._slots),
        )

    # Sessions that go on

    def _resume(self, connection: Connection, fresh: Session, name: str) -> Session:
        found = self._named.get(name)
        if found is fresh:
            return fresh
        if fresh.name or (found is not None and found.guest.name != fresh.guest.name):
            found = None
        if found is None:
            if not fresh.name:
                self._named[name] = fresh
                fresh.open_journal(name)
            return fresh
        lost = self._lost.pop(name, None)
        if lost is not None:
            lost.cancel()
        for other in self._connections:
            if other.session is found and other is not connection:
                other.session = None
                other.end(REFUSED, Refused("taken_over", "this session goes on in another connection", 409))
        self._close(fresh)
        found.guest = fresh.guest  # whose token is the one that counts now
        return found

    def _keep(self, session: Session) -> None:
        """Its client may come back."""
        wait = self._settings.ws.resume_s
        self._lost[session.name] = asyncio.get_running_loop().call_later(wait, self._give_up, session)

    def _give_up(self, session: Session) -> None:
        self._lost.pop(session.name, None)
        self._forget(session)

    def _forget(self, session: Session) -> None:
        if self._named.get(session.name) is session:
            del self._named[session.name]
        self._close(session)

    def _close(self, session: Session) -> None:
        task = asyncio.create_task(session.aclose())
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)


async def _deny(socket: WebSocket, refused: Refused, name: str) -> None:
    """Before the upgrade, in the shape of the path's contract."""
    on_refused(refused.code)
    body, status = refused.told(socket.scope["path"], name)
    await socket.send_denial_response(JSONResponse(body, status, headers={**refused.headers, REQUEST_ID: name}))


def routes(node: Node, seats: Seats, slots: Slots, admit: Admit) -> APIRouter:
    door = Door(node, seats, slots, admit)
    router = APIRouter()

    @router.websocket("/ws/synthesize")
    async def synthesize(socket: WebSocket) -> None:
        await door.serve(socket)

    @router.websocket("/v1/speak")
    async def speak(socket: WebSocket) -> None:
        await door.serve(socket, dialects.SPEAK)

    @router.websocket("/{path:path}")
    async def nowhere(socket: WebSocket) -> None:
        await door.turn_away(socket)

    return router
