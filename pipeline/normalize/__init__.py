"""What is read aloud for a sentence as it is written, with a way back to the written characters."""

from __future__ import annotations

from dataclasses import dataclass

from pipeline.normalize.speakable import is_speakable

__all__ = ["Spoken", "is_speakable", "normalize"]


@dataclass(frozen=True, slots=True)
class Spoken:
    """What the engine reads."""

    text: str

    def source_offset(self, index: int) -> int:
        """Where the character at ``index`` comes from."""
        return index


def normalize(text: str, language: str) -> Spoken:
    """The sentence as a person would read it aloud."""
    return Spoken(text)
