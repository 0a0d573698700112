import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.chain import CHARACTER
from pipeline.pace import reached, word_start

ENGLISH = "The harbour is open."
JAPANESE = "きょうはとてもいい天気です。"
THAI = "สวัสดีครับทุกคนที่นี่"


@pytest.mark.parametrize(
    ("text", "seconds", "index"),
    [
        (ENGLISH, 0.0, 0),
        (ENGLISH, 10 * CHARACTER + 0.01, 10),
        ("今天天气很好。", 0.9, 4),
        (JAPANESE, 1.0, 7),
        (ENGLISH, 60.0, len(ENGLISH)),
    ],
)
def test_how_far_it_has_come_depends_on_the_script(text, seconds, index):
    assert reached(text, 0, seconds) == index


def test_it_is_counted_from_where_it_was_begun():
    assert reached(ENGLISH, 4, 3.5 * CHARACTER) == 7


@pytest.mark.parametrize(
    ("text", "index", "start"),
    [
        (ENGLISH, 7, 4),
        (ENGLISH, 4, 4),
        (ENGLISH, 3, 0),
        (ENGLISH, len(ENGLISH), 15),
        ("今天天气很好。", 4, 4),
        ("今天天气很好。", 6, 5),
        (JAPANESE, 1, 0),
        (JAPANESE, 2, 2),
        ("大きなVoiceです", 6, 3),
        ("大きなVoiceです", 8, 8),
        (THAI, THAI.index("ว") + 1, THAI.index("ว")),
        ("เรือใบ", 1, 0),
        ("", 0, 0),
    ],
)
def test_a_word_begins_after_a_space_and_in_some_scripts_with_each_syllable(text, index, start):
    assert word_start(text, index) == start


@given(st.text(alphabet="ab 今天きゃเร ัา。,", max_size=30), st.integers(0, 40), st.floats(0, 10))
def test_nobody_goes_on_behind_what_has_been_said(text, start, seconds):
    start = min(start, len(text))
    index = reached(text, start, seconds)
    assert start <= index <= len(text)
    assert 0 <= word_start(text, index) <= index
