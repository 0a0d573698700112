"""The application behind the HTTP door: composes the routers, and tells what was refused in the shape of each contract."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from importlib.metadata import version
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.openapi.utils import get_openapi
from fastapi.responses import JSONResponse
from pydantic.json_schema import models_json_schema
from starlette.exceptions import HTTPException
from starlette.middleware.cors import CORSMiddleware

from agent.gateway import documents, health, later, lists, metrics, notes, openai, operation, page, rooms, synthesis, whep
from agent.gateway.access import Access
from agent.gateway.batch import Batch
from agent.gateway.bounds import Bounds
from agent.gateway.canary import Canary
from agent.gateway.errors import Refused
from agent.gateway.faults import Faults
from agent.gateway.fields import SpeechBody, clip
from agent.gateway.gate import Gate
from agent.gateway.openai import SpeechRequest
from agent.gateway.places import matching
from agent.gateway.production import Workshop
from agent.gateway.replies import Gone
from agent.gateway.rooms import PassRequest
from agent.gateway.seats import Seats
from agent.gateway.slots import Slots
from agent.gateway.socket import routes as sockets
from agent.gateway.traced import Traced
from agent.gateway.traffic import Traffic
from agent.node import Node

CODES = {404: "not_found", 405: "method_not_allowed"}
METHODS = ("GET", "POST", "PATCH", "DELETE")
ASKED = ("Authorization", "Content-Type", "If-Match", "X-Request-ID", "traceparent")
"""Headers that pages of allowed origins may send."""
TOLD = (
    *("Location", "Link", "ETag", "Retry-After", "X-Request-ID"),
    *("X-Sample-Rate", "X-Processing-Time", "X-Language", "X-Voice", "X-Engine", "X-Model", "X-Cache", "X-Fallback", "X-Shape"),
)
"""Headers that they may see."""
PREFLIGHT = 600  # seconds for which a browser remembers what it may
ABOUT = (
    "Text to speech: four services' contracts and OpenAI's, behind one chain of engines. Errors say what is wrong, and with which field."
)

log = logging.getLogger(__name__)


def make_app(node: Node) -> FastAPI:
    """Everything that this node answers over HTTP and WebSocket. On the node's loop; what it runs lives as long as it is served."""
    settings = node.settings
    pulse, canary = health.Pulse(), Canary(node)
    slots = Slots(settings.limits.concurrent_requests, settings.limits.queue_wait_s)
    seats = Seats(settings.limits.sessions)
    counted = metrics.Metrics()
    traffic = Traffic(counted.on_exchange)
    access = Access(node)
    workshop = Workshop(node, slots, counted.on_gap)
    counted.watch(node, canary, slots, workshop.kept)

    @asynccontextmanager
    async def living(app: FastAPI) -> AsyncIterator[None]:
        tasks = [asyncio.create_task(canary.run(), name="canary"), asyncio.create_task(pulse.run(), name="pulse")]
        yield
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    app = FastAPI(title="voicebooth", version=version("voicebooth"), description=ABOUT, lifespan=living, docs_url=None, redoc_url=None)
    app.include_router(health.routes(node, canary, pulse, slots, seats, workshop.kept))
    app.include_router(metrics.routes(counted))
    app.include_router(synthesis.routes(workshop))
    app.include_router(openai.routes(workshop))
    app.include_router(lists.routes(node))
    app.include_router(sockets.routes(node, seats, slots, access.socket))
    app.include_router(operation.routes(node, pulse, slots, traffic, workshop.kept))
    app.include_router(operation.admin_routes(node, workshop.replies.clear))
    app.include_router(whep.routes(node, seats))
    app.include_router(rooms.routes(node))
    app.include_router(page.routes(node))
    app.include_router(later.routes())
    app.add_exception_handler(Refused, _on_refused)
    app.add_exception_handler(RequestValidationError, _on_invalid)
    app.add_exception_handler(HTTPException, _on_http)
    app.add_exception_handler(Gone, _on_gone)
    app.openapi = lambda: _describe(app)  # type: ignore[method-assign]  # FastAPI's own way to extend what it says
    app.add_middleware(Gate, access=access, refuse=_on_refused)
    app.add_middleware(Faults, refuse=_on_refused)
    origins = settings.security.cors_origins
    if origins:
        app.add_middleware(
            CORSMiddleware, allow_origins=origins, allow_methods=METHODS, allow_headers=ASKED, expose_headers=TOLD, max_age=PREFLIGHT
        )
    if node.tracing is not None:
        app.add_middleware(Traced, tracing=node.tracing)
    app.add_middleware(Bounds, limits=settings.limits, stream=settings.stream, tally=traffic)
    return app


def _answer(request: Request, refused: Refused, headers: Mapping[str, str] | None = None) -> JSONResponse:
    notes.on_refused(refused.code)
    headers = {**refused.headers, **(headers or {})}
    body, status = refused.told(request.url.path, getattr(request.state, "request_id", ""))
    return JSONResponse(body, status, headers=headers)


async def _on_refused(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, Refused)
    return _answer(request, error)


async def _on_invalid(request: Request, error: Exception) -> JSONResponse:
    """What the framework finds wrong with a query or a path."""
    assert isinstance(error, RequestValidationError)
    details = [
        {"field": ".".join(clip(str(part)) for part in one["loc"][1:]), "message": one["msg"], "code": "bad_parameter"}
        for one in error.errors()
    ]
    message = "; ".join(f"{one['field']}: {one['message']}" for one in details)
    return _answer(request, Refused("bad_parameter", message, 422, field=details[0]["field"], details=details))


async def _on_http(request: Request, error: Exception) -> JSONResponse:
    """What the framework itself refuses: a path that is not there, a method that is not taken."""
    assert isinstance(error, HTTPException)
    refused = Refused(CODES.get(error.status_code, "refused"), str(error.detail), error.status_code)
    headers = {"Allow": ", ".join(_methods(request))} if error.status_code == 405 else error.headers
    return _answer(request, refused, headers)


def _methods(request: Request) -> list[str]:
    """All that the path takes; the framework names those of one of its routes."""
    return sorted({method for route in matching(request.scope) for method in getattr(route, "methods", None) or ()})


async def _on_gone(request: Request, error: Exception) -> JSONResponse:
    """Nobody reads this; it is counted."""
    return _answer(request, Refused("client_gone", "the caller has hung up", 499))


def _describe(app: FastAPI) -> dict[str, Any]:
    if not app.openapi_schema:
        found = get_openapi(title=app.title, version=app.version, description=app.description, routes=app.routes)
        _, bodies = models_json_schema(
            [(model, "validation") for model in (SpeechBody, Batch, SpeechRequest, PassRequest)],
            ref_template="#/components/schemas/{model}",
        )
        schemas = found.setdefault("components", {}).setdefault("schemas", {})
        schemas.update({**bodies["$defs"], **documents.COMPONENTS})
        app.openapi_schema = found
    return app.openapi_schema
