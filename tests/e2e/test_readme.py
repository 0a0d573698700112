"""The blocks of the README about the doors run as they stand; only the port is another."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from livekit import rtc
from livekit.agents import AgentSession
from livekit.agents.utils import http_context

from tests.agent.gateway.conftest import decoded
from tests.e2e.conftest import Alone, pitches, sounds_like

ROOT = Path(__file__).parents[2]
ADDRESS = "http://127.0.0.1:8003"
PLUGIN = "from livekit.plugins import voicebooth"


def blocks(page: str, heading: str, language: str, holds: str = "") -> str:
    """The first block in that language under that heading, in which that stands."""
    text = (ROOT / page).read_text(encoding="utf-8").partition(f"{heading}\n")[2]
    found = [block for block in re.findall(rf"```{language}\n(.*?)```", text.split("\n## ")[0], re.DOTALL) if holds in block]
    assert found, (page, heading)
    return found[0]


@pytest.mark.parametrize(("page", "heading"), [("README.md", "## Ask over HTTP"), ("docs/http.md", "# The HTTP door")])
def test_the_lines_for_a_shell(shared: Alone, tmp_path: Path, page: str, heading: str) -> None:
    lines = blocks(page, heading, "sh").replace(ADDRESS, shared.address)
    subprocess.run(["sh", "-eu", "-c", lines], cwd=tmp_path, check=True, timeout=20)
    for name in ("hello.wav", "hello.mp3"):
        rate, samples = decoded((tmp_path / name).read_bytes())
        assert len(samples) / rate > 1.0


def test_the_lines_for_openai_s_client(shared: Alone, tmp_path: Path) -> None:
    program = blocks("README.md", "## Ask with OpenAI's client", "python").replace(ADDRESS, shared.address)
    subprocess.run([sys.executable, "-c", program], cwd=tmp_path, check=True, timeout=30)
    rate, samples = decoded((tmp_path / "hello.mp3").read_bytes())
    assert len(samples) / rate > 1.0


@pytest.mark.parametrize(("page", "heading"), [("README.md", "## Speak over WebSocket"), ("docs/websocket.md", "## livekit-agents")])
async def test_the_lines_for_a_voice_agent(shared: Alone, page: str, heading: str) -> None:
    program = blocks(page, heading, "python", PLUGIN).replace(ADDRESS, shared.address)
    found: dict[str, object] = {}
    async with http_context.open():
        exec(compile(program, page, "exec"), found)
        session = found["session"]
        assert isinstance(session, AgentSession) and session.tts is not None
        async with session.tts.synthesize("Good morning, and welcome.") as speech:
            frames = [event.frame async for event in speech]
        await session.tts.aclose()
    samples = np.frombuffer(rtc.combine_audio_frames(frames).data, dtype=np.int16)
    assert sounds_like(pitches(samples, frames[0].sample_rate), "Good morning, and welcome.")
