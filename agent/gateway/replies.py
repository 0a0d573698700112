"""What goes back: headers that say what became of a request, the JSON envelope, and bytes while they are made."""

from __future__ import annotations

import asyncio
import base64
import logging
from collections.abc import AsyncGenerator, Coroutine, Mapping
from contextlib import aclosing
from typing import Any, TypeVar
from urllib.parse import quote

import psutil
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from agent.gateway import notes
from agent.gateway.bounds import Stalled
from agent.gateway.connection import ABORT
from agent.gateway.encoding import MIMES
from agent.gateway.errors import Refused
from agent.gateway.production import Medium, Product
from agent.gateway.speech import Facts
from agent.gateway.wanted import Wanted

log = logging.getLogger(__name__)
T = TypeVar("T")


def describe(facts: Facts, medium: Medium, *, took: float, cache: str, shape: str) -> dict[str, str]:
    """The headers of a reply that holds sound. ``took``: seconds. ``cache``: ``hit``, ``miss`` or ``off``."""
    headers = {
        "X-Sample-Rate": str(medium.rate),
        "X-Processing-Time": f"{took:.4f}",
        "X-Language": facts.language,
        "X-Voice": facts.voice,
        "X-Engine": facts.engine,
        "X-Model": facts.model,
        "X-Cache": cache,
        "X-Shape": shape,
    }
    if facts.fallback:
        headers["X-Fallback"] = ",".join(dict.fromkeys(engine for engine, _ in facts.fallback))
    return {name: quote(value, safe=" ,;:=/()+'#._-") for name, value in headers.items()}


def envelope(product: Product, wanted: Wanted, *, rule: str, request_id: str) -> dict[str, Any]:
    """The JSON that three families of clients read, each its own names."""
    facts, took = product.facts, round(product.took, 4)
    audio = {"audio_data": base64.b64encode(product.data).decode()} if wanted.include_audio else {}
    return {
        "success": True,
        **audio,
        "format": product.medium.format,
        "sample_rate": product.medium.rate,
        "duration_seconds": round(product.seconds, 4),
        "duration": round(product.seconds, 4),
        "generation_time_ms": round(1000 * took, 1),
        "processing_time": took,
        "cached": facts.is_cached,
        "cache_hit": facts.is_cached,
        "text_length": len(wanted.text),
        "model_used": f"{facts.engine}:{facts.model}",
        "optimizations_applied": list(product.applied),
        "memory_usage_mb": round(psutil.Process().memory_info().rss / 1e6, 1),
        "engine": facts.engine,
        "voice_id": facts.voice,
        "language": facts.language,
        "ttfa_ms": None if facts.ttft is None else round(1000 * facts.ttft, 1),
        "fallback": [{"engine": engine, "reason": reason} for engine, reason in facts.fallback],
        "warnings": facts.warnings,
        "streamed": False,
        "shape_rule": rule,
        "request_id": request_id,
    }


class AudioStream(Response):
    """Bytes as they are made. A failure on the way cuts the connection: the last chunk never comes, and the caller knows."""

    def __init__(self, first: bytes, rest: AsyncGenerator[bytes, None], media_type: str, headers: Mapping[str, str]) -> None:
        """``first`` has been taken from ``rest`` already, so that whatever keeps it from beginning has a status of its own."""
        self._first = first
        self._rest = rest
        super().__init__(None, media_type=media_type, headers=dict(headers))
        del self.headers["content-length"]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await unless_gone(receive, self._send(send))
        except Gone:
            notes.on_refused("client_gone")
        except Stalled:
            log.warning("an answer was broken off: slow_reader")
        except Refused as error:
            notes.on_refused(error.code, is_fault=error.status >= 500)
            log.warning("an answer was broken off: %s", error.code)  # its words may hold some of the text
            scope.get(ABORT, lambda: None)()

    async def _send(self, send: Send) -> None:
        async with aclosing(self._rest) as rest:
            await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
            await send({"type": "http.response.body", "body": self._first, "more_body": True})
            async for piece in rest:
                await send({"type": "http.response.body", "body": piece, "more_body": True})
            await send({"type": "http.response.body", "body": b"", "more_body": False})


class Gone(Exception):
    """The caller has hung up: there is nobody to answer."""


async def unless_gone(receive: Receive, work: Coroutine[Any, Any, T]) -> T:
    """What comes of it. It is cancelled, and awaited, when the caller hangs up: then raises :exc:`Gone`."""
    working, leaving = asyncio.ensure_future(work), asyncio.ensure_future(_until_gone(receive))
    try:
        await asyncio.wait((working, leaving), return_when=asyncio.FIRST_COMPLETED)
        if working.done():
            return working.result()
        raise Gone
    finally:
        for task in (working, leaving):
            task.cancel()
        await asyncio.gather(working, leaving, return_exceptions=True)


async def _until_gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        """Nothing else is expected once the body has come."""


def mime(medium: Medium) -> str:
    return MIMES[medium.format]
