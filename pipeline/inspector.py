"""Listens to what an engine gives for one text, and says when that cannot be speech of it."""

from __future__ import annotations

import math

import numpy as np

from engines.base import BadSound, Chunk, Mark, Samples
from pipeline.framer import AUDIBLE, WINDOW

LONGEST_STEP = 60.0  # seconds that one step may give: a whole paragraph from an engine that makes sentences whole
LONGEST = 6.0, 0.6  # seconds, and seconds a character, beyond which an engine babbles: the slowest voice at half speed takes 0.2
SHORTEST = 0.012  # seconds a character below which text is missing: three times faster than anybody is understood
FEW = 12  # characters: so little text may be anything, "1.5 GB" as well as "Oh!"
LONGEST_SILENCE = 2.0  # seconds inside a sentence: no comma is longer
LOST = 0.150  # seconds of silence under a word that its engine says it speaks: the last stop of a word is shorter
UNSAID = 0.300  # seconds of silence, with a whole word in it that its engine says it speaks: then no more will come
CLIPPED = 32_700  # a level that only what is cut off holds for long
CLIPPED_SHARE = 0.05  # of a step's samples: speech at full scale reaches it for a few in a thousand
CLIPPED_LEAST = 0.010  # seconds: fewer samples than that are no share of anything


class Inspector:
    """Follows one engine through one text. What it raises, :exc:`BadSound`, comes before the bad chunk has gone anywhere."""

    def __init__(self, text: str, rate: int, *, speed: float = 1.0) -> None:
        """``rate``: hertz of the engine's sound."""
        self._text = text
        self._rate = rate
        self._speed = max(speed, 0.1)
        self._window = max(1, round(WINDOW * rate))
        self._silent_since = 0
        self._marks: list[Mark] = []
        self.made = 0
        """Samples so far."""

    @property
    def is_audible(self) -> bool:
        return self._silent_since > 0

    @property
    def silent(self) -> float:
        """Seconds of silence at the end so far."""
        return (self.made - self._silent_since) / self._rate

    def check(self, chunk: object) -> tuple[Samples, tuple[Mark, ...]]:
        """The samples of a chunk and those of its marks that can be true."""
        if not isinstance(chunk, Chunk):
            raise BadSound(f"a step gave {type(chunk).__name__}, not a Chunk")
        samples = chunk.samples
        self._check_shape(samples)
        self._check_clipping(samples)
        end = len(self._text)
        marks = tuple(mark for mark in chunk.marks if 0 <= mark.start < mark.end <= end and mark.sample >= 0)
        self._marks += marks
        loud = self._last_loud(samples)
        self.made += len(samples)
        if loud:
            self._silent_since = self.made - len(samples) + loud
        self._check_silence()
        least, each = LONGEST
        if self.made > (least + each * end / self._speed) * self._rate:
            raise BadSound(f"{self.made / self._rate:.1f} s for {end} characters, and no end")
        return samples, marks

    def finish(self) -> None:
        """There is no more. Raises :exc:`BadSound` when that is not all of it."""
        if not self.made:
            raise BadSound(f"no sound for {len(self._text)} characters")
        if not self.is_audible:
            raise BadSound(f"only silence for {len(self._text)} characters")
        if any(mark.exact and self._is_lost(mark) for mark in self._marks):
            raise BadSound(f"it ends after {self._silent_since / self._rate:.2f} s, and more words were due")
        spoken = self._silent_since / self._rate
        if len(self._text) > FEW and spoken < SHORTEST * len(self._text) / self._speed:
            raise BadSound(f"{spoken:.2f} s for {len(self._text)} characters")

    def _is_unsaid(self, mark: Mark, following: Mark) -> bool:
        """The engine says that it has spoken this word, and nothing was heard from there on."""
        is_long = following.sample - mark.sample >= LOST * self._rate
        return mark.exact and following.exact and is_long and self._silent_since <= mark.sample and following.sample <= self.made

    def _is_lost(self, mark: Mark) -> bool:
        """The engine says that it speaks this word, and nothing is heard from there on."""
        return mark.sample >= self._silent_since and (mark.sample >= self.made or self.made - mark.sample >= LOST * self._rate)

    def _check_shape(self, samples: object) -> None:
        if not isinstance(samples, np.ndarray):
            raise BadSound(f"samples are {type(samples).__name__}, not an array")
        if samples.dtype != np.int16:
            nan = ", with NaN" if samples.dtype.kind == "f" and bool(np.isnan(samples).any()) else ""
            raise BadSound(f"samples are {samples.dtype}, not int16{nan}")
        if samples.ndim != 1:
            raise BadSound(f"samples have shape {samples.shape}, not (n,)")
        if len(samples) > LONGEST_STEP * self._rate:
            raise BadSound(f"one step gave {len(samples) / self._rate:.0f} s")

    def _check_clipping(self, samples: Samples) -> None:
        if len(samples) < CLIPPED_LEAST * self._rate:
            return
        cut = np.count_nonzero((samples >= CLIPPED) | (samples <= -CLIPPED))
        if cut > CLIPPED_SHARE * len(samples):
            raise BadSound(f"{100 * cut / len(samples):.0f} % of the samples are clipped")

    def _check_silence(self) -> None:
        if self.silent >= UNSAID and any(map(self._is_unsaid, self._marks, self._marks[1:])):
            raise BadSound(f"silence for {self.silent:.1f} s where it says that it speaks")
        if self.is_audible and self.silent > LONGEST_SILENCE / self._speed:
            raise BadSound(f"silence for {self.silent:.1f} s inside the sentence")
        least = LONGEST[0] / 2
        if not self.is_audible and self.silent > least:
            raise BadSound(f"silence for {self.silent:.1f} s before the first word")

    def _last_loud(self, samples: Samples) -> int:
        """Index after the last audible window; 0 when there is none."""
        if not len(samples):
            return 0
        count = math.ceil(len(samples) / self._window)
        padded = np.zeros(count * self._window, dtype=np.float32)
        padded[: len(samples)] = samples
        loud = np.flatnonzero(np.sqrt(np.square(padded.reshape(count, -1)).mean(axis=1)) >= AUDIBLE)
        return min(len(samples), (int(loud[-1]) + 1) * self._window) if len(loud) else 0
