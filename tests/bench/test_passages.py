from __future__ import annotations

import pytest

from bench.passages import LENGTHS, of_length, passage
from pipeline.protocol import TEXT_CHARACTERS


@pytest.mark.parametrize("characters", LENGTHS)
def test_sentences_are_exactly_as_long_as_they_say(characters: int) -> None:
    sentences = of_length(characters)
    assert len(set(sentences)) >= 3
    assert {len(sentence) for sentence in sentences} == {characters}


def test_the_twenty_are_twenty_in_paragraphs() -> None:
    twenty = passage("twenty.en")
    assert len(twenty.sentences) == 20
    assert [len(paragraph) for paragraph in twenty.paragraphs] == [5, 6, 9]
    assert twenty.ends == (4, 10)


@pytest.mark.parametrize("name", ["passage.en", "twenty.en", "short.de", "short.es", "short.fr"])
def test_a_passage_fits_into_one_text_and_holds_its_sentences_in_order(name: str) -> None:
    found = passage(name)
    assert len(found.text) <= TEXT_CHARACTERS
    assert found.text.split() == " ".join(found.sentences).split()
    assert all(sentence == sentence.strip() for sentence in found.sentences)


def test_the_passage_holds_what_texts_hold() -> None:
    sentences = passage("passage.en").sentences
    text = " ".join(sentences)
    assert max(map(len, sentences)) > 300
    assert min(map(len, sentences)) < 5
    for needed in ("Dr. ", "412.5", "$18.4", "3.5 %", '"', "?", "...", "1979", "e.g.", "a.m."):
        assert needed in text
