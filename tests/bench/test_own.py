from __future__ import annotations

import re
from collections.abc import Iterator

import aiohttp
import numpy as np
import pytest

from bench.own import Noted, first_sound, noted, steady
from engines.base import NO_SAMPLES, Chunk, Pace, Request
from engines.tone import ToneEngine

LOUD = Chunk(np.full(2400, 3000, dtype=np.int16))


def test_an_engine_alone_is_heard_at_once() -> None:
    engine = ToneEngine()
    engine.load()
    assert 0 < first_sound(engine, "One two three.") < 0.5
    with pytest.raises(Exception, match="word"):
        first_sound(engine, "...")


def test_only_what_an_engine_works_until_it_is_heard_is_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [0.0]
    monkeypatch.setattr("bench.own.time.perf_counter", lambda: clock[0])
    notes: list[tuple[str, float]] = []

    def synthesize(engine: object, request: Request, pace: Pace) -> Iterator[Chunk]:
        for seconds, chunk in ((0.03, Chunk(NO_SAMPLES)), (0.02, Chunk(np.zeros(240, dtype=np.int16))), (0.04, LOUD), (0.5, LOUD)):
            clock[0] += seconds
            yield chunk

    engine = ToneEngine()
    engine.load()
    for _ in noted(synthesize, lambda text, seconds: notes.append((text, seconds)))(engine, Request("One."), Pace()):  # type: ignore[arg-type]
        clock[0] += 7.0  # on the way to the loop and back
    assert notes == [("One.", pytest.approx(0.09))]


def test_what_is_added_to_a_text_is_told_by_its_medians() -> None:
    pairs = [("one", 0.1, 0.104), ("one", 0.1, 0.150), ("one", 0.140, 0.104), ("two", 0.2, 0.209)]
    assert steady(pairs) == [pytest.approx(0.004), pytest.approx(0.009)]
    assert steady([]) == []


async def test_a_node_notes_what_its_engine_says_for_a_client_and_alone() -> None:
    environment = {"LIVEKIT_URL": "", "VOICEBOOTH_SERVER__PORTS": "0", "VOICEBOOTH_SELECTION__FALLBACK_CHAIN": "tone"}
    async with Noted(environment) as node:
        await node.process.says("ready   node", timeout=60)
        (address,) = re.findall(r"open\s+(http://\S+)", node.process.output())
        texts = ("Yes, it is so.", "No, it is not.")
        async with aiohttp.ClientSession(address) as client:
            for text in texts:
                async with client.post("/synthesize", json={"text": text, "use_cache": False}) as answer:
                    assert answer.status == 200
                assert 0 < await node.alone(texts[0]) < 0.5
                assert 0 < node.take(text) < 0.5
        with pytest.raises(ValueError, match="no engine"):
            node.take(texts[0])
