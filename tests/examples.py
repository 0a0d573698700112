"""With how many examples a property is tried: all of them in `make test`, a tenth in `make check`, ten times as many in a search."""

from __future__ import annotations

from hypothesis import settings

USUAL = 100  # examples, hypothesis's own number: what a profile says is taken as a part of it
FEWEST = 5


def examples(count: int) -> settings:
    """``count`` of them in a whole run."""
    return settings(max_examples=max(min(FEWEST, count), count * settings.default.max_examples // USUAL), deadline=None)
