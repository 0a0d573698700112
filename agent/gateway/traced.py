"""Where traces are sent: each request for speech is a span, to which its sentences belong."""

from __future__ import annotations

from typing import TYPE_CHECKING

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from agent.gateway import notes
from agent.gateway.gate import SPEECH

if TYPE_CHECKING:
    from agent.tracing import Tracing


class Traced:
    """Middleware inside of :class:`agent.gateway.bounds.Bounds`, whose notes it writes into."""

    def __init__(self, app: ASGIApp, tracing: Tracing) -> None:
        self._app = app
        self._tracing = tracing

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        found = notes.current()
        if scope["type"] != "http" or found is None or scope["method"] != "POST" or scope["path"] not in SPEECH:
            await self._app(scope, receive, send)
            return
        with self._tracing.request(found.origin, f"POST {scope['path']}") as served:
            found.traceparent = served.traceparent

            async def tell(message: Message) -> None:
                if message["type"] == "http.response.start":
                    served.status = message["status"]
                await send(message)

            try:
                await self._app(scope, receive, tell)
            finally:
                served.error, served.is_fault = found.error, found.is_fault
