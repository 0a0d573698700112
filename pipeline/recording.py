"""A sentence as it sounded: what is kept, and said again."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from engines.base import Samples
from pipeline.framer import EDGE
from pipeline.take import Sounded, Word

PIECE = 1.0  # seconds of a recording that are handed out at a time: a look-ahead holds several
_HEAD = struct.Struct("<IIIf")  # samples, words, the first audible sample, seconds of silence at the end


@dataclass(frozen=True, slots=True)
class Recording:
    """A whole sentence as it sounds on a track."""

    samples: Samples
    words: tuple[Word, ...]
    """Their offsets are counted from the beginning."""
    audible: int
    """Offset of the first audible sample."""
    trailing: float
    """Seconds of silence at its end."""

    def ending_within(self, pause: float, rate: int) -> Recording:
        """The same with no more silence at its end than a framer lets out before that pause."""
        surplus = self.trailing - max(pause, EDGE)
        if surplus <= 0:
            return self
        samples = self.samples[: len(self.samples) - round(surplus * rate)]
        words = tuple(replace(word, offset=min(len(samples), word.offset)) for word in self.words)
        return Recording(samples, words, self.audible, self.trailing - surplus)

    def pieces(self, rate: int) -> Iterator[Sounded]:
        """All of it in order; they share its memory."""
        size = round(PIECE * rate)
        words = iter(self.words)
        word = next(words, None)
        for start in range(0, len(self.samples), size):
            samples = self.samples[start : start + size]
            end = start + len(samples) if start + size < len(self.samples) else None
            here = []
            while word is not None and (end is None or word.offset < end):
                here.append(replace(word, offset=word.offset - start))
                word = next(words, None)
            audible = self.audible - start
            yield Sounded(samples, tuple(here), audible if 0 <= audible < size else None)

    def encode(self) -> bytes:
        words = np.array([(word.offset, word.start, word.end) for word in self.words], dtype="<i4")
        head = _HEAD.pack(len(self.samples), len(self.words), self.audible, self.trailing)
        return head + words.tobytes() + self.samples.astype("<i2", copy=False).tobytes()

    @classmethod
    def decode(cls, content: bytes) -> Recording | None:
        """None when that is none."""
        if len(content) < _HEAD.size:
            return None
        count, words, audible, trailing = _HEAD.unpack_from(content)
        if not count or len(content) != _HEAD.size + 12 * words + 2 * count or audible > count:
            return None
        table = np.frombuffer(content, dtype="<i4", count=3 * words, offset=_HEAD.size).reshape(words, 3).tolist()
        samples = np.frombuffer(content, dtype="<i2", offset=_HEAD.size + 12 * words)
        return cls(samples, tuple(Word(*row) for row in table), audible, trailing)

    @property
    def size(self) -> int:
        """Bytes, about."""
        return _HEAD.size + 12 * len(self.words) + 2 * len(self.samples)
