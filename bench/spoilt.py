"""A real engine that goes wrong where it is told to: as scripted ones do, for those who want to hear voices."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Generator, Iterator

import numpy as np

from bench import scripts
from engines.base import Chunk, Engine, Mark, Pace, Request, SynthesisFailed, Voice
from engines.kokoro import KokoroEngine
from engines.scripted import ENDLESS, Die, Fault, Hang, Late, Silent, Slow

KOKORO = "faulty-kokoro"


def kokoro() -> Engine:
    """Kokoro; it goes wrong in those sentences for which that was dealt out."""
    return Spoilt(KOKORO, KokoroEngine(), scripts.dealt())


class Spoilt(Engine):
    """Speaks with the engine inside, under a name of its own, but for what is dealt out: that strikes at a word of a sentence.

    What strikes is told in the log. All else of it is as it is.
    """

    def __init__(self, name: str, inside: Engine, deal: scripts.Deal, work: Callable[[float], object] = time.sleep) -> None:
        """``work``: spends time."""
        self.name = name
        self.comfort = inside.comfort
        self._work = work
        self._inside = inside
        self._deal = deal

    @property
    def build(self) -> str:
        return self._inside.build

    def load(self) -> None:
        self._inside.load()
        self.cores = self._inside.cores

    def unload(self) -> None:
        self._inside.unload()

    def voices(self) -> tuple[Voice, ...]:
        return tuple(dataclasses.replace(voice, engine=self.name) for voice in self._inside.voices())

    def synthesize(self, request: Request, pace: Pace) -> Generator[Chunk, None, None]:
        chunks = self._inside.synthesize(request, pace)
        fault = self._deal.strike(request.text)
        try:
            if fault is None:
                yield from chunks
                return
            rest = (yield from _until(chunks, _place(request.text, fault.at))) if fault.at else None
            scripts.tell(fault, request.text)
            yield from self._wrong(fault, rest, chunks)
        finally:
            chunks.close()

    def _wrong(self, fault: Fault, rest: Chunk | None, chunks: Iterator[Chunk]) -> Iterator[Chunk]:
        """``rest``: what had been made already of that which is spoilt now."""
        if isinstance(fault, Hang):
            self._work(ENDLESS)
        if isinstance(fault, Hang | Die):
            raise SynthesisFailed(f"engine {self.name} died at its word {fault.at}")
        if isinstance(fault, Late):
            self._work(fault.seconds)
        if rest is not None:
            yield _silenced(rest) if isinstance(fault, Silent) else rest
        while True:
            start = time.perf_counter()
            chunk = next(chunks, None)
            if chunk is None:
                return
            if isinstance(fault, Slow):
                self._work((fault.times - 1) * (time.perf_counter() - start))
            yield _silenced(chunk) if isinstance(fault, Silent) else chunk


def _place(text: str, word: int) -> int:
    """The index of its first character."""
    at = 0
    for known in text.split()[:word]:
        at = text.index(known, at) + len(known)
    return at + 1


def _until(chunks: Iterator[Chunk], place: int) -> Generator[Chunk, None, Chunk | None]:
    """What sounds before the word at this character; returns the rest of the chunk in which it begins."""
    made, marks = 0, list[Mark]()
    for chunk in chunks:
        marks += chunk.marks
        end = next((mark.sample for mark in marks if mark.end > place), None)
        if end is not None and end < made + len(chunk.samples):
            yield Chunk(chunk.samples[: end - made], chunk.marks)
            return Chunk(chunk.samples[end - made :])
        made += len(chunk.samples)
        yield chunk
    return None


def _silenced(chunk: Chunk) -> Chunk:
    return Chunk(np.zeros_like(chunk.samples), chunk.marks)
