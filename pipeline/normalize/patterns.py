"""The one expression of a language that finds what has to be read. Linear: every repetition is bounded, or ends what it begins."""

from __future__ import annotations

import re
from collections.abc import Iterable
from re import Pattern

from pipeline.normalize.words import CURRENCIES, CURRENCY_CODES, Words

_DOMAINS = "com|org|net|io|ai|dev|app|info|edu|gov|eu|de|fr|es|it|pt|uk|br|nl|pl|ru|ch|at|be|us|ca"
_ROMAN = "[IVXLC]{1,7}"
_BLANK = "[ \u00a0\u202f]"
_PM = r"(?:am|pm|a\.m\.|p\.m\.|AM|PM)"

ELSEWHERE = re.compile(r"(?P<bare>(?<![\w.,:/$€£¥-])[0-9]+(?![\w:/%°$€£¥₽-]|[.,][0-9]))")
"""For languages without a table of words: whole numbers that stand alone."""

_ORDINALS = {
    "en": r"(?:st|nd|rd|th)(?!\w)",
    "de": r"\.(?=\s(?:Jahrhundert|Mal|Platz|Stock|Kapitel|Klasse|Tag|Jahr|Weltkrieg|Geburtstag|Runde|Auflage)[a-z]{0,3}(?!\w))",
    "fr": r"(?:ère|re|er|ème|e|nde|nd|d)(?!\w)",
    "es": r"\.?(?:ª|º|°|er)(?!\w)",
    "it": r"\.?(?:ª|º)(?!\w)",
    "pt": r"\.?(?:ª|º)(?!\w)",
}
_PECULIAR = {
    "en": (
        r"(?P<saint>(?<!\w)St\.(?=\s|$))",
        r"(?P<numero>(?<!\w)No\.\s?(?=[0-9]))",
        rf"(?P<part>(?<!\w)(?:World War|Chapter|Part|Act|Volume|Book|Phase|Type)\s{_ROMAN}(?!\w))",
    ),
    "fr": (r"(?P<century>(?<!\w)[IVX]{1,5}(?:er|e|ème)(?=\ssiècle))",),
    "it": (r"(?P<century>(?<!\w)[IVX]{1,5}(?=\ssecolo))",),
}


def _any_of(words: Iterable[str]) -> str:
    return "|".join(re.escape(word) for word in sorted(words, key=len, reverse=True))


def _number(words: Words) -> str:
    decimal = re.escape(words.decimal)
    fraction = rf"(?:{decimal}[0-9]{{1,12}}(?![0-9]))?"
    point = r"|\.[0-9]{1,2}(?![0-9.])" if words.decimal == "," else ""
    return (
        rf"[0-9]{{1,3}}(?:[{re.escape(words.group)}\u00a0\u202f'’][0-9]{{3}}){{1,5}}(?![0-9]){fraction}"
        rf"|[0-9]{{1,3}}(?: [0-9]{{3}}){{1,5}}(?![0-9]){fraction}"
        rf"|[0-9]{{1,15}}(?![0-9])(?:{decimal}[0-9]{{1,12}}(?![0-9]){point})?"
    )


def _months(words: Words) -> str:
    return _any_of({*words.months, *(month.lower() for month in words.months)})


def _day_month(language: str, words: Words) -> str:
    mark = {"en": "(?:st|nd|rd|th)?(?: of)?", "de": r"\."}.get(language, "(?:er|º|°)?")
    of, before_year = {"en": ("", ",?"), "es": (" de", "(?: de)?"), "pt": (" de", "(?: de)?")}.get(language, ("", ""))
    day = rf"(?<![\w.,/])(?P<day1>[0-3]?[0-9]){mark}{of}"
    return rf"(?P<day_month>{day} (?P<month1>{_months(words)})(?!\w)(?:{before_year} (?P<year1>[12][0-9]{{3}})(?!\w))?)"


def _month_day(words: Words) -> str:
    day = r"(?P<day2>[0-3]?[0-9])(?:st|nd|rd|th)?(?![\w:]|[.,][0-9])"
    return rf"(?P<month_day>(?P<month2>{_months(words)}) {day}(?:,? (?P<year2>[12][0-9]{{3}})(?!\w))?)"


def _times(language: str) -> tuple[str, ...]:
    clock = rf"(?P<clock>(?<![\w:.,])(?:[01]?[0-9]|2[0-4]):[0-5][0-9](?::[0-5][0-9])?(?:{_BLANK}?(?:{_PM}|Uhr|h)(?!\w))?(?![\w:]))"
    if language == "en":
        return (clock, rf"(?P<hour>(?<![\w:.,])(?:1[0-2]|0?[1-9]){_BLANK}?{_PM}(?!\w))")
    return (clock, r"(?P<hour>(?<![\w:.,])(?:[01]?[0-9]|2[0-4]) ?h ?[0-5][0-9](?!\w))")


def _quantities(words: Words) -> tuple[str, ...]:
    number = _number(words)
    currency = _any_of([*CURRENCIES, *CURRENCY_CODES])
    magnitude = _any_of(words.magnitudes)
    units = _any_of(sign for sign in words.nouns if sign not in CURRENCIES)
    return (
        rf"(?P<price>(?<![\w.,])(?P<sum>{number})(?:{_BLANK}?(?P<factor>{magnitude}))?{_BLANK}?(?P<after>{currency})(?!\w))",
        rf"(?P<measure>(?<![\w.,])(?P<count>{number}){_BLANK}?(?P<unit>{units}|%)(?!\w))",
    )


