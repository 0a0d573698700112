"""What stands in front of every HTTP route: who may pass, and how often. Sessions are let in by their own doors."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import AbstractContextManager, nullcontext

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from agent.gateway.access import Access
from agent.gateway.errors import Refused
from agent.gateway.keyring import ADMIN, SPEAK

OPEN = frozenset({"/", "/health", "/ready", "/live", "/metrics", "/docs", "/redoc", "/openapi.json"})
"""What anybody may see: whether the node is well, the page, and how to speak to it."""
OPEN_FOLDERS = ("/web/", "/docs/")
SPEECH = frozenset(
    {
        "/synthesize",
        "/synthesize/stream",
        "/synthesize-stream",
        "/batch_synthesize",
        "/tts/synthesize",
        "/tts/generate",
        "/tts/batch",
        "/v1/audio/speech",
    }
)
"""Whose POST is a request for speech."""
COUNTED = SPEECH | {"/room/token", "/whep"}
"""Whose POST is counted: a pass lets somebody have speech in a room, and an offer has it at once."""
CHANGES = frozenset({("GET", "/config"), ("DELETE", "/cache"), ("POST", "/gc"), ("POST", "/server/optimize")})
"""What shows or changes the node itself."""
CHANGED_FOLDERS = ("/voices", "/models/")
"""Under which all but reading changes it."""
READS = ("GET", "HEAD")
CALLER = "caller"
"""Name under which the caller is found in a request's state."""


def scope_of(method: str, path: str) -> str | None:
    """What is needed for that; None: nothing."""
    if method == "OPTIONS" or (method in READS and (path in OPEN or path.startswith(OPEN_FOLDERS))):
        return None
    if (method, path) in CHANGES or (method not in READS and path.startswith(CHANGED_FOLDERS)):
        return ADMIN
    return SPEAK


class Gate:
    """Middleware. Whoever passes it is in the request's state."""

    def __init__(self, app: ASGIApp, access: Access, refuse: Callable[[Request, Exception], Awaitable[Response]]) -> None:
        """``refuse`` tells a refusal in the shape of the route's contract."""
        self._app = app
        self._access = access
        self._refuse = refuse

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        needed = scope_of(scope["method"], scope["path"]) if scope["type"] == "http" else None
        if needed is None:
            await self._app(scope, receive, send)
            return
        request = Request(scope)
        try:
            caller = await self._access.admit(request, needed)
            is_counted = scope["method"] == "POST" and scope["path"] in COUNTED
            passing: AbstractContextManager[None] = caller.request() if is_counted else nullcontext()
            scope.setdefault("state", {})[CALLER] = caller
            with passing:
                await self._app(scope, receive, send)
        except Refused as refused:
            await (await self._refuse(request, refused))(scope, receive, send)
