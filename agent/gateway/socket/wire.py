"""One WebSocket below the application: uvicorn's protocol, with a last word before every end, and an end for whoever does not read."""

from __future__ import annotations

import contextlib
import logging
import socket
from typing import Any, Protocol, cast

from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.exceptions import InvalidState
from websockets.frames import Frame, Opcode

from agent.gateway.socket.orders import BROKEN, LEAVING

SCOPE = "voicebooth.wire"  # where the application finds it, among the scope's extensions
KERNEL_BYTES = 128 << 10  # of sound that the kernel holds for a client: 2.7 s at 48 KB/s; left alone it takes megabytes
LOG = logging.getLogger("voicebooth.websocket")
LOG.setLevel(logging.WARNING)  # uvicorn tells each connection with its query, in which there may be a key
CUT = 2.0  # seconds that a client has to read the last word; then the connection is gone


class Ends(Protocol):
    """Who is told how a connection is doing, from the loop, and must not block."""

    def last_word(self, code: int) -> str:
        """What is sent before the WebSocket ends with that code; empty for nothing."""

    def on_pong(self, payload: bytes) -> None: ...

    def on_silent(self) -> None:
        """No sign of life came back."""

    def on_leaving(self) -> None:
        """The server ends."""


class Wire(WebSocketsSansIOProtocol):
    """What the application cannot do through ASGI:

    1. Text that is not UTF-8 reaches it, as a message with neither text nor bytes, and is answered.
    2. Whatever ends the connection from this side - a message that is too big, a broken frame, the server's end - is preceded by its
       ``last_word``.
    3. :meth:`cut` ends a connection whose client does not read, at once and with everything that waited for it.
    """

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.logger = LOG
        self.conn.logger = LOG

    ends: Ends | None = None
    was_closed = False
    """Whether the client has said that it ends."""

    def handle_connect(self, event: Any) -> None:
        sock = self.transport.get_extra_info("socket")
        if sock is not None:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, KERNEL_BYTES)
        super().handle_connect(event)
        if hasattr(self, "scope"):
            cast(dict[str, Any], self.scope["extensions"])[SCOPE] = self

    def bound(self, size: int) -> None:
        """Let so many bytes wait before sending does."""
        self.transport.set_write_buffer_limits(high=size)

    def ping(self, payload: bytes) -> None:
        """Ask for a pong; it tells that everything before has been received."""
        if not self.close_sent and not self.transport.is_closing():
            with contextlib.suppress(InvalidState):
                self.conn.send_ping(payload)
                self.transport.write(b"".join(self.conn.data_to_send()))

    def cut(self, code: int, reason: str) -> None:
        """Last word, close, and no more waiting."""
        if self.close_sent or self.transport.is_closing():
            self._abort_soon()
            return
        self._say_last_word(code)
        with contextlib.suppress(InvalidState):
            self.conn.send_close(code, reason)
        self.transport.write(b"".join(self.conn.data_to_send()))
        self.close_sent = True
        self.queue.put_nowait({"type": "websocket.disconnect", "code": code, "reason": reason})
        self._abort_soon()

    def _abort_soon(self) -> None:
        if self.close_timer is not None:
            self.close_timer.cancel()
        self.close_timer = self.loop.call_later(CUT, self.transport.abort)

    def _say_last_word(self, code: int) -> None:
        word = self.ends.last_word(code) if self.ends is not None and self.handshake_complete else ""
        if word:
            self.transport.write(Frame(Opcode.TEXT, word.encode()).serialize(mask=False))

    # What uvicorn's protocol calls

    def send_receive_event_to_app(self) -> None:
        if self.curr_msg_data_type == "text" and not self.close_sent:
            try:
                b"".join(self.frames).decode()
            except UnicodeDecodeError:
                self.frames = []
                self.queue.put_nowait(cast(Any, {"type": "websocket.receive"}))
                if not self.read_paused:
                    self.read_paused = True
                    self.transport.pause_reading()
                return
        super().send_receive_event_to_app()

    def handle_parser_exception(self) -> None:
        if self.conn.close_sent is not None and not self.close_sent:
            self._say_last_word(self.conn.close_sent.code)
        super().handle_parser_exception()
        self._abort_soon()

    def handle_close(self, event: Frame) -> None:
        self.was_closed = True
        super().handle_close(event)

    def handle_pong(self, event: Frame) -> None:
        super().handle_pong(event)
        if self.ends is not None:
            self.ends.on_pong(bytes(event.data))

    def keepalive_timeout(self) -> None:
        self.pong_timer, self.pending_ping_payload = None, None
        if self.ends is not None:
            self.ends.on_silent()
        else:
            self.cut(BROKEN, "no pong came")

    def shutdown(self) -> None:
        if self.ends is not None and self.handshake_complete and not self.close_sent:
            self.stop_keepalive()
            self.ends.on_leaving()
            self.cut(LEAVING, "this node ends")
        else:
            super().shutdown()
