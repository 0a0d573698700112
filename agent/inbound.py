"""What participants send to the node: packets and text streams of a LiveKit room become messages."""

from __future__ import annotations

import asyncio
import fnmatch
from collections import deque
from collections.abc import AsyncGenerator, Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from livekit import rtc

from agent.failures import tell_failure
from pipeline.events import Event, Failure
from pipeline.protocol import MESSAGE_BYTES, TEXT_CHARACTERS, AnyMessage, Ping, ProtocolError, Text, from_attributes, parse
from pipeline.speaker import TrackKey

TEXT_TOPIC = "voicebooth.text"
TRANSCRIPTION_TOPIC = "lk.transcription"
ROLE = "voicebooth.role"  # the attribute by which nodes and upstream nodes are told apart from people
BOOTH, UPSTREAM = "booth", "upstream"
SERVER = "server"  # the sender of packets that come from the server's API and have no participant
STREAMS = 256  # text streams read at once in a room: each costs a task, and a person's screen holds a handful of utterances
SENDER_STREAMS = 32  # of one sender: what it leaves open must not keep others out
IDLE = 60.0  # seconds without a chunk after which a stream counts as broken off: as long as a script waits for an utterance to grow
ANNOUNCED = 3.5  # seconds: a LiveKit server announces participants who publish nothing every 3 s
OVERTAKE = 2.0  # seconds that a cancel waits at most for a long text sent before it: all of it is here already, but not yet put together
HELD = 64  # messages of one sender kept for that long
NAMELESS = 256  # numbered packets kept until their sender is announced
TOLD = 1024  # participants who were told that they may not send; beyond that the telling starts over


@dataclass(frozen=True, slots=True)
class Said:
    """A message, understood."""

    sender: str
    message: AnyMessage


@dataclass(frozen=True, slots=True)
class Refused:
    """A message that cannot be taken."""

    sender: str
    error: ProtocolError


@dataclass(frozen=True, slots=True)
class Aborted:
    """A text stream that was broken off."""

    sender: str
    utterance: str


@dataclass(frozen=True, slots=True)
class TrackFailed:
    """A track that cannot be published."""

    key: TrackKey


@dataclass(frozen=True, slots=True)
class TrackOpened:
    """One of those, published after all."""

    key: TrackKey


@dataclass(frozen=True, slots=True)
class LinkLost:
    """Nothing can be heard in the room now."""


@dataclass(frozen=True, slots=True)
class LinkBack:
    """The tracks can be heard again."""


Letter = Said | Refused | Aborted | TrackFailed | TrackOpened | LinkLost | LinkBack


class Post(Protocol):
    """Hands a letter to the node; False when the node has no room for it. ``urgent`` ones always fit."""

    def __call__(self, letter: Letter, *, urgent: bool = False) -> bool: ...


def may_send(identity: str, attributes: Mapping[str, str], senders: Sequence[str]) -> bool:
    """Whether this participant's text is spoken: by a pattern of ``senders``, or because it says that it is an upstream node."""
    return attributes.get(ROLE) == UPSTREAM or any(fnmatch.fnmatchcase(identity, pattern) for pattern in senders)


def is_for_us(attributes: Mapping[str, str], languages: Sequence[str]) -> bool:
    """Whether a finished transcription is one to speak: final, in a language of this node, and not left untranslated."""
    spoken = {language.split("-")[0].lower() for language in languages}
    return (
        attributes.get("lk.transcription_final") == "true"
        and attributes.get("translated") != "false"
        and attributes.get("language", "").split("-")[0].lower() in spoken
    )


@dataclass(frozen=True, slots=True)
class InboundSettings:
    senders: tuple[str, ...] = ("*",)
    """Identities whose text is spoken, with ``*`` for any characters; the attribute ``voicebooth.role=upstream`` always may."""
    transcriptions: bool = False
    """Whether text streams of topic ``lk.transcription`` are spoken, too."""


