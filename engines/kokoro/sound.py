"""A prepared sentence turned into sound window by window: decoder and generator as a chain of stages beside the harmonic source."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from engines.base import Pace
from engines.kokoro.cut import Part
from engines.kokoro.harmonics import HOP, SPECTRUM, Harmonics
from engines.kokoro.runtimes import Feed, Made, Model
from engines.windows import Chain, Floats, Stage

# A column's reach through all convolutions is 11, 8 and 12 columns; what lies beyond these is 50 dB below the sound and more.
STAGES = (
    Stage("decoder.onnx", reach=10, factor=2),  # 40 to 80 frames a second
    Stage("coarse.onnx", reach=6, factor=10),  # to 800
    Stage("fine.onnx", reach=10, factor=30),  # to 24 000; the reach is a whole number of frames, as the source's windows are
)
FRAMES = 80  # a second
SCALE = 4.0  # from one spectrum to the next is a quarter of its length: what the inverse transform adds up is so much less
FIRST = 16  # frames of 12.5 ms in the first window, 0.2 s: half of that can be silence, and the rest is heard while the next is made
SMALLEST = 12  # frames in later ones: 0.15 s, which two cores make in less
LARGEST = 48  # frames of the largest window, 0.6 s: seams cost a seventh there, and a longer step would keep others waiting
BLEND = 120  # samples, 5 ms: half of what a window's reach makes beyond it
GROWTH = 1.5  # from a window to the next: while one is heard, the next is made


@dataclass(frozen=True, slots=True)
class Factors:
    """What takes the place of one stage's norms; each of shape (1, channels of all its norms, 1)."""

    first: Floats
    """``scale`` of a frozen stage, ``gamma`` of a measuring one."""
    second: Floats
    """``shift``, or ``beta``."""


class Flow(Chain):
    """The stages behind the front. Pulling samples runs what they need, window by window."""

    def __init__(
        self,
        models: Sequence[Model],
        parts: Sequence[Part],
        names: tuple[str, str],
        factors: Sequence[Factors],
        source: Source,
        *,
        gain: float = 0.0,
        blends: bool = False,
    ) -> None:
        """``names``: how the stages call their factors. ``gain``: in decibels. ``blends``: a window goes over into the next one in
        ``BLEND`` samples, for quantised stages, which round each by its own extremes: without it their seams click."""
        super().__init__(STAGES, (), source.columns)
        self._models, self._parts = models, parts
        self._factors = [dict(zip(names, (item.first, item.second), strict=True)) for item in factors]
        self._source = source.columns
        self._harmonics = source.harmonics
        self._scale = SCALE * 10 ** (gain / 20)
        self._blends = blends
        self._before: tuple[int, Floats] | None = None  # what the last stage made last, and at which sample that begins
        self.told: dict[int, Made] = {}
        """What each stage gave last besides its columns: statistics of a measuring one."""

    def _run(self, number: int, columns: Floats, first: int) -> Floats:
        part = self._parts[number]
        feed: Feed = self._factors[number] | _split(part, columns)
        if part.harmonics:
            rate = stage_rate(number)
            feed = {**feed, part.harmonics: self._harmonics.window(first // rate, (first + columns.shape[-1]) // rate)}
        made = self._models[number].run(feed)
        out = next(iter(made.values()))
        self.told[number] = made
        if number == len(STAGES) - 1:
            half = SPECTRUM // 2
            sound = self._scale * out.reshape(1, 1, -1)[..., half:-half]
            return self._blended(sound, first * STAGES[number].factor) if self._blends else sound
        return out

    def _blended(self, sound: Floats, first: int) -> Floats:
        """Where the last window went on, into its reach, that is faded out and this one faded in."""
        at = self._ready[-1]
        if self._before is not None:
            begun, before = self._before
            beyond = before[..., at - begun : at - begun + BLEND]
            here = sound[..., at - first : at - first + beyond.shape[-1]]
            here += np.linspace(1.0, 0.0, here.shape[-1], dtype=np.float32) * (beyond[..., : here.shape[-1]] - here)
        self._before = first, sound
        return sound

    @property
    def frames(self) -> int:
        """Frames of 12.5 ms in all."""
        return self.columns // HOP

    def skip(self, start: int) -> None:
        """Nothing before this sample will be asked for; before the first pull."""
        for number in range(len(STAGES) - 1, -1, -1):
            self._ready[number] = start
            start = max(0, start // STAGES[number].factor - STAGES[number].reach)

    def advance(self, end: int) -> Iterator[None]:
        """Makes what the last stage will want for samples up to ``end``, a stage a step, so that no step is long."""
        wanted = []
        for number in range(len(STAGES) - 1, 0, -1):
            stage = STAGES[number]
            start = max(0, self._ready[number] // stage.factor - stage.reach)
            end = min(self._columns[number], -(-end // stage.factor) + stage.reach)
            wanted.append((number - 1, start, end))
        for number, start, end in reversed(wanted):
            self._pull(number, start, end)
            yield


def stage_rate(number: int) -> int:
    """Columns of a stage's input in a frame of 12.5 ms; the decoder's has half of one and never asks."""
    rate = 1
    for stage in STAGES[1:number]:
        rate *= stage.factor
    return rate


@dataclass(frozen=True, slots=True)
class Source:
    """What the front knows of a sentence."""

    columns: Floats
    """Text, pitch and energy at 40 frames a second, shape (1, 514, frames)."""
    harmonics: Harmonics


def _split(part: Part, columns: Floats) -> dict[str, Floats]:
    if len(part.columns) == 1:
        return {part.columns[0]: columns}
    text = columns.shape[1] - len(part.columns) + 1
    pieces = [columns[:, :text], *(columns[:, channel : channel + 1] for channel in range(text, columns.shape[1]))]
    return {name: np.ascontiguousarray(piece) for name, piece in zip(part.columns, pieces, strict=True)}


def windows(start: int, end: int, pace: Pace) -> Iterator[tuple[int, int]]:
    """Frames of windows that grow, none larger than the pace allows at that time."""
    least, most = FIRST, float(LARGEST)
    while start < end:
        size = int(max(min(pace.window * FRAMES, most, LARGEST), least))
        most, least = size * GROWTH, SMALLEST
        left = end - start
        size = -(-left // -(-left // size)) if left < 2 * size else size  # the last two are equal: a crumb would cost a whole seam
        yield start, start + size
        start += size
