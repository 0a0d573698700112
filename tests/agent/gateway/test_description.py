import pytest

from agent.gateway.description import Role, describe
from engines.base import Voice


def voice(id, engine, language, gender):
    return Voice(id, engine, language, 24_000, gender=gender)


VOICES = (
    voice("joe", "piper", "en-US", "male"),
    voice("alba", "piper", "en-GB", "female"),
    voice("siwis", "piper", "fr-FR", "female"),
    voice("bella", "kokoro", "en-US", "female"),
    voice("george", "kokoro", "en-GB", "male"),
)


@pytest.mark.parametrize(
    ("words", "language", "role"),
    [
        ("neutral voice", "", Role()),
        ("A British man", "", Role("george", "en-GB")),
        ("a woman who speaks French, slowly", "", Role("siwis", "fr", pace=0.85)),
        ("a French woman", "en", Role("alba", "en")),
        ("quick", "", Role(pace=1.15)),
        ("quick", "fr", Role("siwis", "fr", pace=1.15)),
    ],
)
def test_words_find_whoever_comes_nearest(words, language, role):
    assert describe(words, VOICES, language=language) == role


def test_nobody_here_is_nobody():
    assert describe("a woman", (), language="en") == Role("", "en")
