"""How a person reads what an expression of :mod:`pipeline.normalize.patterns` has found: one reader a kind."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import lru_cache
from re import Match

from pipeline.normalize import numbers
from pipeline.normalize.patterns import ELSEWHERE, expression
from pipeline.normalize.words import CURRENCY_CODES, MONTH_FIRST_REGIONS, WORDS, Noun, Words

ADDRESS_CHARACTERS = 60  # of an address: nobody listens to more
LONG_NUMBER = 40  # digits read one by one; the rest of a longer number is noise
_VULGAR = {"½": "1/2", "⅓": "1/3", "⅔": "2/3", "¼": "1/4", "¾": "3/4", "⅕": "1/5", "⅛": "1/8", "⅜": "3/8", "⅝": "5/8", "⅞": "7/8"}
_CAMEL = re.compile(r"(?<=[a-zß-ÿ])(?=[A-ZÀ-Þ])|_+")
_WHOLE_BEFORE = re.compile(r"(?<![\w.,/])[0-9]{1,3} ?$")
_REGIONAL = frozenset({"pt_BR", "fr_BE", "fr_CH"})
"""Where numbers are called otherwise."""
_NEXT_WORD = re.compile(r" ([^\W\d_]{1,30})")
_INFLECTING = frozenset({"am", "dem", "den", "zum", "vom", "im", "beim", "des", "seit", "ab", "bis"})
"""German words after which an ordinal ends in -n."""


class Elsewhere:
    """A language without a table: its whole numbers in words, where num2words knows it; the rest is the engine's."""

    pattern = ELSEWHERE

    def __init__(self, language: str) -> None:
        self.language = language

    def read(self, match: Match[str]) -> str | None:
        digits = match.group()
        return numbers.cardinal(digits, self.language) or None if len(digits) <= LONG_NUMBER else None


