import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.gateway.errors import Refused
from agent.gateway.fields import SpeechBody, check_text, clip


def test_wrong_fields_are_all_named():
    with pytest.raises(Refused) as caught:
        SpeechBody.check({"text": 1, "speed": 3.0, "options": {"voice": []}})
    assert [detail["field"] for detail in caught.value.details] == ["speed", "text", "options.voice"] or {
        detail["field"] for detail in caught.value.details
    } == {"speed", "text", "options.voice"}


def test_numbers_are_not_read_out_of_words():
    for wrong in ("1.0", True, [], {}):
        with pytest.raises(Refused):
            SpeechBody.check({"text": "a", "speed": wrong})
    assert SpeechBody.check({"text": "a", "speed": 1}).speed == 1


@given(st.text(max_size=200))
def test_a_text_passes_or_is_refused_for_a_reason(text):
    try:
        assert check_text(text, 100) == text
    except Refused as refused:
        assert refused.code in ("text_required", "text_too_long", "bad_text", "not_supported")


@given(st.text())
def test_a_caller_s_words_are_printable_and_short_when_they_are_said_back(words):
    assert clip(words).isprintable()
    assert len(clip(words)) <= 10 * 65
