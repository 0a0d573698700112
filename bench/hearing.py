"""What a listener heard, judged frame by frame: when it began, when it ended, where it was silent."""

from __future__ import annotations

import wave
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
import numpy.typing as npt

from engines.base import Samples

RATE = 48_000  # hertz: what LiveKit decodes to
FRAME = 0.010  # seconds: the unit in which loudness is judged
FRAME_SAMPLES = round(RATE * FRAME)
AUDIBLE = -50.0  # dBFS, RMS over a frame: the quietest that counts as sound
PAUSE = 0.060  # seconds: a shorter silence is part of a word (the closure before a "t" lasts about that long)
TONE = 0.02  # of full scale: between the level of a tone and that of a codec's echo of it
APART = 0.025  # seconds of silence between two tones at the least: the engines leave 40 ms, a lost packet 20
SHORTEST_TONE = 0.040  # seconds: half of the shortest word
FLOOR = -120.0  # dBFS: stands for the loudness of nothing at all

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class Recording:
    """Frames of 10 ms in the order in which they were heard."""

    samples: Samples
    """Shape (480 n,), 48 kHz."""
    arrivals: Floats
    """Shape (n,): seconds on the machine's monotonic clock at which each frame was in the listener's hands."""

    @property
    def seconds(self) -> float:
        return len(self.samples) / RATE

    @property
    def loud(self) -> list[float]:
        """Arrivals of the audible frames."""
        return [float(arrival) for arrival in self.arrivals[loudness(self.samples) > AUDIBLE]]

    def between(self, start: float, end: float) -> Recording:
        """The frames that arrived from ``start`` up to, but without, ``end``."""
        first, last = np.searchsorted(self.arrivals, (start, end))
        return Recording(self.samples[first * FRAME_SAMPLES : last * FRAME_SAMPLES], self.arrivals[first:last])


@dataclass(frozen=True, slots=True)
class Span:
    """Sound from one silence to the next."""

    start: float
    """Seconds from the beginning of the recording, by its samples."""
    end: float
    onset: float
    """When its first audible frame arrived (monotonic clock)."""
    offset: float
    """When its last audible frame arrived."""

    @property
    def seconds(self) -> float:
        return self.end - self.start


def loudness(samples: Samples) -> Floats:
    """dBFS of each 10 ms, shape (n,); what does not fill a frame at the end is left out."""
    whole = len(samples) // FRAME_SAMPLES
    frames = samples[: whole * FRAME_SAMPLES].reshape(whole, FRAME_SAMPLES).astype(np.float64) / 32768.0
    power = np.mean(frames**2, axis=1) if whole else np.zeros(0)
    decibels: Floats = np.maximum(10.0 * np.log10(power + 1e-15), FLOOR)
    return decibels


def spans(recording: Recording, *, pause: float = PAUSE, audible: float = AUDIBLE) -> tuple[Span, ...]:
    """Stretches of sound above ``audible`` dBFS, silences shorter than ``pause`` seconds included in them."""
    loud = np.flatnonzero(loudness(recording.samples) > audible)
    if not len(loud):
        return ()
    cuts = np.flatnonzero(np.diff(loud) > max(round(pause / FRAME), 1))
    firsts = loud[np.concatenate(([0], cuts + 1))]
    lasts = loud[np.concatenate((cuts, [len(loud) - 1]))]
    arrivals = recording.arrivals
    return tuple(
        Span(float(a * FRAME), float((b + 1) * FRAME), float(arrivals[a]), float(arrivals[b])) for a, b in zip(firsts, lasts, strict=True)
    )


@dataclass(frozen=True, slots=True)
class Tone:
    """One word of an engine that says each as a tone."""

    pitch: float
    """Hertz."""
    start: float
    """Seconds from the beginning of the recording, by its samples."""
    end: float


def tones(samples: Samples, rate: int) -> tuple[Tone, ...]:
    """The words of a recording, in order."""
    step = rate // 200
    frames = samples[: len(samples) // step * step].reshape(-1, step).astype(np.float64) / 32767
    loud = np.flatnonzero(np.sqrt((frames**2).mean(axis=1)) > TONE)
    if not len(loud):
        return ()
    found = []
    for run in np.split(loud, np.flatnonzero(np.diff(loud) > APART * 200) + 1):
        start, end = int(run[0]), int(run[-1]) + 1
        if (end - 1 - start) / 200 >= SHORTEST_TONE:
            word = samples[start * step : end * step].astype(np.float64)
            spectrum = np.abs(np.fft.rfft(word * np.hanning(len(word)), 1 << 16))
            found.append(Tone(float(spectrum.argmax() * rate / (1 << 16)), start / 200, end / 200))
    return tuple(found)


def onset(loud: Sequence[float], after: float) -> float | None:
    """The first of these arrivals of audible frames (in order) at or after ``after``; None when all was silent."""
    first = bisect_left(loud, after)
    return loud[first] if first < len(loud) else None


def silenced(loud: Sequence[float], after: float, *, latest: float, hold: float) -> float | None:
    """When the last audible frame arrived that ``hold`` seconds of silence followed; ``after`` when there was none since.

    ``loud`` are the arrivals of audible frames, ``latest`` that of the last frame of all. None: it never was silent for so long.
    """
    last = after
    for arrival in loud[bisect_left(loud, after) :]:
        if arrival - last > hold:
            return last
        last = arrival
    return last if latest - last >= hold else None


def pauses(heard: tuple[Span, ...]) -> tuple[float, ...]:
    """Seconds of silence between one span and the next, by their samples."""
    return tuple(after.start - before.end for before, after in pairwise(heard))


def starved(recording: Recording, *, longest: float = 0.060) -> tuple[float, ...]:
    """Waits between two frames above ``longest`` seconds: the listener's own loop was late, or frames stopped coming."""
    waits = np.diff(recording.arrivals)
    return tuple(float(w) for w in waits[waits > longest])


def write_wav(path: Path, samples: Samples, *, rate: int = RATE) -> None:
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes(samples.astype("<i2").tobytes())
