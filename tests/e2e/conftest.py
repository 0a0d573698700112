"""A node with the tone engine, links to real rooms, and people in them; every word has a pitch by which it is known again."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import subprocess
import sys
import urllib.request
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from livekit import rtc

from agent.config import Settings, child_environment
from agent.devserver import DevServer, find_server
from agent.inbound import TEXT_TOPIC
from agent.node import Node
from agent.room import RoomLink, RoomSettings, Ticket
from bench.hearing import tones
from bench.listener import Listener, token
from engines.base import Pace, Request
from engines.tone import ToneEngine

judged_by_ear = pytest.mark.flaky(reruns=1, reruns_delay=2)
"""For tests that want every word of a live recording: one frame that comes late, where a server, codecs and a dozen connections share two
cores with whatever else runs there, makes two words of one. One more try, and told."""
_numbers = itertools.count()
RUN = [sys.executable, "-m", "agent.cli", "run"]
ALONE = {"LIVEKIT_URL": "", "VOICEBOOTH_SELECTION__FALLBACK_CHAIN": "tone", "VOICEBOOTH_CACHE__DIR": "none"}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if "e2e" in item.path.parts:
            item.add_marker(pytest.mark.e2e)


def pitches(samples: np.ndarray, rate: int) -> list[float]:
    """The pitch of each word in a recording, in order, hertz."""
    return [tone.pitch for tone in tones(samples, rate)]


def score(text: str, language: str = "en") -> list[float]:
    """The pitches that ``text`` should be heard as."""
    engine = ToneEngine()
    engine.load()
    chunks = engine.synthesize(Request(text, language=language), Pace(0.02))
    return pitches(np.concatenate([chunk.samples for chunk in chunks]), 24_000)


def encrypted(key: bytes) -> rtc.E2EEOptions:
    return rtc.E2EEOptions(key_provider_options=rtc.KeyProviderOptions(shared_key=key))


def sounds_like(heard: list[float], *texts: str) -> bool:
    """Whether exactly these words were heard, in this order."""
    expected = [pitch for text in texts for pitch in score(text)]
    return len(heard) == len(expected) and np.allclose(heard, expected, rtol=0.02)


class Person:
    """A participant that sends text, and keeps what it is told."""

    def __init__(self, room: rtc.Room) -> None:
        self.room = room
        self.events: list[dict[str, Any]] = []
        self._news = asyncio.Event()
        room.on("data_received", self._on_data)

    def _on_data(self, packet: rtc.DataPacket) -> None:
        if packet.topic == "voicebooth.events":
            self.events.append(json.loads(packet.data))
            self._news.set()

    async def send(self, **message: Any) -> None:
        """``text``, unless another ``type`` is named."""
        await self.send_raw(json.dumps({"type": "text", **message}).encode())

    async def send_raw(self, raw: bytes) -> None:
        await self.room.local_participant.publish_data(raw, topic=TEXT_TOPIC)

    async def meet(self, timeout: float = 15.0) -> dict[str, Any]:
        """Asks until there is a node that answers."""
        async with asyncio.timeout(timeout):
            while True:
                await self.send(type="hello")
                with contextlib.suppress(TimeoutError):
                    return await self.told("ready", timeout=0.2)

    async def told(self, type: str, *, count: int = 1, timeout: float = 10.0, **fields: Any) -> dict[str, Any]:
        """The ``count``-th event like that, once it has come."""
        async with asyncio.timeout(timeout):
            while True:
                found = [e for e in self.events if e["type"] == type and all(e.get(k) == v for k, v in fields.items())]
                if len(found) >= count:
                    return found[count - 1]
                self._news.clear()
                await self._news.wait()


class House:
    """Everything that one test starts, ended with it."""

    def __init__(self, server: DevServer, node: Node, stack: contextlib.AsyncExitStack) -> None:
        self.server = server
        self.node = node
        self.name = f"room-{next(_numbers)}"
        self._stack = stack
        self._booths: set[str] = set()

    def ticket(self, room: str = "") -> Ticket:
        return Ticket(self.server.url, room or self.name, self.server.api_key, self.server.api_secret)

    async def booth(self, settings: RoomSettings | None = None, *, room: str = "") -> RoomLink:
        """The node in the room, joined; it leaves when the test ends."""
        link = RoomLink(self.node, self.ticket(room), self.node.settings.node.languages, settings or RoomSettings())
        running = asyncio.create_task(link.run())

        async def end() -> None:
            link.leave()
            await asyncio.wait({running}, timeout=5)
            await self.node.close_stage(link.ticket.room)

        self._stack.push_async_callback(end)
        async with asyncio.timeout(10):
            await link.joined.wait()
        self._booths.add(link.ticket.room)
        return link

    async def person(
        self, identity: str = "upstream", *, room: str = "", options: rtc.RoomOptions | None = None, is_met: bool = True, **grants: Any
    ) -> Person:
        """Somebody who has met the node, where one is in the room: packets of a participant that it has not been told of carry no name."""
        connection = rtc.Room()
        person = Person(connection)
        jwt = token(room or self.name, identity, **grants)
        await connection.connect(self.server.url, jwt, options or rtc.RoomOptions(auto_subscribe=False))
        self._stack.push_async_callback(connection.disconnect)
        await connection.local_participant.set_attributes({"about": "test"})  # else the server announces it up to 3 s later
        if is_met and (room or self.name) in self._booths:
            await person.meet()
            person.events.clear()
        return person

    async def listener(self, *, room: str = "", **options: Any) -> Listener:
        return await self._stack.enter_async_context(Listener(self.server.url, room or self.name, **options))


MakeHouse = Callable[..., contextlib.AbstractAsyncContextManager[House]]


@pytest.fixture
def settings() -> Settings:
    return Settings.model_validate({"selection": {"fallback_chain": ["tone"]}, "node": {"languages": ["en", "fr"]}})


@pytest.fixture
async def node(settings: Settings) -> AsyncIterator[Node]:
    async with Node(settings) as node:
        await node.ready()
        yield node


@pytest.fixture
async def house(livekit_server: DevServer, node: Node) -> AsyncIterator[House]:
    async with contextlib.AsyncExitStack() as stack:
        yield House(livekit_server, node, stack)


@pytest.fixture
async def own_house(settings: Settings) -> AsyncIterator[House]:
    """A house with a server of its own, that can be stopped."""
    server = DevServer(find_server())
    await server.start()
    try:
        async with Node(settings) as node, contextlib.AsyncExitStack() as stack:
            await node.ready()
            yield House(server, node, stack)
    finally:
        await server.stop()


@dataclass(frozen=True)
class Alone:
    """A node in a process of its own."""

    process: subprocess.Popen[str]
    address: str

    def get(self, path: str) -> Any:
        with urllib.request.urlopen(self.address + path, timeout=5) as answer:
            return json.load(answer)


@contextlib.contextmanager
def run_alone(command: Sequence[str] = RUN) -> Iterator[Alone]:
    """Once it can speak."""
    environment = child_environment(**ALONE, VOICEBOOTH_SERVER__PORTS="0", VOICEBOOTH_LOG__LEVEL="WARNING")
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        try:
            assert process.stdout
            address = ""
            for line in process.stdout:
                if line.startswith("open"):
                    address = line.split()[1]
                if line.startswith("alone"):
                    break
            yield Alone(process, address)
        finally:
            process.kill()


@pytest.fixture
def alone() -> Iterator[Alone]:
    """A node without rooms, that a test may end."""
    with run_alone() as node:
        yield node


@pytest.fixture(scope="session")
def shared() -> Iterator[Alone]:
    """One for all tests that leave it as it is."""
    with run_alone() as node:
        yield node
