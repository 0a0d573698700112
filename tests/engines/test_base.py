"""What every engine has, whoever wrote it."""

from __future__ import annotations

from collections.abc import Generator

import pytest

from engines.base import BadModel, Chunk, Engine, EngineError, EngineUnavailable, Pace, Request, UnknownVoice, Voice


class Two(Engine):
    name = "two"
    build = "1"

    def load(self) -> None: ...

    def unload(self) -> None: ...

    def voices(self) -> tuple[Voice, ...]:
        return Voice("anna", "two", "de-DE", 16_000), Voice("bob", "two", "en-US", 22_050)

    def synthesize(self, request: Request, pace: Pace) -> Generator[Chunk, None, None]:
        yield from ()


class Unloaded(Two):
    def voices(self) -> tuple[Voice, ...]:
        return ()


def test_a_voice_is_found_by_its_id_and_the_first_is_the_default() -> None:
    assert Two().voice("bob").sample_rate == 22_050
    assert Two().voice("").id == "anna"


def test_a_voice_that_is_not_there_is_told_with_those_that_are() -> None:
    with pytest.raises(UnknownVoice, match="no voice 'carl'; it has: anna, bob"):
        Two().voice("carl")
    with pytest.raises(UnknownVoice, match="none loaded"):
        Unloaded().voice("")


def test_a_request_without_a_voice_is_spoken_by_one_of_its_language() -> None:
    found = {language: Two().choose(Request("x", language=language)).id for language in ("", "en", "en-GB", "EN-us", "de")}
    assert found == {"": "anna", "en": "bob", "en-GB": "bob", "EN-us": "bob", "de": "anna"}
    assert Two().choose(Request("x", voice="anna", language="en")).id == "anna"


def test_a_language_that_nobody_speaks_is_told_with_those_that_somebody_does() -> None:
    with pytest.raises(UnknownVoice, match="no voice for 'fi'; it speaks: de-DE, en-US") as told:
        Two().choose(Request("x", language="fi"))
    assert told.value.remedy == "voicebooth voices --engine two"
    with pytest.raises(UnknownVoice, match="none loaded"):
        Unloaded().choose(Request("x", language="fi"))


def test_an_error_carries_what_mends_it() -> None:
    error = EngineUnavailable("no voice is installed", remedy="voicebooth models list")
    assert (str(error), error.remedy) == ("no voice is installed (voicebooth models list)", "voicebooth models list")
    assert (str(EngineError("it broke")), EngineError("it broke").remedy) == ("it broke", "")


def test_one_kind_of_error_leaves_an_engine() -> None:
    assert all(issubclass(kind, EngineError) for kind in (BadModel, EngineUnavailable, UnknownVoice))
    assert issubclass(BadModel, EngineUnavailable)
