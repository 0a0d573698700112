"""A door to a file or a loudspeaker: takes what a stage says as fast as it is made."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Callable

from engines.base import Samples
from pipeline.events import Dropped, Event, Failure
from pipeline.playout import PlayoutBuffer
from pipeline.stage import Caption, TrackKey

PIECE = 0.1  # seconds of sound given at a time
LOOK = 0.1  # seconds between two looks whether all has been said, where nothing wakes us


class Recorder:
    """An outlet with one track, whose listener is in no hurry: the sound is whole, pauses included, and runs dry nowhere."""

    def __init__(self, on_event: Callable[[Event], None] | None = None) -> None:
        """``on_event`` sees every event of the stage as it comes, on the node's loop, and must not block."""
        self._on_event = on_event
        self._opened: asyncio.Future[PlayoutBuffer] = asyncio.get_running_loop().create_future()
        self._ready = asyncio.Event()
        self.problems: list[str] = []
        """What was not said, and why."""

    def open_track(self, key: TrackKey, buffer: PlayoutBuffer) -> None:
        if self._opened.done():
            return
        buffer.is_live = False
        buffer.on_ready = self._ready.set
        self._opened.set_result(buffer)

    def send(self, sender: str | None, event: Event) -> None:
        if isinstance(event, Failure):
            self.problems.append(event.message)
        elif isinstance(event, Dropped) and event.why != "nothing_to_say":
            self.problems.append(f"not said ({event.why}): {event.text}")
        if self._on_event is not None:
            self._on_event(event)
        self._ready.set()

    def caption(self, caption: Caption) -> None:
        """Nobody reads along."""

    async def samples(self, is_over: Callable[[], bool]) -> AsyncGenerator[Samples, None]:
        """Pieces of 0.1 s at the most, until ``is_over`` says so and nothing is left."""
        while not self._opened.done() and not is_over():
            await self._look()
        while self._opened.done():
            buffer = self._opened.result()
            available = min(round(buffer.in_hand * buffer.sample_rate), round(PIECE * buffer.sample_rate))
            piece = buffer.read(available, asyncio.get_running_loop().time())
            if piece is not None and len(piece):
                yield piece
                continue
            await asyncio.sleep(0)  # lets the cues that were read arrive
            if is_over() and buffer.in_hand == 0:
                return
            await self._look()

    async def _look(self) -> None:
        self._ready.clear()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(LOOK):
                await self._ready.wait()
