"""From a plan to bytes: a whole file, or a stream whose first bytes leave with the first sound."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import aclosing
from dataclasses import dataclass, replace

import numpy as np

from agent.gateway import effects, notes
from agent.gateway.deadline import LONGEST
from agent.gateway.encoding import open_encoder, possible_rate
from agent.gateway.errors import Refused
from agent.gateway.kept import Replies, digest
from agent.gateway.settings import AudioSettings
from agent.gateway.slots import Slots
from agent.gateway.speech import Facts, Plan, Speech
from agent.gateway.wanted import Wanted
from agent.node import Node
from engines.base import NO_SAMPLES
from pipeline.cache import CacheStats, no_stats
from pipeline.chain import primary
from pipeline.journey import Journey, Leg
from pipeline.report import CACHE
from pipeline.script import Wish

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
class Finish:
    """What is done to a whole reply at the end."""

    trim: bool
    loudness: float | None
    """LUFS; None as it is."""


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
        self.replies: Replies[Product] = Replies(node.settings.cache)
        self._on_gap = on_gap
        self._settings = node.settings

    def kept(self) -> CacheStats:
        """Sentences and whole replies; nothing where nothing is cached."""
        cache = self.node.studio.cache
        return self.replies.beside(cache.stats() if cache is not None else no_stats(self._settings.cache))

    async def whole(self, wanted: Wanted, plan: Plan, medium: Medium, *, wait: float | None = None) -> Product:
        """``wait``: seconds for a slot, in place of the usual. Raises :exc:`Refused`."""
        audio, limit = self._settings.audio, wanted.timeout or LONGEST
        finish = Finish(
            audio.trim_silence if wanted.trim is None else wanted.trim,
            -audio.loudness if (audio.normalize if wanted.normalize is None else wanted.normalize) else None,
        )
        builds = self.node.studio.builds
        key = digest(plan.text, plan.config, plan.effects, medium, finish, builds)
        if wanted.use_cache and (again := self._again(key, plan)) is not None:
            return again
        begun = self.node.loop.time()
        try:
            async with asyncio.timeout(limit):
                product = await self._make(plan, medium, finish, wait)
        except TimeoutError:
            raise Refused("timeout", f"the reply was not ready within {limit:g} s", 504) from None
        if wanted.use_cache and builds == self.node.studio.builds and self._is_lasting(plan, product.facts):
            now = self.node.loop.time()
            self.replies.keep(key, product, now, age=product.facts.age + now - begun)  # none of its sentences is heard for longer
        return product

    def _is_lasting(self, plan: Plan, facts: Facts) -> bool:
        """Whether who said it is who should: it is not kept where a fault, or the forecast of a busy moment, gave it to somebody else."""
        config = plan.config
        wish = Wish(
            plan.language,
            voice=config.voice or "",
            engine=config.engine or "",
            is_strict=bool(config.strict_engine),
            strategy=config.strategy or "",
        )
        return not facts.fallback and self.node.studio.preferred(wish) in ("", facts.engine)

    def _again(self, key: bytes, plan: Plan) -> Product | None:
        """What was answered before, if it is kept; counted as sentences from the cache are."""
        begun = self.node.loop.time()
        kept = self.replies.find(key, begun)
        if kept is None:
            return None
        facts = replace(kept.facts, cached=kept.facts.sentences, ttft=0.0, fallback=list(plan.fallback), warnings=list(plan.warnings))
        notes.on_text(len(plan.text), facts)
        report, cache = self.node.report, self.node.studio.cache
        report.on_started(CACHE, ttft=0.0, lag=0.0, budget=self.node.settings.chain.budget)
        report.on_made(CACHE, primary(facts.language), work=0.0, seconds=kept.seconds)
        report.on_journey(_repeated(facts, len(plan.text), begun, self.node.loop.time()))
        if cache is not None:
            cache.hits += facts.sentences
        applied = kept.applied if facts.is_cached and "cache" in kept.applied else ("cache", *kept.applied)
        return replace(kept, took=self.node.loop.time() - begun, facts=facts, applied=applied)

    async def _make(self, plan: Plan, medium: Medium, finish: Finish, wait: float | None) -> Product:
        speech, rate = Speech(self.node, plan), self.node.studio.rate
        chain = effects.Chain(plan.effects.filters(rate), rate)
        parts = [NO_SAMPLES]
        async with self.slots.one(wait=wait), aclosing(speech.sound()) as sound:
            async for samples in sound:
                parts.append(chain.feed(samples))  # noqa: PERF401 - each is heard as it comes
        parts.append(chain.finish())
        samples = await effects.finish(np.concatenate(parts), rate, trim=finish.trim, loudness=finish.loudness)
        begin = self.node.loop.time()
        encoder = open_encoder(medium.format, rate, medium.rate, is_open=False)
        pieces = []
        for start in range(0, len(samples), rate):
            pieces.append(encoder.feed(samples[start : start + rate]))
            await asyncio.sleep(0)
        data = b"".join((*pieces, encoder.finish()))
        self._on_encoded(medium, begin)
        done = {
            "cache": speech.facts.is_cached,
            "enhancement": plan.effects.enhance,
            "compression": plan.effects.compress,
            "trimming": finish.trim,
            "loudness": finish.loudness is not None,
        }
        applied = tuple(name for name, is_done in done.items() if is_done)
        return Product(data, medium, len(samples) / rate, speech.seconds, applied, speech.facts)

    async def stream(self, speech: Speech, plan: Plan, medium: Medium) -> AsyncGenerator[bytes, None]:
        """Pieces of at most ``stream.chunk_bytes``. Iterate it with :func:`contextlib.aclosing`. Raises :exc:`Refused`."""
        rate = self.node.studio.rate
        async with self.slots.one(), aclosing(speech.sound()) as sound:
            chain = effects.Chain(plan.effects.filters(rate), rate)
            encoder = open_encoder(medium.format, rate, medium.rate)
            begin = before = None
            async for samples in sound:
                now = speech.seconds
                if before is not None:
                    self._on_gap(now - before)
                before = now
                begin = self.node.loop.time() if begin is None else begin
                for piece in self._pieces(encoder.feed(chain.feed(samples))):
                    yield piece
            rest = encoder.feed(chain.finish()) + encoder.finish()
            self._on_encoded(medium, begin)
            for piece in self._pieces(rest):
                yield piece

    def _on_encoded(self, medium: Medium, begin: float | None) -> None:
        """``begin``: when its first sound came."""
        if self.node.tracing is not None and begin is not None:
            self.node.tracing.on_encoded(notes.origin(), medium.format, begin, self.node.loop.time())

    def _pieces(self, data: bytes) -> Iterator[bytes]:
        size = self._settings.stream.chunk_bytes
        yield from (data[start : start + size] for start in range(0, len(data), size))


def _repeated(facts: Facts, characters: int, begin: float, end: float) -> Journey:
    """What a reply went through that was kept: one sentence, whatever it holds."""
    return Journey(
        origin=notes.origin(),
        language=primary(facts.language),
        characters=characters,
        received=begin,
        held=begin,
        released=begin,
        end=end,
        outcome="heard",
        legs=(Leg(facts.engine, begin, end, "cached"),),
        audible=end,
        engine=facts.engine,
        is_cached=True,
        ttft=0.0,
        lag=0.0,
    )
