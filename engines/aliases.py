"""Ids under which clients ask for a voice without knowing which are here: each means a kind of voice, and the nearest one speaks."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

from engines.base import Voice
from engines.catalog import known_voices
from engines.edge import known_voices as edge_voices
from engines.tiers import KEEPERS, kept_by

DEFAULT = "default"


@dataclass(frozen=True, slots=True)
class Alias:
    """A kind of voice that somebody may ask for."""

    id: str
    name: str = ""
    """For people."""
    language: str = ""
    """BCP 47 tag; empty for that of the text."""
    gender: str = ""
    """``female``, ``male``, or empty for either."""
    tier: str = ""
    """One of :data:`engines.tiers.KEEPERS`, or empty for the budget that is set."""
    description: str = ""


_PEOPLE = (
    ("en-us-female", "Sarah", "General American"),
    ("en-us-male", "David", "General American"),
    ("es-mx-female", "Sofía", "Mexican"),
    ("es-es-male", "Carlos", "Castilian"),
    ("fr-fr-female", "Léa", "Parisian"),
    ("fr-ca-male", "Antoine", "Québécois"),
    ("de-de-female", "Anna", "standard German"),
    ("de-at-male", "Hans", "Austrian"),
    ("it-it-female", "Giulia", "standard Italian"),
    ("it-it-male", "Marco", "Roman"),
    ("pt-br-female", "Ana", "Brazilian"),
    ("pt-pt-male", "João", "European"),
    ("ja-jp-female", "Yuki", "Tokyo"),
    ("ja-jp-male", "Hiroshi", "Osaka"),
)
_OTHERS = (
    Alias(DEFAULT, "Default"),
    Alias("ljspeech", "LJSpeech", "en-US", "female"),
    Alias("p225", "VCTK P225", "en-GB", "female", description="British"),
    Alias("p226", "VCTK P226", "en-GB", "male", description="British"),
    Alias("tts_models/en/vctk/vits", "VCTK", "en-GB", description="British, many speakers"),
    Alias("v2/en_speaker_6", "Bark English 6", "en-US", "male", description="a preset of Bark's"),
)
_OPENAI = {
    "female": ("alloy", "coral", "nova", "sage", "shimmer", "marin"),
    "male": ("ash", "ballad", "echo", "fable", "onyx", "verse", "cedar"),
}
_SHAPE = re.compile(r"([a-z]{2,3})-([a-z]{2})-(female|male|neutral)-(fast|standard|premium)")


def aliases() -> tuple[Alias, ...]:
    """All that have a name; :func:`find_alias` knows every id of their shape as well."""
    return tuple(_named())


def _named() -> Iterator[Alias]:
    for id, name, description in _PEOPLE:
        for tier in KEEPERS:
            yield replace(_shaped(f"{id}-{tier}"), name=name, description=description)
    yield from _OTHERS
    for gender, names in _OPENAI.items():
        yield from (Alias(name, name.capitalize(), gender=gender) for name in names)


def find_alias(id: str) -> Alias | None:
    """What an id means that is no voice's here: one of :func:`aliases`, ``<language>-<region>-<gender>-<tier>``, or a voice of the catalog.

    Upper and lower case are the same, and ``vctk-p225`` is ``p225``. None when nobody knows it.
    """
    wanted = _plain(id.strip()).removeprefix("vctk-")
    for alias in aliases():
        if _plain(alias.id) == wanted:
            return alias
    if _SHAPE.fullmatch(wanted):
        return _shaped(wanted)
    if (entry := known_voices().get(id)) is not None:
        return Alias(id, language=entry.languages[0], gender=entry.gender)
    return next((Alias(id, voice.name, voice.language, voice.gender) for voice in edge_voices() if voice.id == id), None)


def nearest(alias: Alias, voices: Iterable[Voice], *, language: str = "") -> Voice | None:
    """Who comes nearest of these; None when nobody speaks its language.

    In this order: the language, who keeps its tier, the gender, the region; the order of ``voices`` decides what is left.
    ``language``: of the text, for an alias that has none of its own.
    """
    tag = (alias.language or language).lower()
    speakers = [voice for voice in voices if not tag or _primary(voice.language) == _primary(tag)]
    return min(
        speakers,
        key=lambda voice: (
            bool(alias.tier) and alias.tier not in kept_by(voice),
            bool(alias.gender) and voice.gender != alias.gender,
            bool(tag) and voice.language.lower() != tag,
        ),
        default=None,
    )


def ids_of(voices: Iterable[Voice]) -> dict[Voice, tuple[str, ...]]:
    """By voice, which of :func:`aliases` mean it to a text in its own language; those that it is no meaning of are not there."""
    groups: dict[str, list[Voice]] = {}
    for voice in voices:
        groups.setdefault(_primary(voice.language), []).append(voice)
    found: dict[Voice, tuple[str, ...]] = {}
    for language, group in groups.items():
        tags = sorted({voice.language for voice in group})
        meant: dict[tuple[Alias, str], Voice | None] = {}  # several names mean the same kind
        for alias in aliases():
            if alias.id == DEFAULT or (alias.language and _primary(alias.language) != language):
                continue
            kind = replace(alias, id="", name="", description="")
            for tag in [alias.language] if alias.language else tags:
                if (kind, tag) not in meant:
                    meant[kind, tag] = nearest(kind, group, language=tag)
                speaker = meant[kind, tag]
                if speaker is not None and tag in (alias.language, speaker.language):
                    found[speaker] = (*found.get(speaker, ()), alias.id)
    return found


def meaning(id: str, voices: Iterable[Voice], language: str) -> tuple[str, str] | None:
    """Id of the voice that speaks for an id that is no voice's here, and the tier that it promises; each may be empty.

    Without a voice (``default``, or nobody speaks its language) whoever fits the text does. None when nobody knows it.
    """
    alias = find_alias(id)
    if alias is None:
        return None
    if alias.id == DEFAULT:
        return "", ""
    # Who is asked to speak another language than its own is asked for as a kind of voice: the text's language is what counts.
    kind = replace(alias, language="") if alias.language and _primary(alias.language) != _primary(language) else alias
    voice = nearest(kind, voices, language=language)
    return (voice.id if voice is not None else ""), alias.tier


def _shaped(id: str) -> Alias:
    match = _SHAPE.fullmatch(id)
    assert match is not None, id
    language, region, gender, tier = match.groups()
    return Alias(id, language=f"{language}-{region.upper()}", gender="" if gender == "neutral" else gender, tier=tier)


def _plain(id: str) -> str:
    return id.lower().replace("_", "-").replace(" ", "-")


def _primary(language: str) -> str:
    return language.replace("_", "-").split("-")[0].lower()