class Inbound:
    """Reads one connection to a room; every method runs on its loop.

    ``tell(sender, event)`` answers.
    """

    def __init__(
        self,
        room: rtc.Room,
        settings: InboundSettings,
        languages: Sequence[str],
        *,
        post: Post,
        tell: Callable[[str, Event], None],
    ) -> None:
        self._room = room
        self._settings = settings
        self._languages = languages
        self._post = post
        self._tell = tell
        self._told: set[str] = set()
        self._reading: dict[asyncio.Task[None], str] = {}  # streams that are read, with their senders
        self._work: set[asyncio.Task[None]] = set()  # one for nameless packets, one for each sender in `_held`
        self._held: dict[str, deque[tuple[frozenset[asyncio.Task[None]], float, Said]]] = {}
        self._numbered_streams: dict[str, set[asyncio.Task[None]]] = {}
        self._nameless: list[Text] = []
        self._newcomers: set[str] = set()
        room.on("data_received", self._on_packet)
        room.on("participant_connected", lambda participant: self._newcomers.add(participant.identity))
        room.register_text_stream_handler(TEXT_TOPIC, self._on_text_stream)
        if settings.transcriptions:
            room.register_text_stream_handler(TRANSCRIPTION_TOPIC, self._on_transcription)

    async def aclose(self) -> None:
        """Streams that are still open count as broken off."""
        tasks = (*self._reading, *self._work)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _on_packet(self, packet: rtc.DataPacket) -> None:
        if packet.topic != TEXT_TOPIC:
            return
        sender = packet.participant.identity if packet.participant is not None else SERVER
        try:
            message = parse(packet.data)
        except ProtocolError as error:
            if self._is_allowed(sender):
                self._hand_over(Refused(sender, error))
            return
        if packet.participant is None and isinstance(message, Text) and message.seq is not None and len(self._nameless) < NAMELESS:
            self._nameless.append(message)
            if len(self._nameless) == 1:
                self._newcomers.clear()
                self._work.add(self._start(self._name_them(), self._work.discard))
        elif self._is_allowed(sender):
            ahead = self._numbered_streams.get(sender)
            if isinstance(message, Ping) or not (sender in self._held or (ahead and not isinstance(message, Text))):
                self._hand_over(Said(sender, message))
            else:
                self._hold(Said(sender, message), frozenset(ahead or ()))

    def _hold(self, letter: Said, ahead: frozenset[asyncio.Task[None]]) -> None:
        """A cancel that was sent after a long text must not overtake it, for the text is still being put together; nor must what
        follows overtake the cancel."""
        held = self._held.setdefault(letter.sender, deque())
        if len(held) >= HELD:
            self._refuse(letter)
            return
        held.append((ahead, asyncio.get_running_loop().time() + OVERTAKE, letter))
        if len(held) == 1:
            self._work.add(self._start(self._release(letter.sender), self._work.discard))

    async def _release(self, sender: str) -> None:
        """All that is held of that sender, each after the streams that were ahead of it."""
        held = self._held[sender]
        while held:
            ahead, until, letter = held[0]
            left = until - asyncio.get_running_loop().time()
            if ahead and left > 0:
                await asyncio.wait(ahead, timeout=left)
            held.popleft()
            self._hand_over(letter)
        del self._held[sender]

    async def _name_them(self) -> None:
        """Numbered packets without a participant come from the server's API, or from somebody whom it has yet to announce.

        Taken at once they would be one sender's now and another's later, and would be asked for, and said, twice.
        """
        loop = asyncio.get_running_loop()
        end = loop.time() + ANNOUNCED
        while not self._newcomers and loop.time() < end:  # noqa: ASYNC110 - others are announced in the same breath
            await asyncio.sleep(0.05)
        sender = self._newcomers.pop() if len(self._newcomers) == 1 else SERVER
        nameless, self._nameless = self._nameless, []
        for message in nameless if self._is_allowed(sender) else ():
            self._hand_over(Said(sender, message))

    def _on_text_stream(self, reader: rtc.TextStreamReader, sender: str) -> None:
        if self._is_allowed(sender):
            if "seq" not in (reader.info.attributes or {}):
                self._read(reader, sender, self._deltas(reader, sender))
            elif task := self._read(reader, sender, self._numbered(reader, sender)):
                self._numbered_streams.setdefault(sender, set()).add(task)
                task.add_done_callback(lambda done: self._on_numbered(sender, done))
        else:
            reader.close()

    def _on_numbered(self, sender: str, done: asyncio.Task[None]) -> None:
        self._numbered_streams[sender].discard(done)
        if not self._numbered_streams[sender]:
            del self._numbered_streams[sender]

    def _on_transcription(self, reader: rtc.TextStreamReader, sender: str) -> None:
        participant = self._room.remote_participants.get(sender)
        is_booth = participant is not None and participant.attributes.get(ROLE) == BOOTH
        attributes = participant.attributes if participant is not None else {}
        if is_booth or not may_send(sender, attributes, self._settings.senders):
            reader.close()
        else:
            self._read(reader, sender, self._transcription(reader, sender))

    def _read(self, reader: rtc.TextStreamReader, sender: str, reading: Coroutine[None, None, None]) -> asyncio.Task[None] | None:
        own = sum(other == sender for other in self._reading.values())
        if own >= SENDER_STREAMS or len(self._reading) >= STREAMS:
            reading.close()
            reader.close()
            words = f"at most {SENDER_STREAMS} text streams of a sender, and {STREAMS} in a room, may be open"
            self._tell(sender, Failure("overloaded", words, True, *_number(reader.info.attributes or {})))
            return None
        task = self._start(reading, lambda done: self._reading.pop(done))
        self._reading[task] = sender
        task.add_done_callback(lambda _: reader.close())
        return task

    def _start(self, work: Coroutine[None, None, None], on_done: Callable[[asyncio.Task[None]], object]) -> asyncio.Task[None]:
        task = asyncio.get_running_loop().create_task(work)
        task.add_done_callback(on_done)
        task.add_done_callback(tell_failure)
        return task

    async def _deltas(self, reader: rtc.TextStreamReader, sender: str) -> None:
        """Chunks are parts of one utterance; the end of the stream is the end of it."""
        attributes = dict(reader.info.attributes or {})
        utterance = attributes.setdefault("utterance", f"{sender}/{reader.info.stream_id}"[:128])
        has_begun = False
        try:
            async for chunk in _chunks(reader):
                for start in range(0, len(chunk), TEXT_CHARACTERS):
                    if not self._say(sender, chunk[start : start + TEXT_CHARACTERS], attributes, is_final=False):
                        self._break_off(sender, utterance, has_begun=has_begun)
                        return
                    has_begun = True
            if not self._say(sender, "", attributes, is_final=attributes.get("final") != "false"):
                self._break_off(sender, utterance, has_begun=has_begun)
        except (rtc.StreamError, TimeoutError, asyncio.CancelledError) as error:
            self._break_off(sender, utterance, has_begun=has_begun)
            if isinstance(error, asyncio.CancelledError):
                raise

    def _break_off(self, sender: str, utterance: str, *, has_begun: bool) -> None:
        """The node must not wait for the rest. It has room for this: it has taken something of each such stream."""
        if has_begun:
            self._post(Aborted(sender, utterance), urgent=True)

    def _say(self, sender: str, text: str, attributes: Mapping[str, str], *, is_final: bool) -> bool:
        """False when nothing of this stream can be taken: its attributes are at fault, not these characters."""
        try:
            return self._hand_over(Said(sender, from_attributes(text, attributes, final=is_final)))
        except ProtocolError as error:
            self._hand_over(Refused(sender, error))
            return error.event.code == "bad_text"

    async def _numbered(self, reader: rtc.TextStreamReader, sender: str) -> None:
        """One text that is too long for a packet. Broken off it was never sent, and its sender is asked for it again."""
        attributes = dict(reader.info.attributes or {})
        try:
            text = await _whole(reader)
            message = from_attributes(text, attributes, final=attributes.get("final") != "false")
        except ProtocolError as error:
            self._hand_over(Refused(sender, error))
        except (rtc.StreamError, TimeoutError):
            return
        else:
            self._hand_over(Said(sender, message))

    async def _transcription(self, reader: rtc.TextStreamReader, sender: str) -> None:
        """What a translator shows is said, judged when it is complete: some attributes come with the end only."""
        try:
            text = await _whole(reader)
        except (ProtocolError, rtc.StreamError, TimeoutError):
            return  # it was no text to us until it was complete, and its sender does not know this protocol
        attributes = reader.info.attributes or {}
        if not is_for_us(attributes, self._languages):
            return
        fields = {"language": attributes["language"], "speaker": self._human(attributes, sender)}
        for start in range(0, len(text), TEXT_CHARACTERS):
            part = text[start : start + TEXT_CHARACTERS]
            utterance = f"{sender}/{reader.info.stream_id}"[:128]
            if not self._say(sender, part, {**fields, "utterance": utterance}, is_final=start + TEXT_CHARACTERS >= len(text)):
                self._break_off(sender, utterance, has_begun=start > 0)
                return

    def _human(self, attributes: Mapping[str, str], sender: str) -> str:
        """Whose words they are: who publishes the track that was transcribed; else the sender, which agents set to that person."""
        track = attributes.get("lk.transcribed_track_id")
        for participant in self._room.remote_participants.values():
            if track and track in participant.track_publications:
                return participant.identity
        return sender

    def _hand_over(self, letter: Said | Refused) -> bool:
        if self._post(letter):
            return True
        self._refuse(letter)
        return False

    def _refuse(self, letter: Said | Refused) -> None:
        numbered = letter.message if isinstance(letter, Said) and isinstance(letter.message, Text) else None
        where = (numbered.stream, numbered.seq) if numbered else (None, None)
        self._tell(letter.sender, Failure("overloaded", "too much is waiting in this node: send it again later", True, *where))

    def _is_allowed(self, sender: str) -> bool:
        participant = self._room.remote_participants.get(sender)
        if may_send(sender, participant.attributes if participant else {}, self._settings.senders):
            return True
        if sender not in self._told:
            if len(self._told) >= TOLD:
                self._told.clear()
            if participant is not None:  # else its attributes, which may allow it, are not known yet
                self._told.add(sender)
            words = f"participant {sender!r} may not send text to this node"
            self._tell(sender, Failure("forbidden", words, retryable=participant is None))
        return False


def _number(attributes: Mapping[str, str]) -> tuple[str | None, int | None]:
    """The ``stream`` and ``seq`` of a text stream that is not read; nothing where they are none."""
    try:
        text = from_attributes("", {name: attributes[name] for name in ("stream", "seq") if name in attributes}, final=True)
    except ProtocolError:
        return None, None
    return text.stream, text.seq


async def _chunks(reader: rtc.TextStreamReader) -> AsyncGenerator[str, None]:
    """Its chunks. Raises ``TimeoutError`` when none comes for too long."""
    chunks = aiter(reader)
    while True:
        try:
            async with asyncio.timeout(IDLE):
                chunk = await anext(chunks)
        except StopAsyncIteration:
            return
        yield chunk


async def _whole(reader: rtc.TextStreamReader) -> str:
    """Everything up to the end. Raises :exc:`ProtocolError` when it is too much, ``TimeoutError`` when it does not come."""
    parts, size = [], 0
    async for chunk in _chunks(reader):
        parts.append(chunk)
        size += len(chunk)
        if size > MESSAGE_BYTES:
            raise ProtocolError("too_large", f"a text stream that is read whole holds at most {MESSAGE_BYTES} characters")
    return "".join(parts)
