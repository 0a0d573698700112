from __future__ import annotations

import gc
from collections.abc import Iterator

import pytest

from agent import heap


@pytest.fixture(autouse=True)
def thawed() -> Iterator[None]:
    yield
    gc.unfreeze()


def test_what_was_loaded_is_looked_through_no_more() -> None:
    kept = [[number] for number in range(1000)]
    heap.settle()
    assert gc.get_freeze_count() > len(kept)
    assert not any(one is kept for one in gc.get_objects())


def test_what_comes_later_is_collected_as_ever() -> None:
    heap.settle()
    later: list[object] = []
    later.append(later)
    del later
    assert gc.collect() >= 1
