from __future__ import annotations

from pathlib import Path

import pytest

from bench.picture import draw
from bench.results import Piece, Result, Table

pytest.importorskip("matplotlib")
COLUMNS = ("characters", "system", "listener p50", "listener p95")


@pytest.mark.long
def test_a_picture_is_drawn_of_the_latencies_and_is_the_same_for_the_same_results(tmp_path: Path) -> None:
    table = Table("", COLUMNS, (("13", "node", 80.0, 90.0), ("13", "piper-tts", 140.0, 150.0), ("158", "node", 120.0, None)))
    result = Result("latency", 1, "", (), (table,))
    (path,) = draw([result], tmp_path)
    first = path.read_bytes()
    assert b"<svg" in first
    draw([result], tmp_path)
    assert path.read_bytes() == first


def test_without_latencies_there_is_no_picture(tmp_path: Path) -> None:
    assert draw([Result("engine", 1, "", ())], tmp_path) == []


def test_a_trace_is_drawn_with_the_reasons_of_its_changes(tmp_path: Path) -> None:
    trace = (Piece(0.5, 2.0, "kokoro"), Piece(2.0, 3.0, "piper", "die"), Piece(3.3, 5.0, "kokoro", "back"), Piece(60.0, 61.0, "late-comer"))
    result = Result("chain", 1, "", (), trace=trace, order=("kokoro", "piper"), budget=250.0)
    (path,) = draw([result], tmp_path)
    assert path.name == "chain.svg"
    drawn = path.read_text(encoding="utf-8")
    assert all(word in drawn for word in ("dies", "kokoro", "piper", "Order: kokoro, then piper; budget 250 ms"))
    assert "late-comer" not in drawn
    first = path.read_bytes()
    draw([result], tmp_path)
    assert path.read_bytes() == first


def test_the_engine_that_is_asked_first_stands_on_top_though_it_says_less(tmp_path: Path) -> None:
    trace = (Piece(0.0, 5.0, "piper", "would be late"), Piece(5.0, 6.0, "kokoro"), Piece(6.0, 9.0, "piper", "hang"))
    (path,) = draw([Result("chain", 1, "", (), trace=trace, order=("kokoro", "piper"))], tmp_path)
    drawn = path.read_text(encoding="utf-8")
    assert drawn.index("<!-- kokoro -->") < drawn.index("<!-- piper -->") and "hangs" in drawn
