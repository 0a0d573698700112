"""For nodes that make text (recognisers, translators): say it in a LiveKit room, and have it survive whatever goes wrong on the way.

Stands on ``livekit`` alone, so that it can be copied or imported where nothing else of this project is.

    async with Upstream(room) as up:
        await up.say("Bonjour à tous.", language="fr")
        async with up.utterance(language="fr") as words:
            async for delta in translation:
                await words.write(delta)
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import secrets
from collections import OrderedDict
from collections.abc import AsyncGenerator, Callable, Coroutine, Mapping
from types import TracebackType
from typing import Any, Literal, Self

from livekit import rtc
from livekit.rtc.participant import PublishDataError

TEXT_TOPIC, EVENTS_TOPIC = "voicebooth.text", "voicebooth.events"
ROLE = "voicebooth.role"
VERSION = 1
PACKET_BYTES = 12 * 1024  # a reliable packet holds 15 KiB, headers and encryption included
TEXT_CHARACTERS = 5_000  # the most that one message may hold
HELLO_EVERY = 0.5  # seconds between two questions whether there is a node
QUIET = 5.0  # seconds without a word of the node, while it has text of ours: as much as one sentence, and it is asked how far it has come
SEND_WAIT = 5.0  # seconds for one packet to be on its way; the library answers within milliseconds, or not at all
SEND_PAUSE = 0.2  # seconds before a packet that could not be sent is tried again
RETRY_PAUSE = 1.0  # seconds before a text that the node could not take now is sent again
EVENTS_KEPT = 10_000  # events that a slow reader may lag behind; beyond that the oldest are lost to it
CHANGES: tuple[Literal["reconnecting", "reconnected", "disconnected"], ...] = ("reconnecting", "reconnected", "disconnected")
"""Of a connection, after which nobody is known to take text until a node answers anew; what is said meanwhile is kept."""

log = logging.getLogger(__name__)
Event = dict[str, Any]


class UpstreamError(Exception):
    """Text could not be handed over; ``str()`` says why."""


class NoBooth(UpstreamError):
    """No node answered in the room in time."""


class NotAllowed(UpstreamError):
    """The room's token does not grant publishing data: the server would throw away what is sent, and tell nobody."""


class TooFarBehind(UpstreamError):
    """More than ``keep`` texts wait to be spoken, and none was in time."""


class Ledger:
    """What was said and is not known to be spoken, in order, under numbers of a stream. Pure."""

    def __init__(self, stream: str) -> None:
        self.stream = stream
        self._next = 0
        self._given = 0  # numbers below it may be known to a node
        self._kept: OrderedDict[int, dict[str, Any]] = OrderedDict()
        self._void: dict[int, str] = {}  # the utterances of those that were cancelled under a number that a node may know

    def __len__(self) -> int:
        return len(self._kept)

    @property
    def waiting(self) -> int:
        """Those that were not cancelled."""
        return len(self._kept) - len(self._void)

    def add(self, message: Mapping[str, Any], *, is_given: bool = True) -> dict[str, Any]:
        """The message with its number, kept until it is spoken. ``is_given``: a node may learn the number from now on."""
        numbered = {**message, "stream": self.stream, "seq": self._next}
        self._kept[self._next] = numbered
        self._next += 1
        self._given = self._next if is_given else self._given
        return numbered

    def latest(self, message: Mapping[str, Any]) -> Mapping[str, Any] | None:
        """What is to be sent for it now; None when it needs no sending any more."""
        if "seq" not in message:
            return message
        return self._kept.get(message["seq"]) if message["stream"] == self.stream else None

    def cancel(self, utterance: str | None) -> None:
        """Forget the texts of one utterance, or all: a number that a node may know is kept, without its text, so that none is missed."""
        unknown = [message for seq, message in self._kept.items() if seq >= self._given]
        for seq, message in list(self._kept.items()):
            if seq >= self._given:
                del self._kept[seq]
            elif seq not in self._void and utterance in (None, message.get("utterance")):
                self._void[seq] = message.get("utterance", "")
                self._kept[seq] = {"type": "text", "text": "", "final": True, "stream": self.stream, "seq": seq}
        self._next = self._given
        for message in unknown:
            if utterance is not None and message.get("utterance") != utterance:
                self.add(message, is_given=False)

    def cancels(self) -> list[dict[str, Any]]:
        """What tells a node, once more, which of its texts were cancelled."""
        living = {message.get("utterance") for message in self._kept.values()}
        return [{"type": "cancel", "utterance": name} for name in dict.fromkeys(self._void.values()) if name and name not in living]

    def on_spoken(self, stream: str, seq: int) -> None:
        """Everything up to ``seq`` may be forgotten."""
        while stream == self.stream and self._kept and next(iter(self._kept)) <= seq:
            self._void.pop(self._kept.popitem(last=False)[0], None)

    def on_missing(self, stream: str, first: int, last: int) -> list[dict[str, Any]]:
        """What to send again."""
        return [message for seq, message in self._kept.items() if stream == self.stream and first <= seq <= last]

    def on_ready(self, last: Mapping[str, Mapping[str, int]], new_stream: str) -> list[dict[str, Any]]:
        """What to send again to a node that says what it holds: all after that, or everything anew when it knows nothing of us."""
        known = last.get(self.stream)
        if known is not None:
            self.on_spoken(self.stream, known["spoken"])
            self._given = self._next
            return [*self.cancels(), *(message for seq, message in self._kept.items() if seq > known["held"])]
        kept = [message for seq, message in self._kept.items() if seq not in self._void]
        self.stream, self._next, self._given = new_stream, 0, 0
        self._kept.clear()
        self._void.clear()
        return [self.add(message) for message in kept]


