"""Sound as files and streams: resampled and encoded piece by piece, so that the first bytes go out with the first sound."""

from __future__ import annotations

import io
import struct
from collections.abc import Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Protocol, get_args

import av
import numpy as np
import soxr

from agent.gateway.settings import Rate
from engines.base import NO_SAMPLES, Samples

RATES: tuple[int, ...] = get_args(Rate)
OPEN_LENGTH = 0xFFFFFFFF  # of a WAV file whose end is not known when its header goes out: players take it as "until it ends"
BUFFER = 1024  # bytes that the container may hold back: a packet of speech is larger or not much smaller
QUALITY = "HQ"  # of soxr: 100 dB and 5 ms held back at most, where the best costs three times the work
OPUS_RATES = (8_000, 12_000, 16_000, 24_000, 48_000)


@dataclass(frozen=True, slots=True)
class Codec:
    """How libav makes one format."""

    container: str
    codec: str
    bit_rate: int
    """0 where it follows from the samples."""
    container_options: Mapping[str, str] = field(default_factory=dict)
    options: Mapping[str, str] = field(default_factory=dict)


_OPUS = Codec("ogg", "libopus", 40_000, {"page_duration": "20000"}, {"compression_level": "6", "application": "voip"})
CODECS: Mapping[str, Codec] = {
    "mp3": Codec("mp3", "libmp3lame", 64_000, {"id3v2_version": "0"}),
    "ogg": _OPUS,
    "opus": _OPUS,
    "aac": Codec("adts", "aac", 64_000),
    "flac": Codec("flac", "flac", 0, {}, {"compression_level": "3"}),
}
"""Pages of 20 ms, or a second of Opus would wait for its page to fill."""
MIMES: Mapping[str, str] = {
    "wav": "audio/wav",
    "mp3": "audio/mpeg",
    "ogg": "audio/ogg",
    "opus": "audio/ogg",
    "flac": "audio/flac",
    "aac": "audio/aac",
    "pcm": "audio/pcm",
}
FORMATS = tuple(MIMES)


class Encoder(Protocol):
    """Takes sound, gives bytes. Not safe for two threads at once."""

    @property
    def rate(self) -> int:
        """Hertz of what comes out."""

    def feed(self, samples: Samples) -> bytes:
        """What can go out now; may be nothing."""

    def finish(self) -> bytes:
        """The rest. Nothing may follow."""


def open_encoder(format: str, source_rate: int, rate: int, *, is_open: bool = True) -> Encoder:
    """``is_open``: the bytes go out while they are made, so that no header can be mended at the end."""
    if format == "pcm":
        return _Raw(source_rate, rate)
    if format == "wav":
        return _Wave(source_rate, rate) if is_open else _WholeWave(source_rate, rate)
    return _Compressed(CODECS[format], source_rate, possible_rate(format, rate), is_open=is_open)


def possible_rate(format: str, rate: int) -> int:
    """The nearest rate above that the format can have."""
    return next(each for each in OPUS_RATES if each >= rate) if format in ("ogg", "opus") else rate


class Resampler:
    """From one rate to another, without a seam between pieces."""

    def __init__(self, source_rate: int, rate: int) -> None:
        assert rate in RATES or rate in OPUS_RATES, rate
        self._stream = None if source_rate == rate else soxr.ResampleStream(source_rate, rate, 1, dtype="int16", quality=QUALITY)

    def feed(self, samples: Samples, *, last: bool = False) -> Samples:
        if self._stream is None:
            return samples
        resampled: Samples = self._stream.resample_chunk(samples, last=last)
        return resampled


class _Raw:
    """Signed 16 bit, little end first, mono."""

    def __init__(self, source_rate: int, rate: int) -> None:
        self.rate = rate
        self._resampler = Resampler(source_rate, rate)

    def feed(self, samples: Samples) -> bytes:
        return self._resampler.feed(samples).astype("<i2").tobytes()

    def finish(self) -> bytes:
        return self._resampler.feed(NO_SAMPLES, last=True).astype("<i2").tobytes()


class _Wave(_Raw):
    """A header of open length, then samples."""

    def __init__(self, source_rate: int, rate: int) -> None:
        super().__init__(source_rate, rate)
        self._header = wave_header(rate)

    def feed(self, samples: Samples) -> bytes:
        header, self._header = self._header, b""
        return header + super().feed(samples)

    def finish(self) -> bytes:
        header, self._header = self._header, b""
        return header + super().finish()


class _WholeWave(_Raw):
    """Kept until its length is known."""

    def __init__(self, source_rate: int, rate: int) -> None:
        super().__init__(source_rate, rate)
        self._parts: list[bytes] = []

    def feed(self, samples: Samples) -> bytes:
        self._parts.append(super().feed(samples))
        return b""

    def finish(self) -> bytes:
        data = b"".join([*self._parts, super().finish()])
        return wave_header(self.rate, len(data)) + data


def wave_header(rate: int, size: int | None = None) -> bytes:
    """44 bytes; ``size`` of the samples in bytes, None while nobody knows."""
    whole, data = (OPEN_LENGTH, OPEN_LENGTH) if size is None else (size + 36, size)
    return struct.pack("<4sI4s4sIHHIIHH4sI", b"RIFF", whole, b"WAVE", b"fmt ", 16, 1, 1, rate, 2 * rate, 2, 16, b"data", data)


class _Outlet:
    """What a container writes to while its bytes go out: no going back."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []

    def write(self, data: bytes) -> int:
        self._parts.append(bytes(data))
        return len(data)

    def take(self) -> bytes:
        parts, self._parts = self._parts, []
        return b"".join(parts)


class _Compressed:
    """Everything that libav encodes."""

    def __init__(self, codec: Codec, source_rate: int, rate: int, *, is_open: bool) -> None:
        self.rate = rate
        self._resampler = Resampler(source_rate, rate)
        self._outlet = _Outlet() if is_open else None
        self._file = io.BytesIO()
        options = {"flush_packets": "1", **codec.container_options}
        if is_open and codec.container == "mp3":
            options["write_xing"] = "0"  # a frame about the length, which nobody knows yet
        self._container = av.open(self._outlet or self._file, "w", format=codec.container, buffer_size=BUFFER, container_options=options)
        stream = self._container.add_stream(codec.codec, rate=rate, layout="mono", options=dict(codec.options))
        assert isinstance(stream, av.AudioStream)
        self._stream = stream
        if codec.bit_rate:
            self._stream.bit_rate = codec.bit_rate
        self._format = av.AudioResampler(format=self._stream.format.name, layout="mono", rate=rate)
        self._position = 0

    def feed(self, samples: Samples) -> bytes:
        self._encode(self._resampler.feed(samples))
        return self._outlet.take() if self._outlet else b""

    def finish(self) -> bytes:
        self._encode(self._resampler.feed(NO_SAMPLES, last=True))
        for frame in self._format.resample(None):
            self._container.mux(self._stream.encode(frame))
        self._container.mux(self._stream.encode(None))
        self._container.close()
        return self._outlet.take() if self._outlet else self._file.getvalue()

    def _encode(self, samples: Samples) -> None:
        if not len(samples):
            return
        frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(samples)[None, :], format="s16", layout="mono")
        frame.sample_rate, frame.pts, frame.time_base = self.rate, self._position, Fraction(1, self.rate)
        self._position += len(samples)
        for converted in self._format.resample(frame):
            self._container.mux(self._stream.encode(converted))
