"""One client's session: a dialect, the stage that it speaks on, and what waits to be sent; it may outlive its connection."""

from __future__ import annotations

import asyncio
import json
import logging
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Protocol

from agent.gateway import notes
from agent.gateway.errors import Refused
from agent.gateway.seats import Guest
from agent.gateway.socket.dialect import Dialect
from agent.gateway.socket.native import Native
from agent.gateway.socket.orders import REFUSED, Close, Hush, Open, Order, Refuse, Resume, Send, TakeVoice, Tell
from agent.gateway.socket.outbox import Journal, Letter, Outbox
from agent.gateway.speech import Facts, Plan
from agent.gateway.wanted import Wanted
from agent.node import Node
from pipeline.events import Event
from pipeline.journey import NOWHERE
from pipeline.playout import PlayoutBuffer, Sound
from pipeline.protocol import AnyMessage, Text
from pipeline.speaker import Caption, TrackKey
from pipeline.stage import Stage

log = logging.getLogger(__name__)

CLIENT = "client"  # the one sender of a session's stage
PLAIN = ("", "linear16", "pcm")  # what nobody has to encode
PIECE = 0.2  # seconds of sound sent at a time: small enough that a cancel finds little on its way


class Resumption(Protocol):
    def __call__(self, session: Session, name: str) -> Session:
        """The session of that name, or this one under it."""


Take = Callable[[Wanted, Plan], Awaitable[Plan]]
"""The plan in the voice of the recording that came along. Raises :exc:`Refused`."""


