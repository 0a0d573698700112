"""A sentence that is being made once for several who want it at the same time."""

from __future__ import annotations

import asyncio
from contextlib import AbstractContextManager
from dataclasses import replace

import numpy as np

from engines.base import EngineError
from pipeline.recording import Recording
from pipeline.take import Sounded, Take
from pipeline.timing import Timing, Together


class Flight:
    """What has been made so far of a sentence, or of the rest of one. Whoever makes it says what becomes of it.

    It holds no more than the sentence: what an engine may make of a text is bounded by the inspector.
    """

    def __init__(self, take: Take, timing: Together) -> None:
        self.take = take
        self.is_over = False
        self.error: EngineError | None = None
        """Why its engine did not end it; None as well when nobody wanted it any more."""
        self._timing = timing
        self._sounds: list[Sounded] = []
        self._news = asyncio.Event()

    @property
    def has_sound(self) -> bool:
        return bool(self._sounds)

    # Who makes it

    def on_sounded(self, sounded: Sounded) -> None:
        self._sounds.append(sounded)
        self._tell()

    def end(self, error: EngineError | None = None) -> None:
        """Nothing more comes of it; whether it is whole, its take tells."""
        self.is_over, self.error = True, error
        self._tell()

    def _tell(self) -> None:
        self._news.set()
        self._news = asyncio.Event()

    def recording(self) -> Recording:
        """All of it."""
        samples = np.concatenate([sounded.samples for sounded in self._sounds])
        samples.flags.writeable = False  # all who repeat it share it
        words, audible, position = [], 0, 0
        for sounded in self._sounds:
            words += [replace(word, offset=position + word.offset) for word in sounded.words]
            if sounded.audible is not None:
                audible = position + sounded.audible
            position += len(sounded.samples)
        return Recording(samples, tuple(words), audible, self.take.trailing)

    # Who follows it

    def joined(self, timing: Timing) -> AbstractContextManager[None]:
        return self._timing.joined(timing)

    async def get(self, index: int) -> Sounded | None:
        """That piece of it as soon as it has been made; None when there is no such piece and will be none."""
        while index >= len(self._sounds) and not self.is_over:
            with self._timing.wanted():
                await self._news.wait()
        return self._sounds[index] if index < len(self._sounds) else None
