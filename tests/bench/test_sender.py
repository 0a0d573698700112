from __future__ import annotations

import json
import time
from typing import Any

import pytest
from livekit import rtc

from bench.listener import EVENTS_TOPIC
from bench.sender import TEXT_TOPIC, Sender


class Wire:
    """Stands for a room: keeps what is published, and answers the second ``hello``."""

    def __init__(self) -> None:
        self.sent: list[tuple[dict[str, Any], str, list[str]]] = []
        self.local_participant = self
        self.hellos = 0

    def on(self, name: str, handler: Any) -> None:
        self.hear = handler

    async def publish_data(self, data: bytes, *, reliable: bool, topic: str, destination_identities: list[str]) -> None:
        assert reliable
        message = json.loads(data)
        self.sent.append((message, topic, destination_identities))
        self.hellos += message["type"] == "hello" if "type" in message else 0
        if self.hellos == 2:
            self.hear(rtc.DataPacket(data=b'{"type": "ready"}', kind=0, participant=None, topic=EVENTS_TOPIC))


@pytest.fixture
def wire(monkeypatch: pytest.MonkeyPatch) -> Wire:
    made = Wire()
    monkeypatch.setattr(rtc, "Room", lambda: made)
    return made


async def test_a_text_carries_an_utterance_of_its_own_and_when_it_was_sent(wire: Wire) -> None:
    sender = Sender("ws://nowhere", "room", jwt="token")
    before = time.monotonic()
    first, second = await sender.say("One."), await sender.say("Two.", language="fr")
    assert first.utterance != second.utterance
    assert before <= first.at <= second.at
    message, topic, to = wire.sent[1]
    assert message == {"type": "text", "text": "Two.", "utterance": second.utterance, "language": "fr"}
    assert (topic, to) == (TEXT_TOPIC, [])


async def test_cancel_and_messages_to_one_participant(wire: Wire) -> None:
    sender = Sender("ws://nowhere", "room", jwt="token")
    await sender.cancel()
    await sender.send({"text": "One."}, topic="bench.peer", to="whole")
    assert wire.sent == [({"type": "cancel"}, TEXT_TOPIC, []), ({"text": "One."}, "bench.peer", ["whole"])]


async def test_hello_is_said_again_until_there_is_an_answer(wire: Wire) -> None:
    sender = Sender("ws://nowhere", "room", jwt="token")
    assert (await sender.ready(timeout=5.0)).event == {"type": "ready"}
    assert wire.hellos == 2
