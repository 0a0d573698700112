"""An unmodified `websockets` client, and what it was sent."""

import asyncio
import base64
import json
from contextlib import asynccontextmanager

import numpy as np
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

from bench.hearing import tones


class Client:
    def __init__(self, ws):
        self.ws = ws
        self.messages = []  # objects, and bytes as they are
        self.code = None

    async def send(self, **message):
        await self.ws.send(json.dumps(message))

    async def next(self, timeout=10.0):
        """The next message; None at the end."""
        async with asyncio.timeout(timeout):
            try:
                raw = await self.ws.recv()
            except ConnectionClosed as closed:
                self.code = closed.rcvd.code if closed.rcvd else None
                return None
        self.messages.append(raw if isinstance(raw, bytes) else json.loads(raw))
        return self.messages[-1]

    async def until(self, timeout=10.0, **fields):
        """The first message from here on that has these fields."""
        async with asyncio.timeout(timeout):
            while (message := await self.next(timeout)) is not None:
                if isinstance(message, dict) and all(message.get(name) == value for name, value in fields.items()):
                    return message
        raise AssertionError(f"closed with {self.code} before {fields}; the last words: {self.messages[-1:]}")

    async def end(self, timeout=10.0):
        """The close code; everything before it has been received."""
        async with asyncio.timeout(timeout):
            while await self.next(timeout) is not None:
                pass
        return self.code

    @property
    def objects(self):
        return [message for message in self.messages if isinstance(message, dict)]

    @property
    def pcm(self):
        """All the sound, whatever it came in."""
        parts = []
        for message in self.messages:
            if isinstance(message, bytes):
                parts.append(message)
            else:
                parts.append(base64.b64decode(message.get("audio_chunk") or message.get("data") or ""))
        return b"".join(parts)

    def pitches(self, rate=24_000):
        return [tone.pitch for tone in tones(np.frombuffer(self.pcm, dtype="<i2"), rate)]


@asynccontextmanager
async def talking(address, path="/ws/synthesize", **options):
    async with connect(address.replace("http", "ws", 1) + path, compression=None, max_size=None, **options) as ws:
        yield Client(ws)
