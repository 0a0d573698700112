"""One LiveKit audio track: published, waited for, and then pumped from a playout buffer."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable

from livekit import rtc

from agent.capture import Capture
from agent.pump import Feed, Pump, TrackSettings
from engines.base import Samples
from pipeline.playout import PlayoutBuffer

SETTLE = 0.3  # seconds of silence from a subscription to sound: that listener's connection may still be in the making (200 ms under load)
FOREIGN_WAIT = 10.0  # seconds for a publication: the library answers in a few dozen milliseconds or not at all

log = logging.getLogger(__name__)


class Track:
    """One publication. Made on the loop of its room, as is all of it but :meth:`rouse` and what the pump calls.

    The first word waits until somebody hears the track, and hears silence there: a listener who is sent sound at once misses the
    beginning of it. From then on the pump takes sound as the clock asks for it.
    """

    def __init__(self, name: str, buffer: PlayoutBuffer, pump: Pump, settings: TrackSettings, *, has_audience: Callable[[], bool]) -> None:
        """``has_audience`` says whether there is anybody in the room who could subscribe."""
        self.name = name
        self.publication: rtc.LocalTrackPublication | None = None
        self._buffer = buffer
        self._pump = pump
        self._settings = settings
        self._has_audience = has_audience
        self._loop = asyncio.get_running_loop()
        self._capture = Capture(buffer.sample_rate)
        self._track = rtc.LocalAudioTrack.create_audio_track(name, self._capture.source)
        self._feed = Feed(buffer, self, settings.linger)
        self._feed.is_held = True
        self._subscribed = asyncio.Event()
        self._subscribed_at = -float("inf")
        self._roused = asyncio.Event()
        self._is_pumped = False
        self._opening: asyncio.Task[None] | None = None

    @property
    def sid(self) -> str:
        return self.publication.sid if self.publication else ""

    async def publish(self, participant: rtc.LocalParticipant) -> None:
        """Returns when the server knows the track. Raises :exc:`livekit.rtc.PublishTrackError` or ``TimeoutError``."""
        # Without DTX, and said aloud because it is the library's default: after 0.2 s of silence it takes most of the level of the
        # next 0.3 s away, which are a first word.
        options = rtc.TrackPublishOptions(source=rtc.TrackSource.SOURCE_MICROPHONE, dtx=False)
        async with asyncio.timeout(FOREIGN_WAIT):
            self.publication = await participant.publish_track(self._track, options)
        self._track.mute()
        self._opening = self._loop.create_task(self._open(), name=f"open track {self.name}")
        self._buffer.on_ready = self.rouse
        if self._buffer.in_hand:
            self.rouse()

    async def aclose(self) -> None:
        """Stops pumping and gives the source back; the publication ends with its room. What is in the buffer stays there."""
        if self._buffer.on_ready == self.rouse:
            self._buffer.on_ready = _nobody
        self._pump.stop(self._feed)
        if self._opening is not None:
            self._opening.cancel()
            await asyncio.wait({self._opening})
        await self._capture.aclose()
        if self._capture.lost:
            log.warning("track %s: %d frames of 10 ms were not taken by the library, and not heard", self.name, self._capture.lost)

    def rouse(self) -> None:
        """Sound is there, or will come soon. Any thread."""
        if self._is_pumped:
            self._pump.rouse(self._feed)
        else:
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
            self._is_pumped = True
            self.rouse()
            await asyncio.sleep(max(self._subscribed_at + SETTLE - self._loop.time(), 0))

    async def _open(self) -> None:
        await self._roused.wait()
        await self.audience()
        self._feed.is_held = False
        self._is_pumped = True
        self.rouse()

    # For the pump

    def push(self, samples: Samples) -> None:
        self._capture.push(samples)

    def mute(self) -> None:
        self._track.mute()

    def unmute(self) -> None:
        self._track.unmute()


def _nobody() -> None:
    """Nobody to tell: the track is gone."""
