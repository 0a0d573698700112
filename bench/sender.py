"""A participant who sends text the way any translation node may: JSON packets on a topic, nothing else."""

from __future__ import annotations

import asyncio
import itertools
import json
import time
from dataclasses import dataclass
from types import TracebackType
from typing import Any

from livekit import rtc

from agent.wakeups import narrow
from bench.listener import CONNECT, EventLog, Note, token

TEXT_TOPIC = "voicebooth.text"
HELLO_EVERY = 0.1  # seconds: how exactly "ready" can be told


@dataclass(frozen=True, slots=True)
class Sent:
    utterance: str
    at: float
    """Seconds on the monotonic clock, just before the packet was handed to LiveKit."""


class Sender:
    """Hears nothing (its connection subscribes to no track); ``log`` holds what the node told it."""

    def __init__(self, url: str, room: str, *, identity: str = "upstream", jwt: str = "") -> None:
        self.room = rtc.Room()
        self.name = room
        self.log = EventLog(self.room)
        self._url = url
        self._jwt = jwt or token(room, identity)
        self._numbers = itertools.count()

    async def __aenter__(self) -> Sender:
        async with asyncio.timeout(CONNECT):
            await self.room.connect(self._url, self._jwt, rtc.RoomOptions(auto_subscribe=False))
        narrow(self.room)  # so that twenty senders leave the cores to the node
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        async with asyncio.timeout(CONNECT):
            await self.room.disconnect()

    async def send(self, message: dict[str, Any], *, topic: str = TEXT_TOPIC, to: str = "") -> float:
        """When it was handed over."""
        at = time.monotonic()
        await self.room.local_participant.publish_data(
            json.dumps(message).encode(), reliable=True, topic=topic, destination_identities=[to] if to else []
        )
        return at

    async def say(self, text: str, **fields: Any) -> Sent:
        utterance = fields.pop("utterance", f"u{next(self._numbers)}")
        return Sent(utterance, await self.send({"type": "text", "text": text, "utterance": utterance, **fields}))

    async def cancel(self) -> float:
        return await self.send({"type": "cancel"})

    async def ready(self, *, timeout: float = 30.0) -> Note:
        """Ask until the node answers. Raises ``TimeoutError``."""
        start = time.monotonic()
        async with asyncio.timeout(timeout):
            while True:
                await self.send({"type": "hello", "protocol": 1})
                try:
                    return await self.log.wait("ready", after=start, timeout=HELLO_EVERY)
                except TimeoutError:
                    continue
