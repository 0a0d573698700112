"""A real voice through the WebSocket door, understood by a recogniser."""

from __future__ import annotations

import numpy as np
import pytest

from agent.config import Settings
from agent.gateway.app import make_app
from agent.gateway.serving import Doors
from agent.node import Node
from bench.recognition import transcribe, word_errors
from tests.agent.gateway.socket.client import talking

pytestmark = pytest.mark.voice
TEXT = "When the last of the guests had gone home, the cook opened the kitchen door. Then she listened to the rain for a while."


async def test_a_piper_voice_is_understood_and_its_first_sound_comes_long_before_its_last() -> None:
    settings = Settings.model_validate({"selection": {"fallback_chain": ["piper"]}, "server": {"ports": [0]}})
    async with Node(settings) as node, Doors(make_app(node), settings.server, settings.ws) as doors:
        await node.ready()
        async with talking(doors.addresses[0]) as client:
            await client.send(text=TEXT, sample_rate=16_000)
            last = await client.until(is_final=True, timeout=60)
    samples = np.frombuffer(client.pcm, dtype="<i2")
    assert len(samples) / 16_000 == pytest.approx(last["duration_seconds"], abs=0.01)
    assert 5 < last["duration_seconds"] < 10 and last["ttfa_ms"] < 1000
    assert word_errors(TEXT, transcribe(samples, 16_000)) <= 0.12
