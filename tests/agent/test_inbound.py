from types import SimpleNamespace
from typing import Any

import pytest

from agent.inbound import Aborted, Inbound, InboundSettings, Letter, Said, is_for_us, may_send
from pipeline.events import Failure

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


class FakeRoom:
    def __init__(self) -> None:
        self.remote_participants: dict[str, Any] = {}

    def on(self, *_: Any) -> None: ...

    def register_text_stream_handler(self, *_: Any) -> None: ...


class FakeReader:
    info = SimpleNamespace(attributes={"utterance": "u"}, stream_id="1")

    async def __aiter__(self):
        for chunk in ("One ", "two ", "three."):
            yield chunk


@pytest.mark.parametrize(("taken", "is_told"), [(0, False), (1, True), (3, True), (4, False)])
async def test_a_stream_that_the_node_cannot_take_to_its_end_is_broken_off(taken: int, is_told: bool):
    """Three parts, and the end."""
    letters: list[Letter] = []
    told: list[Any] = []

    def post(letter: Letter, *, urgent: bool = False) -> bool:
        if urgent or len(letters) < taken:
            letters.append(letter)
            return True
        return False

    room: Any = FakeRoom()
    inbound = Inbound(room, InboundSettings(), ("en",), post=post, tell=lambda sender, event: told.append(event))
    reader: Any = FakeReader()
    await inbound._deltas(reader, "ada")
    assert [letter for letter in letters if isinstance(letter, Aborted)] == ([Aborted("ada", "u")] if is_told else [])
    assert sum(isinstance(letter, Said) for letter in letters) == taken
    assert [event.code for event in told if isinstance(event, Failure)] == (["overloaded"] if taken < 4 else [])
