"""Samples as a client wants them: its rate, its encoding, and what is done to them on the way."""

from __future__ import annotations

from functools import cache
from typing import Literal, get_args

import numpy as np
import soxr

from agent.gateway import effects, encoding
from agent.gateway.effects import Effects
from agent.gateway.production import Medium
from engines.base import Samples

Encoding = Literal["linear16", "mulaw", "alaw"]
ENCODINGS: tuple[Encoding, ...] = get_args(Encoding)
RATES = (8_000, 16_000, 22_050, 24_000, 32_000, 44_100, 48_000)
MU_BIAS, MU_CLIP = 132, 32_635  # G.711: added so that every segment begins at a power of two; the largest that still fits then
A_FLIP = 0x55  # G.711: every other bit is sent inverted, so that silence is no row of zeros
A_SIGN = 0x80


class Encoder:
    """One stretch of sound after the other, each sent whole."""

    def __init__(self, source_rate: int, rate: int, encoding: Encoding = "linear16") -> None:
        self.rate = rate
        self.encoding = encoding
        self._resampler = None if rate == source_rate else soxr.ResampleStream(source_rate, rate, 1, dtype="int16")

    @property
    def width(self) -> int:
        """Bytes a sample."""
        return 2 if self.encoding == "linear16" else 1

    def seconds(self, size: int) -> float:
        """How long so many bytes sound."""
        return size / self.width / self.rate

    def feed(self, samples: Samples) -> bytes:
        return self._encode(samples if self._resampler is None else self._resampler.resample_chunk(samples))

    def flush(self) -> bytes:
        """What is still inside; the next stretch begins anew."""
        if self._resampler is None:
            return b""
        rest = self._resampler.resample_chunk(np.zeros(0, dtype=np.int16), last=True)
        self._resampler.clear()
        return self._encode(rest)

    def drop(self) -> None:
        """Forget what is still inside."""
        if self._resampler is not None:
            self._resampler.clear()

    def _encode(self, samples: Samples) -> bytes:
        if self.encoding == "linear16":
            return samples.astype("<i2", copy=False).tobytes()
        table = _mu_law() if self.encoding == "mulaw" else _a_law()
        return bytes(table[samples.view(np.uint16)])


class Press:
    """Makes files of stretches of sound, piece by piece, as the HTTP door makes its streams."""

    def __init__(self, source_rate: int, medium: Medium, wanted: Effects, *, is_open: bool = True) -> None:
        """``is_open``: the bytes go out while they are made; else all of them come with :meth:`flush`."""
        self.rate = medium.rate
        self.format = medium.format
        self._source_rate = source_rate
        self._medium = medium
        self._wanted = wanted
        self._is_open = is_open
        self._samples = 0
        self.drop()

    @property
    def seconds(self) -> float:
        """Of sound in the present stretch, as far as it has gone out; after :meth:`flush` in all of it."""
        return self._samples / self._source_rate

    def feed(self, samples: Samples) -> bytes:
        return self._encoder.feed(self._count(self._chain.feed(samples)))

    def flush(self) -> bytes:
        """What is still inside, and the file's end. :meth:`drop` begins the next one."""
        return self._encoder.feed(self._count(self._chain.finish())) + self._encoder.finish()

    def drop(self) -> None:
        """Forget what is still inside; the next stretch is a new file."""
        self._samples = 0
        self._chain = effects.Chain(self._wanted.filters(self._source_rate), self._source_rate)
        self._encoder = encoding.open_encoder(self._medium.format, self._source_rate, self._medium.rate, is_open=self._is_open)

    def _count(self, samples: Samples) -> Samples:
        self._samples += len(samples)
        return samples


@cache
def _mu_law() -> np.ndarray[tuple[int], np.dtype[np.uint8]]:
    """A byte for every sample, by the sample's bits (ITU-T G.711)."""
    samples = _every()
    size = np.minimum(np.abs(samples), MU_CLIP) + MU_BIAS
    segment = np.floor(np.log2(size)).astype(np.int32) - 7
    step = (size >> (segment + 3)) & 0x0F
    sign = np.where(samples < 0, 0x80, 0)
    law: np.ndarray[tuple[int], np.dtype[np.uint8]] = (~(sign | segment << 4 | step) & 0xFF).astype(np.uint8)
    return law


@cache
def _a_law() -> np.ndarray[tuple[int], np.dtype[np.uint8]]:
    """A byte for every sample, by the sample's bits (ITU-T G.711)."""
    samples = _every() >> 3
    size = np.where(samples < 0, -samples - 1, samples)
    segment = np.maximum(np.floor(np.log2(np.maximum(size, 1))).astype(np.int32) - 4, 0)
    step = (size >> np.maximum(segment, 1)) & 0x0F
    sign = np.where(samples < 0, 0, A_SIGN)
    return ((segment << 4 | step | sign) ^ A_FLIP).astype(np.uint8)


def _every() -> np.ndarray[tuple[int], np.dtype[np.int32]]:
    return np.arange(1 << 16, dtype=np.uint16).view(np.int16).astype(np.int32)
