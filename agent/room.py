"""One room's link to the node: it joins, publishes tracks, reads text, and comes back when the connection is lost."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
import warnings
from collections import Counter, deque
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass, field
from typing import Protocol, TypeVar

from jwt.warnings import InsecureKeyLengthWarning
from livekit import api, rtc
from livekit.rtc.participant import PublishTrackError

from agent.failures import tell_failure
from agent.inbound import (
    BOOTH,
    ROLE,
    UPSTREAM,
    Aborted,
    Inbound,
    InboundSettings,
    Letter,
    LinkBack,
    LinkLost,
    Refused,
    Said,
    TrackFailed,
    TrackOpened,
)
from agent.mailbox import Mailbox
from agent.outbound import Addressed, Captions, send_event
from agent.pump import Pump, TrackSettings
from agent.track import Track
from agent.wakeups import narrow
from pipeline.events import Event, Failure
from pipeline.playout import PlayoutBuffer
from pipeline.stage import Caption, Outlet, Stage, TrackKey

LETTERS = 4096  # messages on their way to the node: half a minute of a burst that the node takes at 7 ms each
DELIVERED = 64  # messages given to the stage before others on the node's loop get their turn: about 5 ms
EVENTS = 4096  # events on their way to senders: an acknowledgement and five more for each of several hundred sentences
CAPTIONS = 1024  # words on their way: minutes of speech
TRACK_TRIES = 3  # a publication that fails three times will fail again
EVENT_TRIES, EVENT_PAUSE = 3, 0.2  # seconds between them: a connection that goes away says so within that time
CONNECT_WAIT = 20.0  # seconds: the library itself tries for about 15
LAST_WORDS = 0.4  # seconds for events that wait when the link is told to leave, and for the last packets of sound; Ctrl-C promises 2
LAST_LOOK = 0.02  # seconds between two looks whether they have gone out, and after them
FAREWELL = 2.0  # seconds in which a server that ends sends everybody away, us perhaps last
LEAVE_WAIT = 1.0  # seconds for a goodbye: Ctrl-C promises an end within 2
FIRST_PAUSE, LONGEST_PAUSE = 0.2, 5.0  # seconds between two tries to come back, doubled each time, half of it by chance

ENDINGS = {
    rtc.DisconnectReason.CLIENT_INITIATED: "left",
    rtc.DisconnectReason.DUPLICATE_IDENTITY: "somebody joined under the same identity",
    rtc.DisconnectReason.PARTICIPANT_REMOVED: "removed from the room",
    rtc.DisconnectReason.ROOM_DELETED: "the room was deleted",
    rtc.DisconnectReason.ROOM_CLOSED: "the room was closed",
}
"""Reasons after which a link does not come back."""

log = logging.getLogger(__name__)
T = TypeVar("T")


class JoinFailed(Exception):
    """The room could not be joined; ``str()`` says which and why."""


@dataclass(frozen=True, slots=True)
class Ticket:
    """What lets a link into a room."""

    url: str
    room: str
    api_key: str = ""
    api_secret: str = field(default="", repr=False)
    identity: str = "voicebooth"
    """The same for every link to a room: a server lets one participant of a name in, so that there are never two booths of it."""
    token: str = field(default="", repr=False)
    """Given by somebody else; used for the first join, and for all when there is no key."""
    agent_name: str = ""
    """Under which name the node was sent here, where that was by a name."""

    def admit(self, *, is_first: bool) -> str:
        """A token for one join."""
        if self.token and (is_first or not self.api_secret):
            return self.token
        grants = api.VideoGrants(
            room_join=True, room=self.room, can_publish=True, can_subscribe=True, can_publish_data=True, can_update_own_metadata=True
        )
        attributes = {ROLE: BOOTH, **({"lk.agent.name": self.agent_name} if self.agent_name else {})}
        unsigned = api.AccessToken(self.api_key, self.api_secret).with_identity(self.identity).with_name("voicebooth")
        unsigned = unsigned.with_kind("agent").with_attributes(attributes).with_grants(grants)
        with warnings.catch_warnings():
            # The development server's secret is LiveKit's to choose, and is six bytes long.
            warnings.simplefilter("ignore", InsecureKeyLengthWarning)
            return unsigned.to_jwt()


@dataclass(frozen=True, slots=True)
class RoomSettings:
    inbound: InboundSettings = field(default_factory=InboundSettings)
    track: TrackSettings = field(default_factory=TrackSettings)
    captions: bool = True
    """Whether captions go out in step with the sound; false leaves them to upstream."""
    encryption_key: str = field(default="", repr=False)
    """The shared key of end-to-end encrypted rooms. Empty: rooms are not encrypted."""
    reconnect_wait: float = 60.0
    """Seconds for which a lost room is tried again before it is given up."""


class Host(Protocol):
    """What a link needs of the node."""

    @property
    def loop(self) -> asyncio.AbstractEventLoop: ...

    @property
    def pump(self) -> Pump: ...

    def stage(self, name: str, outlet: Outlet) -> Stage: ...


class RoomLink:
    """Made on the loop that owns the room, which may be the node's or another thread's. It guarantees:

    1. Messages reach the stage on the node's loop, events and captions the room on this one, each in order.
    2. What does not fit between the two is refused, and its sender told.
    3. While the connection is lost the stage is frozen; it is thawed when the tracks can be heard again.
    """

    def __init__(self, host: Host, ticket: Ticket, languages: Sequence[str], settings: RoomSettings) -> None:
        loop = asyncio.get_running_loop()
        self.ticket = ticket
        self.joined = asyncio.Event()
        """Set while the room can be spoken in."""
        self._host = host
        self._languages = tuple(languages)
        self._settings = settings
        self._loop = loop
        self._stage: Stage | None = None
        self._buffers: dict[TrackKey, PlayoutBuffer] = {}
        self._tracks: dict[TrackKey, Track] = {}
        self._failed: set[TrackKey] = set()
        self._inbox: Mailbox[Letter] = Mailbox(LETTERS, host.loop, self._deliver)
        self._openings: Mailbox[tuple[TrackKey, PlayoutBuffer]] = Mailbox(0, loop, self._on_openings)
        self._events: Mailbox[Addressed] = Mailbox(EVENTS, loop, lambda: self._has_events.set())
        self._captions: Mailbox[Caption] = Mailbox(CAPTIONS, loop, lambda: self._has_captions.set())
        self._has_events, self._has_captions = asyncio.Event(), asyncio.Event()
        self._lost: deque[str | None] = deque(maxlen=EVENTS)  # to whom events were addressed that did not fit
        self._is_telling = False
        self._room: rtc.Room | None = None
        self._had_audience = False
        self._left_at = -FAREWELL  # when somebody who may have heard us went
        self._tasks: set[asyncio.Task[None]] = set()
        self._late: set[asyncio.Task[None]] = set()  # joins that nobody waits for any more: one that comes about is left at once
        self._leaving = asyncio.Event()

    # For the stage, on the node's loop

    def open_track(self, key: TrackKey, buffer: PlayoutBuffer) -> None:
        self._openings.post((key, buffer), urgent=True)

    def send(self, sender: str | None, event: Event) -> None:
        if not self._events.post(Addressed(sender, event)):
            self._lost.append(sender)

    def caption(self, caption: Caption) -> None:
        if self._settings.captions:
            self._captions.post(caption)

    def _deliver(self) -> None:
        stage = self._stage
        assert stage is not None, "letters are posted after the stage was given"
        for _ in range(DELIVERED):
            match self._inbox.take():
                case None:
                    return
                case Said(sender, message):
                    stage.on_message(sender, message)
                case Refused(sender, error):
                    stage.on_refused(sender, error)
                case Aborted(sender, utterance):
                    stage.on_aborted(sender, utterance)
                case TrackFailed(key) if stage.outlet is self:
                    stage.on_track_failed(key)
                case TrackOpened(key) if stage.outlet is self:
                    stage.on_track_opened(key)
                case LinkLost() if stage.outlet is self:  # a newer link to the same stage is not frozen by the end of an older one
                    stage.freeze()
                case LinkBack() if stage.outlet is self:
                    stage.thaw()
        self._host.loop.call_soon(self._deliver)

    # The link's life

    async def run(self) -> str:
        """Join, and stay until the room ends, the link is told to leave, or it cannot come back. Returns why, for the log.

        Raises :exc:`JoinFailed` when the first join fails. Cancelling it leaves the room; the stage lives on in either case.
        """
        self._stage = await self._on_node(lambda: self._host.stage(self.ticket.room, self))
        writers = [self._loop.create_task(self._send_events()), self._loop.create_task(self._send_captions())]
        is_first = True
        try:
            while True:
                ended = await self._stay(is_first=is_first)
                if ended is not None:
                    return ended
                is_first = False
        finally:
            for writer in writers:
                writer.cancel()
            await asyncio.gather(*writers, return_exceptions=True)

    def leave(self) -> None:
        """Ask :meth:`run` to end. On this link's loop."""
        self._leaving.set()

    async def _stay(self, *, is_first: bool) -> str | None:
        """One connection, from joining to its end. Why the link is over, or None when it should come back."""
        room = rtc.Room()
        over: asyncio.Future[rtc.DisconnectReason.ValueType] = self._loop.create_future()
        inbound = Inbound(room, self._settings.inbound, self._languages, post=self._post, tell=self.send)
        captions = Captions(room)

        def on_disconnected(reason: rtc.DisconnectReason.ValueType) -> None:
            if not over.done():
                over.set_result(reason)

        room.on("disconnected", on_disconnected)
        room.on("participant_disconnected", self._on_left)
        room.on("reconnecting", self._on_reconnecting)
        room.on("local_track_subscribed", self._on_track_subscribed)
        room.on("local_track_republished", self._on_track_republished)
        room.on("reconnected", lambda: self._start(self._on_reconnected(captions)))
        try:
            if not await (self._join(room) if is_first else self._rejoin(room)):
                return "left" if self._leaving.is_set() else f"{self.ticket.room} could not be reached again"
            self._room, self._caption_writer = room, captions
            await self._publish_all(room)
            self._post(LinkBack(), urgent=True)
            self.joined.set()
            leaving = self._loop.create_task(self._leaving.wait())
            await asyncio.wait((leaving, over), return_when=asyncio.FIRST_COMPLETED)
            leaving.cancel()
            if self._leaving.is_set():
                await self._last_words()
                return "left"
            reason = over.result()
            log.info("room %s: the connection ended: %s", self.ticket.room, rtc.DisconnectReason.Name(reason))
            is_own = reason == rtc.DisconnectReason.DUPLICATE_IDENTITY and self._late
            return None if is_own else ENDINGS.get(reason)
        finally:
            self.joined.clear()
            self._post(LinkLost(), urgent=True)
            self._had_audience = _is_attended(room) or self._loop.time() - self._left_at < FAREWELL
            self._room = None
            await self._part(room, inbound)

    async def _last_words(self) -> None:
        """What has been decided on the node's loop is still told."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(LAST_WORDS):
                await self._on_node(lambda: None)
                while len(self._events) or self._is_telling:  # noqa: ASYNC110 - a look is cheaper than telling
                    await asyncio.sleep(LAST_LOOK)
                await asyncio.sleep(LAST_LOOK)

    async def _join(self, room: rtc.Room) -> bool:
        try:
            await self._connect(room, is_first=True)
        except (rtc.ConnectError, TimeoutError) as error:
            raise JoinFailed(f"room {self.ticket.room!r} on {self.ticket.url} cannot be joined: {error or 'no answer'}") from error
        return True

    async def _rejoin(self, room: rtc.Room) -> bool:
        """False when time is over, or the link is told to leave."""
        deadline, pause = self._loop.time() + self._settings.reconnect_wait, FIRST_PAUSE
        while self._loop.time() < deadline:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(pause * random.uniform(0.5, 1.0)):  # so that a server is not met by all at once
                    await self._leaving.wait()
                    return False
            try:
                await self._connect(room, is_first=False)
                return True
            except (rtc.ConnectError, TimeoutError) as error:
                log.info("room %s: not back yet: %s", self.ticket.room, error or "no answer")
            pause = min(pause * 2, LONGEST_PAUSE)
        return False

    async def _connect(self, room: rtc.Room, *, is_first: bool) -> None:
        """Joining is never cancelled: the library ends the process when nobody takes a connection that it has made."""
        key = self._settings.encryption_key
        encryption = rtc.E2EEOptions(key_provider_options=rtc.KeyProviderOptions(shared_key=key.encode())) if key else None
        options = rtc.RoomOptions(auto_subscribe=False, encryption=encryption)
        joining = self._loop.create_task(room.connect(self.ticket.url, self.ticket.admit(is_first=is_first), options))
        try:
            async with asyncio.timeout(CONNECT_WAIT):
                await asyncio.shield(joining)
        except (TimeoutError, asyncio.CancelledError):
            self._dismiss(room, joining)
            raise
        narrow(room)
        own = room.local_participant
        if own.attributes.get(ROLE) != BOOTH:  # a token that somebody else made
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(LEAVE_WAIT):
                    await own.set_attributes({ROLE: BOOTH})
        log.info("room %s: joined as %s", self.ticket.room, own.identity)

    def _dismiss(self, room: rtc.Room, joining: asyncio.Task[None]) -> None:
        async def leave() -> None:
            with contextlib.suppress(rtc.ConnectError):
                await joining
                await room.disconnect()

        task = self._loop.create_task(leave())
        self._late.add(task)
        task.add_done_callback(self._late.discard)
        task.add_done_callback(tell_failure)

    async def _part(self, room: rtc.Room, inbound: Inbound) -> None:
        tracks, self._tracks = self._tracks, {}
        for task in tuple(self._tasks):
            task.cancel()
        await asyncio.gather(inbound.aclose(), *(track.aclose() for track in tracks.values()), *self._tasks, return_exceptions=True)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(LEAVE_WAIT):
                await room.disconnect()

    def _on_reconnecting(self) -> None:
        log.info("room %s: the connection is lost, and being mended", self.ticket.room)
        self._post(LinkLost(), urgent=True)

    async def _on_reconnected(self, captions: Captions) -> None:
        """The library has published the tracks again under new ids where that was needed."""
        log.info("room %s: the connection is back", self.ticket.room)
        await captions.forget()
        await asyncio.gather(*(track.audience() for track in self._tracks.values()))
        self._post(LinkBack(), urgent=True)

    def _post(self, letter: Letter, *, urgent: bool = False) -> bool:
        return self._inbox.post(letter, urgent=urgent)

    # Tracks

    def _on_openings(self) -> None:
        while (opening := self._openings.take()) is not None:
            key, buffer = opening
            self._buffers[key] = buffer
            if self._room is not None:
                self._start(self._publish(self._room, key, buffer))

    async def _publish_all(self, room: rtc.Room) -> None:
        await asyncio.gather(*(self._publish(room, key, buffer) for key, buffer in self._buffers.items()))

    async def _publish(self, room: rtc.Room, key: TrackKey, buffer: PlayoutBuffer) -> None:
        if key in self._tracks:
            return
        for attempt in range(1, TRACK_TRIES + 1):
            track = Track(key.name, buffer, self._host.pump, self._settings.track, has_audience=self._has_audience)
            self._tracks[key] = track
            try:
                await track.publish(room.local_participant)
                if key in self._failed:
                    self._failed.discard(key)
                    self._post(TrackOpened(key), urgent=True)
                return
            except (PublishTrackError, TimeoutError) as error:
                del self._tracks[key]
                await track.aclose()
                log.warning("room %s: track %s was not published (try %d): %s", self.ticket.room, key.name, attempt, error)
        self._failed.add(key)
        self._post(TrackFailed(key), urgent=True)
        self.send(None, Failure("track_failed", f"the track {key.name} could not be published", retryable=True))

    def _on_track_subscribed(self, local: rtc.LocalTrack) -> None:
        for track in self._tracks.values():
            if track.sid == local.sid:
                track.on_subscribed()

    def _on_track_republished(self, publication: rtc.LocalTrackPublication) -> None:
        for track in self._tracks.values():
            if track.publication is publication:
                track.on_republished()

    def _on_left(self, participant: rtc.RemoteParticipant) -> None:
        if _may_listen(participant):
            self._left_at = self._loop.time()

    def _has_audience(self) -> bool:
        """Whether somebody may come to hear a new track: after a lost connection, whoever was there before is waited for."""
        return self._had_audience or (self._room is not None and _is_attended(self._room))

    # Events and captions

    async def _send_events(self) -> None:
        while True:
            await self._has_events.wait()
            self._has_events.clear()
            while (letter := self._events.take()) is not None:
                self._is_telling = True
                await self.joined.wait()
                for _ in range(EVENT_TRIES):
                    if self._room is not None and await send_event(self._room, letter):
                        break
                    await asyncio.sleep(EVENT_PAUSE)
                    await self.joined.wait()
                self._is_telling = False
            lost = Counter(self._lost.popleft() for _ in range(len(self._lost)))
            for sender, count in lost.items():
                words = f"{count} events could not be sent: more was happening than the room carries; `hello` asks what was spoken"
                self.send(sender, Failure("overloaded", words, retryable=True))

    async def _send_captions(self) -> None:
        while True:
            await self._has_captions.wait()
            self._has_captions.clear()
            while (caption := self._captions.take()) is not None:
                track = self._tracks.get(caption.track)
                if track is not None and self._room is not None:
                    await self._caption_writer.write(caption, track.sid)

    # Crossing

    async def _on_node(self, make: Callable[[], T]) -> T:
        """The value of ``make()``, called on the node's loop."""
        if self._host.loop is self._loop:
            return make()

        async def call() -> T:
            return make()

        return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(call(), self._host.loop))

    def _start(self, work: Coroutine[None, None, None]) -> None:
        task = self._loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        task.add_done_callback(tell_failure)


def _is_attended(room: rtc.Room) -> bool:
    return any(map(_may_listen, room.remote_participants.values()))


def _may_listen(participant: rtc.RemoteParticipant) -> bool:
    """Whether it is somebody who may want to hear: neither an agent nor a node that sends text."""
    return participant.kind != rtc.ParticipantKind.PARTICIPANT_KIND_AGENT and participant.attributes.get(ROLE) != UPSTREAM
