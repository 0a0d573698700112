import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.gateway.errors import Refused
from agent.gateway.fields import SpeechBody, check_text, clip
from pipeline.protocol import Config


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


@pytest.mark.parametrize("field", ["voice", "engine", "language"])
def test_a_name_is_no_longer_than_the_protocol_has_it(field):
    long = "en" + "-aaaaaaaa" * 14  # 128 characters
    Config.model_validate({field: long})
    with pytest.raises(Refused) as caught:
        SpeechBody.check({"text": "a", field: long + "a"})
    assert (caught.value.code, caught.value.field) == ("too_long", field)


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
