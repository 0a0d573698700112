from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engines.base import Pace
from engines.continuing import Intake
from engines.kokoro.cut import Part
from engines.kokoro.harmonics import BINS, COLUMNS, HOP, Harmonics
from engines.kokoro.runtimes import Model
from engines.kokoro.sound import BLEND, FRAMES, SCALE, SIZES, STAGES, Factors, Flow, Source, usual_windows, windows
from engines.windows import State
from tests.examples import examples


class Smear(Model):
    """A stage: every column becomes ``factor`` columns of the mean over its neighbourhood, times scale, plus shift, plus the source."""

    def __init__(self, number, reach):
        self.number, self.reach, self.sizes = number, reach, []

    def run(self, feed):
        factor = STAGES[self.number].factor
        columns = np.concatenate([value for name, value in feed.items() if name.startswith("in")], axis=1).mean(axis=1)[0]
        self.sizes.append(len(columns))
        padded = (
            np.concatenate([feed["given:0"][0, 0], columns, np.zeros(self.reach * feed["ends"][0])])
            if "ends" in feed
            else np.pad(columns, self.reach)
        )
        kernel = np.ones(2 * self.reach + 1) / (2 * self.reach + 1)
        out = np.repeat(np.convolve(padded, kernel, "valid"), factor) * feed["scale"].ravel()[0] + feed["shift"].ravel()[0]
        told = {"kept:0": padded[-2 * self.reach :].astype(np.float32)[None, None]}
        if "source" in feed:
            levels = feed["source"][0, :BINS].mean(axis=0)
            if "ends" in feed:
                levels = np.concatenate([feed["given:1"][0, 0], levels[:: COLUMNS // factor]])
                told["kept:1"] = levels[len(out) :].astype(np.float32)[None, None]
                out = out + levels[: len(out)]
            else:
                out = out + np.repeat(levels[:-1], len(out) // (len(levels) - 1))
        if self.number == len(STAGES) - 1:
            out = np.pad(out, 10)
        return {"out": out.astype(np.float32)[None, None], **told}


def flow(frames=100, reaches=(8, 5, 9), **wish):
    """As the model is cut: two stages continue, and the last one's windows overlap."""
    first, second, third = reaches
    random = np.random.default_rng(3)
    columns = random.normal(size=(1, 6, frames // 2)).astype(np.float32)
    source = Source(columns, Harmonics(np.full(frames // 2 * 2, 150.0, np.float32), (0.2,) * 9 + (0.0,)))
    taken = Intake(steps=6, kernel=6, pad=0, ahead=0)
    parts = (
        Part("a", ("in0", "in1", "in2"), "", (1,), (0,), lag=first * 2, states=(State(1, first),)),
        Part("b", ("in0",), "source", (1,), (0,), lag=second * 10, states=(State(1, second), State(1, 0)), intake=taken),
        Part("c", ("in0",), "source", (1,), (0,)),
    )
    factors = [Factors(np.full((1, 1, 1), 1.5, np.float32), np.full((1, 1, 1), 0.1, np.float32))] * 3
    models = [Smear(0, first), Smear(1, second), Smear(2, third)]
    return Flow(models, parts, ("scale", "shift"), factors, source, **wish), models


def test_windows_give_the_samples_of_one_pass():
    reaches = 8, 5, 4  # the last one sees no further than the columns in which its windows go over into each other
    whole, _ = flow(reaches=reaches)
    expected = whole.pull(0, whole.columns).ravel()
    windowed, _ = flow(reaches=reaches)
    got = np.concatenate([windowed.pull(a * HOP, b * HOP).ravel() for a, b in windows(0, windowed.frames, Pace(10.0))])
    assert got.shape == expected.shape == (100 * HOP,)
    assert np.abs(got - expected).max() < 1e-5


def test_a_gain_is_in_decibels():
    (plain, _), (soft, _) = flow(), flow(gain=-6.0206)
    assert soft.pull(0, 100 * HOP) == pytest.approx(plain.pull(0, 100 * HOP) / 2, rel=1e-3)


def test_a_window_goes_over_into_the_next_one(monkeypatch):
    """Each is a little louder than the one before, as if it had been rounded otherwise."""

    def pull():
        chain, models = flow()
        run, made, models[-1].reach = models[-1].run, [], 4

        def louder(feed):
            made.append(run(feed)["out"] + 0.5 * len(made))
            return {"out": made[-1]}

        models[-1].run = louder
        return np.concatenate([chain.pull(a, b).ravel() for a, b in pairwise([0, 20 * HOP, 40 * HOP, 100 * HOP])])

    soft, step = pull(), SCALE * 0.5
    with monkeypatch.context() as patched:
        patched.setattr(Flow, "_blended", lambda self, sound, first: sound)
        hard = pull()
    smooth, models = flow()
    models[-1].reach = 4
    whole = smooth.pull(0, 100 * HOP).ravel()
    for seam in (20 * HOP, 40 * HOP):
        assert abs((hard - whole)[seam] - (hard - whole)[seam - 1]) > 0.9 * step
        assert np.abs(np.diff((soft - whole)[seam - HOP : seam + HOP])).max() < 1.5 * step / BLEND
    apart = np.flatnonzero(np.abs(hard - soft) > 1e-5)
    assert len(apart) <= 2 * BLEND


def test_advancing_stage_by_stage_leaves_only_the_last_one_to_do():
    chain, models = flow()
    steps = sum(1 for _ in chain.advance(20 * HOP))
    assert steps == len(STAGES) - 1
    before = [len(model.sizes) for model in models]
    chain.pull(0, 20 * HOP)
    assert [len(model.sizes) - count for model, count in zip(models, before, strict=True)] == [0, 0, 1]


def test_a_later_beginning_skips_what_nobody_hears():
    """And begins as far before it as the stages reach back."""
    reaches = [stage.reach for stage in STAGES]
    chain, models = flow(400, reaches)
    expected = flow(400, reaches)[0].pull(0, 400 * HOP).ravel()
    chain.skip(300 * HOP)
    got = chain.pull(300 * HOP, 320 * HOP).ravel()
    assert np.abs(got - expected[300 * HOP : 320 * HOP]).max() < 1e-5
    assert [sum(model.sizes) for model in models] == [26, 28, 220]


def test_columns_of_the_source():
    assert COLUMNS * 5 == HOP


@examples(60)
@given(st.integers(0, 40), st.integers(1, 900), st.floats(0, 5))
def test_windows_follow_each_other_and_end_where_they_should(start, count, largest):
    spans = list(windows(start, start + count, Pace(largest)))
    assert spans[0][0] == start
    assert spans[-1][1] == start + count
    assert all(left[1] == right[0] for left, right in pairwise(spans))
    sizes = [b - a for a, b in spans]
    assert set(sizes[:-1]) <= set(SIZES)
    assert max(sizes) <= max(SIZES[0], largest * FRAMES)
    assert len(sizes) < 2 or sizes[-1] >= SIZES[0] or sizes[-2] == SIZES[0]  # no crumb, unless the listener waits


def test_the_pace_is_asked_for_each_window():
    pace = Pace(10.0)
    made = windows(0, 400, pace)
    sizes = [b - a for a, b in (next(made) for _ in range(4))]
    assert sizes == sorted(sizes)
    pace.window = 0.0
    assert [b - a for a, b in (next(made) for _ in range(2))] == [SIZES[0]] * 2


def test_usual_windows_grow_as_a_listener_gets_them_and_cover_all():
    spans = list(usual_windows(200))
    assert [end - start for start, end in spans[:4]] == [12, 18, 24, 24]
    assert [start for start, _ in spans[1:]] == [end for _, end in spans[:-1]] and spans[-1][1] == 200