def _of_words(language: str, words: Words) -> list[str]:
    """What begins with a letter or a digit at the beginning of a word."""
    path = r"(?:/[^\s<>\".,;:!?)]{1,200})?"
    dot = r"(?:\.(?=\s))?" if language == "de" else ""
    return [
        r"(?P<url>(?:https?://|www\.)[^\s<>\"]{0,1000}[^\s<>\".,;:!?)\]}'…。、])",
        r"(?P<email>(?<![\w.+-])[\w.+-]{1,64}@[\w-]{1,63}(?:\.[\w-]{1,63}){1,5})",
        rf"(?P<domain>(?<![\w@.-])(?:[A-Za-z0-9][A-Za-z0-9-]{{0,62}}\.){{1,4}}(?:{_DOMAINS})(?![\w-]){path})",
        rf"(?P<abbreviation>(?:{_any_of(words.abbreviations)})(?:(?<=\.)|(?!\w)))",
        r"(?P<initials>(?<!\.)(?:[A-Z]\.){2,6}(?!\w))",
        rf"(?P<reign>(?:{words.kings})\s{_ROMAN}(?!\w){dot})",
        *_PECULIAR.get(language, ()),
        *([_month_day(words)] if language == "en" else []),
    ]


def _of_digits(language: str, words: Words) -> list[str]:
    """What begins with a digit, or a sign before one."""
    return [
        r"(?P<iso>(?<![\w-])[12][0-9]{3}-(?:0[1-9]|1[0-2])-(?:0[1-9]|[12][0-9]|3[01])(?![\w-]))",
        r"(?P<slashed>(?<![\w./])[0-3]?[0-9](?P<sep>[./])[0-3]?[0-9](?P=sep)(?:[12][0-9]{3}|[0-9]{2})(?![\w/]|\.[0-9]))",
        _day_month(language, words),
        r"(?P<version>(?<![0-9.])[0-9]{1,4}(?:\.[0-9]{1,4}){2,5}(?![\w]|\.[0-9]))",
        *_times(language),
        r"(?P<phone>(?<![\w.,-])(?:(?:\+[0-9]{1,3}|\(0?[0-9]{1,4}\)|0[0-9]{1,4})(?:[ ./-][0-9]{2,5}){1,6}"
        r"|\+[0-9]{1,3}[ -]?\([0-9]{1,4}\)(?:[ -]?[0-9]{2,5}){1,5}|[0-9]{3}-(?:[0-9]{3}-)?[0-9]{4})(?![\w-]))",
        *_quantities(words),
        r"(?P<span>(?<![\w.,-])[0-9]{1,4}(?:[.,][0-9]{1,2})?\s?[–—]\s?(?=[0-9])"
        r"|(?<![\w.,-])[1-9][0-9]{0,3}-(?=[1-9][0-9]{0,3}(?![\w-]|[.,][0-9])))",
        r"(?P<fraction>(?<![\w/.,])[0-9]{1,2}/[0-9]{1,2}(?![\w/])|[½⅓⅔¼¾⅕⅛⅜⅝⅞])",
        rf"(?P<ordinal>(?<![\w.,])[0-9]{{1,6}}{_ORDINALS[language]})",
        rf"(?P<number>{_number(words)})",
        r"(?P<long>[0-9]+)",
    ]


_OF_SIGNS = (
    r"(?P<hash>(?<!\w)#[^\W\d]\w{0,100})",
    r"(?P<name>(?<![\w.])@\w{1,100})",
    r"(?P<negative>(?<![\w.,)–-])[-−](?=[0-9]))",
    r"(?P<sign>(?<=\s)[+=×÷±<>≈](?=\s)|(?<=\w)[+=×](?=\w)|(?<!\w)[+±](?=[0-9])|&|§|#(?=\s?[0-9])|%)",
    r"(?P<underscore>(?<=\w)_+(?=\w))",
)


def expression(language: str, words: Words) -> Pattern[str]:
    """Alternatives in order of precedence; the name of the outer group is the kind of what was found.

    They stand in groups by what they begin with: most characters of a text begin none of them, and cost little.
    """
    currency = _any_of([*CURRENCIES, *CURRENCY_CODES])
    firsts = "".join(sorted({name[0] for name in [*CURRENCIES, *CURRENCY_CODES]}))
    amount = rf"(?P<amount>{_number(words)})(?:{_BLANK}?(?P<times>{_any_of(words.magnitudes)})(?!\w))?"
    groups = (
        (r"(?<!\w)(?=\w)", _of_words(language, words)),
        (rf"(?<![\w.,])(?=[{re.escape(firsts)}])", [rf"(?P<money>(?P<before>{currency}){_BLANK}?{amount})"]),
        (r"(?=[0-9+(½⅓⅔¼¾⅕⅛⅜⅝⅞])", _of_digits(language, words)),
        (r"(?=[#@&§%+=×÷±<>≈_−-])", _OF_SIGNS),
    )
    return re.compile("|".join(f"{guard}(?:{'|'.join(parts)})" for guard, parts in groups))