class Reader:
    """A language with a table of words."""

    def __init__(self, language: str, region: str, words: Words) -> None:
        self.language = language
        self.words = words
        tag = f"{language}_{region.upper()}"
        self.spelling = tag if tag in _REGIONAL else language
        self.month_first = language == "en" and region in MONTH_FIRST_REGIONS
        self.pattern = expression(language, words)
        self._known_nouns = {form: noun for noun in words.nouns.values() for form in (noun.one, noun.many)}
        self._millions = {form for noun in words.magnitudes.values() if noun.one != noun.many for form in (noun.one, noun.many)}
        self._readers: dict[str, Callable[[Match[str]], str | None]] = {
            "url": self._address,
            "email": self._address,
            "domain": self._address,
            "abbreviation": self._abbreviation,
            "initials": self._initials,
            "saint": lambda m: "Saint" if re.match(r"\s[A-Z]", m.string[m.end() : m.end() + 2]) else "Street",
            "numero": lambda m: "number ",
            "part": self._part,
            "century": self._century,
            "iso": self._iso,
            "slashed": self._slashed,
            "day_month": lambda m: self._date(m["day1"], m["month1"], m["year1"], self._before(m)),
            "month_day": lambda m: self._date(m["day2"], m["month2"], m["year2"], "", month_leads=True),
            "version": lambda m: f" {words.address['.']} ".join(self._cardinal(part) for part in m.group().split(".")),
            "clock": self._clock,
            "hour": self._clock,
            "phone": self._phone,
            "money": lambda m: self._amount(m["amount"], m["times"], m["before"]),
            "price": lambda m: self._amount(m["sum"], m["factor"], m["after"]),
            "measure": lambda m: self._counted(m["count"], self.words.nouns.get(m["unit"])),
            "span": lambda m: f"{self._number(re.split('[–—-]', m.group())[0].strip())} {self.words.until} ",
            "fraction": self._fraction,
            "ordinal": self._ordinal,
            "reign": self._reign,
            "hash": lambda m: f"{self.words.hashtag} {_CAMEL.sub(' ', m.group()[1:])}",
            "name": lambda m: f"{self.words.address['@'] if self.language == 'en' else ''} {_CAMEL.sub(' ', m.group()[1:])}".strip(),
            "negative": lambda m: f"{self.words.minus} ",
            "number": self._plain_number,
            "long": lambda m: numbers.spelled(m.group()[:LONG_NUMBER], self.spelling),
            "sign": self._sign,
            "underscore": lambda m: " ",
        }

    def read(self, match: Match[str]) -> str | None:
        """The words for one match of ``pattern``; None leaves it as it is."""
        return self._readers[match.lastgroup or ""](match)

    def _before(self, match: Match[str]) -> str:
        """The word before, in lower case."""
        return match.string[max(0, match.start() - 12) : match.start()].lower().rpartition(" ")[0].rpartition(" ")[2]

    def _cardinal(self, digits: str) -> str:
        return numbers.cardinal(digits, self.spelling, numbers.LONGEST)

    def _split(self, number: str) -> tuple[str, str]:
        """The digits before and after the decimal sign."""
        whole, _, fraction = number.partition(self.words.decimal)
        if self.words.decimal == "," and not fraction and re.search(r"\.[0-9]{1,2}$", whole):
            whole, _, fraction = whole.rpartition(".")
        return re.sub("[^0-9]", "", whole), fraction

    def _number(self, number: str) -> str:
        whole, fraction = self._split(number)
        spoken = self._cardinal(whole)
        if not fraction:
            return spoken
        plain = self.words.fraction_digits or fraction[0] == "0" or len(fraction) > 3
        return f"{spoken} {self.words.point} {numbers.spelled(fraction, self.spelling) if plain else self._cardinal(fraction)}"

    def _plain_number(self, match: Match[str]) -> str:
        number = match.group()
        before, after = match.string[: match.start()][-1:], match.string[match.end() : match.end() + 2]
        alone = not (before.isalnum() or (before in ".,'" and before)) and not after[:1].isalpha()
        if len(number) == 4 and number.isdigit() and alone:
            return self._year(number)
        following = _NEXT_WORD.match(match.string, match.end())
        if alone and following and before != "-":
            return self._before_word(number, following.group(1))
        return self._number(number)

    def _before_word(self, number: str, word: str) -> str:
        """A number agrees with what is counted, as far as that is known."""
        if noun := self._known_nouns.get(word):
            return self._agreeing(number, noun)
        counts = number == "1" and self.language != "en" and (self.language != "de" or word[0].isupper())
        return self.words.one[0] if counts else self._number(number)

    def _year(self, digits: str) -> str:
        """Four digits alone are read like a year where that differs from a count."""
        if (self.language == "en" and 1100 <= int(digits) <= 2099) or (self.language == "de" and 1100 <= int(digits) <= 1999):
            return numbers.year(digits, self.spelling)
        return self._cardinal(digits)

    def _counted(self, number: str, noun: Noun | None) -> str:
        """A number and what is counted; None is per cent."""
        if noun is None:
            return f"{self._number(number)} {self.words.percent}"
        whole, fraction = self._split(number)
        single = (whole == "1" and not fraction) or (self.language == "fr" and whole in {"0", "1"})
        spoken = self._agreeing(number, noun)
        of = self._of_million(noun) if spoken.rpartition(" ")[2] in self._millions else ""
        return f"{spoken} {of}{noun.one if single else noun.many}"

    def _of_million(self, noun: Noun) -> str:
        of = self.words.of_million
        return "de " if of == "d'" and noun.many[0] not in "aeiouhéœy" else of

    def _agreeing(self, number: str, noun: Noun) -> str:
        whole, fraction = self._split(number)
        if fraction:
            return self._number(number)
        if whole == "1":
            return self.words.one[noun.feminine]
        spoken = self._cardinal(whole)
        if self.language == "es":
            spoken = re.sub("uno$", "una" if noun.feminine else "un", spoken)
            spoken = re.sub("veintiun$", "veintiún", spoken)
        elif self.language == "pt" and noun.feminine:
            spoken = re.sub("dois$", "duas", re.sub("um$", "uma", spoken))
        elif self.language == "fr" and noun.feminine:
            spoken = re.sub("(?<= )un$", "une", spoken)
        return spoken

    def _amount(self, number: str, factor: str | None, currency: str) -> str:
        sign = CURRENCY_CODES.get(currency, currency)
        noun = self.words.nouns.get(sign)
        if noun is None:
            return f"{self._number(number)} {currency}"
        if factor:
            return self._times(number, self.words.magnitudes[factor], noun)
        whole, fraction = self._split(number)
        cent = self.words.cents.get(sign)
        if len(fraction) != 2 or cent is None:
            return self._counted(number, noun)
        parts = f"{int(fraction)}"
        if not int(fraction):
            return self._counted(whole, noun)
        if not int(whole):
            return self._counted(parts, cent)
        cents = self._cardinal(parts) if self.words.bare_cents else self._counted(parts, cent)
        return f"{self._counted(whole, noun)}{self.words.joint}{cents}"

    def _times(self, number: str, magnitude: Noun, noun: Noun) -> str:
        """So many millions of a currency."""
        short = magnitude.one == magnitude.many
        if short and self.language != "en":
            head = magnitude.one if number == "1" else f"{self._number(number)} {magnitude.one}"
            return f"{head} {noun.many}"
        return f"{self._counted(number, magnitude)} {self._of_million(noun)}{noun.many}"

    def _iso(self, match: Match[str]) -> str | None:
        year, month, day = match.group().split("-")
        return self._numeric_date(day, month, year, self._before(match))

    def _slashed(self, match: Match[str]) -> str | None:
        first, second, year = match.group().split(match["sep"])
        if len(year) == 2:
            if match["sep"] == ".":
                return None
            year = f"20{year}" if int(year) < 70 else f"19{year}"
        month_first = self.month_first and match["sep"] == "/"
        if int(first if month_first else second) > 12:
            month_first = not month_first
        day, month = (second, first) if month_first else (first, second)
        return self._numeric_date(day, month, year, self._before(match))

    def _numeric_date(self, day: str, month: str, year: str, before: str) -> str | None:
        if not 1 <= int(month) <= 12 or not 1 <= int(day) <= 31:
            return None
        return self._date(day, self.words.months[int(month) - 1], year, before, month_leads=self.month_first)

    def _date(self, day: str, month: str, year: str | None, before: str, *, month_leads: bool = False) -> str:
        number = str(int(day))
        if self.language == "en":
            nth = numbers.ordinal(number, "en") if int(day) else self._cardinal("0")
            spoken = f"{month} {nth}" if month_leads else f"{nth} of {month}" if before == "the" else f"the {nth} of {month}"
            return f"{spoken}, {self._year(year)}" if year else spoken
        if self.language == "de":
            spoken = f"{self._german_ordinal(number, before)} {month}"
        elif number == "1" and self.language != "es":
            spoken = {"fr": "premier", "it": "primo", "pt": "primeiro"}[self.language] + self._of_month(month)
        else:
            spoken = self._cardinal(number) + self._of_month(month)
        if not year:
            return spoken
        return f"{spoken} {'de ' if self.language in {'es', 'pt'} else ''}{self._year(year)}"

    def _of_month(self, month: str) -> str:
        return f" de {month}" if self.language in {"es", "pt"} else f" {month}"

    def _german_ordinal(self, number: str, before: str) -> str:
        stem = numbers.ordinal(number, "de")
        return stem + ("n" if before in _INFLECTING else "" if before in {"der", "die", "das"} else "r")

    def _clock(self, match: Match[str]) -> str:
        figures = re.findall("[0-9]+", match.group())
        hour, minute = str(int(figures[0])), figures[1] if len(figures) > 1 else "00"
        half = re.search("[ap]", match.group().lower()) if self.language == "en" else None
        seconds = f" {self._cardinal(str(int(figures[2])))}" if len(figures) > 2 else ""
        return self._time(hour, minute, half is not None) + seconds + (f" {half.group()} m" if half else "")

    def _time(self, hour: str, minute: str, half: bool) -> str:
        minutes = "" if minute == "00" else self._cardinal(str(int(minute)))
        if self.language == "en":
            if not minutes:
                return self._cardinal(hour) + ("" if half else " o'clock" if int(hour) <= 12 else " hundred")
            return f"{self._cardinal(hour)} {'oh ' if minute[0] == '0' else ''}{minutes}"
        hours = {
            "de": lambda: f"{'ein' if hour == '1' else self._cardinal(hour)} Uhr",
            "fr": lambda: f"{self._agreeing(hour, Noun('', '', True))} heure{'s' if int(hour) > 1 else ''}",
            "pt": lambda: f"{self._agreeing(hour, Noun('', '', True))}{' horas' if not minutes else ''}",
            "es": lambda: f"{self._agreeing(hour, Noun('', '', True))}{' horas' if not minutes else ''}",
            "it": lambda: self._agreeing(hour, Noun("", "", True)),
        }[self.language]()
        joint = {"de": " ", "fr": " ", "es": " y ", "it": " e ", "pt": " e "}[self.language]
        return f"{hours}{joint}{minutes}" if minutes else hours

    def _phone(self, match: Match[str]) -> str:
        groups = re.findall("[0-9]+", match.group())
        plus = f"{self.words.signs['+']} " if match.group().startswith("+") else ""
        return plus + ", ".join(numbers.spelled(group, self.spelling) for group in groups)

    def _fraction(self, match: Match[str]) -> str | None:
        written = _VULGAR.get(match.group(), match.group())
        spoken = self.words.fractions.get(written)
        if spoken or match.group() in _VULGAR:
            if _WHOLE_BEFORE.search(match.string, max(0, match.start() - 5), match.start()):
                joint = {"en": " and ", "fr": " et ", "es": " y ", "it": " e ", "pt": " e "}.get(self.language, " ")
                return joint + (spoken or written)
            return spoken
        return " ".join(self._cardinal(part) for part in written.split("/"))

    def _ordinal(self, match: Match[str]) -> str | None:
        found = re.match("[0-9]+", match.group())
        number = found.group() if found else ""
        ending = match.group()[len(number) :]
        spoken = numbers.ordinal(number, self.spelling) if int(number) else ""
        if not spoken:
            return None
        if self.language == "de":
            return self._german_ordinal(number, self._before(match))
        if self.language == "fr":
            return {"re": "première", "ère": "première", "nd": "second", "nde": "seconde"}.get(ending, spoken)
        if ending[-1] == "ª":
            return re.sub("o(?=$| )", "a", spoken)
        if ending == "er" and self.language == "es":
            return re.sub("(primer|tercer)o$", r"\1", spoken)
        return spoken

    def _abbreviation(self, match: Match[str]) -> str:
        written = match.group()
        spoken = self.words.abbreviations[written]
        ends = written.endswith(".") and not match.string[match.end() :].strip(" \"'”’»)")
        return spoken + "." if ends else spoken

    def _initials(self, match: Match[str]) -> str:
        letters = " ".join(match.group().replace(".", ""))
        return letters + "." if match.end() == len(match.string) else letters

    def _reign(self, match: Match[str]) -> str | None:
        name, numeral = match.group().rstrip(".").rsplit(maxsplit=1)
        value = numbers.roman(numeral)
        if not value:
            return None
        if name in {"siglo", "século"} or self.language == "fr":
            first = value == 1 and self.language == "fr"
            return f"{name} {'premier' if first else self._cardinal(str(value))}"
        if self.language in {"es", "pt"} and value > 10:
            return f"{name} {self._cardinal(str(value))}"
        nth = numbers.ordinal(str(value), self.spelling)
        if name in {"Isabel", "Elisabetta"}:
            nth = re.sub("o$", "a", nth)
        if self.language == "de":
            feminine = name == "Elisabeth"
            return f"{name} {'die' if feminine else 'der'} {nth.capitalize()}"
        return f"{name} the {nth}" if self.language == "en" else f"{name} {nth}"

    def _part(self, match: Match[str]) -> str | None:
        name, numeral = match.group().rsplit(maxsplit=1)
        value = numbers.roman(numeral)
        return f"{name} {self._cardinal(str(value))}" if value else None

    def _century(self, match: Match[str]) -> str | None:
        value = numbers.roman(re.sub("[^IVX]", "", match.group()))
        return numbers.ordinal(str(value), self.spelling) if value else None

    def _sign(self, match: Match[str]) -> str | None:
        spoken = self.words.signs.get(match.group())
        return f" {spoken} " if spoken else None

    def _address(self, match: Match[str]) -> str:
        """Host and path without what only machines need."""
        written = re.sub(r"^(?:https?://)?(?:www\.)?", "", match.group()).rstrip("/")
        written = re.split("[?#]", written)[0]
        if len(written) > ADDRESS_CHARACTERS:
            written = written.partition("/")[0][:ADDRESS_CHARACTERS]
        signs = self.words.address
        words = (
            f" {signs[part]} " if part in signs else "" if part in "%~+&=$," else part
            for part in re.split(r"([./@_:%~+&=$,-])", written)
            if part
        )
        return " ".join("".join(re.sub("[0-9]+", lambda digits: f" {self._digits(digits.group())} ", word) for word in words).split())

    def _digits(self, digits: str) -> str:
        return self._cardinal(digits) if len(digits) < 5 else numbers.spelled(digits, self.spelling)


@lru_cache(64)
def reader(language: str, region: str) -> Reader | Elsewhere:
    words = WORDS.get(language)
    return Reader(language, region, words) if words else Elsewhere(language)
