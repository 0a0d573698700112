import pytest

from agent.casting import Role, UnknownVoice, cast
from engines.base import Voice


def voice(id, engine, language, gender):
    return Voice(id, engine, language, 24_000, gender=gender)


OFFERS = {
    "piper": (
        voice("joe", "piper", "en-US", "male"),
        voice("alba", "piper", "en-GB", "female"),
        voice("siwis", "piper", "fr-FR", "female"),
    ),
    "kokoro": (voice("bella", "kokoro", "en-US", "female"), voice("george", "kokoro", "en-GB", "male")),
}


@pytest.mark.parametrize(
    ("wish", "role"),
    [
        ({}, Role()),
        ({"language": "fr"}, Role(language="fr")),
        ({"voice": "default"}, Role()),
        ({"voice": "siwis"}, Role("siwis", "fr-FR")),
        ({"voice": "siwis", "language": "en"}, Role("siwis", "en")),
        ({"voice": "nova"}, Role("alba")),
        ({"voice": "nova", "language": "fr"}, Role("siwis", "fr")),
        ({"voice": "en-us-female-fast"}, Role("bella", "en-US", 0.150)),
        ({"voice": "p226"}, Role("george", "en-GB")),
        ({"description": "neutral voice"}, Role()),
        ({"description": "A British man"}, Role("george", "en-GB")),
        ({"description": "a woman who speaks French, slowly"}, Role("siwis", "fr", pace=0.85)),
        ({"description": "quick"}, Role(pace=1.15)),
        ({"voice": "joe", "description": "a British woman"}, Role("joe", "en-US")),
    ],
)
def test_a_wish_finds_whoever_comes_nearest(wish, role):
    assert cast(OFFERS, **wish) == role


def test_an_id_that_nobody_knows_is_not_guessed_at():
    for id in ("parrot", "../../etc/passwd", "\x00", "x" * 10_000):
        with pytest.raises(UnknownVoice):
            cast(OFFERS, voice=id)


def test_nobody_here_is_nobody():
    assert cast({}, voice="nova", language="en") == Role("", "en")
