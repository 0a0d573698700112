from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engines.windows import BEGINS, ENDS, Chain, Stage, State
from tests.examples import examples


def convolution(reach: int, factor: int, seed: int):
    """A stage in plain numpy: zero padding at its ends, ``factor`` columns out for each one in."""
    weights = np.random.default_rng(seed).standard_normal((factor, 2 * reach + 1))

    def run(columns, going):
        around = [going["given:0"][0, 0], columns[0, 0], np.zeros(reach * going[ENDS][0])] if going else [np.pad(columns[0, 0], reach)]
        x = np.concatenate(around)
        seen = np.lib.stride_tricks.sliding_window_view(x, 2 * reach + 1)
        made = np.tanh(seen @ weights.T).reshape(1, 1, -1)
        return [made, x[None, None, len(x) - 2 * reach :]] if going else [made]

    return run


def stage_of(reach: int, factor: int, *, continues: bool = False) -> Stage:
    return Stage("file", reach, factor, lag=reach * factor, states=(State(1, reach),)) if continues else Stage("file", reach, factor)


stages_of = st.lists(st.tuples(st.integers(0, 4), st.integers(1, 3), st.booleans()), min_size=1, max_size=4)


@given(stages_of, st.integers(1, 40), st.lists(st.integers(1, 30), min_size=1, max_size=8), st.integers(0, 3))
@examples(60)
def test_any_windows_give_the_whole(shapes, count, sizes, seed):
    stages = [stage_of(reach, factor, continues=continues) for reach, factor, continues in shapes]
    runs = [convolution(stage.reach, stage.factor, seed + index) for index, stage in enumerate(stages)]
    source = np.random.default_rng(seed).standard_normal((1, 1, count))
    whole = source
    for run in runs:
        (whole,) = run(whole, {})
    chain = Chain(stages, runs, source)
    assert chain.columns == whole.shape[-1]
    pieces, start = [], 0
    while start < chain.columns:
        end = min(start + sizes[len(pieces) % len(sizes)], chain.columns)
        pieces.append(chain.pull(start, end))
        start = end
    np.testing.assert_allclose(np.concatenate(pieces, axis=-1), whole, atol=1e-12)


@pytest.mark.parametrize(("continues", "sizes"), [(False, [23, 26, 26, 26, 23]), (True, [23, 20, 20, 20, 17])])
def test_only_seams_are_computed_twice_and_nothing_by_what_continues(continues, sizes):
    seen, flags = [], []
    run = convolution(3, 2, 0)

    def counted(columns, going):
        seen.append(columns.shape[-1])
        flags.append([going[name].tolist() for name in (BEGINS, ENDS) if name in going])
        return run(columns, going)

    chain = Chain([stage_of(3, 2, continues=continues)], [counted], np.ones((1, 1, 100)))
    for start in range(0, 200, 40):
        chain.pull(start, start + 40)
    assert seen == sizes
    assert flags == ([[[1], [0]], *[[[0], [0]]] * 3, [[0], [1]]] if continues else [[]] * 5)


def test_a_reach_that_is_too_short_would_be_noticed():
    run = convolution(3, 1, 0)
    source = np.random.default_rng(0).standard_normal((1, 1, 30))
    chain = Chain([Stage("a", 1, 1)], [run], source)
    pieces = np.concatenate([chain.pull(start, start + 10) for start in (0, 10, 20)], axis=-1)
    with pytest.raises(AssertionError):
        np.testing.assert_allclose(pieces, run(source, {})[0], atol=1e-3)
