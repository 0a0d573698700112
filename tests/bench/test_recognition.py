import pytest

from bench.recognition import plain, word_errors


def test_punctuation_and_case_are_no_errors():
    assert plain("Well — “good-morning”, Mr. X!") == "well good morning mr x"
    assert word_errors("Good morning, everybody.", "good morning everybody") == 0


def test_each_wrong_missing_or_added_word_counts():
    assert word_errors("one two three four", "one two tree four") == pytest.approx(0.25)
    assert word_errors("one two three four", "one two four") == pytest.approx(0.25)
    assert word_errors("one two three four", "one two two three four") == pytest.approx(0.25)
