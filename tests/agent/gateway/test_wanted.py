import pytest

from agent.gateway.errors import Refused
from agent.gateway.fields import SpeechBody
from agent.gateway.wanted import SYNONYMS, read


def wanted(**body):
    return read(SpeechBody.check({"text": "Hello.", **body}), characters=5_000, description=500)


@pytest.mark.parametrize(
    ("body", "field", "value"),
    [
        ({"speaker_id": "p225"}, "voice", "p225"),
        ({"tts_config": {"voice": "a"}}, "voice", "a"),
        ({"voice_config": {"language": "es_ES"}}, "language", "es-ES"),
        ({"model_name": "bark"}, "engine", "bark"),
        ({"options": {"format": "ogg"}}, "format", "ogg"),
        ({"output_format": "mp3"}, "format", "mp3"),
        ({"response_format": "mp3"}, "format", "mp3"),
        ({"response_format": "json"}, "format", ""),
        ({"batch_config": {"enable_caching": False}}, "use_cache", False),
        ({"server_config": {"optimization_level": "low"}}, "strategy", "speed_first"),
        ({"server_features": {"quality_preset": "maximum", "optimization_level": "low"}}, "strategy", "quality_first"),
        ({"optimization_level": "high"}, "strategy", "auto"),
        ({"optimization_level": "balanced"}, "strategy", "auto"),
        ({"options": {"budget_ms": 700}}, "budget", 700),
        ({}, "use_cache", True),
    ],
)
def test_every_name_works_in_every_body(body, field, value):
    assert getattr(wanted(**body), field) == value


def test_the_text_may_be_called_json():
    assert wanted(text="json").text == "json"


def test_equal_values_under_two_names_pass_and_different_ones_do_not():
    assert wanted(voice_id="a", options={"voice": "a"}).voice == "a"
    for canonical, names in SYNONYMS.items():
        if canonical in ("text", "use_cache", "format"):
            continue
        with pytest.raises(Refused) as caught:
            wanted(**{names[0]: "a", names[1]: "b"})
        assert caught.value.code == "conflicting_fields"
        assert [detail["field"] for detail in caught.value.details] == [names[0], names[1]]


def test_the_limit_of_a_text_is_the_setting_s():
    with pytest.raises(Refused, match="at most 3 characters"):
        read(SpeechBody.check({"text": "abcd"}), characters=3, description=500)
