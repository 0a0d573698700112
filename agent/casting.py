"""Which voice is meant: by its id, by an id that stands for a kind of voice, or by words that describe it. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from engines.aliases import DEFAULT, Alias, find_alias, nearest
from engines.base import Voice
from pipeline.chain import TIERS, find_voice, primary

Offers = Mapping[str, Sequence[Voice]]
"""Voices by engine, as the studio has them."""

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
    """Id of a voice that is here; empty for whoever fits the language."""
    language: str = ""
    """Empty where neither the caller nor the voice says one."""
    budget: float | None = None
    """Seconds to the first audible sample, where the wish promises some."""
    pace: float = 1.0
    """Factor of the speed."""


class UnknownVoice(Exception):
    """Nobody knows what is meant."""


def cast(offers: Offers, *, voice: str = "", language: str = "", description: str = "", engine: str = "", default: str = "en") -> Role:
    """``voice``, ``language``, ``engine``: as asked for, each may be empty. ``default``: the language where nothing says one.

    Raises :exc:`UnknownVoice`.
    """
    voices = [one for name in _first(engine, offers) for one in offers[name]]
    if voice and voice != DEFAULT:
        found = find_voice(voice, voices)
        if found is not None:
            return Role(found.id, language or found.language)
        alias = find_alias(voice)
        if alias is None:
            raise UnknownVoice(voice)
        return _play(alias, voices, language, default)
    return _describe(description, voices, language, default) if description else Role(language=language)


def _play(alias: Alias, voices: Sequence[Voice], language: str, default: str) -> Role:
    """Whoever comes nearest; where another language is asked for, only the kind of voice counts."""
    if language and primary(alias.language or language) != primary(language):
        alias = replace(alias, language="")
    best = nearest(alias, voices, language=language or default)
    return Role(best.id if best else "", language or alias.language, TIERS.get(alias.tier))


def _describe(description: str, voices: Sequence[Voice], language: str, default: str) -> Role:
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


def _first(engine: str, offers: Offers) -> Iterator[str]:
    """Names of engines, the one asked for first."""
    if engine in offers:
        yield engine
    yield from (name for name in offers if name != engine)
