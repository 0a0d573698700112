"""Sessions in the bench's own process: a node, and doors that take what it says at the pace of a listener."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, TypeVar

from pipeline.events import Event

E = TypeVar("E", bound=Event)

GIVEN_UP = 60.0  # seconds after which a sentence is not waited for any more; three attempts of the peer take 34
FRAME = 0.010  # seconds


class Door:
    """Takes what a stage says at the pace of a track, and notes what it is told."""

    def __init__(self, on_event: Callable[[Event], None] = lambda event: None) -> None:
        """``on_event`` hears each event as it comes."""
        self.events: list[Event] = []
        self.late = 0.0
        """Seconds by which the latest frame was taken after its time: for so long the loop stood still."""
        self._on_event = on_event
        self._pumps: list[asyncio.Task[None]] = []
        self._news = asyncio.Event()

    def open_track(self, key: object, buffer: Any) -> None:
        self._pumps.append(asyncio.create_task(self._pump(buffer)))

    def send(self, sender: str | None, event: Event) -> None:
        self.events.append(event)
        self._on_event(event)
        self._news.set()

    def caption(self, caption: object) -> None:
        """Nobody reads along."""

    def of(self, kind: type[E]) -> list[E]:
        return [event for event in self.events if isinstance(event, kind)]

    async def wait(self, kind: type[Event] | tuple[type[Event], ...], utterance: str, *, timeout: float = GIVEN_UP) -> Event:
        """The first such event of that utterance. Raises ``TimeoutError``."""
        async with asyncio.timeout(timeout):
            while True:
                for event in self.events:
                    if isinstance(event, kind) and getattr(event, "utterance", None) == utterance:
                        return event
                self._news.clear()
                await self._news.wait()

    async def close(self) -> None:
        for pump in self._pumps:
            pump.cancel()
        for outcome in await asyncio.gather(*self._pumps, return_exceptions=True):
            if isinstance(outcome, Exception):
                raise outcome  # nobody has taken what was said there since

    async def _pump(self, buffer: Any) -> None:
        count, loop = round(FRAME * buffer.sample_rate), asyncio.get_running_loop()
        due = loop.time()
        while True:
            now = loop.time()
            self.late = max(self.late, now - due)
            buffer.read(count, now)
            due += FRAME
            await asyncio.sleep(max(0.0, due - loop.time()))