class Utterance:
    """One utterance that grows; made by :meth:`Upstream.utterance`. Leaving the block ends it, an exception in it cancels it."""

    def __init__(self, upstream: Upstream, id: str, fields: Mapping[str, Any]) -> None:
        self.id = id
        self._upstream = upstream
        self._fields = dict(fields)
        self._is_ended = False

    async def write(self, text: str) -> None:
        """A further part. Cancelling it while it waits leaves the part unsaid."""
        for part in _parts(text):
            await self._send(part, final=False)

    async def revise(self, text: str, *, revision: int, final: bool = False) -> None:
        """Replaces what has not begun to be spoken; what is written afterwards continues it."""
        self._fields["revision"] = revision  # also of its end: the node drops what belongs to an older one
        await self._send(text, final=final)

    async def flush(self) -> None:
        """Say what is held, complete or not."""
        await self._upstream.flush(self.id)

    async def __aenter__(self) -> Self:
        self._upstream.grows(self.id)
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        try:
            if error is not None:
                await self._upstream.cancel(self.id)
            elif not self._is_ended:
                await self._send("", final=True)
        finally:
            self._upstream.ends(self.id)

    async def _send(self, text: str, *, final: bool) -> None:
        await self._upstream.send({**self._fields, "type": "text", "text": text, "utterance": self.id, "final": final})
        self._is_ended = final