class Place:
    """One stage's outlet. What a stage still tells after another one took its place is for nobody."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self.buffers: dict[TrackKey, PlayoutBuffer] = {}
        self.stage: Stage | None = None

    def open_track(self, key: TrackKey, buffer: PlayoutBuffer) -> None:
        buffer.is_live = False
        buffer.on_ready = self._session.wake.set
        self.buffers[key] = buffer

    def send(self, sender: str | None, event: Event) -> None:
        self._session.on_news(self, event)

    def caption(self, caption: Caption) -> None:
        self._session.on_news(self, caption)


class Session:
    """Carries out what the dialect decides, and tells the dialect what the stage does, each in order. On the node's loop."""

    def __init__(self, node: Node, dialect: Dialect, guest: Guest, limit: int, *, resume: Resumption, take: Take) -> None:
        """``limit``: bytes that may wait to be sent, or to be confirmed."""
        self.dialect = dialect
        self.outbox = Outbox(limit)
        self.wake = asyncio.Event()
        """Set when there may be something to send."""
        self.journal: Journal | None = None
        """Of a session that has a name."""
        self.closing: Close | None = None
        """Set when the connection is to end, once everything has been sent."""
        self.is_broken = False
        """Set when it failed while no connection asked anything of it: whoever has it tells so, and nobody takes it up again."""
        self.name = ""
        self.guest = guest
        self._node = node
        self._limit = limit
        self._resume = resume
        self._take = take
        self._taking: asyncio.Task[None] | None = None
        self._loop = asyncio.get_running_loop()
        self._notes = notes.current()
        self._facts = Facts()
        self._place: Place | None = None
        self._news: deque[Event | Caption] = deque()  # told while something else is being decided; bounded by what a stage tells at once
        self._is_ringing = False
        self._turn = 0
        self._leaving: set[asyncio.Task[None]] = set()

    @property
    def is_busy(self) -> bool:
        """Whether something is being said, or waits to be sent, or a voice is being taken."""
        stage = self._place.stage if self._place is not None else None
        return len(self.outbox) > 0 or self._taking is not None or (stage is not None and not stage.is_idle)

    @property
    def is_ahead(self) -> bool:
        """Whether so much is on its way that the client's end has to say first what has arrived."""
        return self.journal is not None and self.journal.is_full

    def run(self, orders: list[Order]) -> Session:
        """Carry them out. The session that goes on: another one when an earlier one is taken up again."""
        for index, order in enumerate(orders):
            if isinstance(order, Resume):
                found = self._resume(self, order.session)
                if found is not self:
                    found.go_on(orders[index + 1 :], order.received)
                    return found
            else:
                self._do(order)
            self._hear()
        self.wake.set()
        return self

    def go_on(self, orders: list[Order], received: int) -> None:
        """In a new connection: the answer first, then what the client lacks of what was sent, then what never was."""
        assert self.journal is not None and isinstance(self.dialect, Native)
        self._hear()
        unsent = []
        while (letter := self.outbox.take()) is not None:
            unsent.append(letter)
        missed = self.journal.since(received)
        self.dialect.on_resumed(self.journal.first)
        self.closing = None
        self.run(orders)
        for number, payload in missed:
            self.outbox.put(Letter(payload, is_counted=False, number=number))
        for letter in unsent:
            if letter.is_counted:
                self.outbox.put(letter)

    def open_journal(self, name: str) -> None:
        self.name = name
        self.journal = Journal(self._limit)

    def _do(self, order: Order) -> None:
        stage = self._place.stage if self._place is not None else None
        match order:
            case Send():
                self._put(order)
            case Open():
                self._open()
            case TakeVoice():
                self._taking = self._loop.create_task(self._take_voice(order))
                self._taking.add_done_callback(lambda task: self.wake.set())
            case Tell() if stage is not None:
                self._tell(stage, order.message)
            case Refuse() if stage is not None:
                stage.on_refused(CLIENT, order.error)
            case Hush() if self._place is not None:
                for buffer in self._place.buffers.values():
                    buffer.hush()
            case Close():
                self.closing = order

    def _tell(self, stage: Stage, message: AnyMessage) -> None:
        if isinstance(message, Text) and message.text:
            try:
                self.guest.check()
            except Refused as refused:
                if refused.is_for_good:
                    self._put(Send(self.dialect.error(refused, is_last=True)))
                    self.closing = Close(REFUSED, refused.code)
                else:
                    self.run(self.dialect.on_refused(message, refused))
                return
            self._facts.on_text()
            if self._notes is not None:
                self._notes.on_text(len(message.text), self._facts)
        stage.on_message(CLIENT, message)

    async def _take_voice(self, order: TakeVoice) -> None:
        try:
            self.guest.check()
            found: Plan | Refused = await self._take(order.wanted, order.plan)
        except Refused as refused:
            found = refused
        self._taking = None
        self.run(self.dialect.on_voice(found))

    def _put(self, order: Send) -> None:
        message = order.message
        payload = message if isinstance(message, bytes) else json.dumps(message, ensure_ascii=False, separators=(",", ":"))
        self.outbox.put(Letter(payload, order.is_counted))

    def _open(self) -> None:
        self._leave()
        place = Place(self)
        self._place = place
        place.stage = self._node.open_session(place, door="websocket", origin=NOWHERE if self._notes is None else self._notes.origin)

    def _leave(self) -> None:
        place, self._place = self._place, None
        self._news.clear()
        if self._taking is not None:
            self._taking.cancel()
            self._taking = None
        if place is not None and place.stage is not None:
            for buffer in place.buffers.values():
                buffer.on_ready = _nobody
            task = self._loop.create_task(self._node.close_stage(place.stage.name))
            self._leaving.add(task)
            task.add_done_callback(self._leaving.discard)

    # What the stage tells

    def on_news(self, place: Place, news: Event | Caption) -> None:
        if place is not self._place or self.is_broken:
            return
        self._news.append(news)
        if not self._is_ringing:
            self._is_ringing = True
            self._loop.call_soon(self._ring)

    def _ring(self) -> None:
        self._is_ringing = False
        try:
            self._hear()
        except Exception:  # nobody waits for this one
            log.exception("a session failed by a fault of ours")
            self.is_broken = True
        self.wake.set()

    def _hear(self) -> None:
        while self._news:
            news = self._news.popleft()
            now = self._loop.time()
            if isinstance(news, Event):
                self._facts.on_event(news)
            self.run(self.dialect.on_caption(news) if isinstance(news, Caption) else self.dialect.on_event(news, now))

    # What the connection takes

    async def pull(self) -> bool:
        """Turn the next piece of sound, or the cues before it, into messages. False when there is neither.

        Raises what went wrong with a recording unforeseen.
        """
        if self._taking is not None and self._taking.done():
            self._taking.result()
        self._hear()  # of a sentence before its sound
        buffers = list(self._place.buffers.items()) if self._place is not None else []
        for index in range(len(buffers)):
            key, buffer = buffers[(self._turn + index) % len(buffers)]
            if buffer.is_empty:
                continue
            self._turn += index + 1
            sound = buffer.take(round(PIECE * buffer.sample_rate), self._loop.time())
            if sound is None:
                await asyncio.sleep(0)  # what the cues lead to is told now
                self._hear()
            else:
                self._facts.samples += len(sound.samples)
                self._facts.rate = buffer.sample_rate
                self.guest.spend(len(sound.samples) / buffer.sample_rate)
                self.run(self._sound(key, sound))
            return True
        return False

    def _sound(self, key: TrackKey, sound: Sound) -> list[Order]:
        begin = self._loop.time()
        orders = self.dialect.on_sound(key, sound)
        if self.dialect.encoding not in PLAIN and self._place is not None and self._place.stage is not None:
            self._place.stage.on_encoded(key, sound.sentence, begin, self._loop.time())
        return orders

    async def aclose(self) -> None:
        """Silence; what was not said is dropped."""
        self._leave()
        if self._leaving:
            await asyncio.wait(self._leaving)


def _nobody() -> None:
    """Nobody to wake: the session has left that stage."""
