from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import numpy as np

from agent.pump import Feed, Pump, TrackSettings
from agent.track import SETTLE, Track
from pipeline.playout import PlayoutBuffer

RATE = 24_000


class FakePump(Pump):
    def __init__(self) -> None:
        super().__init__()
        self.log: list[str] = []

    def rouse(self, feed: Feed) -> None:
        self.log.append("rouse")

    def stop(self, feed: Feed) -> None:
        self.log.append("stop")


class FakeParticipant:
    async def publish_track(self, track: Any, options: Any) -> Any:
        return SimpleNamespace(sid="TR_1")


async def published(*, attended: bool, wait: float = 0.05) -> tuple[Track, FakePump, PlayoutBuffer]:
    buffer, pump = PlayoutBuffer(RATE, on_cue=lambda cue, now: None), FakePump()
    track = Track("booth-en", buffer, pump, TrackSettings(first_word_wait=wait), has_audience=lambda: attended)
    await track.publish(FakeParticipant())  # type: ignore[arg-type]
    return track, pump, buffer


async def test_where_nobody_could_listen_the_first_word_does_not_wait():
    track, pump, buffer = await published(attended=False)
    assert track.sid == "TR_1"
    buffer.write("s", np.ones(10, dtype=np.int16))
    await asyncio.sleep(0.01)
    assert pump.log == ["rouse"]
    buffer.rouse()
    assert pump.log == ["rouse", "rouse"]
    await track.aclose()


async def test_the_first_word_waits_for_a_listener_and_its_connection_and_silence_goes_before_it():
    track, pump, buffer = await published(attended=True, wait=5.0)
    buffer.rouse()
    await asyncio.sleep(0.02)
    assert pump.log == []
    subscribed = asyncio.get_running_loop().time()
    track.on_subscribed()
    await asyncio.sleep(0.02)
    assert pump.log == ["rouse"] and track._feed.is_held
    while track._feed.is_held:  # noqa: ASYNC110 - nobody is told of it
        await asyncio.sleep(0.005)
    assert asyncio.get_running_loop().time() - subscribed >= SETTLE
    assert pump.log == ["rouse", "rouse"]
    await track.aclose()


async def test_a_listener_who_does_not_come_is_not_waited_for_beyond_the_setting():
    track, _, buffer = await published(attended=True)
    buffer.rouse()
    async with asyncio.timeout(2):
        while track._feed.is_held:  # noqa: ASYNC110
            await asyncio.sleep(0.005)
    await track.aclose()


async def test_a_track_that_was_closed_is_roused_by_nobody():
    track, pump, buffer = await published(attended=True, wait=5.0)
    await track.aclose()
    buffer.write("s", np.ones(10, dtype=np.int16))
    await asyncio.sleep(0.01)
    assert pump.log == ["stop"]
    assert buffer.in_hand > 0
