"""A prepared sentence turned into sound window by window: decoder and generator as a chain of stages beside the harmonic source."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from engines.base import Pace
from engines.continuing import Intake
from engines.kokoro.cut import Part
from engines.kokoro.harmonics import COLUMNS, HOP, SPECTRUM, Harmonics
from engines.kokoro.runtimes import Feed, Made, Model
from engines.windows import KEPT, Chain, Floats, Going, Stage

# A column of the last stage reaches 12 columns; what lies beyond ten is 50 dB below the sound and more. The others continue: they reach
# back only where a sentence begins inside, behind silence that nobody needs, and from then on these are 42 dB and more.
STAGES = (
    Stage("decoder.onnx", reach=6, factor=2),  # 40 to 80 frames a second
    Stage("coarse.onnx", reach=3, factor=10),  # to 800
    Stage("fine.onnx", reach=10, factor=30),  # to 24 000; the reach is a whole number of frames, as the source's windows are
)
FRAMES = 80  # a second
QUIET = 10 ** (-60 / 20)  # of full scale, RMS: what is below it is silence
SCALE = 4.0  # from one spectrum to the next is a quarter of its length: what the inverse transform adds up is so much less
BLEND = 120  # samples, 5 ms: half of what a window's reach makes beyond it
WINDOW = 0.3  # seconds: what windows grow to while a listener hears the first second
SIZES = (12, 18, 24, 36, 48)
"""Frames of windows, 0.15 to 0.6 s. Few, as a runtime may prepare itself for each anew (OpenVINO takes 20 to 40 ms). Two cores make the
smallest one in less than half its time; a larger one than the last would keep others waiting."""


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
    ) -> None:
        """``names``: how the stages call their factors. ``gain``: in decibels."""
        stages = [_as_cut(stage, part) for stage, part in zip(STAGES, parts, strict=True)]
        super().__init__(stages, (), source.columns)
        self._models, self._parts = models, parts
        self._factors = [dict(zip(names, (item.first, item.second), strict=True)) for item in factors]
        self._source = source.columns
        self._harmonics = source.harmonics
        self._scale = SCALE * 10 ** (gain / 20)
        self._before: tuple[int, Floats] | None = None  # what the last stage made last, and at which sample that begins
        self._supplies = [
            _Supply(part.intake, stage.factor, source) if part.intake else None for stage, part in zip(stages, parts, strict=True)
        ]
        self.told: dict[int, Made] = {}
        """What each stage gave last: besides its columns, the statistics of a measuring one."""

    def _make(self, number: int, columns: Floats, first: int, going: Going) -> Sequence[Floats]:
        part = self._parts[number]
        feed: Feed = {**self._factors[number], **_split(part, columns), **going}
        if part.harmonics:
            feed = {**feed, part.harmonics: self._beside(number, first, first + columns.shape[-1])}
        made = self._models[number].run(feed)
        out = next(iter(made.values()))
        self.told[number] = made
        if number == len(STAGES) - 1:
            half = SPECTRUM // 2
            out = self._blended(self._scale * out.reshape(1, 1, -1)[..., half:-half], first * STAGES[number].factor)
        return [out, *(made[f"{KEPT}{index}"] for index in range(len(part.states)))]

    def _beside(self, number: int, first: int, last: int) -> Floats:
        """The harmonic source for these columns of a stage's input."""
        supply = self._supplies[number]
        if supply is not None:
            return supply.take(first, last)
        rate = stage_rate(number)
        return self._harmonics.window(first // rate, last // rate)

    def _blended(self, sound: Floats, first: int) -> Floats:
        """Where the last window went on, into its reach, that is faded out and this one faded in.

        Without it seams click: a window lacks what lies beyond its reach, and is rounded otherwise than the one before it.
        """
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
            stage, ready = self._stages[number], start
            start = max(0, start // stage.factor - stage.reach)
            self._taken[number], self._ready[number] = start, ready if stage.lag is None else start * stage.factor

    def advance(self, end: int) -> Iterator[None]:
        """Makes what the last stage will want for samples up to ``end``, a stage a step, so that no step is long."""
        wanted = []
        for number in range(len(STAGES) - 1, 0, -1):
            first, end, _ = self._needs(number, end)
            wanted.append((number - 1, first, end))
        for number, first, end in reversed(wanted):
            self._pull(number, first, end)
            yield


def _as_cut(stage: Stage, part: Part) -> Stage:
    ahead = part.intake.ahead if part.intake else 0  # at the end there is no more of the source that it could have
    return replace(stage, lag=part.lag, rest=-(-ahead // stage.factor), states=part.states)


class _Supply:
    """Hands the source to a stage that continues, ahead of its columns as it wants it, and none of it twice."""

    def __init__(self, intake: Intake, factor: int, source: Source) -> None:
        """``factor``: columns that the first convolution makes of the source, for each column of the stage's input."""
        self._intake, self._factor, self._harmonics = intake, factor, source.harmonics
        self._whole = source.harmonics.frames * COLUMNS + 1
        self._made: int | None = None

    def take(self, first: int, last: int) -> Floats:
        """What goes with these columns of the stage's input."""
        begin = first * self._factor if self._made is None else self._made
        most = self._whole // self._intake.steps
        self._made = min(last * self._factor + self._intake.ahead, most)
        start, end = self._intake.span(begin, self._made)
        here, there = max(0, start), min(end, self._whole)
        at, after = here // COLUMNS, min(-(-there // COLUMNS), self._harmonics.frames)
        window = self._harmonics.window(at, after)[..., here - at * COLUMNS : there - at * COLUMNS]
        return np.pad(window, ((0, 0), (0, 0), (here - start, end - there)))


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
    """Frames of windows that grow, none larger than the pace allows at that time; all but the last one are of ``SIZES``."""
    most = len(SIZES)
    while start < end:
        allowed = sum(size <= pace.window * FRAMES for size in SIZES)
        index, left = max(1, min(allowed, most)) - 1, end - start
        if index and 0 < left - SIZES[index] < SIZES[0]:
            index -= 1  # a crumb at the end would cost a whole seam
        most = index + 2
        size = min(SIZES[index], left)
        yield start, start + size
        start += size


def usual_windows(end: int) -> Iterator[tuple[int, int]]:
    """Frames of windows as a listener gets them in the first second, and then no larger, so that there are as many seams."""
    pace = Pace()
    for window in windows(0, end, pace):
        yield window
        pace.window = WINDOW
