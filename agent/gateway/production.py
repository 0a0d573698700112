"""From a plan to bytes: a whole file, or a stream whose first bytes leave with the first sound."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import aclosing
from dataclasses import dataclass

import numpy as np

from agent.gateway import effects
from agent.gateway.encoding import open_encoder, possible_rate
from agent.gateway.errors import Refused
from agent.gateway.settings import AudioSettings
from agent.gateway.slots import Slots
from agent.gateway.speech import Facts, Plan, Speech
from agent.gateway.wanted import Wanted
from agent.node import Node
from engines.base import NO_SAMPLES

LONGEST = 300.0  # seconds that a whole reply may take where its caller names none: the most that one may name
OPTIONS_RATE = 22_050  # hertz that whoever sends a block `options` without a rate expects


@dataclass(frozen=True, slots=True)
class Medium:
    """What sound is sent as."""

    format: str
    rate: int
    """Hertz of what goes out."""

    @classmethod
    def of(cls, wanted: Wanted, format: str, settings: AudioSettings) -> Medium:
        """``format``: empty for that of the settings."""
        rate = wanted.sample_rate or (OPTIONS_RATE if wanted.has_options else settings.sample_rate)
        format = format or settings.format
        return cls(format, possible_rate(format, rate))


@dataclass(frozen=True, slots=True)
class Product:
    """A whole reply."""

    data: bytes
    medium: Medium
    seconds: float
    """Of sound."""
    took: float
    """Seconds from the request to here."""
    applied: tuple[str, ...]
    """What was done to the sound and for it."""
    facts: Facts


class Workshop:
    """Makes what both families of routes send; all of them share its slots."""

    def __init__(self, node: Node, slots: Slots, on_gap: Callable[[float], None]) -> None:
        """``on_gap``: told the seconds between two pieces of a stream."""
        self.node = node
        self.slots = slots
        self._on_gap = on_gap
        self._settings = node.settings

    async def whole(self, wanted: Wanted, plan: Plan, medium: Medium, *, wait: float | None = None) -> Product:
        """``wait``: seconds for a slot, in place of the usual. Raises :exc:`Refused`."""
        limit = wanted.timeout or LONGEST
        try:
            async with asyncio.timeout(limit):
                return await self._whole(wanted, plan, medium, wait)
        except TimeoutError:
            raise Refused("timeout", f"the reply was not ready within {limit:g} s", 504) from None

    async def _whole(self, wanted: Wanted, plan: Plan, medium: Medium, wait: float | None) -> Product:
        speech, rate, audio = Speech(self.node, plan), self.node.studio.rate, self._settings.audio
        chain = effects.Chain(plan.effects.filters(rate), rate)
        parts = [NO_SAMPLES]
        async with self.slots.one(wait=wait), aclosing(speech.sound()) as sound:
            async for samples in sound:
                parts.append(chain.feed(samples))  # noqa: PERF401 - each is heard as it comes
        parts.append(chain.finish())
        trim = audio.trim_silence if wanted.trim is None else wanted.trim
        normalize = audio.normalize if wanted.normalize is None else wanted.normalize
        samples = await effects.finish(np.concatenate(parts), rate, trim=trim, loudness=-audio.loudness if normalize else None)
        encoder = open_encoder(medium.format, rate, medium.rate, is_open=False)
        for start in range(0, len(samples), rate):
            encoder.feed(samples[start : start + rate])
            await asyncio.sleep(0)
        done = {
            "cache": speech.facts.is_cached,
            "enhancement": plan.effects.enhance,
            "compression": plan.effects.compress,
            "trimming": trim,
            "loudness": normalize,
        }
        applied = tuple(name for name, is_done in done.items() if is_done)
        return Product(encoder.finish(), medium, len(samples) / rate, speech.seconds, applied, speech.facts)

    async def stream(self, speech: Speech, plan: Plan, medium: Medium) -> AsyncGenerator[bytes, None]:
        """Pieces of at most ``stream.chunk_bytes``. Iterate it with :func:`contextlib.aclosing`. Raises :exc:`Refused`."""
        rate = self.node.studio.rate
        async with self.slots.one(), aclosing(speech.sound()) as sound:
            chain = effects.Chain(plan.effects.filters(rate), rate)
            encoder = open_encoder(medium.format, rate, medium.rate)
            before = None
            async for samples in sound:
                now = speech.seconds
                if before is not None:
                    self._on_gap(now - before)
                before = now
                for piece in self._pieces(encoder.feed(chain.feed(samples))):
                    yield piece
            for piece in self._pieces(encoder.feed(chain.finish()) + encoder.finish()):
                yield piece

    def _pieces(self, data: bytes) -> Iterator[bytes]:
        size = self._settings.stream.chunk_bytes
        yield from (data[start : start + size] for start in range(0, len(data), size))
