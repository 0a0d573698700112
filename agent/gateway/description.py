"""Which voice is meant by words that describe it. Pure."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from engines.aliases import Alias, nearest
from engines.base import Voice
from pipeline.chain import primary

GENDERS = {
    "female": {"female", "woman", "women", "girl", "lady", "feminine", "she", "her", "mother", "grandmother", "actress"},
    "male": {"male", "man", "men", "boy", "guy", "gentleman", "masculine", "he", "his", "father", "grandfather", "actor"},
}
PACES = {"slow": 0.85, "slowly": 0.85, "calm": 0.92, "calmly": 0.92, "fast": 1.15, "quick": 1.15, "quickly": 1.15, "brisk": 1.1}
"""What a word for a pace makes of the speed."""
TONGUES = {
    "arabic": "ar",
    "chinese": "zh",
    "dutch": "nl",
    "english": "en",
    "french": "fr",
    "german": "de",
    "hindi": "hi",
    "italian": "it",
    "japanese": "ja",
    "polish": "pl",
    "portuguese": "pt",
    "russian": "ru",
    "spanish": "es",
}
ACCENTS = {
    "american": "en-US",
    "australian": "en-AU",
    "austrian": "de-AT",
    "brazilian": "pt-BR",
    "british": "en-GB",
    "canadian": "en-CA",
    "castilian": "es-ES",
    "indian": "en-IN",
    "irish": "en-IE",
    "mexican": "es-MX",
    "québécois": "fr-CA",
    "quebecois": "fr-CA",
    "scottish": "en-GB",
    "swiss": "de-CH",
}
"""A word for where somebody comes from, and the language that is meant unless another word names one."""


@dataclass(frozen=True, slots=True)
class Role:
    """What comes of a wish for a voice."""

    voice: str = ""
    """An id that the studio understands; empty for whoever fits the language."""
    language: str = ""
    """Empty where neither the caller nor the voice says one."""
    pace: float = 1.0
    """Factor of the speed."""


def describe(description: str, voices: Sequence[Voice], *, language: str = "", default: str = "en") -> Role:
    """Whoever of these comes nearest. ``language``: as asked for; ``default``: where nothing says one."""
    words = re.findall(r"[^\W\d_]+", description.lower())
    gender = next((gender for word in words for gender, names in GENDERS.items() if word in names), "")
    tongue = next((TONGUES[word] for word in words if word in TONGUES), "")
    accents = [ACCENTS[word] for word in words if word in ACCENTS]
    pace = next((PACES[word] for word in words if word in PACES), 1.0)
    said = language or tongue or (primary(accents[0]) if accents else "")
    tag = next((accent for accent in accents if not said or primary(accent) == primary(said)), said)
    if not (gender or tag):
        return Role(pace=pace)
    best = nearest(Alias("", language=tag, gender=gender), voices, language=default)
    return Role(best.id if best else "", language or tag, pace=pace)
