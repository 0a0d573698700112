"""For whoever runs the node: its settings, its figures, its cache, its memory."""

from __future__ import annotations

import asyncio
import functools
import gc
import shutil
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

import psutil
from fastapi import APIRouter, Request
from fastapi.responses import Response

from agent import glossary
from agent.gateway import documents
from agent.gateway.errors import Refused
from agent.gateway.fields import parse_object
from agent.gateway.health import Pulse, gpu_bytes, memory
from agent.gateway.slots import Slots
from agent.gateway.traffic import Traffic
from agent.node import Node
from pipeline.cache import CacheStats

JSON = "application/json"
HIDDEN = "***"
PATIENCE = 5.0  # seconds: whoever speaks goes first


@functools.cache
def _rows() -> tuple[glossary.Row, ...]:
    return glossary.rows()


def routes(node: Node, pulse: Pulse, slots: Slots, traffic: Traffic, kept: Callable[[], CacheStats]) -> APIRouter:
    """What may be read by whoever may speak. ``kept``: of what was said."""
    router = APIRouter(tags=["operation"])

    @router.get("/stats", **documents.STATS)
    async def stats() -> dict[str, Any]:
        """What has been done since the start, and how well."""
        report = node.report.snapshot()
        engines = {}
        for status in node.studio.status:
            ttft, rtf = report["ttft"].get(status.name), report["rtf"].get(status.name)
            engines[status.name] = {
                "state": status.state,
                "ttfa_ms": {"p50": _ms(ttft.p50 if ttft else None), "p95": _ms(ttft.p95 if ttft else None)},
                "rtf": rtf.p50 if rtf else None,
                "sentences": ttft.count if ttft else 0,
                "failures": node.studio.chain.failures[status.name],
            }
        return {
            "uptime_seconds": round(pulse.uptime, 1),
            "requests": {"total": traffic.total, "active": traffic.active, "errors": traffic.errors},
            "sessions": dict(node.sessions()),
            "sentences": report["counts"],
            "engines": engines,
            "cache": asdict(kept()),
            "queue": {"slots_taken": slots.taken, "waiting": slots.waiting, "steps": node.studio.lanes.queued},
            "system": {
                "cpu_percent": psutil.cpu_percent(),
                "memory": {**memory(), "total_bytes": psutil.virtual_memory().total},
                "gpu": {"used_bytes": gpu_bytes()},
                "disk": {"free_bytes": shutil.disk_usage(node.settings.models.root.anchor or "/").free},
            },
        }

    @router.get("/cache/stats", **documents.CACHE_STATS)
    async def read_cache() -> dict[str, Any]:
        """How full the cache is, and what it is good for."""
        return asdict(kept())

    return router


def admin_routes(node: Node, forget: Callable[[], None]) -> APIRouter:
    """What only an operator may do. ``forget``: lets go of whole replies that are kept."""
    router = APIRouter(tags=["operation"])

    @router.get("/config", **documents.CONFIG)
    async def config() -> dict[str, Any]:
        """The settings in effect; secrets do not show."""
        rows = await node.studio.lanes.run(_rows, due=asyncio.get_running_loop().time() + PATIENCE)  # the first time it reads our source
        return {"settings": {row.key: _setting(row, node) for row in rows}}

    @router.delete("/cache", **documents.CACHE_CLEAR)
    async def clear_cache() -> Response:
        """Forget every sentence that was said."""
        forget()
        if node.studio.cache is not None:
            await node.studio.cache.clear()
        return Response(status_code=204)

    @router.post("/gc", **documents.GC)
    async def collect(request: Request) -> dict[str, Any]:
        """Give back what memory can be given back."""
        insist_on_json(request)
        if raw := await request.body():
            parse_object(raw)
        process = psutil.Process()
        before = process.memory_info().rss
        collected = gc.collect()
        return {"collected": collected, "rss_before": before, "rss_after": process.memory_info().rss}

    return router


def insist_on_json(request: Request) -> None:
    """A page elsewhere can make a browser post a form without asking; it cannot do that with JSON. Raises :exc:`Refused`."""
    if request.headers.get("content-type", "").split(";")[0].strip().lower() != JSON:
        raise Refused("unsupported_media_type", f"Content-Type: this is asked with {JSON}", 415, field="Content-Type")


def _setting(row: glossary.Row, node: Node) -> dict[str, str]:
    shown = row.shown(node.settings)
    origin = node.settings.origin(row.key) or ("default" if row.is_default(node.settings) else "set")
    return {"value": HIDDEN if row.is_secret and shown else shown, "origin": origin}


def _ms(seconds: float | None) -> float | None:
    return None if seconds is None else round(1000 * seconds, 1)
