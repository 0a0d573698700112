from __future__ import annotations

from pathlib import Path

import pytest

from bench.picture import _speaking, draw
from bench.results import Piece, Result, Said, Table

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


@pytest.mark.long
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


SAID = (Said(1.0, 4.0, 0.12), Said(2.0, 3.0, 0.31), Said(5.0, 5.0, 0.08))


def test_rooms_that_speak_at_once_are_counted_from_sound_to_silence() -> None:
    moments, rooms = _speaking(SAID[:2])
    assert list(zip(moments, rooms, strict=True)) == [(0.0, 0), (1.0, 1), (2.0, 2), (3.0, 1), (4.0, 0)]


def test_one_room_that_goes_on_with_its_next_text_is_one_room() -> None:
    assert max(_speaking((Said(1.0, 2.0, 0.1), Said(2.0, 3.0, 0.1)))[1]) == 1


@pytest.mark.long
def test_the_texts_of_many_rooms_are_drawn_over_the_time_of_the_run(tmp_path: Path) -> None:
    (path,) = draw([Result("engine", 1, "", ()), Result("rooms", 1, "", (), said=SAID)], tmp_path)
    assert path.name == "rooms.svg"
    first = path.read_bytes()
    assert first.count(b"<use ") > len(SAID), "a dot for each text, and the ticks"
    assert b"291 ms" in first, "p95 of what is shown"
    draw([Result("rooms", 1, "", (), said=SAID)], tmp_path)
    assert path.read_bytes() == first


def test_the_engine_that_is_asked_first_stands_on_top_though_it_says_less(tmp_path: Path) -> None:
    trace = (Piece(0.0, 5.0, "piper", "would be late"), Piece(5.0, 6.0, "kokoro"), Piece(6.0, 9.0, "piper", "hang"))
    (path,) = draw([Result("chain", 1, "", (), trace=trace, order=("kokoro", "piper"))], tmp_path)
    drawn = path.read_text(encoding="utf-8")
    assert drawn.index("<!-- kokoro -->") < drawn.index("<!-- piper -->") and "hangs" in drawn
