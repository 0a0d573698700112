from __future__ import annotations

import asyncio
import json
from typing import Any

import numpy as np
import pytest
from livekit import api, rtc

from bench.hearing import FRAME, FRAME_SAMPLES
from bench.listener import EVENTS_TOPIC, Ear, EventLog, token

LOUD = np.full(FRAME_SAMPLES, 5000, dtype=np.int16)
SILENT = np.zeros(FRAME_SAMPLES, dtype=np.int16)


def fill(ear: Ear, start: float, *parts: tuple[float, bool]) -> None:
    now = start
    for seconds, loud in parts:
        for _ in range(round(seconds / FRAME)):
            ear.feed(LOUD if loud else SILENT, now)
            now += FRAME


async def test_an_ear_hears_the_sound_that_comes_while_it_waits() -> None:
    ear = Ear("booth-en")
    waiting = asyncio.ensure_future(ear.onset(after=10.0, timeout=1.0))
    await asyncio.sleep(0)
    fill(ear, 10.0, (0.1, False), (0.2, True))
    assert await waiting == pytest.approx(10.1)


async def test_an_ear_waits_for_a_silence_that_lasts() -> None:
    ear = Ear("booth-en")
    fill(ear, 0.0, (0.2, True), (0.3, False), (0.2, True), (0.6, False))
    assert await ear.silence(after=0.0, hold=0.5) == pytest.approx(0.69)
    with pytest.raises(TimeoutError):
        await ear.silence(after=0.0, hold=2.0, timeout=0.01)


async def test_waiting_for_a_sound_that_never_comes_ends() -> None:
    with pytest.raises(TimeoutError):
        await Ear("booth-en").onset(after=0.0, timeout=0.01)


def test_an_ear_keeps_no_more_than_it_may() -> None:
    ear = Ear("booth-en", kept=1.0)
    fill(ear, 0.0, (3.0, True))
    heard = ear.recording()
    assert heard.seconds == pytest.approx(1.0)
    assert heard.arrivals[0] == pytest.approx(2.0)
    assert ear.recording(after=2.495).seconds == pytest.approx(0.5)


class Wire:
    """Stands for a room: hands packets to whoever listens."""

    def on(self, name: str, handler: Any) -> None:
        assert name == "data_received"
        self.send = handler


def packet(topic: str, **event: Any) -> rtc.DataPacket:
    return rtc.DataPacket(data=json.dumps(event).encode(), kind=0, participant=None, topic=topic)


async def test_the_log_keeps_events_of_the_node_only_and_finds_them_by_field() -> None:
    wire = Wire()
    log = EventLog(wire)  # type: ignore[arg-type]
    waiting = asyncio.ensure_future(log.wait("speech_started", utterance="u2", timeout=1.0))
    await asyncio.sleep(0)
    wire.send(packet("chat", type="speech_started", utterance="u2"))
    wire.send(packet(EVENTS_TOPIC, type="speech_started", utterance="u1"))
    wire.send(packet(EVENTS_TOPIC, type="speech_started", utterance="u2", ttft_ms=40))
    assert (await waiting).event["ttft_ms"] == 40
    assert [note.event["utterance"] for note in log.of("speech_started")] == ["u1", "u2"]
    with pytest.raises(TimeoutError):
        await log.wait("pong", timeout=0.01)


def test_a_token_opens_one_room_for_one_identity() -> None:
    secret = "0123456789abcdef" * 2
    jwt = token("r", "ada", secret=secret, data=False, attributes={"voicebooth.role": "upstream"})
    claims = api.TokenVerifier("devkey", secret).verify(jwt)
    assert claims.identity == "ada"
    assert claims.video is not None
    assert (claims.video.room, claims.video.can_publish_data) == ("r", False)
    assert claims.attributes == {"voicebooth.role": "upstream"}
