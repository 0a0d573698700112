from __future__ import annotations

from pathlib import Path

import pytest

from bench.picture import draw
from bench.results import Result, Table

pytest.importorskip("matplotlib")
COLUMNS = ("characters", "system", "listener p50", "listener p95")


def test_a_picture_is_drawn_of_the_latencies_and_is_the_same_for_the_same_results(tmp_path: Path) -> None:
    table = Table("", COLUMNS, (("13", "node", 80.0, 90.0), ("13", "piper-tts", 140.0, 150.0), ("158", "node", 120.0, None)))
    result = Result("latency", 1, "", (), (table,))
    path = draw([result], tmp_path)
    assert path is not None
    first = path.read_bytes()
    assert b"<svg" in first
    draw([result], tmp_path)
    assert path.read_bytes() == first


def test_without_latencies_there_is_no_picture(tmp_path: Path) -> None:
    assert draw([Result("engine", 1, "", ())], tmp_path) is None
