import pytest

from agent.inbound import is_for_us, may_send

FINAL = {"lk.transcription_final": "true", "language": "fr"}


@pytest.mark.parametrize(
    ("identity", "attributes", "senders", "expected"),
    [
        ("anybody", {}, ("*",), True),
        ("anybody", {}, (), False),
        ("translator-fr", {}, ("translator-*",), True),
        ("Translator-fr", {}, ("translator-*",), False),
        ("anybody", {"voicebooth.role": "upstream"}, (), True),
        ("anybody", {"voicebooth.role": "booth"}, (), False),
        ("server", {}, ("server",), True),
    ],
)
def test_who_may_send(identity: str, attributes: dict[str, str], senders: tuple[str, ...], expected: bool):
    assert may_send(identity, attributes, senders) is expected


@pytest.mark.parametrize(
    ("attributes", "expected"),
    [
        (FINAL, True),
        ({**FINAL, "language": "fr-CA"}, True),
        ({**FINAL, "language": "FR"}, True),
        ({**FINAL, "translated": "true"}, True),
        ({**FINAL, "translated": "false"}, False),
        ({**FINAL, "language": "de"}, False),
        ({"lk.transcription_final": "true"}, False),
        ({**FINAL, "lk.transcription_final": "false"}, False),
        ({"language": "fr"}, False),
        ({}, False),
    ],
)
def test_which_transcriptions_are_spoken(attributes: dict[str, str], expected: bool):
    assert is_for_us(attributes, ("en", "fr")) is expected
