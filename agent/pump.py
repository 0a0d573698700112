"""Sound out of playout buffers at the pace of the clock: one timer for all tracks of the process."""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from engines.base import Samples

BEAT = 0.020  # seconds of sound at a time: one Opus packet; half of it would leave no sooner, and wake twice as often
LATE = 0.060  # seconds of sound that are made up for in a burst; more would only fill the listener's jitter buffer
LINGERING = 2  # feeds that send silence at once: each takes 3 % of a core, and all that a further one misses are 20 ms at its next word
LINGER_LEAST = 0.5  # seconds of silence before which a feed does not count among them: pauses between sentences are shorter or as long
TOGETHER = 0.005  # seconds by which a beat may come early to share a wake-up: a quarter of what a packet holds, too little to be heard


@dataclass(frozen=True, slots=True)
class TrackSettings:
    linger: float = 10.0
    """Seconds of silence that are sent after the last sound; then the track is muted, and costs nothing. After a shorter pause
    the first sound is heard 20 ms sooner than after a longer one, whose end finds the listener's jitter buffer grown. Where more
    than two tracks are silent at once, those that have been silent for longest are muted sooner."""
    first_word_wait: float = 3.0
    """Seconds for which the first word on a new track waits for a subscriber, where somebody could become one."""


class Source(Protocol):
    """Where sound comes from: a playout buffer, or several heard as one. None of these blocks."""

    sample_rate: int

    @property
    def is_empty(self) -> bool: ...

    def read(self, count: int, now: float) -> Samples | None: ...


class Sink(Protocol):
    """Where sound goes. None of these blocks."""

    def push(self, samples: Samples) -> None: ...

    def mute(self) -> None: ...

    def unmute(self) -> None: ...


class Feed:
    """One source and where its sound goes. Pure: it is told the time, and whoever tells it calls when it says.

    1. While there is speech, and ``linger`` after it, a beat goes out every 20 ms: the listener's clock never stands still.
    2. Otherwise the sink is muted, and the feed asleep. Woken before there is sound, it is unmuted at once, and its first beat is
       the sound's.
    """

    def __init__(self, source: Source, sink: Sink, linger: float) -> None:
        self.is_awake = False
        self.is_held = False
        """True while sound waits and silence goes out in its place."""
        self.is_waiting = False
        """True from waking up to the first beat."""
        self.due = 0.0
        """When the next beat is, in seconds; of a feed that is awake."""
        self._source = source
        self._sink = sink
        self._linger = linger
        self._samples = round(source.sample_rate * BEAT)
        self._nothing = np.zeros(self._samples, dtype=np.int16)
        self._wanted = -float("inf")  # when sound was there, or somebody last said that it would come

    def want(self, now: float) -> None:
        """Sound is there, or will come soon. Any thread."""
        self._wanted = max(self._wanted, now)

    def wake(self, now: float) -> None:
        """There is sound, or there will be soon. Of a feed that is asleep or waits."""
        has_sound = self.is_held or not self._source.is_empty
        if not self.is_awake:
            self._sink.unmute()
        self.is_awake = self.is_waiting = True
        self.due = now if has_sound else now + self._linger

    def sleep(self) -> None:
        self._sink.mute()
        self.is_awake = self.is_waiting = False

    def silence(self, now: float) -> float:
        """Seconds since there was sound, or somebody said that it would come."""
        return now - self._wanted

    def is_wanted(self, now: float) -> bool:
        """Whether silence is worth sending, if there is no sound."""
        return self.silence(now) <= self._linger

    def beat(self, now: float) -> None:
        """The sound of one beat, or silence; falls asleep when there has been nothing to say for a while."""
        self.due = max(self.due, now - LATE) + BEAT
        self.is_waiting = False
        samples = None if self.is_held else self._source.read(self._samples, now)
        if samples is not None:
            self.want(now)
        elif not self.is_wanted(now):
            self.sleep()
            return
        self._sink.push(self._nothing if samples is None else samples)


class Pump:
    """Beats for every feed that is awake. On one event loop; feeds whose beats are near each other cost one wake-up together."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._awake: set[Feed] = set()
        self._timer: asyncio.TimerHandle | None = None

    def rouse(self, feed: Feed) -> None:
        """Sound is there, or will come soon. Any thread."""
        feed.want(self._loop.time())
        if not feed.is_awake or feed.is_waiting:
            with contextlib.suppress(RuntimeError):  # the loop has ended, and every room with it
                self._loop.call_soon_threadsafe(self._wake, feed)

    def stop(self, feed: Feed) -> None:
        """No beat of it begins any more, soon. Any thread."""
        with contextlib.suppress(RuntimeError):
            self._loop.call_soon_threadsafe(self._awake.discard, feed)

    def _wake(self, feed: Feed) -> None:
        if not feed.is_awake or feed.is_waiting:
            feed.wake(self._loop.time())
            self._advance(feed)
            self._arm()

    def _beat(self) -> None:
        now = self._loop.time()
        for feed in self._lingering(now)[LINGERING:]:
            feed.sleep()
            self._awake.discard(feed)
        for feed in self._awake:
            if feed.due <= now + TOGETHER:
                self._loop.call_soon(self._advance, feed)  # each by itself: one that fails must not silence the others
        self._loop.call_soon(self._arm)

    def _lingering(self, now: float) -> list[Feed]:
        """Feeds that send nothing but silence, the one that has done so for longest last."""
        return sorted((feed for feed in self._awake if feed.silence(now) > LINGER_LEAST), key=lambda feed: feed.silence(now))

    def _advance(self, feed: Feed) -> None:
        self._awake.discard(feed)
        now = self._loop.time()
        try:
            while feed.is_awake and feed.due <= now + TOGETHER:
                feed.beat(now)
        except BaseException:
            feed.is_awake = False  # the next sound tries again
            raise
        if feed.is_awake:
            self._awake.add(feed)
        elif feed.is_wanted(now):  # said between the last look and the line above
            self._wake(feed)

    def _arm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._loop.call_at(min(feed.due for feed in self._awake), self._beat) if self._awake else None
