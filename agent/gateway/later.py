"""Routes that have a contract and are not built yet: each says so, and its place is kept."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from fastapi import APIRouter, Response

from agent.gateway import documents
from agent.gateway.fields import not_supported

ROUTES: tuple[tuple[str, str], ...] = (
    ("GET", "/synthesize"),
    ("POST", "/synthesize/async"),
    ("GET", "/jobs/{id}"),
    ("DELETE", "/jobs/{id}"),
    ("GET", "/jobs/{id}/result"),
    ("POST", "/tts/batch"),
    ("GET", "/tts/batch/status/{id}"),
    ("GET", "/tts/batch/results/{id}"),
    ("POST", "/voices"),
    ("DELETE", "/voices/{name}"),
    ("POST", "/server/optimize"),
    ("GET", "/models/tts"),
    ("GET", "/models/available"),
    ("POST", "/models/download"),
    ("GET", "/models/status"),
    ("GET", "/models/status/{name}"),
    ("GET", "/models/downloads/queue"),
    ("POST", "/models/load"),
    ("POST", "/models/unload"),
    ("GET", "/models/storage"),
    ("POST", "/models/cleanup"),
    ("GET", "/models/updates"),
    ("POST", "/models/update"),
    ("POST", "/models/backup"),
    ("POST", "/models/retry"),
    ("POST", "/feedback"),
)
FOLDERS = ("/models", "/server")
"""Under which nothing is built yet."""
METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE")


def routes() -> APIRouter:
    router = APIRouter(tags=["later"])
    for method, path in ROUTES:
        name = f"later {method} {path}".translate(str.maketrans("/{} ", "____")).lower()
        router.add_api_route(path, _later(method, path), methods=[method], name=name, **documents.later(path))
    for folder in FOLDERS:
        for path in (f"{folder}/{{name}}", f"{folder}/{{name}}/{{rest:path}}"):
            router.add_api_route(path, _later("", f"{folder}/*"), methods=[*METHODS], include_in_schema=False)
    return router


def _later(method: str, path: str) -> Callable[[], Awaitable[Response]]:
    async def later() -> Response:
        """Not built yet."""
        raise not_supported(f"{method} {path} is not supported yet".lstrip())

    return later
