"""What becomes of a request that fails by a fault of ours: it is answered, and logged, and the node goes on."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from agent.gateway import notes
from agent.gateway.errors import fault

log = logging.getLogger(__name__)


class Faults:
    """Middleware, inside of all that counts and names answers: a fault of ours is an answer like any other."""

    def __init__(self, app: ASGIApp, refuse: Callable[[Request, Exception], Awaitable[Response]]) -> None:
        """``refuse`` tells a refusal in the shape of the route's contract."""
        self._app = app
        self._refuse = refuse

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        has_begun = False

        async def passing(message: Message) -> None:
            nonlocal has_begun
            has_begun = True
            await send(message)

        try:
            await self._app(scope, receive, passing)
        except Exception:
            if has_begun:
                notes.on_refused("internal", is_fault=True)
                raise  # the server cuts the connection, and logs it
            log.exception("a request failed by a fault of ours")
            await (await self._refuse(Request(scope), fault()))(scope, receive, send)
