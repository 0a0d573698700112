"""Whether the node lives, can speak, and how well it is."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter

from agent.node import Node


def routes(node: Node) -> APIRouter:
    router = APIRouter(tags=["health"])

    @router.get("/health")
    async def health() -> dict[str, Any]:
        """How the node is; 200 while it answers."""
        return {"status": "ok" if node.studio.offers else "error", "healthy": bool(node.studio.offers)}

    return router
