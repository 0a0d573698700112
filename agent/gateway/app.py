"""The application behind the HTTP door: composes the routers, and tells what was refused in the shape of each contract."""

from __future__ import annotations

import uuid
from importlib.metadata import version

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from agent.gateway import health
from agent.gateway.errors import Refused
from agent.node import Node

OPENAI = "/v1/"


def make_app(node: Node) -> FastAPI:
    """Everything that this node answers over HTTP and WebSocket."""
    app = FastAPI(title="voicebooth", version=version("voicebooth"))
    app.include_router(health.routes(node))
    app.add_exception_handler(Refused, _on_refused)
    app.add_exception_handler(HTTPException, _on_http)
    return app


async def _on_refused(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, Refused)
    if request.url.path.startswith(OPENAI):
        return JSONResponse(error.openai_body(), error.openai_status, headers=error.headers)
    return JSONResponse(error.body(uuid.uuid4().hex), error.status, headers=error.headers)


async def _on_http(request: Request, error: Exception) -> JSONResponse:
    """What the framework itself refuses: a path that is not there, a method that is not taken."""
    assert isinstance(error, HTTPException)
    codes = {404: "not_found", 405: "method_not_allowed"}
    refused = Refused(codes.get(error.status_code, "refused"), error.detail, error.status_code)
    answer = await _on_refused(request, refused)
    answer.headers.update(error.headers or {})
    return answer
