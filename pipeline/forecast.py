"""What to expect of a voice: when its first sound comes, how long a step takes, what a second of its speech costs."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

TARGET = 0.95  # of all sentences, for which a forecast should hold
KEPT = 60  # sentences that are remembered: a p95 has three above it, and a load that has gone is forgotten within minutes
ENOUGH = 20  # sentences before their own quantile is believed: the smallest number of which a p95 is not the largest but one
REMEMBERED = 500  # sentences of which it is known whether the forecast held: for the bench
COLD = 1.5  # times the expected, while there is none: what the first sentences after a warm-up were seen to need; ever less until ENOUGH
PULL = 0.02  # by how much each miss or hit moves the quantile that is taken; one miss in twenty leaves it where it is
FORGET = 0.97  # weight of the sentence before against this one in the line: about the last thirty count
MARGIN = 1.25  # times what should not be exceeded: then it is overdue
CROWDED = 2.0  # times as long as alone a step can take while others are made, too
SLACK = 0.030  # seconds more, for what is so short that the system's own delays are longer
GROWS = 0.8  # of the work before the first sound that is taken to grow with the text, until it is known: fronts read all of it
LATELY = 0.1  # weight of the newest sentence in what a second of speech costs


class Line:
    """Seconds of work as a straight line over a size, by least squares in which the past fades."""

    def __init__(self, points: Sequence[tuple[float, float]], *, slope_share: float) -> None:
        """Begins through (size, seconds), one or more. ``slope_share``: how much grows with the size, where there is one only."""
        if len(points) == 1:
            size, seconds = points[0]
            points = [(0.5 * size, (1 - 0.5 * slope_share) * seconds), (1.5 * size, (1 + 0.5 * slope_share) * seconds)]
        self._n = self._x = self._y = self._xx = self._xy = 0.0
        for size, seconds in points:
            self.add(size, seconds)

    def add(self, size: float, seconds: float) -> None:
        self._n = self._n * FORGET + 1
        self._x = self._x * FORGET + size
        self._y = self._y * FORGET + seconds
        self._xx = self._xx * FORGET + size * size
        self._xy = self._xy * FORGET + size * seconds

    def at(self, size: float) -> float:
        """Expected seconds; more for more, and never nothing."""
        mean_size, mean = self._x / self._n, self._y / self._n
        spread = self._xx / self._n - mean_size**2
        slope = max(0.0, (self._xy / self._n - mean_size * mean) / spread) if spread > 1e-9 * (1 + mean_size**2) else 0.0
        return max(mean + slope * (size - mean_size), mean / 10, 1e-4)


class Excess:
    """By how many times things took longer than expected, at a high quantile that corrects itself.

    The quantile is that of the last ones (with the rank that conformal prediction takes, so that few are not too few). Each time it did
    not hold a higher one is taken next, each time it held a slightly lower one: however load drifts, it holds for the target's
    share in the long run (Gibbs and Candes, Adaptive Conformal Inference, 2021).
    """

    def __init__(self) -> None:
        self._ratios: deque[float] = deque(maxlen=KEPT)
        self._level = TARGET
        self._now = COLD

    def __len__(self) -> int:
        return len(self._ratios)

    @property
    def now(self) -> float:
        return self._now

    @property
    def overdue(self) -> float:
        """Times the expected, beyond which something is wrong."""
        return self._now * MARGIN if len(self._ratios) >= ENOUGH else self._now

    def add(self, ratio: float, *, held: bool | None = None) -> None:
        """``held``: whether the quantile did that was taken when this was foreseen, where that was some time ago."""
        held = ratio <= self._now if held is None else held
        self._ratios.append(ratio)
        if len(self._ratios) < ENOUGH:
            self._now = max(COLD ** (1 - len(self._ratios) / ENOUGH), *self._ratios)
            return
        self._level = min(1.0, max(0.5, self._level + PULL * (TARGET - held)))
        rank = math.ceil((len(self._ratios) + 1) * self._level)
        ordered = sorted(self._ratios)
        self._now = ordered[rank - 1] if rank <= len(ordered) else ordered[-1] * 1.1


@dataclass(frozen=True, slots=True)
class Foreseen:
    """What was expected of a sentence when it was begun; seconds."""

    expected: float
    """Until its first audible sample, its wait for a lane included."""
    first: float
    """The same, as should not be exceeded."""


class Forecast:
    """Learns one voice of one engine, from what its own sentences took. Pure."""

    def __init__(self, firsts: Sequence[tuple[int, float]], *, cost: float) -> None:
        """What the warm-up measured: (characters, seconds of work until sound) of one sentence or more; ``cost`` as below."""
        self._first = Line(firsts, slope_share=GROWS)
        self._alone = Excess()
        self._urgent = Excess()
        self._step = Line([(0.5, max(firsts[0][1], cost / 2))], slope_share=0.5)
        self._steps = Excess()
        self.cost = cost
        """Seconds of a lane for each second of its speech, lately."""
        self.outcomes: deque[bool] = deque(maxlen=REMEMBERED)
        """Of its sentences that were urgent, in order: whether the forecast of the first sound held."""

    @property
    def has_learned(self) -> bool:
        """Whether it knows more than the warm-up."""
        return len(self._alone) > 0

    def first(self, characters: int, *, wait: float = 0.0) -> float:
        """Seconds until its first audible sample that should not be exceeded, when it is begun now and waits so long for its lane."""
        excess = self._urgent if len(self._urgent) >= ENOUGH else self._alone
        return (self._first.at(characters) + wait) * excess.now

    def foresee(self, characters: int, *, wait: float) -> Foreseen:
        return Foreseen(self._first.at(characters) + wait, self.first(characters, wait=wait))

    def work(self, characters: int) -> float:
        """Seconds of work until its first audible sample that should not be exceeded."""
        return self._first.at(characters) * self._alone.now

    def patience(self, characters: int) -> float:
        """Seconds of work after which its first audible sample is overdue."""
        return self._first.at(characters) * self._alone.overdue + SLACK

    def step_patience(self, window: float) -> float:
        """Seconds after which a later step is overdue that may make so many seconds of sound."""
        return self._step.at(window) * self._steps.overdue + SLACK

    def on_first(self, characters: int, *, work: float, foreseen: Foreseen | None = None, took: float = 0.0) -> None:
        """Its first audible sample has come after so much ``work``.

        ``foreseen``: of a sentence that was urgent, and ``took``: seconds from its choice in all. A sentence that others were let pass
        tells nothing about waiting.
        """
        self._alone.add(work / self._first.at(characters))
        if foreseen is not None:
            held = took <= foreseen.first
            self.outcomes.append(held)
            self._urgent.add(took / foreseen.expected, held=held)
        self._first.add(characters, work)

    def on_step(self, window: float, took: float) -> None:
        """A step after the first sound took so long, and could make so many seconds of sound."""
        self._steps.add(took / self._step.at(window))
        self._step.add(window, took)

    def on_made(self, *, work: float, seconds: float) -> None:
        """A sentence of so many seconds has been made with so much work in all."""
        if seconds > 0:
            self.cost += (work / seconds - self.cost) * LATELY
