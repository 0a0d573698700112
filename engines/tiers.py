"""How long a voice's listeners are willing to wait, and which engines keep it: fast, standard, premium."""

from __future__ import annotations

from engines.base import Voice

KEEPERS = {
    "premium": ("xtts",),
    "standard": ("kokoro", "piper", "speecht5"),
    "fast": ("kokoro", "piper"),
}
"""By tier, the best first, the engines whose stated figures keep what it promises, the first choice first. How soon that is, the pipeline
says."""
BASIC = ("x_low", "low")  # qualities of Piper voices that are good enough for the fast tier alone


def tier_of(engine: str, quality: str = "") -> str:
    """The tier of a voice: the best that its engine keeps, with such a quality; empty where it keeps none.

    ``quality``: as the voice's maker calls it, ``x_low`` to ``high``.
    """
    if quality in BASIC and engine in KEEPERS["fast"]:
        return "fast"
    return next((tier for tier, engines in KEEPERS.items() if engine in engines), "")


def kept_by(voice: Voice) -> tuple[str, ...]:
    """The tiers that it can be asked for in, its own first: whatever is below that, if its engine is as fast."""
    tiers = tuple(KEEPERS)
    below = tiers[tiers.index(voice.tier) + 1 :] if voice.tier in tiers else ()
    own = (voice.tier,) if voice.tier else ()
    return (*own, *(tier for tier in below if voice.engine in KEEPERS[tier]))
