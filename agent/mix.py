"""Several playout buffers heard as one: what a door reads that has one track for all the voices of a listener."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from engines.base import Samples
from pipeline.playout import PlayoutBuffer

LOUDEST = np.iinfo(np.int16)


class Mix:
    """The sum of its buffers. Voices that speak at the same time are heard at the same time."""

    def __init__(self, sample_rate: int, on_read: Callable[[float], None] = lambda seconds: None) -> None:
        """``on_read`` is told how many seconds of sound were read."""
        self.sample_rate = sample_rate
        self._on_read = on_read
        self._buffers: list[PlayoutBuffer] = []

    def add(self, buffer: PlayoutBuffer) -> None:
        """One more voice, of the same rate. The buffers' own bound is the stage's: so many voices may be heard in one place."""
        self._buffers.append(buffer)

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to read, neither sound nor cues."""
        return all(buffer.is_empty for buffer in self._buffers)

    def read(self, count: int, now: float) -> Samples | None:
        """Exactly ``count`` samples; None when no voice has any."""
        parts = [samples for buffer in self._buffers if (samples := buffer.read(count, now)) is not None]
        if not parts:
            return None
        self._on_read(count / self.sample_rate)
        if len(parts) == 1:
            return parts[0]
        return np.clip(np.sum(parts, axis=0, dtype=np.int32), LOUDEST.min, LOUDEST.max).astype(np.int16)
