"""What may not be said here: words that the settings name, and whatever a package of one's own finds."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Iterable, Sequence
from importlib.metadata import entry_points
from typing import Literal, cast

log = logging.getLogger(__name__)

FILTERS = "voicebooth.filters"  # the entry point group: one's own filter is a package that names itself there
Mode = Literal["off", "mask", "reject"]
Spans = Iterable[tuple[int, int]]
Find = Callable[[str], Spans]
"""Gives the stretches of a text that may not be said, as indices of their first character and of the one after the last."""
Filter = Callable[[str], str | None]
"""Gives what may be said of a text; None when it may not be said."""


class FilterUnavailable(Exception):
    """The settings name a filter that cannot be had; ``str()`` says what mends it."""


class FilterFailed(Exception):
    """A filter of one's own has raised something."""


def make_filter(mode: Mode, words: Sequence[str], hook: str) -> Filter:
    """``words``: words or phrases, in any case and inflected as they stand. ``hook``: an entry point of the group ``voicebooth.filters``.

    It is asked on the node's loop, once for each sentence: what it does takes a millisecond at the most. One that fails lets nothing
    through. Raises :exc:`FilterUnavailable`.
    """
    if mode == "off":
        return str
    finders = [find for find in (_of_words(words), _of_hook(hook)) if find is not None]

    def allow(text: str) -> str | None:
        try:
            return _apply(mode, text, [span for find in finders for span in find(text)])
        except FilterFailed as error:
            log.error("nothing is said that the filter %s does not let through: %s", hook, error)
            return None

    return allow


def _apply(mode: Mode, text: str, spans: Sequence[tuple[int, int]]) -> str | None:
    """Masked, each word leaves a pause, and nothing else moves: positions in the text stay what they were."""
    if not spans:
        return text
    if mode == "reject":
        return None
    characters = list(text)
    for start, end in spans:
        for index in range(max(0, start), min(end, len(text))):
            if not characters[index].isspace():
                characters[index] = "…"
    masked = "".join(characters)
    return masked if any(map(str.isalnum, masked)) else None


def _of_words(words: Sequence[str]) -> Find | None:
    if not words:
        return None
    phrases = [r"\s+".join(map(re.escape, word.split())) for word in words]
    pattern = re.compile(r"(?<!\w)(?:" + "|".join(phrases) + r")(?!\w)", re.IGNORECASE)
    return lambda text: [match.span() for match in pattern.finditer(text)]


def _of_hook(name: str) -> Find | None:
    if not name:
        return None
    found = next(iter(entry_points(group=FILTERS, name=name)), None)
    if found is None:
        known = ", ".join(sorted(entry.name for entry in entry_points(group=FILTERS))) or "none"
        raise FilterUnavailable(f"security.content_hook: there is no filter {name!r}; installed: {known}")
    try:
        find = cast(Find, found.load())
    except (ImportError, AttributeError) as error:
        raise FilterUnavailable(f"security.content_hook: filter {name} cannot be loaded: {error}") from error
    return lambda text: _guarded(find, text)


def _guarded(find: Find, text: str) -> list[tuple[int, int]]:
    try:
        return [(int(start), int(end)) for start, end in find(text)]
    except Exception as error:
        raise FilterFailed(type(error).__name__) from error
