"""livekit-agents as it comes, with the plugin, in a real room: what people there hear and read."""

from __future__ import annotations

import asyncio
import contextlib
import runpy
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psutil
import pytest
from livekit import rtc
from livekit.agents import AgentSession
from livekit.agents.utils import http_context

from agent.config import Settings, child_environment
from agent.gateway.app import make_app
from agent.gateway.serving import Doors
from bench.listener import Ear, token
from tests.e2e.conftest import House, pitches, sounds_like

EXAMPLE = Path(__file__).parents[2] / "docs" / "voice_agent.py"
RATE = 48_000
TRACK = "roomio_audio"  # what livekit-agents calls its voice


@pytest.fixture
def settings() -> Settings:
    return Settings.model_validate({"selection": {"fallback_chain": ["tone"]}, "server": {"ports": [0]}})


@asynccontextmanager
async def example(house: House, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[AgentSession[Any]]:
    """The example's own entry point in a room, as livekit-agents calls it; the session that it made."""
    made: list[AgentSession[Any]] = []
    begin = AgentSession.start

    async def note(session: AgentSession[Any], *args: Any, **options: Any) -> Any:
        made.append(session)
        return await begin(session, *args, **options)

    monkeypatch.setattr(AgentSession, "start", note)
    async with Doors(make_app(house.node), house.node.settings.server, house.node.settings.ws) as doors, http_context.open():
        monkeypatch.setenv("VOICEBOOTH_NODE", doors.addresses[0])
        entrypoint: Callable[[Any], Any] = runpy.run_path(str(EXAMPLE))["entrypoint"]
        room = rtc.Room()
        await room.connect(house.server.url, token(house.name, "agent"))
        try:
            await entrypoint(SimpleNamespace(room=room))
            yield made[0]
        finally:
            await made[0].aclose()
            await room.disconnect()


def told(log: Path) -> str:
    return log.read_text(encoding="utf-8")


@asynccontextmanager
async def started(house: House, log: Path) -> AsyncIterator[None]:
    """The example as its first lines say to start it: livekit-agents' own worker, whom the server sends into every room."""
    server = house.server
    named = {"LIVEKIT_URL": server.url, "LIVEKIT_API_KEY": server.api_key, "LIVEKIT_API_SECRET": server.api_secret}
    async with Doors(make_app(house.node), house.node.settings.server, house.node.settings.ws) as doors:
        environment = child_environment(**named, VOICEBOOTH_NODE=doors.addresses[0])
        with log.open("w", encoding="utf-8") as out:
            process = await asyncio.create_subprocess_exec(sys.executable, str(EXAMPLE), "dev", env=environment, stdout=out, stderr=out)
        try:
            async with asyncio.timeout(30):
                while "registered worker" not in told(log):
                    assert process.returncode is None, told(log)
                    await asyncio.sleep(0.1)
            yield
        finally:
            await end(process)


async def end(process: asyncio.subprocess.Process) -> None:
    """It and whatever it has started."""
    if process.returncode is not None:
        return
    family = psutil.Process(process.pid).children(recursive=True)
    process.terminate()
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(process.wait(), 10)
    for one in family:
        with contextlib.suppress(psutil.NoSuchProcess):
            one.kill()
    if process.returncode is None:
        process.kill()
        await process.wait()


async def heard(ear: Ear, *texts: str, after: float = -1.0) -> None:
    """Returns once exactly that has been heard."""
    async with asyncio.timeout(15):
        while not sounds_like(pitches(ear.recording(after=after).samples, RATE), *texts):  # noqa: ASYNC110 - a test may look
            await asyncio.sleep(0.1)


async def test_the_example_greets_reads_aloud_and_is_interrupted(house: House, monkeypatch: pytest.MonkeyPatch):
    listener = await house.listener()  # the one person there, to whom the agent listens
    write = listener.room.local_participant.send_text
    async with example(house, monkeypatch) as session:
        metrics: list[Any] = []
        assert session.tts is not None
        session.tts.on("metrics_collected", metrics.append)
        ear = await listener.ear(TRACK)
        await heard(ear, "Good morning, and welcome.")
        async with asyncio.timeout(5):
            while not listener.lines:  # noqa: ASYNC110 - a test may look
                await asyncio.sleep(0.05)
        assert listener.lines[0].text.strip() == "Good morning, and welcome."  # word by word, by their times
        asked = time.monotonic()
        await write("One two three four five six seven eight nine ten. " * 3, topic="lk.chat")
        await ear.onset(after=asked)
        await asyncio.sleep(0.5)
        interrupted = time.monotonic()
        await write("Stop here.", topic="lk.chat")
        await heard(ear, "Stop here.", after=await ear.silence(after=interrupted, hold=0.08))
        assert metrics[-1].ttfb < 0.5 and not metrics[-1].cancelled
        assert all(stage.is_idle for stage in house.node._stages.values())


async def test_the_example_runs_as_its_first_lines_say(house: House, tmp_path: Path) -> None:
    log = tmp_path / "log"
    async with started(house, log):
        listener = await house.listener()
        try:
            async with asyncio.timeout(30):  # its process for this room loads livekit-agents anew
                ear = await listener.ear(TRACK)
                await heard(ear, "Good morning, and welcome.")
            await ear.silence(after=time.monotonic(), hold=0.08)
            asked = time.monotonic()
            await listener.room.local_participant.send_text("One two three.", topic="lk.chat")
            await heard(ear, "One two three.", after=asked)
        except TimeoutError:
            raise AssertionError(told(log)) from None
    assert "turn detector failed" not in told(log)  # nobody is listened to, and nothing outside is asked
