"""What is done to the sound after it was spoken: pitch, loudness, silence, fades, noise. All of it by libav's own filters."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise

import av
import numpy as np
from av.filter import Graph

from engines.base import NO_SAMPLES, Samples

Filter = tuple[str, str]
"""Its name and its options, as libavfilter has them."""

FADE = 0.010  # seconds at both ends of a whole reply: no click, and nothing that is heard of a word
KEPT = 0.020  # seconds of quiet that trimming leaves at each end
LOOK = 1  # seconds in which the end of a silence is looked for
QUIET = -50.0  # dBFS: below it nothing is audible
CEILING = 0.84  # of full scale, -1.5 dBFS: what codecs add to peaks stays below full scale
SLOWEST_TEMPO, FASTEST_TEMPO = 0.5, 100.0  # of one filter; what is slower takes two
LEAST_LOUDNESS = -60.0  # LUFS: below, there was too little sound to be judged
MOST_GAIN = 20.0  # dB
COMPRESSION: Filter = ("acompressor", "threshold=-26dB:ratio=3:attack=10:release=150:makeup=4dB")
ENHANCEMENT: tuple[Filter, ...] = (("highpass", "f=70"), ("afftdn", "nr=12:nf=-50"))
LIMITER: Filter = ("alimiter", f"limit={CEILING}:level=false:latency=true")


@dataclass(frozen=True, slots=True)
class Effects:
    """What a request asks for beyond what engines do."""

    tempo: float = 1.0
    """What of the speed no engine takes."""
    pitch: float = 1.0
    energy: float = 1.0
    compress: bool = False
    enhance: bool = False

    def filters(self, rate: int) -> list[Filter]:
        """In their order; empty when nothing is to be done."""
        found: list[Filter] = []
        if self.enhance:
            found += ENHANCEMENT
        if self.pitch != 1.0:
            found += [("asetrate", f"{round(rate * self.pitch)}"), ("aresample", f"{rate}")]
        found += [("atempo", f"{each:.6f}") for each in _tempi(self.tempo / self.pitch)]
        if self.compress:
            found.append(COMPRESSION)
        if self.energy != 1.0:
            found += [("volume", f"{self.energy:.4f}"), LIMITER]
        return found


class Chain:
    """Filters one after the other; sound in, sound out, some of it later."""

    def __init__(self, filters: Sequence[Filter], rate: int) -> None:
        self._rate = rate
        self._position = 0
        self.metadata: dict[str, str] = {}
        """What the filters have said of the latest sound."""
        self._graph = Graph() if filters else None
        if self._graph is None:
            return
        source = self._graph.add_abuffer(sample_rate=rate, format="s16", layout="mono", time_base=Fraction(1, rate))
        last = ("aformat", f"sample_fmts=s16:sample_rates={rate}:channel_layouts=mono")
        nodes = [source, *(self._graph.add(name, options) for name, options in (*filters, last)), self._graph.add("abuffersink")]
        for each, following in pairwise(nodes):
            each.link_to(following)
        self._graph.configure()

    def feed(self, samples: Samples) -> Samples:
        if self._graph is None or not len(samples):
            return samples
        frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(samples)[None, :], format="s16", layout="mono")
        frame.sample_rate, frame.pts, frame.time_base = self._rate, self._position, Fraction(1, self._rate)
        self._position += len(samples)
        self._graph.push(frame)
        return self._drain()

    def finish(self) -> Samples:
        if self._graph is None:
            return NO_SAMPLES
        self._graph.push(None)
        return self._drain()

    def _drain(self) -> Samples:
        assert self._graph is not None
        parts = [NO_SAMPLES]
        while True:
            try:
                frame = self._graph.pull()
            except (av.error.BlockingIOError, av.error.EOFError):
                return np.concatenate(parts)
            assert isinstance(frame, av.AudioFrame)
            self.metadata.update(frame.metadata)
            parts.append(frame.to_ndarray()[0])


async def finish(samples: Samples, rate: int, *, trim: bool, loudness: float | None) -> Samples:
    """A whole reply: without silence at its ends, as loud as it should be (LUFS; None as it is), and faded in and out.

    The loop gets its turn after every second of sound.
    """
    if trim:
        samples = await trimmed(samples, rate)
    if loudness is not None:
        samples = await levelled(samples, rate, loudness)
    return await faded(samples, rate)


async def trimmed(samples: Samples, rate: int) -> Samples:
    """Its silent ends cut off; as it is when all of it is silent."""
    begin: Filter = ("silenceremove", f"start_periods=1:start_threshold={QUIET}dB:start_silence={KEPT}")
    whole = samples
    for _ in range(2):  # one end, then the other
        start, cut = 0, NO_SAMPLES
        while not len(cut) and start < len(samples):
            cut = await _run([begin], samples[start : start + LOOK * rate], rate)
            start += LOOK * rate
        samples = np.concatenate([cut, samples[start:]])[::-1]
    return samples if len(samples) else whole


async def levelled(samples: Samples, rate: int, target: float) -> Samples:
    """Brought to ``target`` LUFS (EBU R 128), peaks held below the ceiling; as it is where there is too little to judge."""
    loudness = await loudness_of(samples, rate)
    if loudness < LEAST_LOUDNESS:
        return samples
    gain = min(MOST_GAIN, target - loudness)
    return await _run([("volume", f"{gain:.2f}dB"), LIMITER], samples, rate)


async def loudness_of(samples: Samples, rate: int) -> float:
    """Integrated loudness, LUFS; -inf for less than 0.4 s, and for silence."""
    meter = Chain([("ebur128", "metadata=1")], rate)
    async for _ in _pass(meter, samples, rate):
        """What it says is kept beside the sound."""
    return float(meter.metadata.get("lavfi.r128.I", "-inf"))


async def faded(samples: Samples, rate: int) -> Samples:
    """Rises from nothing and ends in it."""
    count = min(round(FADE * rate), len(samples) // 2)
    if not count:
        return samples
    rise = await _run([("afade", f"t=in:ns={count}")], samples[:count], rate)
    fall = await _run([("afade", f"t=out:ns={count}")], samples[-count:], rate)
    return np.concatenate([rise, samples[count:-count], fall])


async def _run(filters: Sequence[Filter], samples: Samples, rate: int) -> Samples:
    return np.concatenate([part async for part in _pass(Chain(filters, rate), samples, rate)])


async def _pass(chain: Chain, samples: Samples, rate: int) -> AsyncIterator[Samples]:
    for start in range(0, len(samples), rate):
        yield chain.feed(samples[start : start + rate])
        await asyncio.sleep(0)
    yield chain.finish()


def _tempi(tempo: float) -> list[float]:
    """One filter's range, as often as it takes."""
    found = []
    while tempo < SLOWEST_TEMPO:
        found.append(SLOWEST_TEMPO)
        tempo /= SLOWEST_TEMPO
    return found if abs(tempo - 1.0) < 1e-6 else [*found, min(tempo, FASTEST_TEMPO)]
