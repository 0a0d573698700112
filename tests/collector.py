"""A collector of OpenTelemetry on a free port, and what it was sent."""

from __future__ import annotations

import asyncio
import itertools
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Any, Self

from aiohttp import web
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
CALLER = "00f067aa0ba902b7"
PARENT = f"00-{TRACE}-{CALLER}-01"
PARTS = ["receive", "split", "queue", "synthesise tone", "send"]


@dataclass(frozen=True)
class Seen:
    """One span."""

    name: str
    trace: str
    id: str
    parent: str
    begin: int
    end: int
    """Nanoseconds since 1970."""
    about: dict[str, Any]
    is_error: bool
    kind: int
    service: str


class Collector:
    """``async with Collector() as collector``."""

    def __init__(self) -> None:
        self.spans: list[Seen] = []
        self.raw = b""

    async def __aenter__(self) -> Self:
        self._stack = AsyncExitStack()
        app = web.Application()
        app.router.add_post("/v1/traces", self._take)
        runner = web.AppRunner(app, shutdown_timeout=0.1)
        await runner.setup()
        self._stack.push_async_callback(runner.cleanup)
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        self.address = f"http://127.0.0.1:{runner.addresses[0][1]}"
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._stack.aclose()

    async def _take(self, request: web.Request) -> web.Response:
        body = await request.read()
        self.raw += body
        for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
            service = _read(resource.resource.attributes)["service.name"]
            for scope in resource.scope_spans:
                self.spans += [_seen(span, service) for span in scope.spans]
        return web.Response()

    async def told(self, name: str, count: int = 1) -> list[Seen]:
        """So many of that name, once they have come, in the order in which they began."""
        async with asyncio.timeout(10):
            while len(found := [span for span in self.spans if span.name == name]) < count:  # noqa: ASYNC110
                await asyncio.sleep(0.05)
        return sorted(found, key=lambda span: span.begin)

    def parts(self, parent: Seen) -> list[Seen]:
        """Of that span, in the order in which they began; each of them lies within it."""
        found = [span for span in self.spans if span.parent == parent.id]
        assert all(span.trace == parent.trace and parent.begin <= span.begin <= span.end <= parent.end for span in found)
        return sorted(found, key=lambda span: (span.begin, span.end))

    def check(self, sentence: Seen) -> None:
        """It has all its parts, one after the other."""
        parts = {span.name: span for span in self.parts(sentence)}
        assert set(PARTS) <= set(parts)
        line = [parts[name] for name in ("receive", "split", "queue", "synthesise tone")]
        assert line[0].begin == sentence.begin and all(one.end == other.begin for one, other in itertools.pairwise(line))
        assert line[-1].begin <= parts["send"].begin


def _seen(span: Any, service: str) -> Seen:
    return Seen(
        span.name,
        span.trace_id.hex(),
        span.span_id.hex(),
        span.parent_span_id.hex(),
        span.start_time_unix_nano,
        span.end_time_unix_nano,
        _read(span.attributes),
        span.status.code == span.status.STATUS_CODE_ERROR,
        span.kind,
        service,
    )


def _read(attributes: Any) -> dict[str, Any]:
    return {one.key: getattr(one.value, one.value.WhichOneof("value")) for one in attributes}
