"""Whether a text holds anything to say."""

from __future__ import annotations

import re

_KEYCAP = re.compile("[0-9#*]\ufe0f?\u20e3")
"""An emoji that is written with a digit."""
SPEAKABLE = re.compile(r"[^\W_]")
"""A letter or a digit of any script."""


def is_speakable(text: str) -> bool:
    """False for what is blank, or punctuation, symbols and emoji only."""
    if "\u20e3" in text:
        text = _KEYCAP.sub("", text)
    return SPEAKABLE.search(text) is not None
