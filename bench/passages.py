"""What is said in the bench: texts of known lengths, passages of known sentences."""

from __future__ import annotations

import json
import random
from dataclasses import dataclass
from importlib.resources import files

LENGTHS = (13, 54, 81, 158)  # characters
NO_END = ("may",)  # no last words: with a full stop a recogniser of sentences may take them for abbreviations
MOST_WORDS = 9  # letters of a made-up sentence's words
COMMA = 6  # words between two commas of a long one: as people write, and where a sentence may be cut
TEXTS = files("bench") / "texts"


@dataclass(frozen=True, slots=True)
class Passage:
    """A text whose sentences are known, so that what was spoken can be held against it."""

    paragraphs: tuple[tuple[str, ...], ...]

    @property
    def sentences(self) -> tuple[str, ...]:
        return tuple(sentence for paragraph in self.paragraphs for sentence in paragraph)

    @property
    def text(self) -> str:
        """As it would be written: paragraphs apart by an empty line."""
        return "\n\n".join(" ".join(paragraph) for paragraph in self.paragraphs)

    @property
    def ends(self) -> tuple[int, ...]:
        """Indices of the sentences that end a paragraph, the last one left out."""
        counted, found = 0, []
        for paragraph in self.paragraphs[:-1]:
            counted += len(paragraph)
            found.append(counted - 1)
        return tuple(found)


def passage(name: str) -> Passage:
    """``passage.en``, ``twenty.en``, ``unbroken.en``, ``short.de``, ``short.es`` or ``short.fr``."""
    blocks = (TEXTS / f"{name}.txt").read_text(encoding="utf-8").strip().split("\n\n")
    return Passage(tuple(tuple(block.splitlines()) for block in blocks))


def of_length(characters: int) -> tuple[str, ...]:
    """English sentences of exactly that many characters: those of ``LENGTHS``, and 12."""
    found: list[str] = json.loads((TEXTS / "lengths.json").read_text(encoding="utf-8"))[str(characters)]
    return tuple(found)


def made_up(chosen: random.Random, characters: int) -> str:
    """A sentence of exactly so many characters that nobody has said before, of words that are read as they are written."""
    known = sorted({word for text in passage("passage.en").sentences for word in text.split() if word.isalpha() and word.islower()})
    known = [word for word in known if 3 <= len(word) <= MOST_WORDS]
    words: list[str] = []
    left = characters - 1  # for the full stop
    while left:
        comma = "," if words and len(words) % COMMA == 0 and left > 2 * MOST_WORDS else ""
        room = left - len(words and " ") - len(comma)
        fits = [word for word in known if (len(word) == room and word not in NO_END) or room - len(word) >= 4]
        if comma:
            words[-1] += comma
        words.append(chosen.choice(fits))
        left = room - len(words[-1])
    return " ".join(words).capitalize() + "."
