from __future__ import annotations

import pytest

from pipeline.segmenter import Segmenter
from pipeline.utterance import OPENING_CHARACTERS, History, Part, Utterance, Wish


def history(*texts: str) -> History:
    found = History()
    for text in texts:
        found.add(text)
    return found


@pytest.mark.parametrize(
    ("started", "revision", "rest"),
    [
        ([], "One. Two.", "One. Two."),
        (["One."], "One. Two.", " Two."),
        (["One.", "Two."], "One.\n\n Two.", ""),
        (["One.", "Two."], "One. Three.", None),
        (["One.", "Two."], "One.", None),
        (["One,", "two"], "One, twofold", None),
        (["One,", "two"], "One, two-fold", "-fold"),
        (["一。"], "一。二。", "二。"),
    ],
)
def test_what_was_started_is_left_out_of_a_revision(started: list[str], revision: str, rest: str | None) -> None:
    assert history(*started).rest_of(revision) == rest


def test_a_history_keeps_its_count_when_it_grows_too_long() -> None:
    text = "x" * (OPENING_CHARACTERS // 2)
    assert history(text, text).rest_of(text + text + "y") is None  # the word goes on
    assert history(text + ".", text).openings is None
    assert history(text + ".", text).count == 2


def test_the_texts_that_a_line_answers_for() -> None:
    utterance = Utterance(1, "a", "u", 1, 0, Wish("en"), Segmenter("en"), History(), 0.0, 0.0)
    first, empty, second = (Part("s", seq, start, end) for seq, (start, end) in enumerate([(0, 5), (5, 5), (5, 9)]))
    utterance.parts.extend([first, empty, second])
    assert utterance.cover(3) == [first]
    assert utterance.cover(7) == [first, empty, second]
    assert (first.is_covered, empty.is_covered, second.is_covered) == (True, True, False)
    assert utterance.cover(9) == [second]
    assert utterance.cover(9) == []
