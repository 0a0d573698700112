"""How degraded the node is."""

from __future__ import annotations

from collections.abc import Mapping

FULL, REDUCED, SINGLE, CAPTIONS = 0, 1, 2, 3


def level_of(engines: Mapping[str, str]) -> tuple[int, str]:
    """The level and its reason. ``engines``: all that should speak, each with why it does not, or nothing.

    0: all of them speak. 1: some do not. 2: one is left. 3: none is, and what is said is read in the captions.
    """
    down = {name: why for name, why in engines.items() if why}
    left = len(engines) - len(down)
    level = CAPTIONS if not left else FULL if not down else SINGLE if left == 1 else REDUCED
    return level, "; ".join(f"{name}: {why}" for name, why in down.items())
