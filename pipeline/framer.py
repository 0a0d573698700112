"""One sentence's sound at the track's rate: resampled, its silent edges trimmed, its first audible sample known."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import soxr

from engines.base import NO_SAMPLES, Samples

WINDOW = 0.010  # seconds over which loudness is judged
AUDIBLE = 32767 * 10 ** (-50 / 20)  # RMS of a window: -50 dBFS
EDGE = 0.010  # seconds of quiet kept before the first and after the last audible window, so that neither is chopped


@dataclass(frozen=True, slots=True)
class Framed:
    """What came of one chunk."""

    samples: Samples
    audible: int | None = None
    """Offset in ``samples`` of the sentence's first audible window, in the one piece that holds it."""


class Framer:
    """Turns the chunks of one sentence into sound for one track.

    1. Leading silence is dropped: it is not what the listener waits for.
    2. Trailing silence beyond ``pause`` is dropped; how much is left tells :attr:`trailing`, so that the pause after the sentence
       can be made exactly as long as the settings say.
    3. Silence inside stays, to the sample.
    """

    def __init__(self, source_rate: int, rate: int, *, pause: float) -> None:
        """Rates in hertz. ``pause``: seconds of silence that may go out at once; more is held until sound follows."""
        self._ratio = rate / source_rate
        self._rate = rate
        self._window = round(WINDOW * rate)
        self._free = round(pause / WINDOW)
        self._edge = round(EDGE / WINDOW)
        # VHQ withholds 16 ms of 22 050 Hz sound until more comes, HQ 37 ms; it costs 2 ms of one core a second of sound.
        self._resampler = soxr.ResampleStream(source_rate, rate, 1, dtype="int16", quality="VHQ") if source_rate != rate else None
        self._rest = NO_SAMPLES
        self._held: list[Samples] = []
        self._silent = 0  # windows since the last audible one, gone out or held
        self._lead = 0
        self.is_audible = False
        """True once an audible window has come."""

    @property
    def trailing(self) -> float:
        """Seconds of silence that have gone out since the last audible window."""
        return (self._silent - len(self._held)) * WINDOW

    def position(self, sample: int) -> int:
        """Where a sample of the engine's has gone: samples from the sentence's first one, at the track's rate."""
        return max(0, round(sample * self._ratio) - self._lead)

    def feed(self, samples: Samples, *, last: bool = False) -> Framed:
        """The sound that can go out now. ``last``: there is no more; what is held is cut to the edge."""
        if self._resampler is not None and (len(samples) or last):
            samples = self._resampler.resample_chunk(samples, last=last)
        pending = np.concatenate([self._rest, samples]) if len(self._rest) else samples
        if last and len(pending) % self._window:
            pending = np.concatenate([pending, np.zeros(-len(pending) % self._window, dtype=np.int16)])
        count = len(pending) // self._window
        windows, self._rest = pending[: count * self._window].reshape(count, self._window), pending[count * self._window :]
        framed = self._admit(windows)
        if last:
            keep = self._held[: max(0, self._edge - (self._silent - len(self._held)))] if self.is_audible else []
            framed = Framed(np.concatenate([framed.samples, *keep]), framed.audible)
            self._silent -= len(self._held) - len(keep)
            self._held = []
        return framed

    def _admit(self, windows: npt.NDArray[np.int16]) -> Framed:
        loud = np.flatnonzero(np.sqrt(np.square(windows, dtype=np.float32).mean(axis=1)) >= AUDIBLE)
        audible = None
        if not self.is_audible:
            if not len(loud):
                self._lead += windows.size
                self._held = [*self._held, *windows][-self._edge :]
                return Framed(NO_SAMPLES)
            self.is_audible = True
            start = int(loud[0])
            before = [*self._held, *windows[:start]][-self._edge :]
            audible = len(before) * self._window
            self._lead += start * self._window - audible
            out, self._held, windows, loud = before, [], windows[start:], loud - start
        elif len(loud):
            out, self._held = self._held, []
        else:
            out = []
        if len(loud):
            end = int(loud[-1]) + 1
            out = [*out, *windows[:end]]
            self._silent, windows = 0, windows[end:]
        for window in windows:
            self._silent += 1
            (out if self._silent <= self._free else self._held).append(window)
        return Framed(np.concatenate(out) if out else NO_SAMPLES, audible)


def silence(seconds: float, rate: int) -> Samples:
    return np.zeros(math.floor(seconds * rate), dtype=np.int16)
