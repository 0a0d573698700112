from __future__ import annotations

from bench.demo import Row, table, unspoken
from bench.passages import Passage

PASSAGE = Passage((("One is here.", "A long one, which the node may cut at its comma."), ("No.", "No.")))


def rows(*texts: str) -> list[Row]:
    return [Row(text, "tone", 41.0, 82.0, 300.0) for text in texts]


def test_a_sentence_that_was_cut_is_spoken_all_the_same() -> None:
    assert unspoken(PASSAGE, rows("One is here.", "A long one,", "which the node may cut at its comma.", "No.", "No.")) == []


def test_a_sentence_said_once_is_missing_when_it_was_asked_for_twice() -> None:
    assert unspoken(PASSAGE, rows("One is here.", "A long one, which the node may cut at its comma.", "No.")) == ["No."]


def test_a_sentence_that_was_chosen_and_never_heard_is_missing() -> None:
    found = rows("One is here.", "A long one, which the node may cut at its comma.", "No.")
    found.append(Row("No.", "tone", None, None, None))
    assert unspoken(PASSAGE, found) == ["No."]
    assert table(found).splitlines()[-1].split() == ["3", "tone", "-", "-", "-", "No."]


def test_a_sentence_that_only_the_node_knows_of_is_missing() -> None:
    found = rows("One is here.", "A long one, which the node may cut at its comma.", "No.")
    found.append(Row("No.", "tone", 41.0, None, None))
    assert unspoken(PASSAGE, found) == ["No."]


def test_the_table_shows_characters_engine_times_and_gap() -> None:
    assert table(rows("One is here.")).splitlines()[1].split() == ["12", "tone", "41", "82", "300", "One", "is", "here."]
