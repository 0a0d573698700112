import pytest

from bench.passages import passage
from bench.recognition import plain, understood, word_errors

SENTENCES = passage("twenty.en").paragraphs[0]


def test_punctuation_and_case_are_no_errors():
    assert plain("Well — “good-morning”, Mr. X!") == "well good morning mr x"
    assert word_errors("Good morning, everybody.", "good morning everybody") == 0


def test_each_wrong_missing_or_added_word_counts():
    assert word_errors("one two three four", "one two tree four") == pytest.approx(0.25)
    assert word_errors("one two three four", "one two four") == pytest.approx(0.25)
    assert word_errors("one two three four", "one two two three four") == pytest.approx(0.25)


def test_a_passage_heard_whole_is_understood_in_every_sentence():
    assert understood(SENTENCES, " ".join(SENTENCES).replace("thirty", "30")) == [1, 1, 1, pytest.approx(8 / 9), 1]


@pytest.mark.parametrize("missing", range(len(SENTENCES)))
def test_a_sentence_left_out_is_not_understood_and_the_others_are(missing):
    parts = understood(SENTENCES, " ".join(SENTENCES[:missing] + SENTENCES[missing + 1 :]))
    assert parts[missing] < 0.5
    assert all(part > 0.8 for number, part in enumerate(parts) if number != missing)


@pytest.mark.parametrize("first", range(len(SENTENCES) - 1))
def test_of_two_sentences_that_changed_places_one_is_not_understood(first):
    swapped = list(SENTENCES)
    swapped[first], swapped[first + 1] = swapped[first + 1], swapped[first]
    assert min(understood(SENTENCES, " ".join(swapped))) < 0.5


def test_nothing_heard_is_nothing_understood():
    assert understood(SENTENCES, "") == [0] * len(SENTENCES)
