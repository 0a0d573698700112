"""What XTTS can read: its languages, how much text it takes at once, and where the words of a text are guessed to begin."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from engines.base import Mark
from engines.words import words

LIMITS = {
    "ar": 166,
    "cs": 186,
    "de": 253,
    "en": 250,
    "es": 239,
    "fr": 273,
    "hi": 150,
    "hu": 224,
    "it": 213,
    "ja": 71,
    "ko": 95,
    "nl": 251,
    "pl": 224,
    "pt": 203,
    "ru": 182,
    "tr": 226,
    "zh": 82,
}
"""Characters that the model was trained to say at once, by language: what it is given above that is cut off or garbled."""
READERS = {"ja": ("cutlet", "fugashi", "unidic_lite"), "zh": ("pypinyin",)}
"""Libraries that the model's text needs in some languages."""

CHARACTER = {"ja": 0.150, "ko": 0.130, "zh": 0.220}
"""Seconds of speech a character, before a voice has been heard."""
USUAL = 0.065  # the same in other languages
LEARNED = 0.3  # how far one piece moves what is expected of the next one
LONGEST = 6.0  # times what is expected, and
GRACE = 3.0  # seconds more: after that the model has lost itself, and babbles

_STRONG = re.compile(r"[.;:!?…—–。！？；：؛؟।]+[\"'”’»)\]]*(?:\s+|(?<=[。！？；：]))")
_COMMA = re.compile(r"[,،、，]+[\"'”’»)\]]*(?:\s+|(?<=[、，]))")
_SPACE = re.compile(r"\s+")


def primary(language: str) -> str:
    """``zh`` of ``zh-cn``."""
    return re.split("[-_]", language.lower(), maxsplit=1)[0]


def pieces(text: str, limit: int) -> Iterator[tuple[int, int]]:
    """Start and end of parts of at most ``limit`` characters, cut at clauses, at worst between words, at the very worst inside one.

    Parts without a letter or digit are left out.
    """
    start = 0
    while start < len(text):
        end = start + (_cut(text[start : start + limit], limit) if len(text) - start > limit else limit)
        if any(map(str.isalnum, text[start:end])):
            yield start, min(end, len(text))
        start = end


def _cut(text: str, limit: int) -> int:
    for pattern in (_STRONG, _COMMA, _SPACE):
        found = [match.end() for match in pattern.finditer(text) if limit // 3 <= match.end() <= limit]
        if found:
            return found[-1]
    return limit


@dataclass(slots=True)
class Tempo:
    """Seconds of speech a character, learned from what one voice has said in one language. Its figures are only ever replaced."""

    language: str
    expected: float = field(init=False)

    def __post_init__(self) -> None:
        self.expected = CHARACTER.get(self.language, USUAL)

    def on_spoken(self, characters: int, seconds: float) -> None:
        """At speed 1."""
        self.expected += LEARNED * (seconds / max(1, characters) - self.expected)

    def longest(self, characters: int) -> float:
        """Seconds after which so many characters must have been said."""
        return LONGEST * CHARACTER.get(self.language, USUAL) * characters + GRACE


class Guess:
    """Marks of one piece by proportion: told as its sound comes, in order, each once, those that are left with the last sound."""

    def __init__(self, text: str, start: int, begun: int, per_character: float) -> None:
        """``start``: of this piece in the request's text. ``begun``: samples before it. ``per_character``: samples."""
        self._spans: Sequence[tuple[int, int]] = words(text)
        self._start, self._begun, self._per_character = start, begun, per_character
        self._told = 0

    def marks(self, until: int, *, last: bool = False) -> tuple[Mark, ...]:
        """Of the words that begin before that sample of the request; with the ``last`` of its sound all that are left."""
        found = []
        for first, end in self._spans[self._told :]:
            sample = self._begun + round(first * self._per_character)
            if sample >= until and not last:
                break
            found.append(Mark(self._start + first, self._start + end, max(self._begun, min(sample, until)), exact=False))
        self._told += len(found)
        return tuple(found)
