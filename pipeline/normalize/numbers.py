"""Numbers in words. num2words is imported with the first number (60 ms) and asked only for what it is known to answer."""

from __future__ import annotations

from functools import lru_cache

LONGEST = 15  # digits: above it nobody says a number as one
LONGEST_ELSEWHERE = 9  # digits: in languages that nobody checked here
REMEMBERED = 4_096  # words of numbers; they take 15 to 500 us each
READ_BY_ENGINES = frozenset({"ja", "zh", "ko"})
"""Their engines read digits well, and counters change how."""
BROKEN = frozenset({"am", "ce", "tet"})
"""num2words does not end on large numbers, or mixes alphabets."""
_FAILURES = (NotImplementedError, ValueError, OverflowError, TypeError, LookupError, AttributeError, AssertionError, RecursionError)
"""What num2words is known to raise for a number or a language that it does not have."""


@lru_cache(REMEMBERED)
def _words(number: int, language: str, form: str) -> str:
    from num2words import num2words

    try:
        words = num2words(number, lang=language, to=form)  # type: ignore[no-untyped-call]
    except _FAILURES:
        return ""
    return " ".join(str(words).replace(",", "").replace("\xad", "").split())


@lru_cache(256)
def _known(language: str) -> bool:
    from num2words import CONVERTER_CLASSES

    return language in CONVERTER_CLASSES and language not in BROKEN | READ_BY_ENGINES


def cardinal(digits: str, language: str, longest: int = LONGEST_ELSEWHERE) -> str:
    """``digits`` (0-9 only) in words, digit by digit when it is too long or begins with a zero; empty when the language has no words."""
    if not _known(language):
        return ""
    if len(digits) > longest or (len(digits) > 1 and digits[0] == "0"):
        return spelled(digits, language)
    return _words(int(digits), language, "cardinal")


def ordinal(digits: str, language: str) -> str:
    return _words(int(digits), language, "ordinal") if len(digits) <= LONGEST_ELSEWHERE else ""


def year(digits: str, language: str) -> str:
    return _words(int(digits), language, "year")


def spelled(digits: str, language: str) -> str:
    """Each digit by itself."""
    return " ".join(_words(int(digit), language, "cardinal") for digit in digits)


def roman(numeral: str) -> int:
    """The value of a Roman numeral, 0 when it is none."""
    values = {"I": 1, "V": 5, "X": 10, "L": 50, "C": 100}
    total = 0
    for digit, following in zip(numeral, [*numeral[1:], ""], strict=True):
        value = values[digit]
        total += -value if values.get(following, 0) > value else value
    rebuilt, rest = "", total
    for worth, letters in ((100, "C"), (90, "XC"), (50, "L"), (40, "XL"), (10, "X"), (9, "IX"), (5, "V"), (4, "IV"), (1, "I")):
        rebuilt += letters * (rest // worth)
        rest %= worth
    return total if rebuilt == numeral else 0
