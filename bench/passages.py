"""What is said in the bench: texts of known lengths, passages of known sentences."""

from __future__ import annotations

import json
from dataclasses import dataclass
from importlib.resources import files

LENGTHS = (13, 54, 81, 158)  # characters
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
    """``passage.en``, ``twenty.en``, ``short.de``, ``short.es`` or ``short.fr``."""
    blocks = (TEXTS / f"{name}.txt").read_text(encoding="utf-8").strip().split("\n\n")
    return Passage(tuple(tuple(block.splitlines()) for block in blocks))


def of_length(characters: int) -> tuple[str, ...]:
    """English sentences of exactly that many characters; see ``LENGTHS``."""
    found: list[str] = json.loads((TEXTS / "lengths.json").read_text(encoding="utf-8"))[str(characters)]
    return tuple(found)
