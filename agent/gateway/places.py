"""Which of the node's routes a request is for, whether or not it came so far."""

from __future__ import annotations

from typing import Any

from starlette.routing import BaseRoute, Match
from starlette.types import Scope

METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
"""What a caller may do; another word is the caller's own."""
NOWHERE = "none"


def matching(scope: Scope) -> list[BaseRoute]:
    """All routes of its path, whatever methods they take."""
    found: Any = getattr(scope.get("app"), "routes", ())
    routes = [inner for route in found for inner in getattr(getattr(route, "original_router", None), "routes", (route,))]
    return [route for route in routes if route.matches(scope)[0] != Match.NONE]


def path_of(scope: Scope) -> str:
    """Its route's path, never the caller's own words: it may be a label."""
    route = scope.get("route") or next(iter(matching(scope)), None)
    return getattr(route, "path", None) or NOWHERE


def method_of(scope: Scope) -> str:
    """Likewise."""
    return scope["method"] if scope["method"] in METHODS else "OTHER"
