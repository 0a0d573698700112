from __future__ import annotations

import dataclasses

import pytest

from bench import trace
from bench.listener import Line, Note
from bench.scripts import Told
from bench.spoilt import KOKORO

GOOD, INSIDE, BACK, FIRST, LATE = "One goes well.", "Two dies just inside.", "Three is back.", "Four hangs first.", "Five is late."


def line(id: str, start: float, text: str) -> Line:
    """A word every half second, but for the last two: they come at once."""
    words = [f"{word} " for word in text.split()]
    parts = [*words[:-2], "".join(words[-2:])]
    return Line(start + 5, text, {"lk.segment_id": id}, tuple((start + 0.5 * number, part) for number, part in enumerate(parts)))


def notes(id: str, text: str, end: float, engine: str, *switched: tuple[str, str]) -> list[Note]:
    return [
        Note(0.0, {"type": "sentence", "id": id, "text": text + " "}),
        *(Note(0.0, {"type": "switched", "id": id, "to": to, "why": why}) for to, why in switched),
        Note(0.0, {"type": "speech_started", "id": id, "engine": engine}),
        Note(end, {"type": "sentence_finished", "id": id}),
    ]


def test_a_trace_tells_which_real_engine_was_heard_when_and_why() -> None:
    told = [
        *notes("s1", GOOD, 11.0, KOKORO),
        *notes("s2", INSIDE, 14.0, KOKORO, ("piper", f"{KOKORO} died")),
        *notes("s3", BACK, 17.0, KOKORO, (KOKORO, "back to the preferred voice")),
        *notes("s4", FIRST, 20.0, "piper", ("piper", f"{KOKORO} hangs")),
        *notes("s5", LATE, 23.0, "piper", (KOKORO, "back"), ("piper", f"{KOKORO} would be late")),
        *notes("s6", "Not one of them.", 26.0, "piper"),
    ]
    lines = [line(f"s{number}", 3.0 * number + 7.0, text) for number, text in enumerate((GOOD, INSIDE, BACK, FIRST, LATE), 1)]
    spoken = trace.heard((GOOD, INSIDE, BACK, FIRST, LATE, "Never said."), told, lines)
    assert [sentence.text for sentence in spoken] == [GOOD, INSIDE, BACK, FIRST, LATE]
    assert spoken[0].words == (10.0, 10.5, 10.5)
    found = trace.pieces(spoken, [Told("Die", 1, "dies just inside. "), Told("Hang", 0, FIRST)])
    assert [(piece.start, piece.end, piece.engine, piece.why) for piece in found] == [
        (0.0, 1.0, "kokoro", ""),
        (3.0, 4.0, "kokoro", ""),
        (4.0, 4.0, "piper", "die"),
        (6.0, 7.0, "kokoro", "back to the preferred voice"),
        (9.0, 10.0, "piper", "hang"),
        (12.0, 13.0, "piper", "kokoro would be late"),
    ]


def test_a_change_that_nobody_brought_about_is_where_it_was_told() -> None:
    told = notes("s1", GOOD, 11.0, KOKORO, ("piper", f"{KOKORO} is late"))
    told[1] = dataclasses.replace(told[1], arrival=10.4)
    (first, second) = trace.pieces(trace.heard((GOOD,), told, [line("s1", 10.0, GOOD)]), [])
    assert (first.engine, first.end, second.engine, second.why) == ("kokoro", pytest.approx(0.4), "piper", "kokoro is late")
    assert trace.pieces([], []) == ()


def test_engines_have_the_names_that_they_are_known_by() -> None:
    assert trace.ORDER == ("kokoro", "piper")
