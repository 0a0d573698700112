from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engines.windows import Chain, Stage
from tests.examples import examples


def convolution(reach: int, factor: int, seed: int):
    """A stage in plain numpy: zero padding at its ends, ``factor`` columns out for each one in."""
    weights = np.random.default_rng(seed).standard_normal((factor, 2 * reach + 1))

    def run(columns):
        x = np.pad(columns[0, 0], reach)
        seen = np.lib.stride_tricks.sliding_window_view(x, 2 * reach + 1)
        return np.tanh(seen @ weights.T).reshape(1, 1, -1)

    return run


stages_of = st.lists(st.tuples(st.integers(0, 4), st.integers(1, 3)), min_size=1, max_size=4)


@given(stages_of, st.integers(1, 40), st.lists(st.integers(1, 30), min_size=1, max_size=8), st.integers(0, 3))
@examples(60)
def test_any_windows_give_the_whole(shapes, count, sizes, seed):
    stages = [Stage(f"{index}", reach, factor) for index, (reach, factor) in enumerate(shapes)]
    runs = [convolution(stage.reach, stage.factor, seed + index) for index, stage in enumerate(stages)]
    source = np.random.default_rng(seed).standard_normal((1, 1, count))
    whole = source
    for run in runs:
        whole = run(whole)
    chain = Chain(stages, runs, source)
    assert chain.columns == whole.shape[-1]
    pieces, start = [], 0
    while start < chain.columns:
        end = min(start + sizes[len(pieces) % len(sizes)], chain.columns)
        pieces.append(chain.pull(start, end))
        start = end
    np.testing.assert_allclose(np.concatenate(pieces, axis=-1), whole, atol=1e-12)


def test_only_seams_are_computed_twice():
    seen = []
    run = convolution(3, 2, 0)

    def counted(columns):
        seen.append(columns.shape[-1])
        return run(columns)

    chain = Chain([Stage("a", 3, 2)], [counted], np.ones((1, 1, 100)))
    for start in range(0, 200, 40):
        chain.pull(start, start + 40)
    assert seen == [23, 26, 26, 26, 23]


def test_a_reach_that_is_too_short_would_be_noticed():
    run = convolution(3, 1, 0)
    source = np.random.default_rng(0).standard_normal((1, 1, 30))
    chain = Chain([Stage("a", 1, 1)], [run], source)
    pieces = np.concatenate([chain.pull(start, start + 10) for start in (0, 10, 20)], axis=-1)
    with pytest.raises(AssertionError):
        np.testing.assert_allclose(pieces, run(source), atol=1e-3)
