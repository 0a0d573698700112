"""Whether the node lives, can speak, and how well it is: three questions with three answers."""

from __future__ import annotations

import asyncio
import shutil
import sys
import tempfile
from collections.abc import Callable
from typing import Any

import psutil
from fastapi import APIRouter
from fastapi.responses import JSONResponse, Response

from agent.gateway import documents
from agent.gateway.canary import Canary
from agent.gateway.seats import Seats
from agent.gateway.slots import Slots
from agent.node import Node
from pipeline.cache import CacheStats

BEAT = 1.0  # seconds between two looks at the clock
WEDGED = 5.0  # seconds by which the loop may be late before it counts as stuck
REMEMBERED = 30.0  # seconds for which a late loop is told: a probe comes every 20 or so
LEAST_SPACE = 64 << 20  # bytes that must be free where temporary files lie
LEVELS = ("full", "reduced", "single", "captions")  # what the node's levels, 0 to 3, are called here


class Pulse:
    """How late the node's loop is, and how long it has run."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._begun = self._loop.time()
        self._worst, self._worst_at = 0.0, self._begun

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            due = self._loop.time() + BEAT
            await asyncio.sleep(BEAT)
            self.on_beat(due, now=self._loop.time())

    def on_beat(self, due: float, *, now: float) -> None:
        late = now - due
        if late >= self._worst or now - self._worst_at > REMEMBERED:
            self._worst, self._worst_at = late, now

    @property
    def uptime(self) -> float:
        """Seconds."""
        return self._loop.time() - self._begun

    def lag(self, now: float) -> float:
        """Seconds by which the loop was late at the worst, lately."""
        return self._worst if now - self._worst_at <= REMEMBERED else 0.0


def routes(node: Node, canary: Canary, pulse: Pulse, slots: Slots, seats: Seats, kept: Callable[[], CacheStats]) -> APIRouter:
    router = APIRouter(tags=["health"])
    loop = asyncio.get_running_loop

    @router.get("/health", **documents.HEALTH)
    async def health() -> dict[str, Any]:
        """How the node is; 200 while it answers at all."""
        is_heard, level = canary.is_heard(loop().time()), LEVELS[node.studio.level()[0]]
        return {
            "status": "ok" if is_heard and level == "full" else "degraded" if node.studio.offers else "error",
            "healthy": is_heard,
            "model_loaded": bool(node.studio.offers),
            "uptime_seconds": round(pulse.uptime, 1),
            "device": "cuda" if gpu_bytes() is not None else "cpu",
            "cache_size": kept().entries,
            "memory_usage": memory(),
            "checks": checks(node),
            "level": level,
            "engines": {one.name: {"state": one.state, "reason": one.reason, "voices": one.voices} for one in node.studio.status},
        }

    @router.get("/ready", **documents.READY)
    async def ready() -> Response:
        """200 when an engine has said the canary's sentence lately, a slot is free and one more session may be opened."""
        reasons = reasons_against(node, canary, slots, seats, now=loop().time())
        if reasons:
            return JSONResponse({"ready": False, "reasons": reasons}, 503, headers={"Retry-After": "1"})
        return JSONResponse({"ready": True, "reasons": []})

    @router.get("/live", **documents.LIVE)
    async def live() -> Response:
        """200 unless the node's loop was stuck lately."""
        lag = pulse.lag(loop().time())
        if lag > WEDGED:
            return JSONResponse({"live": False, "reasons": [f"the loop was late by {lag:.1f} s"]}, 503)
        return JSONResponse({"live": True, "reasons": []})

    for path, answer in (("/health", health), ("/ready", ready), ("/live", live)):  # probes ask so
        router.add_api_route(path, answer, methods=["HEAD"], include_in_schema=False)
    return router


def reasons_against(node: Node, canary: Canary, slots: Slots, seats: Seats, *, now: float) -> list[str]:
    """Why nobody should be sent here; empty when everybody may."""
    reasons = []
    if node.is_draining:
        reasons.append("draining: this node is about to end")
    if not canary.is_heard(now):
        reasons.append(f"canary: {canary.problem or 'it has not spoken lately'}")
    if slots.is_full:
        reasons.append("at capacity: every slot is taken")
    if seats.is_full:
        reasons.append("at capacity: no more sessions may be open (limits.sessions)")
    return reasons


def checks(node: Node) -> dict[str, str]:
    """Each ``ok``, ``none``, or what is wrong."""
    try:
        free = shutil.disk_usage(tempfile.gettempdir()).free
        space = "ok" if free >= LEAST_SPACE else f"only {free >> 20} MB are free"
    except OSError as error:
        space = str(error)
    percent = psutil.virtual_memory().percent
    return {
        "model": "ok" if node.studio.offers else "no engine can speak",
        "gpu": "ok" if gpu_bytes() is not None else "none",
        "system": "ok" if percent < 98 else f"{percent:.0f} % of the memory is used",
        "temp_dir": space,
    }


def memory() -> dict[str, Any]:
    process = psutil.Process()
    return {"rss_bytes": process.memory_info().rss, "percent": round(process.memory_percent(), 2), "gpu_bytes": gpu_bytes() or 0}


def gpu_bytes() -> int | None:
    """What engines hold of a GPU's memory; None where there is no GPU, or nobody has loaded what would use it."""
    torch = sys.modules.get("torch")
    if torch is None or not torch.cuda.is_available():
        return None
    return int(torch.cuda.memory_allocated())
