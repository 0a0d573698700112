"""One LiveKit audio track, pumped from a playout buffer in exact frames at the pace of the clock."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from dataclasses import dataclass

from livekit import rtc

from agent.capture import FRAME, Capture
from pipeline.playout import PlayoutBuffer

LATE = 0.060  # seconds of frames that are made up for in a burst; more would only fill the listener's jitter buffer
BUSY = 0.001  # seconds between two looks whether the last frame has arrived, when frames are being made up for
SETTLE = 0.3  # seconds from a subscription to sound at that listener: its connection may still be in the making (200 ms under load)
FOREIGN_WAIT = 10.0  # seconds for a publication: the library answers in a few dozen milliseconds or not at all


@dataclass(frozen=True, slots=True)
class TrackSettings:
    linger: float = 2.0
    """Seconds of silence that are sent after the last sound; then the track is muted, and costs nothing. After a shorter pause
    the first sound is heard 40 ms sooner than after a longer one, whose end finds the listener's jitter buffer grown."""
    lead: float = 0.0
    """Seconds of silence between unmuting and the first sound. None is needed: measured at a listener after pauses of 0.3 to
    30 s, the first word is whole without it, and each 20 ms of it make the sound 20 ms later."""
    first_word_wait: float = 3.0
    """Seconds for which the first word on a new track waits for a subscriber, where somebody could become one."""


class Pulse:
    """When the next frame of one stretch of speech is due, and when the stretch is over. Pure: it is told the time."""

    def __init__(self, settings: TrackSettings, *, now: float) -> None:
        self._settings = settings
        self._due = self._last_sound = now
        self._silent = round(settings.lead / FRAME)

    @property
    def is_leading(self) -> bool:
        """Whether the silence before the first sound is still going out."""
        return self._silent > 0

    def is_late(self, *, now: float) -> bool:
        """Whether frames are owed that can still be made up for."""
        return 0 < now - self._due < LATE

    def is_over(self, *, now: float, wanted: float) -> bool:
        """Whether nothing was said, or announced at ``wanted``, for as long as silence is worth sending."""
        return now - max(self._last_sound, wanted) > self._settings.linger

    def on_frame(self, *, now: float, is_sound: bool) -> None:
        """A frame goes out now."""
        if is_sound:
            self._last_sound = now
        self._silent -= 1
        self._due = max(self._due, now - LATE) + FRAME

    def delay(self, *, now: float) -> float:
        """Seconds until the next frame."""
        return max(self._due - now, 0.0)


class Track:
    """One publication: sound is taken from ``buffer`` as the clock asks for it, and sent at once.

    1. While there is speech, and ``linger`` after it, a frame goes out every 10 ms: the listener's clock never stands still.
    2. Otherwise the track is muted and this takes no time at all.
    3. Everything but :meth:`rouse` runs on the loop on which it was made.
    """

    def __init__(self, name: str, buffer: PlayoutBuffer, settings: TrackSettings, *, has_audience: Callable[[], bool]) -> None:
        """``has_audience`` says whether there is anybody in the room who could subscribe."""
        self.name = name
        self.publication: rtc.LocalTrackPublication | None = None
        self._buffer = buffer
        self._settings = settings
        self._has_audience = has_audience
        self._loop = asyncio.get_running_loop()
        self._capture = Capture(buffer.sample_rate)
        self._silence = bytes(2 * self._capture.samples)
        self._track = rtc.LocalAudioTrack.create_audio_track(name, self._capture.source)
        self._subscribed = asyncio.Event()
        self._subscribed_at = -float("inf")
        self._roused = asyncio.Event()
        self._is_awake = False
        self._wanted = -float("inf")  # when somebody last said that sound would come
        self._pump: asyncio.Task[None] | None = None

    @property
    def sid(self) -> str:
        return self.publication.sid if self.publication else ""

    @property
    def lost(self) -> int:
        """Frames that the library did not take."""
        return self._capture.lost

    async def publish(self, participant: rtc.LocalParticipant) -> None:
        """Returns when the server knows the track. Raises :exc:`livekit.rtc.PublishTrackError` or ``TimeoutError``."""
        options = rtc.TrackPublishOptions(source=rtc.TrackSource.SOURCE_MICROPHONE, dtx=True)
        async with asyncio.timeout(FOREIGN_WAIT):
            self.publication = await participant.publish_track(self._track, options)
        self._track.mute()
        self._buffer.on_ready = self.rouse
        self._pump = self._loop.create_task(self._run(), name=f"track {self.name}")
        if self._buffer.in_hand:
            self.rouse()

    async def aclose(self) -> None:
        """Stops pumping and gives the source back; the publication ends with its room. What is in the buffer stays there."""
        if self._buffer.on_ready == self.rouse:
            self._buffer.on_ready = _nobody
        if self._pump is not None:
            self._pump.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._pump
        await self._capture.aclose()

    def rouse(self) -> None:
        """Sound is there, or will come soon. Any thread."""
        self._wanted = self._loop.time()
        if not self._is_awake:
            self._is_awake = True
            with contextlib.suppress(RuntimeError):  # the loop has ended, and the room with it
                self._loop.call_soon_threadsafe(self._roused.set)

    def on_subscribed(self) -> None:
        """Somebody hears this track."""
        if not self._subscribed.is_set():
            self._subscribed_at = self._loop.time()
            self._subscribed.set()

    def on_republished(self) -> None:
        """The connection was made anew, and the track with it: nobody hears it yet."""
        self._subscribed.clear()

    async def audience(self) -> None:
        """Returns when somebody hears this track, when nobody could, or when that has been waited for long enough."""
        if self._has_audience():
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._settings.first_word_wait):
                    await self._subscribed.wait()
            await asyncio.sleep(max(self._subscribed_at + SETTLE - self._loop.time(), 0))

    async def _run(self) -> None:
        await self._roused.wait()
        await self.audience()
        while True:
            await self._roused.wait()
            self._track.unmute()
            ended = await self._speak()
            self._track.mute()
            self._roused.clear()
            self._is_awake = False
            if self._wanted >= ended:  # said between the last look and the line above
                self.rouse()

    async def _speak(self) -> float:
        """Frames until there has been nothing to say for a while; returns when it last looked."""
        pulse = Pulse(self._settings, now=self._loop.time())
        while True:
            now = self._loop.time()
            if pulse.is_late(now=now) and not self._capture.is_free:
                await asyncio.sleep(BUSY)
                continue
            samples = None if pulse.is_leading else self._buffer.read(self._capture.samples, now)
            if samples is None and pulse.is_over(now=now, wanted=self._wanted):
                return now
            self._capture.push(self._silence if samples is None else samples.tobytes())
            pulse.on_frame(now=now, is_sound=samples is not None)
            await asyncio.sleep(pulse.delay(now=self._loop.time()))


def _nobody() -> None:
    """Nobody to tell: the track is gone."""
