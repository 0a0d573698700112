"""One WebSocket: reads for a session, writes for it, and keeps the time."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Iterable
from typing import Protocol

from fastapi import WebSocket
from starlette.websockets import WebSocketDisconnect

from agent.gateway.errors import Refused, fault
from agent.gateway.seats import Guest
from agent.gateway.settings import WsSettings
from agent.gateway.socket.dialect import undecided_error
from agent.gateway.socket.orders import BINARY, BROKEN, LEAVING, NORMAL, NOT_TEXT, REFUSED, TOO_BIG, Close, Order, Send, TakeVoice, Tell
from agent.gateway.socket.outbox import Letter
from agent.gateway.socket.patience import Patience
from agent.gateway.socket.session import Session
from agent.gateway.socket.wire import Wire
from pipeline.protocol import Hello, Ping

log = logging.getLogger(__name__)

LOOK = 1.0  # seconds between two looks whether the client may stay
CONFIRM_BYTES = 32 << 10  # sent, after which the client's end is asked whether it has it, though more is to come
REASON_BYTES = 120  # of a close frame's reason; it holds 123
WORDS = {
    LEAVING: ("draining", "this node is about to end: connect again", 503),
    REFUSED: ("slow_reader", "what was sent was not read in time", 408),
    TOO_BIG: ("too_large", "the message is too large", 413),
    BROKEN: ("no_pong", "no sign of life came back", 408),
    NOT_TEXT: ("bad_json", "text is UTF-8", 400),
}
"""What is said before the connection ends with a code that nobody gave words for."""


class Host(Protocol):
    """Who has the sessions."""

    def begin(self, connection: Connection, dialect: str) -> Session: ...

    def choose(self, connection: Connection, first: str) -> str:
        """The dialect of a first message. Raises :exc:`Refused`."""


class Connection:
    """Made after the upgrade. :meth:`run` ends when the connection does; the session may live on.

    1. One task reads, one writes. A client that does not read stops its own sound first, then its own messages; it is told, and in the
       end the connection is cut.
    2. Every end but a normal one is preceded by an error in the dialect's own shape.
    3. Nobody stays longer than he may, or than he has something to say, by giving signs of life.
    """

    def __init__(self, socket: WebSocket, wire: Wire, settings: WsSettings, host: Host, guest: Guest) -> None:
        self.socket = socket
        self.guest = guest
        self.session: Session | None = None
        self._wire = wire
        self._settings = settings
        self._host = host
        self._loop = asyncio.get_running_loop()
        self._patience = Patience(settings, self._loop.time())
        self._timer: asyncio.TimerHandle | None = None
        self._looking: asyncio.TimerHandle | None = None
        self._ended = asyncio.Event()
        self._has_session = asyncio.Event()
        self._word: Refused | None = None
        self._unasked = 0  # bytes sent since the client's end was last asked
        self._sent = self._asked = 0  # messages of the session's journal, up to which this connection has sent, and asked
        wire.ends = self
        wire.bound(settings.send_queue_bytes)

    @property
    def was_lost(self) -> bool:
        """Whether it ended without the client's saying so."""
        return not self._wire.was_closed

    @property
    def word(self) -> Refused | None:
        """Why it was ended from this side, unless normally."""
        return self._word

    async def run(self, dialect: str | None) -> None:
        """Serve until either side ends. ``dialect`` None: the first message tells."""
        if dialect is not None:
            self._begin(dialect)
        self._arm()
        self._looking = self._loop.call_later(LOOK, self._look)
        tasks = [self._loop.create_task(work) for work in (self._read(), self._write())]
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            self._ended.set()
            for timer in (self._timer, self._looking):
                if timer is not None:
                    timer.cancel()
            for task in tasks:
                task.cancel()
            results = await asyncio.gather(*tasks, return_exceptions=True)
        for result in results:
            if isinstance(result, Exception) and not isinstance(result, WebSocketDisconnect):
                self.end(BROKEN, fault())
                raise result

    def _begin(self, dialect: str) -> None:
        self.session = self._host.begin(self, dialect)
        self._patience.sends_signs = self.session.dialect.keepalive is not None
        self.session.run(self.session.dialect.on_open(self._loop.time()))
        self._has_session.set()

    # Reading

    async def _read(self) -> None:
        while True:
            message = await self.socket.receive()
            if message["type"] == "websocket.disconnect":
                return
            now = self._loop.time()
            self._patience.on_message(now)
            text = message.get("text")
            if text is not None:
                self._on_text(text, now)
            elif message.get("bytes") is not None:
                self._on_binary()
            else:
                self.end(NOT_TEXT, Refused(*WORDS[NOT_TEXT]))
            self._arm()
            if self.session is not None:
                await self.session.outbox.room()

    def _on_text(self, text: str, now: float) -> None:
        if self.session is None:
            try:
                self._begin(self._host.choose(self, text))
            except Refused as refused:
                self.end(NOT_TEXT if refused.code == "bad_json" else REFUSED, refused)
                return
        assert self.session is not None
        if self.session.closing is None:
            before = self.session
            orders = before.dialect.on_text(text, now)
            if _asks(orders):
                self._patience.on_text(now)
            self.session = before.run(orders)
            before.wake.set()

    def _on_binary(self) -> None:
        if self.session is None:
            self.end(BINARY, Refused("binary_input", "the first message is text", 400))
        elif self.session.closing is None:
            self.session.run(self.session.dialect.on_binary())

    # Writing

    async def _write(self) -> None:
        await self._has_session.wait()
        while True:
            session = self.session
            if session is None:  # it goes on in another connection
                await self._ended.wait()
                return
            if session.is_broken:
                self.end(BROKEN, fault())
                await self._ended.wait()
            session.wake.clear()
            letter = session.outbox.take()
            if letter is not None:
                await self._send(session, letter)
            elif session.closing is not None:
                await self._close(session.closing)
            elif session.is_ahead or not await session.pull():
                self._ask()
                await session.wake.wait()

    async def _send(self, session: Session, letter: Letter) -> None:
        number = letter.number
        if letter.is_counted and session.journal is not None:
            number = session.journal.add(letter.payload)
        half = self._settings.stall_s / 2
        if not await self._hand_over(letter, half):
            word = session.dialect.error(Refused(*WORDS[REFUSED]), is_last=False)
            session.outbox.put_first(Letter(json.dumps(word), is_counted=False))
            if not await self._hand_over(letter, half):
                self.end(REFUSED, Refused(*WORDS[REFUSED]))
                await self._ended.wait()
        self._unasked += len(letter.payload)
        if number is not None:
            self._sent = number + 1
        if self._unasked > CONFIRM_BYTES:
            self._ask()

    async def _hand_over(self, letter: Letter, patience: float) -> bool:
        """False when the client has not read enough for that: it can be tried again."""
        try:
            async with asyncio.timeout(patience):
                if isinstance(letter.payload, bytes):
                    await self.socket.send_bytes(letter.payload)
                else:
                    await self.socket.send_text(letter.payload)
        except TimeoutError:
            return False
        except RuntimeError:
            if not self._wire.close_sent:
                raise
            await self._ended.wait()
        return True

    async def _close(self, close: Close) -> None:
        if not self._wire.close_sent:
            reason = close.reason.encode()[:REASON_BYTES].decode(errors="ignore")
            await self.socket.close(close.code, reason)
        await self._ended.wait()

    def _ask(self) -> None:
        """Where a session may go on in another connection, know what has arrived in this one."""
        if self._sent != self._asked:
            self._asked, self._unasked = self._sent, 0
            self._wire.ping(b"%d" % self._asked)

    # Ending

    def end(self, code: int, refused: Refused) -> None:
        """With that word, at once: what waits to be sent is not."""
        self._word = refused
        self._wire.cut(code, refused.code)

    def last_word(self, code: int) -> str:
        word = self._word or Refused(*WORDS.get(code, ("protocol_error", "a frame breaks the rules of WebSocket", 400)))
        dialect = self.session.dialect if self.session is not None else None
        return json.dumps(undecided_error(word) if dialect is None else dialect.error(word, is_last=True), ensure_ascii=False)

    def on_pong(self, payload: bytes) -> None:
        session = self.session
        if session is not None and session.journal is not None and payload.isdigit():
            session.journal.confirm(min(int(payload), session.journal.next))
            session.wake.set()

    def on_silent(self) -> None:
        self.end(BROKEN, Refused(*WORDS[BROKEN]))

    def on_leaving(self) -> None:
        self._word = Refused(*WORDS[LEAVING])

    # Time

    def _look(self) -> None:
        """A client that says nothing is asked for nothing else; its time, its token or its key may be over all the same."""
        self._looking = self._loop.call_later(LOOK, self._look)
        try:
            self.guest.check()
        except Refused as refused:
            if refused.is_for_good:
                self.end(REFUSED, refused)

    def _arm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        session = self.session
        due = session.dialect.timer() if session is not None and session.closing is None else None
        patience = self._patience.timer()
        self._timer = self._loop.call_at(patience if due is None else min(patience, due), self._on_timer)

    def _on_timer(self) -> None:
        """Nobody waits for what goes wrong in here: it is told at once."""
        try:
            self._keep_time()
            self._arm()
        except Exception:
            log.exception("a connection failed by a fault of ours")
            self.end(BROKEN, fault())

    def _keep_time(self) -> None:
        now = self._loop.time()
        session = self.session
        if session is not None and session.closing is None and (due := session.dialect.timer()) is not None and due <= now:
            session.run(session.dialect.on_timer(now))
        match self._patience.on_timer(now):
            case "first_message":
                self.end(REFUSED, Refused("no_first_message", f"nothing came within {self._settings.first_message_s:.0f} s", 408))
            case "idle" if session is not None:
                if session.is_busy:
                    self._patience.on_busy(now)
                else:
                    session.run([Close(NORMAL, "idle")])
            case "keepalive" if session is not None and session.dialect.keepalive is not None and not len(session.outbox):
                session.run([Send(session.dialect.keepalive, is_counted=False)])


def _asks(orders: Iterable[Order]) -> bool:
    """Whether something is to be said, or to be said otherwise: a sign of life asks for neither."""
    return any(isinstance(order, TakeVoice) or _says(order) for order in orders)


def _says(order: Order) -> bool:
    return isinstance(order, Tell) and not isinstance(order.message, Hello | Ping)
