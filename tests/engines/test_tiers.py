from __future__ import annotations

import pytest

from engines.base import Voice
from engines.tiers import KEEPERS, kept_by, tier_of
from pipeline.chain import TIERS


def test_tiers_promise_what_they_must() -> None:
    assert {"fast": 0.150, "standard": 0.250, "premium": 0.400} == TIERS and set(KEEPERS) == set(TIERS)
    assert not any("edge" in engines for engines in KEEPERS.values())


@pytest.mark.parametrize(
    ("engine", "quality", "tier", "kept"),
    [
        ("kokoro", "", "standard", ("standard", "fast")),
        ("kokoro", "F+", "standard", ("standard", "fast")),
        ("piper", "high", "standard", ("standard", "fast")),
        ("piper", "low", "fast", ("fast",)),
        ("piper", "x_low", "fast", ("fast",)),
        ("xtts", "", "premium", ("premium",)),
        ("edge", "", "", ()),
        ("mine", "low", "", ()),
    ],
)
def test_a_voice_has_the_best_tier_that_its_engine_keeps(engine: str, quality: str, tier: str, kept: tuple[str, ...]) -> None:
    assert tier_of(engine, quality) == tier
    assert kept_by(Voice("x", engine, "en", 24_000, tier=tier)) == kept


def test_a_voice_of_another_engine_keeps_what_it_says() -> None:
    assert kept_by(Voice("x", "remote", "en", 24_000, tier="standard")) == ("standard",)
    assert kept_by(Voice("x", "mine", "en", 24_000, tier="odd")) == ("odd",)
