"""What is read aloud for a sentence as it is written, with a way back to the written characters."""

from __future__ import annotations

import re

from pipeline.normalize.markup import strip_markup, unify_digits
from pipeline.normalize.reading import reader
from pipeline.normalize.speakable import is_speakable
from pipeline.normalize.spoken import Rewriting, Spoken, rewrite

__all__ = ["Spoken", "is_speakable", "normalize"]

TAG_CHARACTERS = 35  # of a language tag; RFC 5646 knows none longer in use
_TIDY = re.compile(r"^\s+|\s+$|(?<=\w) +(?=[,.;:!?](?:\s|$))|\s+(?=\s)")


def normalize(text: str, language: str) -> Spoken:
    """What a person would read aloud. Never raises; takes time in proportion to the text.

    ``language`` is a BCP 47 tag; of an unknown one the text is only freed of markup.
    """
    tag = re.split("[-_]", language[:TAG_CHARACTERS].lower())
    region = next((part for part in tag[1:] if len(part) == 2), "")
    reading = reader(tag[0], region)
    passes: list[Rewriting] = []

    def then(rewriting: Rewriting) -> str:
        if rewriting.starts:
            passes.append(rewriting)
        return rewriting.text

    plain = then(unify_digits(then(strip_markup(text)), tag[0]))
    read = then(rewrite(plain, reading.pattern, reading.read, apart=True))
    spoken = then(rewrite(read, _TIDY, lambda match: ""))
    if is_speakable(text) and not is_speakable(spoken):
        return Spoken(text, text)
    return Spoken(spoken, text, tuple(passes))
