from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench import kokoro
from bench.passages import LENGTHS, made_up, of_length, passage
from pipeline.protocol import TEXT_CHARACTERS
from pipeline.segmenter import Segmenter
from tests.examples import examples


@pytest.mark.parametrize("characters", (*LENGTHS, *kokoro.LENGTHS))
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


@given(st.integers(0, 1000), st.sampled_from([13, 41, 54, 81, 158]))
@examples(60)
def test_a_made_up_sentence_has_its_length_and_reads_as_it_is_written(seed: int, length: int) -> None:
    text = made_up(random.Random(seed), length)
    assert len(text) == length and text[0].isupper() and text[1:].islower() and text.endswith(".")
    assert all(word.strip(",.").isalpha() for word in text.split())
    assert (", " in text) == (length >= 81) or length in (41, 54)


@given(st.integers(0, 1000))
@examples(30)
def test_made_up_sentences_are_taken_for_sentences(seed: int) -> None:
    chosen = random.Random(seed)
    texts = [made_up(chosen, chosen.choice((41, 54, 81))) for _ in range(20)]
    segmenter = Segmenter("en")
    assert [piece.text for piece in segmenter.feed(" ".join(texts), 0) + segmenter.flush(0)] == texts
    assert not any(text.endswith(" may.") for text in texts), "whoever else takes sentences apart may take it for a month"
