"""A participant who hears: subscribes to tracks of a room and keeps what arrives, with the time at which it arrived."""

from __future__ import annotations

import asyncio
import json
import time
import warnings
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import takewhile
from types import TracebackType
from typing import Any

import numpy as np
from jwt import InsecureKeyLengthWarning
from livekit import api, rtc
from livekit.rtc.data_stream import StreamError

from agent.wakeups import narrow
from bench.hearing import AUDIBLE, FRAME, FRAME_SAMPLES, RATE, Recording, loudness, onset, silenced
from engines.base import NO_SAMPLES, Samples

EVENTS_TOPIC = "voicebooth.events"
CAPTIONS_TOPIC = "lk.transcription"
KEPT = 600.0  # seconds of sound per track: the longest bench run between two looks; 58 MB
EVENTS_KEPT = 20_000  # messages: 20 rooms send about 30 a second for ten minutes
DECODED_AHEAD = 500  # frames between the decoder and this loop: 5 s, after which the listener is too slow to be believed anyway
CONNECT = 15.0  # seconds


@dataclass(frozen=True, slots=True)
class Note:
    """One event of the node, as it arrived."""

    arrival: float
    """Seconds on the monotonic clock."""
    event: Mapping[str, Any]
    """The JSON object; ``type`` names it."""


@dataclass(frozen=True, slots=True)
class Line:
    """One caption, complete."""

    arrival: float
    text: str
    attributes: Mapping[str, str]
    parts: tuple[tuple[float, str], ...] = ()
    """What it came in, and when: words come as they begin to sound."""


def token(
    room: str,
    identity: str,
    *,
    key: str = "devkey",
    secret: str = "secret",
    publish: bool = True,
    data: bool = True,
    attributes: Mapping[str, str] | None = None,
) -> str:
    """What lets ``identity`` into ``room`` of a development server."""
    grants = api.VideoGrants(room_join=True, room=room, can_publish=publish, can_publish_data=data, can_update_own_metadata=True)
    unsigned = api.AccessToken(key, secret).with_identity(identity).with_grants(grants).with_attributes(dict(attributes or {}))
    with warnings.catch_warnings():
        # The development server's secret is LiveKit's to choose, and is six bytes long.
        warnings.simplefilter("ignore", InsecureKeyLengthWarning)
        return unsigned.to_jwt()


class EventLog:
    """What the node told a participant, in the order of arrival. Bounded: the oldest go first."""

    def __init__(self, room: rtc.Room) -> None:
        self.notes: deque[Note] = deque(maxlen=EVENTS_KEPT)
        self._news = asyncio.Event()
        room.on("data_received", self._on_data)

    def _on_data(self, packet: rtc.DataPacket) -> None:
        if packet.topic == EVENTS_TOPIC:
            self.notes.append(Note(time.monotonic(), json.loads(packet.data)))
            self._news.set()

    def of(self, type: str, *, after: float = 0.0) -> list[Note]:
        return [note for note in self.notes if note.event["type"] == type and note.arrival >= after]

    async def wait(self, type: str, *, after: float = 0.0, timeout: float = 10.0, **fields: Any) -> Note:
        """The first event of that type with these fields that arrived at or after ``after``. Raises ``TimeoutError``."""
        async with asyncio.timeout(timeout):
            while True:
                for note in self.of(type, after=after):
                    if all(note.event.get(name) == value for name, value in fields.items()):
                        return note
                self._news.clear()
                await self._news.wait()


class Ear:
    """What was heard of one track. A track that is published anew under the same name goes on in the same ear."""

    def __init__(self, name: str, *, kept: float = KEPT) -> None:
        self.name = name
        self.track: rtc.RemoteAudioTrack | None = None
        """The track that is heard now, or was last."""
        self.lives = 0
        """How often it was subscribed to."""
        self._frames: deque[tuple[float, Samples]] = deque(maxlen=round(kept / FRAME))
        self._loud: deque[float] = deque(maxlen=round(kept / FRAME))
        self._news = asyncio.Event()

    @property
    def latest(self) -> float:
        """When the last frame came; minus infinity before the first."""
        return self._frames[-1][0] if self._frames else -np.inf

    def feed(self, samples: Samples, now: float) -> None:
        """One frame of 10 ms."""
        self._frames.append((now, samples))
        if loudness(samples)[0] > AUDIBLE:
            self._loud.append(now)
        self._news.set()

    def recording(self, *, after: float = -np.inf) -> Recording:
        """What arrived at or after ``after``; a copy."""
        picked = list(takewhile(lambda frame: frame[0] >= after, reversed(self._frames)))[::-1]
        samples = np.concatenate([frame for _, frame in picked]) if picked else NO_SAMPLES
        return Recording(samples, np.array([arrival for arrival, _ in picked], dtype=np.float64))

    async def next(self) -> None:
        """Returns when a further frame has come."""
        self._news.clear()
        await self._news.wait()

    async def onset(self, *, after: float, timeout: float = 10.0) -> float:
        """When the first audible sound that came at or after ``after`` was heard. Raises ``TimeoutError``."""
        async with asyncio.timeout(timeout):
            while (heard := onset(self._since(after), after)) is None:
                await self.next()
        return heard

    async def silence(self, *, after: float, hold: float, timeout: float = 30.0) -> float:
        """When the last audible sound before ``hold`` seconds of silence was heard. Raises ``TimeoutError``."""
        async with asyncio.timeout(timeout):
            while (last := silenced(self._since(after), after, latest=self.latest, hold=hold)) is None:
                await self.next()
        return last

    def _since(self, after: float) -> list[float]:
        return list(takewhile(lambda arrival: arrival >= after, reversed(self._loud)))[::-1]

    async def reception(self) -> Reception:
        """How it has arrived since the subscription."""
        if self.track is not None:
            for stats in await self.track.get_stats():
                if stats.WhichOneof("stats") == "inbound_rtp":
                    found = stats.inbound_rtp.inbound
                    concealed = found.concealed_samples - found.silent_concealed_samples
                    return Reception(concealed / RATE, found.jitter_buffer_delay, found.jitter_buffer_emitted_count / RATE)
        return Reception(0.0, 0.0, 0.0)


