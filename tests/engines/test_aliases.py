"""Ids that mean a kind of voice, and who is nearest to it."""

from __future__ import annotations

import pytest

from engines.aliases import Alias, aliases, find_alias, ids_of, meaning, nearest
from engines.base import Voice
from engines.tiers import tier_of


def voice(id: str, engine: str, language: str, gender: str) -> Voice:
    return Voice(id, engine, language, 24_000, gender=gender, tier=tier_of(engine))


HERE = (
    voice("af_heart", "kokoro", "en-US", "female"),
    voice("bm_george", "kokoro", "en-GB", "male"),
    voice("ff_siwis", "kokoro", "fr-FR", "female"),
    voice("en_US-joe-medium", "piper", "en-US", "male"),
    voice("claribel", "xtts", "en", "female"),
    voice("fr-CA-AntoineNeural", "edge", "fr-CA", "male"),
)


def who(id: str, language: str = "") -> str | None:
    alias = find_alias(id)
    assert alias is not None
    found = nearest(alias, HERE, language=language)
    return found.id if found else None


def test_every_alias_is_one_of_its_kind() -> None:
    known = aliases()
    assert len({alias.id for alias in known}) == len(known)
    assert len(known) == 14 * 3 + 6 + 13
    assert all(alias.name for alias in known)
    sarah = find_alias("en-us-female-premium")
    assert sarah == Alias("en-us-female-premium", "Sarah", "en-US", "female", "premium", "General American")


@pytest.mark.parametrize(
    ("id", "nearby"),
    [
        ("en-us-female-premium", "claribel"),
        ("en-us-female-fast", "af_heart"),
        ("en-us-male-standard", "en_US-joe-medium"),
        ("EN-GB-male-fast", "bm_george"),
        ("fr-ca-male-standard", "ff_siwis"),  # the tier's engines come before the region
        ("de-de-female-premium", None),
        ("ljspeech", "af_heart"),
        ("VCTK P226", "bm_george"),
        ("vctk_p225", "af_heart"),
        ("en_US-lessac-medium", "af_heart"),
        ("en_GB-alan-medium", "bm_george"),
        ("fr-CA-JeanNeural", "fr-CA-AntoineNeural"),
        ("v2/en_speaker_6", "en_US-joe-medium"),
        ("V2/EN_Speaker_6", "en_US-joe-medium"),
        ("tts_models/en/vctk/vits", "bm_george"),
        ("default", "af_heart"),
        ("onyx", "bm_george"),
    ],
)
def test_the_nearest_voice_speaks(id: str, nearby: str | None) -> None:
    assert who(id) == nearby


def test_a_name_without_a_language_speaks_that_of_the_text() -> None:
    assert who("nova", "fr") == "ff_siwis"
    assert who("onyx", "fr-CA") == "fr-CA-AntoineNeural"
    assert who("default", "tlh") is None


@pytest.mark.parametrize(
    "id", ["v2/en_speaker_", "tts_models/en/ljspeech", "anna", "en-us-female", "en-us-female-cheap", "", "en_US-nobody-low"]
)
def test_what_nobody_knows_means_nothing(id: str) -> None:
    assert find_alias(id) is None


@pytest.mark.parametrize(
    ("id", "language", "meant"),
    [
        ("en-us-female-premium", "en", ("claribel", "premium")),
        ("ljspeech", "en", ("af_heart", "")),
        ("onyx", "fr", ("fr-CA-AntoineNeural", "")),
        ("de-de-male-fast", "en_GB", ("bm_george", "fast")),  # the text's language counts, and a man of the tier's engines speaks it
        ("de-de-male-fast", "de", ("", "fast")),
        ("default", "en", ("", "")),
        ("Donald", "en", None),
        ("", "en", None),
    ],
)
def test_what_an_id_means_for_a_text(id: str, language: str, meant: tuple[str, str] | None) -> None:
    assert meaning(id, HERE, language) == meant


def test_ids_of_a_voice_are_those_that_mean_it() -> None:
    found = ids_of(HERE)
    for voice in HERE:
        for alias in aliases():
            is_it = meaning(alias.id, HERE, voice.language) == (voice.id, alias.tier)
            is_its_language = alias.language[:2] in ("", voice.language[:2])
            assert (alias.id in found.get(voice, ())) == (is_it and is_its_language), (voice.id, alias.id)
    assert all(len(set(ids)) == len(ids) for ids in found.values())
