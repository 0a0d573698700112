import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.clauses import FAR, first_clause, last_clause
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
        ("Nothing at all can be done for people about this one.", 34, "Nothing at all can be done "),
        ("Nothing at all can be done for us in the matter of this one.", 38, "Nothing at all can be done for us "),
        (
            "Our guide through the northern valleys showed us the ruins of a monastery again.",
            48,
            "Our guide through the northern valleys showed us ",
        ),
        (
            "Our guide through the northern valleys led us into the old monastery again.",
            47,
            "Our guide through the northern valleys led us ",
        ),
        ("Nothing at all can be done for us in the matter, and of this.", 38, "Nothing at all can be done for us "),
        ("Nothing at all (can be done for us in the matter of this) one.", 38, ""),
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
    assert 0 <= first_clause(text, 40, language) <= FAR * 40


@pytest.mark.parametrize(
    ("language", "text", "cut"),
    [
        (
            "de",
            "Die Vertreter der neuen Bürgerinitiative haben dem Rat der Stadt einen Bericht über die Lage der Schulen übergeben.",
            "Die Vertreter der neuen Bürgerinitiative haben ",
        ),
        (
            "fr",
            "Les habitants du vieux quartier attendent depuis des mois une réponse du maire au sujet de la place.",
            "Les habitants du vieux quartier attendent ",
        ),
        (
            "pl",
            "Nowy dyrektor muzeum przedstawił wczoraj mieszkańcom dzielnicy projekt rozbudowy wielkiej sali.",
            "",
        ),
    ],
)
def test_a_long_sentence_without_clauses_is_cut_between_phrases(language: str, text: str, cut: str) -> None:
    assert text[: first_clause(text, 48, language)] == cut
