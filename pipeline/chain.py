"""Which engine and which voice say a sentence, and who is next when they cannot."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated

from pydantic import Field

from engines.base import Voice
from pipeline.protocol import Strategy

COOL_DOWN = 10.0  # seconds for which an engine that failed is tried last: long enough for a burst, short enough to come back


@dataclass(frozen=True, slots=True)
class ChainSettings:
    """In what order engines are tried."""

    order: tuple[str, ...] = ("piper", "tone")
    """Names of engines, the preferred one first."""
    strategy: Strategy = "auto"
    """``manual``: only the first engine, or the one asked for, whatever happens. Otherwise the next one speaks when one fails."""
    budget: Annotated[float, Field(ge=0.02, le=10)] = 0.25
    """Seconds from a complete sentence to its first audible sample, where the text does not say otherwise."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """An engine and the voice of it that comes nearest to what was asked for."""

    engine: str
    voice: Voice


class Chain:
    """The order in which engines are asked; told what became of it."""

    def __init__(self, settings: ChainSettings) -> None:
        self.settings = settings
        self._failed: dict[str, float] = {}

    def candidates(
        self, offers: Mapping[str, Sequence[Voice]], *, language: str, voice: str, engine: str, strategy: str, now: float
    ) -> list[Candidate]:
        """Who can say it, the first choice first; empty when nobody speaks the language.

        ``offers``: voices by engine, of the engines that are loaded. ``voice`` and ``engine``: wishes, may be empty.
        """
        order = [name for name in dict.fromkeys((engine, *self.settings.order)) if name in offers]
        order.sort(key=lambda name: self._failed.get(name, -COOL_DOWN) > now - COOL_DOWN)
        wished = find_voice(voice, (v for voices in offers.values() for v in voices))
        if wished is not None and not engine:
            order.sort(key=lambda name: name != wished.engine)
        found = [Candidate(name, best) for name in order if (best := _nearest(offers[name], wished, voice, language)) is not None]
        return found[:1] if (strategy or self.settings.strategy) == "manual" else found

    def on_failed(self, engine: str, *, now: float) -> None:
        self._failed[engine] = now

    def on_spoken(self, engine: str) -> None:
        self._failed.pop(engine, None)


def primary(language: str) -> str:
    """The language of a tag without its region or script: ``en`` of ``en-US`` (BCP 47)."""
    return language.replace("_", "-").split("-")[0].lower()


def find_voice(id: str, voices: Iterable[Voice]) -> Voice | None:
    return next((voice for voice in voices if id and voice.id == id), None)


def _nearest(voices: Sequence[Voice], wished: Voice | None, id: str, language: str) -> Voice | None:
    """The voice asked for, else the same language, and of these the same region and gender; the engine's own order decides ties."""
    speakers = [voice for voice in voices if primary(voice.language) == primary(language)]
    gender = wished.gender if wished else ""
    tag = language.replace("_", "-").lower()
    return min(
        speakers,
        key=lambda voice: (voice.id != id, bool(gender) and voice.gender != gender, voice.language.lower() != tag),
        default=None,
    )
