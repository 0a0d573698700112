from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engines.words import align, words
from tests.examples import examples

# What a phonemizer says of single words, in the phonemes of espeak.
ALONE = {
    "out": ["ˈaʊt"],
    "of": ["ʌv"],
    "the": ["ðə"],
    "house": ["hˈaʊs"],
    "are": ["ɑːɹ"],
    "patient": ["pˈeɪʃənt"],
    "3.50": ["θɹˈiː", "pɔɪnt", "fˈaɪv", "zˈiəɹoʊ"],
    "at": ["æt"],
    "12:45": ["twˈɛlv", "fˈɔːɹɾi", "fˈaɪv"],
}


def places(text, groups):
    return [(text[place.start : place.end], groups[place.group], place.exact) for place in align(text, groups, lambda word: ALONE[word])]


def test_words_that_are_run_together():
    groups = ["ˌaʊɾəv", "ðə", "hˈaʊs"]
    text = "out of the house"
    assert [(word, group) for word, group, _ in places(text, groups)] == [
        ("out", "ˌaʊɾəv"),
        ("of", "ˌaʊɾəv"),
        ("the", "ðə"),
        ("house", "hˈaʊs"),
    ]
    assert [exact for *_, exact in places(text, groups)][3] and not places(text, groups)[1][2]
    assert [place.share for place in align(text, groups, lambda word: ALONE[word])][1] > 0


def test_words_that_become_several():
    groups = ["ðə", "θɹˈiː", "pɔɪnt", "fˈaɪv", "zˈiəɹoʊ", "æt", "twˈɛlv", "fˈɔːɹɾi", "fˈaɪv"]
    assert places("the 3.50 at 12:45", groups) == [
        ("the", "ðə", True),
        ("3.50", "θɹˈiː", True),
        ("at", "æt", True),
        ("12:45", "twˈɛlv", True),
    ]


def test_words_of_vowels_only_are_not_swallowed():
    assert places("the are patient", ["ðɪ", "ɑːɹ", "pˈeɪʃənt"])[1] == ("are", "ɑːɹ", True)


def test_scripts_without_spaces_count_by_character():
    assert words("今天 ok — 3") == [(0, 1), (1, 2), (3, 5), (8, 9)]


def test_nothing_to_align():
    assert align("…", ["x"], lambda word: []) == []
    assert align("word", [], lambda word: []) == []


@given(
    st.lists(st.text("abkmst", min_size=1, max_size=4), min_size=1, max_size=12),
    st.lists(st.text("aɪkmst", min_size=1, max_size=4), min_size=1, max_size=14),
    st.integers(0, 3),
)
@examples(60)
def test_every_word_gets_a_place_in_order(spoken, groups, spread):
    text = " ".join(spoken)
    found = align(text, groups, lambda word: [word] * spread)
    assert [(place.start, place.end) for place in found] == words(text)
    order = [(place.group, place.share) for place in found]
    assert order == sorted(order)
    assert all(0 <= place.group < len(groups) and 0 <= place.share < 1 for place in found)


@pytest.mark.parametrize("count", [300])
def test_a_long_text_that_does_not_agree_ends(count):
    found = align("k " * count, ["s"] * (count + 20), lambda word: [word])
    assert len(found) == count
