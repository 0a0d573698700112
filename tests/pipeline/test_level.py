import pytest

from pipeline.level import level_of


@pytest.mark.parametrize(
    ("engines", "expected"),
    [
        ({"a": ""}, (0, "")),
        ({"a": "", "b": ""}, (0, "")),
        ({"a": "", "b": "rests", "c": ""}, (1, "b: rests")),
        ({"a": "", "b": "gone"}, (2, "b: gone")),
        ({"a": "rests", "b": "gone"}, (3, "a: rests; b: gone")),
        ({}, (3, "")),
    ],
)
def test_the_level_is_what_is_left(engines, expected):
    assert level_of(engines) == expected
