"""Stages of convolutions run window by window: exactly the samples of one pass over the whole, none of them made twice but at seams."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]
Going = Mapping[str, npt.NDArray[Any]]
"""What a stage that continues takes besides its columns: its states and these flags. Of any other it is empty."""

BEGINS, ENDS = "begins", "ends"
"""Flags of shape (1,), integers: 1 for the first window, and 1 for the one with which the whole ends; else 0."""
GIVEN, KEPT = "given:", "kept:"
"""How a state is called as it comes in and as it goes out; its number follows."""
CRUMB = 3  # reaches: when no more than that is left of the whole it is made at once, for its seam alone would cost two


@dataclass(frozen=True, slots=True)
class State:
    """Columns that one window of a stage leaves to the next."""

    channels: int
    columns: int
    """With how many it begins, all of them zero."""


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
    states: tuple[State, ...] = ()
    """Of one that continues: what it takes from the window before, and leaves to the next."""


Run = Callable[[Floats, Going], Sequence[Floats]]
"""A stage: from columns (1, channels, n) to columns (1, channels, n * factor), and behind them the states that it leaves."""


class Chain:
    """Pulls windows through the stages. Every stage keeps what the next window needs again, so only seams are computed twice.

    A stage that continues has no seams: it is given each column once, and gives all that it can make of those so far. Any other sees
    ``reach`` columns more than it needs on each side; at the ends of the whole it sees no further columns, just as in one pass.
    """

    def __init__(self, stages: Sequence[Stage], runs: Sequence[Run], source: Floats) -> None:
        """``source`` is the input of the first stage, shape (1, channels, columns)."""
        self._stages = stages
        self._runs = runs
        self._source = source
        self._kept: list[Floats | None] = [None] * len(stages)  # the last columns of each stage's output, up to `ready`
        self._ready = [0] * len(stages)
        self._taken = [0] * len(stages)  # columns of its input
        self._states: list[Sequence[Floats] | None] = [None] * len(stages)  # what each stage's last window left
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
        """One stage over these columns, whose first one has this index."""
        out, *self._states[number] = self._make(number, columns, first, self._going(number, first + columns.shape[-1]))
        return out

    def _make(self, number: int, columns: Floats, first: int, going: Going) -> Sequence[Floats]:
        """As a :data:`Run`: for chains whose stages take more that goes along in time."""
        return self._runs[number](columns, going)

    def _going(self, number: int, end: int) -> Going:
        """What its last window left to this one, which goes up to that column of its input."""
        stage, states = self._stages[number], self._states[number]
        if stage.lag is None:
            return {}
        going: dict[str, npt.NDArray[Any]] = {
            BEGINS: np.array([states is None], dtype=np.int64),
            ENDS: np.array([end == self._columns[number]], dtype=np.int64),
        }
        if states is None:
            states = [np.zeros((1, state.channels, state.columns), dtype=np.float32) for state in stage.states]
        return going | {f"{GIVEN}{index}": state for index, state in enumerate(states)}
