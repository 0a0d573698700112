from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engines.words import words
from engines.xtts.reading import CHARACTER, LIMITS, USUAL, Guess, Tempo, pieces, primary


def test_seventeen_languages():
    assert len(LIMITS) == 17
    assert all(primary(language) == language for language in LIMITS)
    assert (primary("zh-cn"), primary("pt_BR"), primary("EN")) == ("zh", "pt", "en")


@given(st.text("ab 1,.;。、 \n", max_size=200), st.integers(1, 40))
def test_pieces_are_the_text_in_order_and_short_enough(text, limit):
    found = list(pieces(text, limit))
    assert all(0 < end - start <= limit and any(map(str.isalnum, text[start:end])) for start, end in found)
    assert all(before[1] <= after[0] for before, after in pairwise(found))
    spoken = "".join(text[start:end] for start, end in found)
    assert [c for c in spoken if c.isalnum()] == [c for c in text if c.isalnum()]


@pytest.mark.parametrize(
    ("text", "limit", "want"),
    [
        ("One, two; three four.", 15, ["One, two; ", "three four."]),
        ("One, two three four.", 15, ["One, ", "two three four."]),
        ("One two three four.", 15, ["One two three ", "four."]),
        ("One, two.", 100, ["One, two."]),
        ("Onetwothreefour", 6, ["Onetwo", "threef", "our"]),
        ("船が来る。海は広い、空も広い。", 8, ["船が来る。", "海は広い、", "空も広い。"]),
        ("… !", 10, []),
    ],
)
def test_texts_are_cut_at_clauses(text, limit, want):
    assert [text[start:end] for start, end in pieces(text, limit)] == want


@given(st.lists(st.integers(1, 4_000), min_size=1, max_size=20), st.floats(10, 3_000))
def test_each_word_is_told_once_in_order_and_within_the_sound(sizes, per_character):
    text = "Out of the harbour, into the open sea."
    guess, position, told = Guess(text, 5, 1_000, per_character), 1_000, []
    for number, size in enumerate(sizes):
        position += size
        found = guess.marks(position, last=number == len(sizes) - 1)
        assert all(mark.sample <= position for mark in found)
        told += found
    assert [(mark.start - 5, mark.end - 5) for mark in told] == words(text)
    assert [mark.sample for mark in told] == sorted(mark.sample for mark in told)
    assert told[0].sample == 1_000
    assert not any(mark.exact for mark in told)


def test_the_tempo_is_learned():
    tempo = Tempo("en")
    assert tempo.expected == USUAL
    assert Tempo("zh").expected == CHARACTER["zh"]
    for _ in range(20):
        tempo.on_spoken(100, 9.0)
    assert tempo.expected == pytest.approx(0.09, rel=0.01)
    assert tempo.longest(100) == Tempo("en").longest(100)  # babbling must not teach it to babble
