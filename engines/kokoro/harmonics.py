"""The harmonic source of Kokoro's generator: nine sines on the pitch, and their short-time spectrum, for any window of a sentence.

The phase runs through the whole sentence, so a window's source is to the sample the whole's: what a generator in windows needs.
It stays float32 in numpy whatever the rest runs in: in bfloat16 it costs a listener's point (DNSMOS 3.4 to 2.3).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from engines.windows import Floats

RATE = 24_000  # hertz
HOP = 300  # samples for each value of the pitch
HARMONICS = 9
FAINT = 1e-6  # magnitude below which an angle is rounding noise
LOUDNESS = 0.1  # of each sine
VOICED = 10.0  # hertz: below it there is no voice, and no source
SPECTRUM = 20  # samples of a short-time spectrum
STEP = 5  # samples from one spectrum to the next
COLUMNS = HOP // STEP  # spectra for each value of the pitch
BINS = SPECTRUM // 2 + 1
BLOCK = 256  # spectra transformed at once


def _basis() -> Floats:
    """Real and imaginary parts of a windowed Fourier transform, shape (20, 22)."""
    time, bin = np.arange(SPECTRUM)[:, None], np.arange(BINS)[None, :]
    window = 0.5 - 0.5 * np.cos(2 * np.pi * time / SPECTRUM)
    angle = 2 * np.pi * time * bin / SPECTRUM
    return np.concatenate([np.cos(angle) * window, -np.sin(angle) * window], axis=1).astype(np.float32)


_BASIS = _basis()
# Where there is no voice the source is constant and most angles are rounding noise. The generator hears them all the same, so they are
# those that the whole graph has there, and the same in every window.
_ANGLES = np.array(
    [3.1416, 0.0, 2.4904, -2.1254, 0.7935, -2.1292, 0.1730, 2.9268, -1.3449, 2.7360, -1.5468],
    dtype=np.float32,
)
_AT = (np.arange(HOP) + 0.5) / HOP - 0.5  # where the samples of a value lie between the middles of values


class Harmonics:
    """The source for one sentence."""

    def __init__(self, pitch: Floats, weights: Sequence[float]) -> None:
        """``pitch``: hertz at 80 frames a second, shape (frames,). ``weights``: of the nine sines, and the bias last."""
        self._weights = np.array(weights[:HARMONICS], dtype=np.float32)
        self._bias = np.float32(weights[HARMONICS])
        self._voiced = (pitch > VOICED).astype(np.float32)
        turns = (pitch.astype(np.float64)[:, None] * np.arange(1, HARMONICS + 1) / RATE) % 1.0
        self._phase = np.cumsum(turns, axis=0) * (2 * np.pi * HOP)  # at the middle of each value
        self.frames = len(pitch)

    def window(self, start: int, end: int) -> Floats:
        """Spectra of the frames ``start`` to ``end`` and the one after them, shape (1, 22, 60 * frames + 1): magnitudes, then angles."""
        first, last = max(0, start - 1), min(self.frames, end + 1)
        sound = self._sound(first, last)
        here, there = (start - first) * HOP, (end - first) * HOP
        half = SPECTRUM // 2
        before = sound[here - half : here] if start else sound[half:0:-1]  # the ends are mirrored, as in one pass over the whole
        after = sound[there : there + half] if end < self.frames else sound[-half - 1 : -1][::-1]
        padded = np.concatenate([before, sound[here:there], after])
        count = COLUMNS * (end - start) + 1
        pieces = np.lib.stride_tricks.sliding_window_view(padded, SPECTRUM)[::STEP][:count]
        # In blocks: a product of this size would wake the threads of the algebra library, which then keep the cores from the model.
        spectra = np.concatenate([pieces[at : at + BLOCK] @ _BASIS for at in range(0, count, BLOCK)])
        real, imaginary = spectra[:, :BINS], spectra[:, BINS:]
        size = np.hypot(real, imaginary)
        angle = np.where(size < FAINT, _ANGLES, np.arctan2(imaginary, real))
        joined: Floats = np.concatenate([size, angle], axis=1).T[None]
        return np.ascontiguousarray(joined)

    def _sound(self, start: int, end: int) -> npt.NDArray[np.float32]:
        frames = np.arange(start, end)
        earlier = np.where(_AT < 0, -1, 0)
        left = np.clip(frames[:, None] + earlier, 0, self.frames - 1)
        right = np.clip(frames[:, None] + earlier + 1, 0, self.frames - 1)
        share = (_AT - earlier)[None, :, None]
        base = self._phase[frames][:, None, :]
        # Phases grow to thousands of turns: only what differs from the frame's own is interpolated, so that float32 suffices.
        phase = np.mod(base, 2 * np.pi) + (self._phase[left] - base) * (1 - share) + (self._phase[right] - base) * share
        sines = np.sin(phase.astype(np.float32)) * self._weights
        sound: Floats = np.tanh(sines.sum(axis=2) * (LOUDNESS * self._voiced[start:end, None]) + self._bias)
        return sound.ravel()
