"""Stages of convolutions run window by window: exactly the samples of one pass over the whole, none of them made twice but at seams."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]


CRUMB = 3  # reaches: when no more than that is left of the whole it is made at once, for its seam alone would cost two


@dataclass(frozen=True, slots=True)
class Stage:
    """One part of a chain of convolutions over time."""

    file: str
    """Name of the file that holds its graph."""
    reach: int
    """Columns of its input, on each side, on which a column of its output depends."""
    factor: int
    """Columns of its output for each column of its input."""
    conditions: tuple[str, ...] = ()
    """What it takes besides: values that hold for the whole sentence."""
    lag: int | None = None
    """Of one that continues: columns by which its output is behind until it has all of its input."""
    rest: int = 0
    """Of one that continues: columns of its input that are taken with those before when there are no more."""


class Chain:
    """Pulls windows through the stages. Every stage keeps what the next window needs again, so only seams are computed twice.

    ``runs`` holds, for each stage, a function from columns (1, channels, n) to columns (1, channels, n * factor). At the ends of the
    whole a stage sees no further columns, just as in one pass; inside, it sees ``reach`` columns more than it needs on each side.
    A stage that continues is given each column once, and gives all that it can make of those so far.
    """

    def __init__(self, stages: Sequence[Stage], runs: Sequence[Callable[[Floats], Floats]], source: Floats) -> None:
        """``source`` is the input of the first stage, shape (1, channels, columns)."""
        self._stages = stages
        self._runs = runs
        self._source = source
        self._kept: list[Floats | None] = [None] * len(stages)  # the last columns of each stage's output, up to `ready`
        self._ready = [0] * len(stages)
        self._taken = [0] * len(stages)  # columns of its input
        self._columns = [int(source.shape[-1])]
        for stage in stages:
            self._columns.append(self._columns[-1] * stage.factor)

    @property
    def columns(self) -> int:
        """Columns of the last stage's output, in all."""
        return self._columns[-1]

    def pull(self, start: int, end: int) -> Floats:
        """Columns of the last stage's output. Windows follow each other: ``start`` never goes back."""
        return self._pull(len(self._stages) - 1, start, end)

    def _pull(self, number: int, start: int, end: int) -> Floats:
        if number < 0:
            return self._source[..., start:end]
        ready, kept = self._ready[number], self._kept[number]
        if end > ready:
            first, last, until = self._needs(number, end)
            made = self._run(number, np.ascontiguousarray(self._pull(number - 1, first, last)), first)
            self._taken[number] = last
            base = ready if self._stages[number].lag is not None else first * self._stages[number].factor
            fresh = made[..., ready - base : until - base]
            kept = fresh if kept is None else np.concatenate([kept, fresh], axis=-1)
            ready = until
        assert kept is not None
        base = ready - kept.shape[-1]
        self._ready[number], self._kept[number] = ready, kept[..., start - base :]
        return kept[..., start - base : end - base]

    def _needs(self, number: int, end: int) -> tuple[int, int, int]:
        """The columns of its input that a stage needs for those of its output up to ``end``, and up to where it makes them then."""
        stage, given, whole = self._stages[number], self._columns[number], self._columns[number + 1]
        if stage.lag is not None:
            last = -(-(end + stage.lag) // stage.factor)
            last = given if given - last <= stage.rest else last
            return self._taken[number], last, whole if last == given else last * stage.factor - stage.lag
        until = whole if whole - end <= CRUMB * stage.reach * stage.factor else end
        first = max(0, self._ready[number] // stage.factor - stage.reach)
        return first, min(given, -(-until // stage.factor) + stage.reach), until

    def _run(self, number: int, columns: Floats, first: int) -> Floats:
        """One stage over these columns, whose first one has this index: for chains whose stages take more that goes along in time."""
        return self._runs[number](columns)
