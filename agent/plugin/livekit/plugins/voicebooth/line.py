"""One WebSocket to a node, used by one utterance after the other."""

from __future__ import annotations

import asyncio
import contextlib
import json
import uuid
from typing import Any

import aiohttp

WAITING = 256  # messages that wait for whoever reads: some 20 s of sound; beyond it the node is not read, and waits as well
CLOSE_WAIT = 2.0  # seconds for a node's answer to our goodbye
PATH = "/ws/synthesize"
DIALECT = "voicebooth.native"
PROTOCOL = 1
TEXT_CHARACTERS = 5_000  # of one message, where a node names no other number

Message = dict[str, Any] | bytes


class LineClosed(Exception):
    """The connection has ended."""

    def __init__(self, code: int | None, reason: str) -> None:
        super().__init__(f"the node has closed the connection ({code}): {reason}" if code else "the connection to the node is lost")
        self.code = code


class Line:
    """Reads all the time, so that pings are answered while nobody speaks and the end is known before the next use."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self._socket = socket
        self._messages: asyncio.Queue[Message | None] = asyncio.Queue(WAITING)
        self._stale = ""  # the pong before which everything belongs to what was cancelled
        self._last_word = ""
        self.config: dict[str, Any] = {}
        """What the node was told last of how it shall speak."""
        self.text_characters = TEXT_CHARACTERS
        """The most that the node takes in one message."""
        self.acquired = 0.0
        """Seconds that whoever uses it waited for it."""
        self.is_reused = False
        """Whether somebody has used it before."""
        self._reading = asyncio.create_task(self._read(), name="voicebooth line")

    @classmethod
    async def open(cls, session: aiohttp.ClientSession, url: str, headers: dict[str, str]) -> Line:
        """The node has been heard: what it takes is known. Raises what aiohttp raises, and :exc:`LineClosed`."""
        line = cls(await session.ws_connect(url, headers=headers, protocols=(DIALECT,), max_msg_size=0, compress=0))
        try:
            await line._greet()
        except BaseException:
            await line.aclose()
            raise
        return line

    @property
    def is_open(self) -> bool:
        return not self._reading.done() and not self._socket.closed

    async def send(self, **message: Any) -> None:
        """Raises :exc:`LineClosed`."""
        try:
            await self._socket.send_str(json.dumps(message))
        except (aiohttp.ClientError, ConnectionError) as error:
            raise self._closed() from error

    async def receive(self) -> Message:
        """The next event, or sound. Cancelling it loses nothing. Raises :exc:`LineClosed`."""
        message = await self._messages.get()
        if message is None:
            self._messages.put_nowait(None)
            raise self._closed()
        return message

    async def hush(self) -> None:
        """Silence, and forget the rest: the next utterance may begin at once, and hears nothing of this one. Raises :exc:`LineClosed`."""
        self._stale = uuid.uuid4().hex
        while not self._messages.empty():
            if self._messages.get_nowait() is None:
                self._messages.put_nowait(None)
                raise self._closed()
        await self.send(type="cancel")
        await self.send(type="ping", t=self._stale)

    async def aclose(self) -> None:
        """Says goodbye, if there is still somebody to say it to."""
        self._reading.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._reading
        with contextlib.suppress(TimeoutError, aiohttp.ClientError, ConnectionError):
            async with asyncio.timeout(CLOSE_WAIT):
                await self._socket.close()

    async def _greet(self) -> None:
        await self.send(type="hello", protocol=PROTOCOL)
        while True:
            message = await self.receive()
            if isinstance(message, dict) and message.get("type") == "ready":
                self.text_characters = message.get("text_chars", TEXT_CHARACTERS)
                return

    async def _read(self) -> None:
        try:
            async for message in self._socket:
                if message.type is aiohttp.WSMsgType.BINARY:
                    if not self._stale:
                        await self._messages.put(message.data)
                elif message.type is aiohttp.WSMsgType.TEXT:
                    event = json.loads(message.data)
                    if event.get("type") == "error":
                        self._last_word = event.get("message", "")
                    if not self._stale:
                        await self._messages.put(event)
                    elif event.get("type") == "pong" and event.get("t") == self._stale:
                        self._stale = ""
        finally:
            if self._messages.full():
                self._messages.get_nowait()
            self._messages.put_nowait(None)

    def _closed(self) -> LineClosed:
        return LineClosed(self._socket.close_code, self._last_word)
