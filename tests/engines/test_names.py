import pytest

from engines.names import is_known, known


@pytest.mark.parametrize(
    ("asked", "name"),
    [
        ("kokoro", "kokoro"),
        ("Kokoro-82M", "kokoro"),
        ("suno/bark", "bark"),
        ("edge-tts", "edge"),
        ("parrot", ""),
        ("barking", ""),
        ("", ""),
    ],
)
def test_an_engine_is_known_by_every_name_of_it(asked, name):
    assert known(asked) == name


@pytest.mark.parametrize(("asked", "is_one"), [("auto", True), ("Default", True), ("vits", True), ("parrot", False)])
def test_what_may_be_wished_for(asked, is_one):
    assert is_known(asked) is is_one
