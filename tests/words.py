"""Words by which an engine of ours is known again."""

import itertools

from engines.scripted import level_of


def distinct_words(count: int) -> list[str]:
    """So many words, at most 300, that are read as they are written and have a level of their own each."""
    syllables = [consonant + vowel for consonant in "bdgklmnprst" for vowel in "aeiou"]
    found: dict[int, str] = {}
    for first, second in itertools.product(syllables, syllables):
        found.setdefault(level_of(f"{first}{second}tan"), f"{first}{second}tan")
        if len(found) == count:
            break
    return list(found.values())
