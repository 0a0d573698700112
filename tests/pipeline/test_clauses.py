import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.clauses import first_clause, last_clause
from tests.examples import examples


@pytest.mark.parametrize(
    ("text", "limit", "cut"),
    [
        ("Short, is it not?", 40, ""),
        ("When we arrived, it was already dark outside.", 30, "When we arrived, "),
        ("We paid 1,000 euros for the whole journey, and left.", 45, "We paid 1,000 euros for the whole journey, "),
        ("We went home early and slept until noon.", 30, "We went home early "),
        ("Well then, what they say of the committee is that it has never met since, and it never will.", 90, "Well then, "),
        (
            "Well then, what they say of the committee is that it has never met since, and never will again in our days.",
            90,
            "Well then, what they say of the committee is that it has never met since, ",
        ),
        ("Nothing at all can be done about this one.", 30, ""),
        ("昨日は雨でしたが、今日はとてもいい天気です。", 15, "昨日は雨でしたが、"),
    ],
)
def test_first_clause(text: str, limit: int, cut: str) -> None:
    assert text[: first_clause(text, limit, "en")] == cut


@pytest.mark.parametrize(
    ("text", "limit", "cut"),
    [
        ("one two; three four, five six and seven eight", 40, "one two; three four, "),
        ("one two three; four, five six and seven eight", 40, "one two three; "),
        ("one two three four five six and seven eight", 40, "one two three four five six "),
        ("one two three four five six seven eight", 30, "one two three four five six "),
        ("the price of it is 1 000 000 or more", 24, "the price of it is "),
        ('one two three four "five, six, seven eight nine" ten', 40, "one two three four "),
        ('"one two three, four five six seven eight" nine', 30, '"one two three, '),
        ("東京タワーの高さは三百三十三メートルであり", 12, "東京タワーの高さは"),
        ("x" * 50, 40, "x" * 40),
    ],
)
def test_last_clause(text: str, limit: int, cut: str) -> None:
    assert text[: last_clause(text, limit, "en")] == cut


@examples(100)
@given(st.text(alphabet='ab1 ,;"(本、。\n', min_size=41, max_size=80), st.sampled_from(["en", "ja", ""]))
def test_a_cut_lies_within_the_limit(text: str, language: str) -> None:
    assert 0 < last_clause(text, 40, language) <= 40
    assert 0 <= first_clause(text, 40, language) <= 40
