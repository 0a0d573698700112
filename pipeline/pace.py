"""How far a text has been said, and where somebody else may go on with it, when its engine does not tell. Pure."""

from __future__ import annotations

import unicodedata

from pipeline.chain import CHARACTER

KANA, SYLLABLE = 0.14, 0.21  # seconds of speech a character that is a syllable or more: of kana and hangul, and of Chinese characters
_KANA = (("\u3040", "\u30ff"), ("\uac00", "\ud7a3"))
_WIDE = "\u2e80"  # from here on characters are syllables
_UNSPACED = (("\u0e00", "\u0eff"), ("\u1000", "\u109f"), ("\u1780", "\u17ff"), ("\u3040", "\u30ff"), ("\u3400", "\u9fff"))
"""Scripts that do not put spaces between words: Thai, Lao, Burmese, Khmer, kana, Chinese characters."""
_LEADING = frozenset("เแโใไເແໂໃໄ")  # vowels that are written before the consonant that they follow
_FOLLOWING = frozenset("ะาำๅๆฯະາຳໆぁぃぅぇぉっゃゅょゎァィゥェォッャュョヮー")  # letters that belong to the one before them


def reached(text: str, start: int, seconds: float) -> int:
    """The character that is being said after so many seconds from ``start`` on, at the pace at which people speak."""
    for index in range(start, len(text)):
        seconds -= _seconds(text[index])
        if seconds < 0:
            return index
    return len(text)


def word_start(text: str, index: int) -> int:
    """Where the word begins that holds this character; where words are not written apart, the syllable."""
    for at in range(min(index, len(text) - 1), 0, -1):
        if _may_begin(text[at - 1], text[at]):
            return at
    return 0


def _seconds(character: str) -> float:
    if _is_in(character, _KANA):
        return KANA
    return SYLLABLE if character >= _WIDE else CHARACTER


def _may_begin(before: str, character: str) -> bool:
    if before.isspace():
        return not character.isspace()
    if not character.isalnum() or character in _FOLLOWING or before in _LEADING or unicodedata.category(character).startswith("M"):
        return False
    return _is_in(character, _UNSPACED) or _is_in(before, _UNSPACED)


def _is_in(character: str, ranges: tuple[tuple[str, str], ...]) -> bool:
    return any(first <= character <= last for first, last in ranges)
