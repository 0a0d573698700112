"""Where the words of a text begin in the sound of a piece, from the durations of its tokens."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from engines.base import Mark
from engines.kokoro.harmonics import HOP
from engines.kokoro.phonemes import Piece
from engines.words import align

TICK = 2 * HOP  # samples of one unit of duration

_GROUP = re.compile(r"\S+")


@dataclass(frozen=True, slots=True)
class Start:
    """Where a word begins among all phonemes of a request."""

    start: int
    end: int
    phoneme: int
    following: int
    """The phoneme after the word's group."""
    share: float
    """How much of the group lies before the word."""
    exact: bool


def starts(text: str, phonemes: str, alone: Callable[[str], Sequence[str]]) -> list[Start]:
    """``alone``: the groups of a word spoken by itself."""
    groups = [match for match in _GROUP.finditer(phonemes) if any(map(str.isalpha, match.group()))]
    found = []
    for place in align(text, [match.group() for match in groups], alone):
        group = groups[place.group]
        lead = next(index for index, sign in enumerate(group.group()) if sign.isalpha())
        found.append(Start(place.start, place.end, group.start() + lead, group.end(), place.share, place.exact))
    return found


def marks(all: Sequence[Start], piece: Piece, durations: npt.NDArray[np.int64], offset: int) -> Iterator[Mark]:
    """Of the words that begin in this piece. ``offset``: samples of the request at which the piece's first token would begin."""
    edges = np.concatenate(([0], np.cumsum(durations))) * TICK
    for word in all:
        first = word.phoneme - piece.start
        if 0 <= first < len(piece.phonemes):
            begin, end = edges[first + 1], edges[min(word.following - piece.start, len(piece.phonemes)) + 1]  # silence comes first
            yield Mark(word.start, word.end, max(0, offset + int(begin + word.share * (end - begin))), word.exact)
