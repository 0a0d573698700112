"""The loaded model: phonemes to a prepared sentence, which the stages then turn into sound."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from engines.base import BadModel, Pace
from engines.kokoro.cut import FRONT, PLAN, STAGES, STYLE, Plan
from engines.kokoro.harmonics import BINS, COLUMNS, Harmonics
from engines.kokoro.phonemes import tokens
from engines.kokoro.runtimes import Feed, Made, Model, Runtime
from engines.kokoro.sound import Factors, Flow, Source, stage_rate
from engines.kokoro.statistics import Measured, Moments, frozen
from engines.windows import Floats

PROBE = 32  # frames of the window with which runtimes are tried
PADDING = 0  # the token of the silence before and after
ONSET = -5.0  # of the energy's contour, -14 in silence and 5 to 15 in speech: where it first is above, sound begins within 25 ms
EARLIER = 2  # frames before: of 621 sentences in 54 voices and 9 languages none began more than 23 ms before it, and half within 5 ms


@dataclass(frozen=True, slots=True)
class Prepared:
    """What the front made of a piece."""

    durations: npt.NDArray[np.int64]
    """Frames of 25 ms for each token, the silences before and after included."""
    source: Source
    style: tuple[Factors, ...]
    """Gamma and beta of each stage."""

    @property
    def frames(self) -> int:
        """Frames of 12.5 ms."""
        return self.source.harmonics.frames

    @property
    def lead(self) -> int:
        """Of these, silence before the first sound, which need not be made. Durations tell it less well: a sound may begin 0.18 s before
        its phoneme or with it."""
        spoken = int(self.durations[0])
        loud = np.flatnonzero(self.source.columns[0, -1, :spoken] > ONSET)
        return max(0, 2 * (int(loud[0]) if len(loud) else spoken) - EARLIER)


class Kokoro:
    """The parts of one folder, loaded. Any thread may use it, several at once."""

    def __init__(
        self,
        folder: Path,
        front: Runtime,
        windows: Runtime,
        *,
        fronts: Path | None = None,
        beside: Runtime | None = None,
    ) -> None:
        """``fronts``: the folder of the front, if that is to be of another precision. ``beside``: for windows while other sentences are
        being made, too. Raises :exc:`BadModel`."""
        self.plan = _plan(folder)
        self._front, self._style = (front.open((fronts or folder) / part) for part in (FRONT, STYLE))
        self._stages = [windows.open(folder / part.file) for part in self.plan.parts]
        self._beside = [beside.open(folder / part.file) for part in self.plan.parts] if beside is not None else self._stages

    def prepare(self, phonemes: str, table: Floats, speed: float) -> Prepared:
        """Runs the front. ``table``: of the voice, shape (510, 256). Raises :exc:`SynthesisFailed`."""
        plan, numbers = self.plan, tokens(phonemes)
        row = table[min(len(numbers), len(table)) - 1][None]
        given = np.array([[PADDING, *numbers, PADDING]], dtype=np.int64)
        made = self._front.run({plan.tokens: given, plan.style: row, plan.speed: np.array([speed], dtype=np.float32)})
        factors = self._style.run({plan.style: row})
        columns = np.concatenate([made[name] for name in plan.parts[0].columns], axis=1)
        return Prepared(
            made[plan.durations].ravel().astype(np.int64),
            Source(columns, Harmonics(made[plan.pitch].ravel(), plan.weights)),
            tuple(Factors(factors[f"gamma:{stage}"], factors[f"beta:{stage}"]) for stage in STAGES),
        )

    def flow(self, prepared: Prepared, measured: Measured, pace: Pace) -> Flow:
        """The sound in windows, its norms frozen at these statistics; for parts of kind ``frozen``."""
        factors = frozen(self.plan.parts, measured.at(prepared.frames), prepared.style)
        stages = [_Paced(alone, beside, pace) for alone, beside in zip(self._stages, self._beside, strict=True)]
        names = "scale", "shift"
        return Flow(stages, self.plan.parts, names, factors, prepared.source, gain=measured.gain)

    def measure(self, prepared: Prepared) -> tuple[Floats, Moments]:
        """The sound of the whole at once, shape (samples,), and its statistics; for parts of kind ``measuring``."""
        flow = Flow(self._stages, self.plan.parts, ("gamma", "beta"), prepared.style, prepared.source)
        sound = flow.pull(0, flow.columns).ravel()
        return sound, Moments(*(_joined(flow, name) for name in ("mean", "variance")))


class _Paced(Model):
    """A stage for one sentence, on as many threads as its pace allows."""

    def __init__(self, alone: Model, beside: Model, pace: Pace) -> None:
        self._alone, self._beside, self._pace = alone, beside, pace

    def run(self, feed: Feed) -> Made:
        return (self._alone if self._pace.is_alone else self._beside).run(feed)


def probe(folder: Path) -> tuple[Path, Feed]:
    """The heaviest stage and a window for it, to try runtimes with. Raises :exc:`BadModel`."""
    part = _plan(folder).parts[-1]
    total = sum(part.channels[norm] for norm in part.spread)
    columns, rate = PROBE * stage_rate(len(STAGES) - 1), COLUMNS
    feed = {
        part.columns[0]: np.zeros((1, part.channels[0] * 2, columns), np.float32),
        part.harmonics: np.zeros((1, 2 * BINS, PROBE * rate + 1), np.float32),
        "scale": np.ones((1, total, 1), np.float32),
        "shift": np.zeros((1, total, 1), np.float32),
    }
    return folder / part.file, feed


def _plan(folder: Path) -> Plan:
    try:
        return Plan.read(folder / PLAN)
    except (OSError, ValueError, KeyError, TypeError) as problem:
        raise BadModel(f"{folder / PLAN} is damaged: {problem}", remedy=f"remove {folder}, it is made again") from problem


def _joined(flow: Flow, name: str) -> Floats:
    pieces: Sequence[Floats] = [flow.told[number][name].ravel() for number in sorted(flow.told)]
    return np.concatenate(pieces)