class Upstream:
    """Text for the node in this room. The room is the caller's: connected before, disconnected after; its token should grant
    ``can_publish_data`` and ``can_update_own_metadata``.

    1. Every text is numbered, kept until the node has spoken it, and sent again when the node, or the way to it, was lost.
    2. At most ``keep`` texts are kept; :meth:`say` waits while there are as many.
    3. One node: the first that answers and says that it is one (the attribute ``voicebooth.role``), or the participant ``booth``.
    4. A node that does not know this sender is told first what was configured.

    Cancelling any method is safe: a text is either numbered and will be spoken, or was never said.
    """

    def __init__(self, room: rtc.Room, *, booth: str = "", keep: int = 256, on_event: Callable[[Event], None] | None = None) -> None:
        """``keep`` bounds the memory, and how far the translation may run ahead of the voice."""
        self.booth = booth
        """The node's identity, once it has answered."""
        self.ready = asyncio.Event()
        """Set while there is a node that takes text."""
        self._named = bool(booth)
        self._room = room
        self._keep = keep
        self._on_event = on_event
        self._ledger = Ledger(_new_stream())
        self._configured: dict[str, Any] = {}
        self._growing: set[str] = set()  # utterances of which more may be written
        self._deaf: set[str] = set()  # those of them that were cancelled
        self._cancels_all = False  # whether a node, when it comes, is to forget what it has of us
        self._has_space, self._is_spoken = asyncio.Event(), asyncio.Event()
        self._settle()
        self._outgoing = asyncio.Lock()
        self._numbers = 0
        self._asking = asyncio.Event()
        self._told_at = 0.0  # when the node last told us something
        self._tasks: set[asyncio.Task[None]] = set()
        self._readers: set[asyncio.Queue[Event]] = set()

    async def __aenter__(self) -> Self:
        self._start(self._hello())
        await self.attach(self._room)
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Stop; what is not spoken is spoken by the node nevertheless, if it is there. :meth:`drain` waits for that."""
        self._detach()
        for task in tuple(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def attach(self, room: rtc.Room) -> None:
        """Go on in this room, where the old connection has ended for good: what is not spoken is sent again."""
        self._detach()
        self._room = room
        room.on("data_received", self._on_packet)
        room.on("participant_disconnected", self._on_left)
        room.on("participant_connected", self._on_joined)
        for change in CHANGES:
            room.on(change, self._ask)
        with contextlib.suppress(ValueError):  # somebody reads them already
            room.register_text_stream_handler(EVENTS_TOPIC, self._on_stream)
        # Also has the server announce us at once: those who publish nothing are unknown to the node for up to 3 s otherwise. Where the
        # token does not grant `can_update_own_metadata` the server refuses, the library does not tell, and that is how it stays.
        await room.local_participant.set_attributes({ROLE: "upstream"})
        self._ask()

    def _detach(self) -> None:
        self._room.off("data_received", self._on_packet)
        self._room.off("participant_disconnected", self._on_left)
        self._room.off("participant_connected", self._on_joined)
        for change in CHANGES:
            self._room.off(change, self._ask)
        self._room.unregister_text_stream_handler(EVENTS_TOPIC)

    @property
    def waiting(self) -> int:
        """Texts that are not known to be spoken, and were not cancelled."""
        return self._ledger.waiting

    async def say(
        self,
        text: str,
        *,
        language: str | None = None,
        speaker: str | None = None,
        voice: str | None = None,
        timeout: float | None = 30.0,
        **fields: Any,
    ) -> str:
        """Say a text that is complete. Returns the utterance's id when it is numbered and kept; ``fields`` are those of ``text``.

        Waits for space as long as ``timeout``, then raises :exc:`TooFarBehind`. Raises :exc:`NotAllowed`.
        """
        id = str(fields.pop("utterance", None) or self._name())
        given = {"language": language, "speaker": speaker, "voice": voice, **fields}
        common = {name: value for name, value in given.items() if value is not None}
        parts = _parts(text)
        self.grows(id)
        try:
            for number, part in enumerate(parts, start=1):
                message = {**common, "type": "text", "text": part, "utterance": id, "final": number == len(parts)}
                await self.send(message, timeout=timeout)
        finally:
            self.ends(id)
        return id

    def utterance(self, *, language: str | None = None, speaker: str | None = None, voice: str | None = None, **fields: Any) -> Utterance:
        """Text that arrives bit by bit; use it with ``async with``."""
        given = {"language": language, "speaker": speaker, "voice": voice, **fields}
        return Utterance(self, self._name(), {name: value for name, value in given.items() if value is not None})

    async def configure(self, **fields: Any) -> None:
        """Defaults for what follows: ``language``, ``voice``, ``engine``, ``strategy``, ``budget_ms``, ``speed``."""
        self._configured |= {name: value for name, value in fields.items() if value is not None}
        await self._control({"type": "config", **fields})

    async def cancel(self, utterance: str | None = None) -> None:
        """Silence now: one utterance, or everything that was said here; what is written to it afterwards is not said either.

        Never fails. Where there is no node the texts are forgotten at once, and a node that comes back with them is told.
        """
        self._deaf |= {id for id in self._growing if utterance in (None, id)}
        self._ledger.cancel(utterance)
        self._settle()
        self._has_space.set()  # also for those who wait to write what is not said any more
        if not self.ready.is_set():
            self._cancels_all |= utterance is None
            return
        try:
            async with asyncio.timeout(SEND_WAIT):
                await self._transmit([{"type": "cancel", **({"utterance": utterance} if utterance else {})}])
        except TimeoutError:  # whoever cancels has no time; what was said meanwhile must not be cancelled with it
            self._start(self._transmit(self._ledger.cancels()))

    async def flush(self, utterance: str | None = None) -> None:
        """Say what is held, complete or not."""
        await self._control({"type": "flush", **({"utterance": utterance} if utterance else {})})

    async def drain(self, timeout: float = 60.0) -> None:
        """Returns when everything said has been heard, reported or cancelled. Raises ``TimeoutError``."""
        async with asyncio.timeout(timeout):
            await self._is_spoken.wait()

    async def wait_ready(self, timeout: float = 30.0) -> None:
        """Raises :exc:`NoBooth` when no node has answered by then, and :exc:`NotAllowed` at once."""
        self._check_grant()
        try:
            async with asyncio.timeout(timeout):
                await self.ready.wait()
        except TimeoutError:
            raise NoBooth(f"no node answered in room {self._room.name!r} within {timeout:g} s") from None

    async def events(self) -> AsyncGenerator[Event, None]:
        """What the node tells, from now on, one JSON object each. Ends only when the caller leaves it."""
        news: asyncio.Queue[Event] = asyncio.Queue(EVENTS_KEPT)
        self._readers.add(news)
        try:
            while True:
                yield await news.get()
        finally:
            self._readers.discard(news)

    async def send(self, message: Mapping[str, Any], *, timeout: float | None = 30.0) -> None:
        """A ``text`` message: numbered, kept, and sent as soon as there is a node. Of an utterance that was cancelled: nothing."""
        self._check_grant()
        try:
            async with asyncio.timeout(timeout):
                while len(self._ledger) >= self._keep and message.get("utterance") not in self._deaf:
                    self._has_space.clear()
                    await self._has_space.wait()
        except TimeoutError:
            raise TooFarBehind(f"{self._keep} texts wait to be spoken") from None
        if message.get("utterance") in self._deaf:
            return
        # From here on it is said, even if sending it is cancelled: it is asked for.
        named = message if message.get("utterance") else {**message, "utterance": self._name()}
        numbered = self._ledger.add(named, is_given=self.ready.is_set())
        self._settle()
        if self.ready.is_set():
            await self._transmit([numbered])

    def _check_grant(self) -> None:
        """Looked at each time: the server's API can change what a participant may do."""
        given = self._room.local_participant.permissions
        if given.HasField("can_publish_data") and not given.can_publish_data:
            raise NotAllowed(f"the token for room {self._room.name!r} does not grant publishing data (canPublishData)")

    def grows(self, utterance: str) -> None:
        """More of it may be written; :meth:`ends` follows."""
        self._growing.add(utterance)

    def ends(self, utterance: str) -> None:
        """No more of it will be written."""
        self._growing.discard(utterance)
        self._deaf.discard(utterance)

    async def _control(self, message: Mapping[str, Any]) -> None:
        await self.wait_ready()
        await self._transmit([message])

    def _on_packet(self, packet: rtc.DataPacket) -> None:
        if packet.topic == EVENTS_TOPIC and packet.participant is not None:
            self._on_raw(packet.data, packet.participant.identity)

    def _on_stream(self, reader: rtc.TextStreamReader, sender: str) -> None:
        async def read() -> None:
            with contextlib.suppress(rtc.StreamError):
                self._on_raw((await reader.read_all()).encode(), sender)

        self._start(read())

    def _on_raw(self, raw: bytes, sender: str) -> None:
        try:
            event = json.loads(raw)
        except ValueError:
            return
        if not isinstance(event, dict) or (self.booth and sender != self.booth) or not self._may_be_booth(sender):
            return
        self._told_at = asyncio.get_running_loop().time()
        if event.get("type") == "ready":
            self._on_ready(event, sender)
        elif sender == self.booth:
            self._apply(event)
        for news in self._readers:
            if news.full():
                news.get_nowait()
            news.put_nowait(event)
        if self._on_event is not None:
            self._on_event(event)

    def _may_be_booth(self, sender: str) -> bool:
        """Anybody may write to us; whoever the server has not announced yet is believed."""
        participant = self._room.remote_participants.get(sender)
        return self._named or participant is None or participant.attributes.get(ROLE) == "booth"

    def _on_ready(self, event: Event, sender: str) -> None:
        self.booth = sender
        self._asking.clear()
        last = event.get("last", {})
        is_known = self._ledger.stream in last
        again = self._ledger.on_ready(last, _new_stream())
        self._settle()
        if again:
            log.info("sending %d texts again to %s", len(again), sender)
        if self._configured and not is_known:
            again.insert(0, {"type": "config", **self._configured})
        if self._cancels_all:
            again.insert(0, {"type": "cancel"})
            self._cancels_all = False
        if again:
            self._start(self._transmit(again))  # before whoever waits for `ready`: a cancel must not overtake the text it means
        self.ready.set()

    def _apply(self, event: Event) -> None:
        match event:
            case {"type": "spoken", "stream": str(stream), "seq": int(seq)}:
                self._ledger.on_spoken(stream, seq)
                self._settle()
            case {"type": "missing", "stream": str(stream), "from": int(first), "to": int(last)}:
                self._start(self._transmit(self._ledger.on_missing(stream, first, last)))
            case {"type": "error", "retryable": True, "seq": int(seq), "stream": str(stream)}:
                again = self._ledger.on_missing(stream, seq, seq)
                self._start(self._transmit(again, pause=RETRY_PAUSE))
            case {"type": "error", "code": "overloaded"}:  # a message, or news of what was spoken, may be lost
                self._asking.set()

    def _settle(self) -> None:
        """Let those go on who waited for what the ledger has come to."""
        for event, is_so in ((self._has_space, len(self._ledger) < self._keep), (self._is_spoken, not self._ledger.waiting)):
            (event.set if is_so else event.clear)()

    def _on_left(self, participant: rtc.RemoteParticipant) -> None:
        if participant.identity == self.booth:
            self._ask()

    def _on_joined(self, participant: rtc.RemoteParticipant) -> None:
        if participant.identity == self.booth or not self.ready.is_set():
            self._ask()

    def _ask(self) -> None:
        """There may be another node now, or one that missed something."""
        self.ready.clear()
        if not self._named:
            self.booth = ""
        self._asking.set()

    async def _hello(self) -> None:
        """Packets are sent once by what carries them: the last of a stream, or news of it, may be lost, and nothing after it tells."""
        loop = asyncio.get_running_loop()
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(QUIET):
                    await self._asking.wait()
            if self._asking.is_set() or (self.waiting and loop.time() - self._told_at >= QUIET):
                await self._publish({"type": "hello", "protocol": VERSION}, to=[])
                await asyncio.sleep(HELLO_EVERY)

    async def _transmit(self, messages: list[Any], *, pause: float = 0.0) -> None:
        """In the order of the calls; until each is on its way, or a new ``ready`` decides what to send."""
        if pause:
            await asyncio.sleep(pause)
        async with self._outgoing:
            for message in messages:
                await self._deliver(message)

    async def _deliver(self, message: Mapping[str, Any]) -> None:
        while self.ready.is_set() and (latest := self._ledger.latest(message)) is not None:
            if await self._publish(latest, to=[self.booth]):
                return
            await asyncio.sleep(SEND_PAUSE)

    async def _publish(self, message: Mapping[str, Any], *, to: list[str]) -> bool:
        own = self._room.local_participant
        payload = json.dumps(message, ensure_ascii=False, separators=(",", ":")).encode(errors="replace")
        try:
            async with asyncio.timeout(SEND_WAIT):
                if len(payload) > PACKET_BYTES:
                    fields = {
                        name: value if isinstance(value, str) else json.dumps(value)
                        for name, value in message.items()
                        if name not in ("type", "text")
                    }
                    await own.send_text(message["text"], topic=TEXT_TOPIC, attributes=fields, destination_identities=to)
                else:
                    await own.publish_data(payload, topic=TEXT_TOPIC, destination_identities=to)
        except (PublishDataError, rtc.StreamError, TimeoutError) as error:
            log.debug("not sent: %s", error)
            return False
        return True

    def _start(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _name(self) -> str:
        self._numbers += 1
        return f"{self._ledger.stream}-{self._numbers}"


def _new_stream() -> str:
    return secrets.token_hex(8)


def _parts(text: str) -> list[str]:
    """What a message may hold, in order; one even for nothing."""
    return [text[start : start + TEXT_CHARACTERS] for start in range(0, len(text), TEXT_CHARACTERS)] or [""]
