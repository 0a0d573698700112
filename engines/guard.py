"""Somebody else's engine, held to the contract: whatever it does wrong becomes an error of ours that names it and what it did."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from contextlib import contextmanager
from numbers import Integral

import numpy as np

from engines.base import BadSound, Chunk, Engine, EngineError, EngineUnavailable, Mark, Pace, Request, SynthesisFailed, Voice

RATES = range(4_000, 192_001)  # hertz that sound is made at
CONTRACT = "see docs/engines.md"
MOST_VOICES = 100_000  # more are a mistake, and each would be shown to people


class Guarded(Engine):
    """Passes everything on to the engine inside and everything that is as it should be back.

    1. Only :exc:`EngineError` leaves it, whatever the engine raises, at whichever of its methods.
    2. Voices and chunks are what their types say; what is not is an error, and never reaches a listener.

    Against an engine that hangs stand the lanes, and against sound that is no speech whoever listens to it.
    """

    def __init__(self, engine: Engine) -> None:
        self.name = engine.name
        self.network = bool(engine.network)
        self.comfort = int(engine.comfort)
        self.can_clone = bool(engine.can_clone)
        self.inside = engine
        self._voices: tuple[Voice, ...] = ()

    @property
    def build(self) -> str:
        with self._border(SynthesisFailed):
            return str(self.inside.build)

    def missing(self) -> str:
        with self._border(EngineUnavailable):
            return str(self.inside.missing())

    def load(self) -> None:
        """Asks for the voices as well: what they take is taken here, in a lane."""
        with self._border(EngineUnavailable):
            self.inside.load()
            voices = tuple(self.inside.voices())
            self.cores = float(self.inside.cores)
        if len(voices) > MOST_VOICES:
            raise self._unusable(f"it has {len(voices)} voices")
        for voice in voices:
            self._check_voice(voice)
        if len({voice.id for voice in voices}) != len(voices):
            raise self._unusable("two of its voices have the same id")
        self._voices = voices

    def unload(self) -> None:
        self._voices = ()
        with self._border(EngineUnavailable):
            self.inside.unload()

    def voices(self) -> tuple[Voice, ...]:
        return self._voices

    def clone(self, *recordings: bytes, language: str = "") -> Voice:
        with self._border(EngineUnavailable):
            voice = self.inside.clone(*recordings, language=language)
        self._check_voice(voice)
        return voice

    def synthesize(self, request: Request, pace: Pace) -> Generator[Chunk, None, None]:
        with self._border(SynthesisFailed):
            chunks = iter(self.inside.synthesize(request, pace))
        made = 0
        try:
            while True:
                with self._border(SynthesisFailed):
                    chunk: object = next(chunks, _END)
                if chunk is _END:
                    return
                checked = self._check_chunk(chunk, request, made)
                made += len(checked.samples)
                yield checked
        finally:
            with self._border(SynthesisFailed):
                if isinstance(chunks, Generator):
                    chunks.close()

    @contextmanager
    def _border(self, kind: type[EngineError]) -> Iterator[None]:
        try:
            yield
        except EngineError:
            raise
        except Exception as problem:
            remedy = f"mend {type(self.inside).__module__}, or leave {self.name} out of selection.fallback_chain"
            raise kind(f"engine {self.name} raised {type(problem).__name__}: {problem}", remedy=remedy) from problem

    def _unusable(self, why: str) -> EngineUnavailable:
        return EngineUnavailable(f"engine {self.name} does not keep to the contract: {why}", remedy=CONTRACT)

    def _check_voice(self, voice: object) -> None:
        if not isinstance(voice, Voice):
            raise self._unusable(f"a voice is {type(voice).__name__}, not a Voice")
        if not (isinstance(voice.id, str) and voice.id and isinstance(voice.language, str) and voice.language):
            raise self._unusable(f"voice {voice.id!r} has no id or no language")
        if voice.engine != self.name:
            raise self._unusable(f"voice {voice.id} says that it belongs to engine {voice.engine!r}")
        if not isinstance(voice.sample_rate, int) or voice.sample_rate not in RATES:
            raise self._unusable(f"voice {voice.id} has {voice.sample_rate!r} samples a second")

    def _check_chunk(self, chunk: object, request: Request, made: int) -> Chunk:
        """``made``: samples before it. Raises :exc:`BadSound`."""
        if not isinstance(chunk, Chunk):
            raise self._bad(f"a step gave {type(chunk).__name__}, not a Chunk")
        samples: object = chunk.samples
        if not isinstance(samples, np.ndarray):
            raise self._bad(f"samples are {type(samples).__name__}, not an array")
        if samples.dtype != np.int16:
            raise self._bad(f"samples are {samples.dtype}, not int16", "times 32767, rounded, clipped, .astype(numpy.int16)")
        if samples.ndim != 1:
            raise self._bad(f"samples have shape {samples.shape}, not (n,)", "one channel")
        marks: object = chunk.marks
        if not isinstance(marks, tuple):
            raise self._bad(f"marks are {type(marks).__name__}, not a tuple")
        return Chunk(samples, tuple(self._check_mark(mark, len(request.text), made) for mark in marks))

    def _check_mark(self, mark: object, end: int, made: int) -> Mark:
        if not isinstance(mark, Mark) or not all(isinstance(number, Integral) for number in (mark.start, mark.end, mark.sample)):
            raise self._bad(f"a mark is {mark!r}")
        if not 0 <= mark.start < mark.end <= end:
            raise self._bad(f"a mark names characters {mark.start} to {mark.end} of {end}")
        if mark.sample < made:
            raise self._bad(f"a mark lies at sample {mark.sample}, and {made} have been given before it")
        return Mark(int(mark.start), int(mark.end), int(mark.sample), bool(mark.exact))

    def _bad(self, what: str, remedy: str = CONTRACT) -> BadSound:
        return BadSound(f"engine {self.name}: {what}", remedy=remedy)


_END = object()
"""What no engine gives: it has given everything."""
