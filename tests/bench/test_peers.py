from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import numpy as np
from livekit import rtc

from bench.peers import TOPIC, Adapter, Direct, Fallback, Peer, Whole, synthesize
from engines.base import Pace, Request
from engines.scripted import Die, Scripted
from engines.tone import ToneEngine


class Voice:
    """Says a hundredth of a second for each character, one sentence after the other, as ``piper-tts`` would."""

    config = SimpleNamespace(sample_rate=16_000)

    def synthesize(self, text: str) -> Iterator[Any]:
        for sentence in text.split("\n"):
            yield SimpleNamespace(audio_int16_array=np.full(160 * len(sentence), 1000, dtype=np.int16))


class Source:
    """Stands for a track."""

    def __init__(self) -> None:
        self.frames: list[rtc.AudioFrame] = []

    async def capture_frame(self, frame: rtc.AudioFrame) -> None:
        self.frames.append(frame)

    @property
    def samples(self) -> int:
        return sum(frame.samples_per_channel for frame in self.frames)


async def spoken(peer: Peer, text: str) -> Source:
    peer.source = Source()  # type: ignore[assignment]
    async with asyncio.timeout(5.0):
        await peer.speak(text)
    return peer.source  # type: ignore[return-value]


def test_all_of_a_text_is_made() -> None:
    assert len(synthesize(Voice(), "One.\nTwo.")) == 160 * 8  # type: ignore[arg-type]


async def test_the_whole_sentence_goes_into_the_track_at_once() -> None:
    source = await spoken(Whole(Voice()), "One is here.")  # type: ignore[arg-type]
    assert [frame.samples_per_channel for frame in source.frames] == [160 * 12]


async def test_the_framework_speaks_all_of_it_in_its_own_frames() -> None:
    source = await spoken(Adapter(Voice()), "This is the first sentence. And this is the second one.")  # type: ignore[arg-type]
    assert 160 * 54 <= source.samples <= 160 * 54 + 1600  # it ends with a little silence of its own
    assert len(source.frames) > 1


async def test_the_direct_peer_pushes_the_very_tones_of_the_engine() -> None:
    source = await spoken(Direct(), "we speak now")
    engine = ToneEngine()
    engine.load()
    tones = np.concatenate([chunk.samples for chunk in engine.synthesize(Request("we speak now"), Pace())])
    assert bytes(source.frames[0].data) == tones.tobytes()


async def test_only_texts_for_peers_are_spoken() -> None:
    peer = Direct()
    for topic in ("chat", TOPIC):
        peer._on_data(rtc.DataPacket(data=json.dumps({"text": topic}).encode(), kind=0, participant=None, topic=topic))
    assert peer._texts.get_nowait() == TOPIC
    assert peer._texts.empty()


async def test_the_framework_goes_over_to_the_next_engine_when_one_raises() -> None:
    refuses, speaks = Scripted("first", faults={0: Die()}, rehearsals=0), Scripted("second", rehearsals=0)
    source = await spoken(Fallback(refuses, speaks), "One two three.")
    assert refuses.begun and speaks.begun == 1
    assert 3 * 4800 <= source.samples <= 3 * 4800 + 2400
