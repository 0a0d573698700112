"""Where the words of a text begin in what a phonemizer made of it."""

from __future__ import annotations

import heapq
import re
import unicodedata
from collections.abc import Callable, Sequence
from dataclasses import dataclass

MOST_JOINED = 4  # words that a phonemizer may run together into one group, as in "out of the"
MOST_SPREAD = 12  # groups that one word may become, as a number or an abbreviation does

_UNSPACED = "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff"  # scripts that do not put spaces between words
_WORD = re.compile(rf"[{_UNSPACED}]|[^\s{_UNSPACED}]+")
_VOWELS = frozenset("aeiouyøœæɐɑɒɔəɘɚɛɜɝɞɤɨɪɯɵʉʊʌʏɶᵻε")
_GLIDES = frozenset("jwʲʷɹɾrt")  # change or vanish where words meet
BAND = 24  # groups that a pairing may stray from an even one: keeps the search for a text that agrees nowhere linear
UNMATCHED = 4  # cost of a pairing whose consonants differ, against one for each sound more or fewer


@dataclass(frozen=True, slots=True)
class Place:
    """Where one word of the text begins among the phonemes."""

    start: int
    """Index of its first character."""
    end: int
    """Index after its last character."""
    group: int
    """Index of the group of phonemes in which it begins."""
    share: float
    """How much of that group lies before it: 0 at its start."""
    exact: bool


def words(text: str) -> list[tuple[int, int]]:
    """Start and end of each word that holds a letter or digit; a character of a script without spaces is a word."""
    return [match.span() for match in _WORD.finditer(text) if any(map(str.isalnum, match.group()))]


def align(text: str, groups: Sequence[str], alone: Callable[[str], Sequence[str]]) -> list[Place]:
    """Pairs the words of a text with the groups that its phonemizer separated by spaces.

    A phonemizer runs words together ("of the") and reads others as several ("3.50"), so counting does not do. ``alone`` gives the
    groups of one word spoken by itself; vowels change with the company, consonants hardly: the pairing is the one under which
    consonants differ least. A word is ``exact`` where the pairings on both sides of its beginning agree without a difference.
    """
    spans = words(text)
    if not spans or not groups:
        return []
    spoken = [[_skeleton(group) for group in alone(text[start:end])] for start, end in spans]
    heard = [_skeleton(group) for group in groups]
    pairs = _pair(spoken, heard)
    places = []
    agreed = True
    for first, last, group, agrees in pairs:
        lengths = [max(1, sum(map(len, spoken[index]))) for index in range(first, last)]
        for index in range(first, last):
            share = sum(lengths[: index - first]) / sum(lengths)
            places.append(Place(*spans[index], group, share, exact=index == first and agreed and agrees))
        agreed = agrees
    return places


def _skeleton(group: str) -> str:
    return "".join(c for c in group if c not in _VOWELS and c not in _GLIDES and unicodedata.category(c) in ("Ll", "Lo", "Nd"))


def _pair(spoken: list[list[str]], heard: list[str]) -> list[tuple[int, int, int, bool]]:
    """(first word, after last word, group, whether all consonants agree) of each pairing, by the cheapest path through both."""
    end = (len(spoken), len(heard))
    best: dict[tuple[int, int], tuple[int, tuple[int, int], bool]] = {(0, 0): (0, (0, 0), True)}
    waiting = [(0, 0, 0)]  # cost, and how far: a path that agrees is followed to its end before any other is looked at
    while waiting:
        cost, _, group = waiting[0]
        word = -waiting[0][1]
        heapq.heappop(waiting)
        if (word, group) == end:
            break
        if cost > best[word, group][0]:
            continue
        for taken, filled in _steps(spoken, word):
            to = (word + taken, group + filled)
            if to[0] > end[0] or to[1] > end[1] or abs(to[1] * end[0] - to[0] * end[1]) > BAND * end[0]:
                continue
            said = "".join("".join(item) for item in spoken[word : to[0]])
            difference = _difference(said, "".join(heard[group : to[1]]))
            total = cost + difference + abs(taken - 1) + abs(filled - len(spoken[word]) if taken == 1 else 0)
            if to not in best or total < best[to][0]:
                best[to] = (total, (word, group), difference == 0)
                heapq.heappush(waiting, (total, -to[0], to[1]))
    if end not in best:
        return [(index, index + 1, index * len(heard) // len(spoken), False) for index in range(len(spoken))]
    pairs = []
    while end != (0, 0):
        _, start, agreed = best[end]
        pairs.append((start[0], end[0], start[1], agreed))
        end = start
    return pairs[::-1]


def _steps(spoken: list[list[str]], word: int) -> list[tuple[int, int]]:
    """(words, groups) that may belong together from this word on; none after the last: what groups are left have no word."""
    if word == len(spoken):
        return []
    most = min(MOST_JOINED, len(spoken) - word)
    spread = min(len(spoken[word]), MOST_SPREAD)
    return [(taken, 1) for taken in range(1, most + 1)] + [(1, filled) for filled in range(2, spread + 2)]


def _difference(said: str, heard: str) -> int:
    return 0 if said == heard else UNMATCHED + abs(len(said) - len(heard))
