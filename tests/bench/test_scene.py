from __future__ import annotations

import asyncio
import json
import time
from typing import Any

import numpy as np
import pytest
from livekit import rtc

from bench.hearing import FRAME, FRAME_SAMPLES
from bench.listener import EVENTS_TOPIC, Ear, Reception
from bench.processes import Usage
from bench.scene import NODE, PEER_TOPIC, Heard, Scene
from bench.sender import Sender
from tests.bench.test_hearing import recording, sine


class Wire:
    """Stands for the room and everybody in it: whoever gets a text is heard half a second later, for a second."""

    def __init__(self, ears: dict[str, Ear]) -> None:
        self.local_participant = self
        self.ears = ears
        self.topics: list[str] = []

    def on(self, name: str, handler: Any) -> None:
        self.hear = handler

    async def publish_data(self, data: bytes, *, reliable: bool, topic: str, destination_identities: list[str]) -> None:
        self.topics.append(topic)
        system = destination_identities[0] if destination_identities else NODE
        if system == NODE:
            started = {"type": "speech_started", "utterance": json.loads(data)["utterance"], "ttft_ms": 31}
            self.hear(rtc.DataPacket(data=json.dumps(started).encode(), kind=0, participant=None, topic=EVENTS_TOPIC))
        start = time.monotonic()
        for number in range(300):
            loud = 50 <= number < 150
            self.ears[system].feed(np.full(FRAME_SAMPLES, 5000 if loud else 0, dtype=np.int16), start + FRAME * number)


class Idle:
    """A process that uses half a core."""

    def __init__(self) -> None:
        self.cpu = 0.0

    def usage(self) -> Usage:
        self.cpu += 0.25
        return Usage(time.monotonic(), self.cpu, 100.0)


@pytest.fixture
def scene(monkeypatch: pytest.MonkeyPatch) -> tuple[Scene, Wire]:
    ears = {NODE: Ear("booth-en"), "whole": Ear("whole")}
    wire = Wire(ears)
    monkeypatch.setattr(rtc, "Room", lambda: wire)
    processes: Any = dict.fromkeys(ears, Idle())
    return Scene(Sender("ws://nowhere", "room", jwt="token"), None, ears, processes), wire  # type: ignore[arg-type]


async def test_the_node_and_a_peer_are_measured_by_the_same_question(scene: tuple[Scene, Wire]) -> None:
    stage, wire = scene
    async with asyncio.timeout(5.0):
        ours, theirs = await stage.say(NODE, "Good morning."), await stage.say("whole", "Good morning.")
    assert wire.topics == ["voicebooth.text", PEER_TOPIC]
    for heard in (ours, theirs):
        assert heard.characters == 13
        assert heard.ttfa == pytest.approx(0.5, abs=0.05)
        assert heard.sound == pytest.approx(1.0, abs=0.05)
        assert heard.real_time == pytest.approx(1.5, abs=0.1)
        assert heard.cpu == 0.25
    assert (ours.node_ttft, theirs.node_ttft) == (0.031, None)


def test_work_is_told_per_second_of_sound() -> None:
    heard = Heard("whole", 13, 0.5, None, 2.0, 0.5, Reception(0, 0, 0), "", recording(sine(0.1, -20)))
    assert heard.cpu_per_second == 0.25