@dataclass(frozen=True, slots=True)
class Reception:
    """What the decoder's own statistics say, summed over a subscription."""

    concealed: float
    """Seconds of sound that it had to invent, because nothing had arrived in time."""
    delayed: float
    """Seconds that samples waited in the jitter buffer, times :attr:`emitted`."""
    emitted: float
    """Seconds of sound that left it."""

    def since(self, before: Reception) -> Reception:
        return Reception(self.concealed - before.concealed, self.delayed - before.delayed, self.emitted - before.emitted)

    @property
    def buffered(self) -> float:
        """Seconds that a sample waited in the jitter buffer, on average."""
        return self.delayed / self.emitted / RATE if self.emitted > 0 else 0.0


def everything(participant: str, track: str) -> bool:
    return True


class Listener:
    """A room, and an ear for each audio track in it that ``wanted(participant, track)`` names.

    Guarantees: frames are kept whole and in order; memory is bounded by ``kept`` seconds a track; ``aclose`` ends every task.
    """

    def __init__(
        self,
        url: str,
        room: str,
        *,
        identity: str = "listener",
        wanted: Callable[[str, str], bool] = everything,
        kept: float = KEPT,
        jwt: str = "",
        encryption: rtc.E2EEOptions | None = None,
    ) -> None:
        """``jwt`` is what the server wants to see; empty stands for the development server's own keys."""
        self.room = rtc.Room()
        self.log = EventLog(self.room)
        self.ears: dict[str, Ear] = {}
        """By name of the track."""
        self.lines: deque[Line] = deque(maxlen=EVENTS_KEPT)
        """Captions, complete ones."""
        self._url = url
        self._jwt = jwt or token(room, identity)
        self._options = rtc.RoomOptions(auto_subscribe=False, encryption=encryption)
        self._wanted = wanted
        self._kept = kept
        self._news = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Listener:
        room = self.room
        room.on("track_published", self._on_published)
        room.on("track_subscribed", self._on_subscribed)
        room.register_text_stream_handler(CAPTIONS_TOPIC, self._on_caption)
        async with asyncio.timeout(CONNECT):
            await room.connect(self._url, self._jwt, self._options)
        narrow(room)
        for participant in room.remote_participants.values():
            for publication in participant.track_publications.values():
                self._on_published(publication, participant)
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        async with asyncio.timeout(CONNECT):
            await self.room.disconnect()
        for task in tuple(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def ear(self, name: str, *, timeout: float = 15.0) -> Ear:
        """The ear for a track of that name, once its first frame has come. Raises ``TimeoutError``."""
        async with asyncio.timeout(timeout):
            while name not in self.ears:
                self._news.clear()
                await self._news.wait()
            ear = self.ears[name]
            if ear.latest < 0:
                await ear.next()
        return ear

    def _on_published(self, publication: rtc.RemoteTrackPublication, participant: rtc.RemoteParticipant) -> None:
        if publication.kind == rtc.TrackKind.KIND_AUDIO and self._wanted(participant.identity, publication.name):
            publication.set_subscribed(True)

    def _on_subscribed(self, track: rtc.Track, publication: rtc.RemoteTrackPublication, participant: rtc.RemoteParticipant) -> None:
        if not isinstance(track, rtc.RemoteAudioTrack):
            return
        ear = self.ears.setdefault(publication.name, Ear(publication.name, kept=self._kept))
        ear.track, ear.lives = track, ear.lives + 1
        self._news.set()
        self._start(self._hear(ear, track))

    async def _hear(self, ear: Ear, track: rtc.RemoteAudioTrack) -> None:
        stream = rtc.AudioStream(track, capacity=DECODED_AHEAD, sample_rate=RATE, num_channels=1, frame_size_ms=round(FRAME * 1000))
        try:
            async for event in stream:
                if ear.track is not track:  # published anew; the old one's silence would be mixed into it
                    break
                samples = np.frombuffer(event.frame.data, dtype=np.int16).copy()
                if len(samples) == FRAME_SAMPLES:
                    ear.feed(samples, time.monotonic())
        finally:
            await stream.aclose()

    def _on_caption(self, reader: rtc.TextStreamReader, participant: str) -> None:
        self._start(self._read(reader))

    async def _read(self, reader: rtc.TextStreamReader) -> None:
        try:
            parts = [(time.monotonic(), part) async for part in reader]
        except StreamError:
            return  # cut off with the connection: not a complete caption
        text = "".join(part for _, part in parts)
        self.lines.append(Line(time.monotonic(), text, dict(reader.info.attributes or {}), tuple(parts)))

    def _start(self, work: Any) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
