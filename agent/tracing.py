"""Traces for a collector of OpenTelemetry: what each sentence went through, and the request that it belongs to.

Nobody else here knows OpenTelemetry, and this is imported only where ``otel.endpoint`` names a collector.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version

from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import SERVICE_NAME, SERVICE_VERSION, Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExportResult
from opentelemetry.trace import Span, SpanKind, StatusCode, set_span_in_context
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from engines.base import EngineError
from pipeline.journey import Journey, Origin
from pipeline.lanes import Lanes
from pipeline.report import Watcher

PATH = "/v1/traces"  # where a collector takes them (OTLP/HTTP)
EVERY = 1.0  # seconds for which spans are gathered before they are sent
WAITING = 2048  # spans that wait for the collector: 300 sentences, some megabytes; more are thrown away
PATIENCE = 1.0  # seconds that it may take for a batch; what the end of the node waits for at the most, together with:
LAST = 0.3  # seconds from the node's end in which a batch may still be begun
END = 3.0  # seconds after which it is left alone in any case
NAME = "voicebooth"

Value = str | int | float | bool | None

log = logging.getLogger(__name__)
_w3c = TraceContextTextMapPropagator()


@dataclass(slots=True)
class Served:
    """A request while it is answered."""

    traceparent: str
    """To which its sentences belong."""
    status: int = 0
    error: str = ""
    """The code of what was refused."""
    is_fault: bool = False
    """Whether that is a failure which the status does not tell: the answer had begun."""


class Tracing(Watcher):
    """Makes spans of what it is told, on the node's loop. Nobody waits for the collector: another thread sends them, in batches, and what
    is not taken is thrown away. No text is in them.
    """

    def __init__(self, endpoint: str, service: str) -> None:
        self._exporter = _Exporter(endpoint)
        about = Resource.create({SERVICE_NAME: service, SERVICE_VERSION: version(NAME)})
        self._provider = TracerProvider(resource=about, shutdown_on_exit=False)
        self._provider.add_span_processor(BatchSpanProcessor(self._exporter, max_queue_size=WAITING, schedule_delay_millis=1000 * EVERY))
        self._tracer = self._provider.get_tracer(NAME, version(NAME))
        self._loop = asyncio.get_running_loop()
        self._zero = time.time_ns() - round(self._loop.time() * 1e9)

    async def aclose(self, lanes: Lanes) -> None:
        """Sends what waits, as far as the collector takes it at once."""
        self._exporter.until = time.monotonic() + LAST
        with contextlib.suppress(TimeoutError, EngineError):
            async with asyncio.timeout(END):
                await lanes.run(self._provider.shutdown, due=0.0, loads=True)

    def on_journey(self, journey: Journey) -> None:
        end = max([journey.end, *(leg.end for leg in journey.legs)])
        error = journey.outcome if journey.outcome == "dropped:failed" else ""
        with self._span("sentence", journey.received, end, _context(journey.origin.traceparent), _about(journey), error) as inside:
            made = min((leg.begin for leg in journey.legs), default=journey.end)
            parts = [
                ("receive", journey.received, journey.held),
                ("split", journey.held, journey.released),
                ("queue", journey.released, made),
            ]
            parts += [("encode", *journey.encoded)] if journey.encoded is not None else []
            parts += [("send", journey.audible, journey.end)] if journey.audible is not None else []
            for name, begin, until in parts:
                self._add(name, begin, until, inside)
            for leg in journey.legs:
                self._add(f"synthesise {leg.engine}", leg.begin, leg.end, inside, {"engine": leg.engine, "ended": leg.how}, leg.error)

    def on_encoded(self, origin: Origin, format: str, begin: float, end: float) -> None:
        """The sound of a whole request, from its first sample to its last byte."""
        self._add("encode", begin, end, _context(origin.traceparent), {"format": format})

    @contextlib.contextmanager
    def request(self, origin: Origin, name: str) -> Iterator[Served]:
        """A span around what answers it. ``name``: method and place."""
        about = {"door": origin.door, "request_id": origin.request}
        span = self._begin(name, self._loop.time(), _context(origin.traceparent), about, SpanKind.SERVER)
        served = Served(_traceparent(span))
        try:
            yield served
        except BaseException as error:
            served.error, served.is_fault = served.error or type(error).__name__, True
            raise
        finally:
            method, _, place = name.partition(" ")
            http = {"http.request.method": method, "http.route": place, "http.response.status_code": served.status or None}
            span.set_attributes({key: value for key, value in http.items() if value is not None})
            is_broken = served.is_fault or served.status >= 500 or not served.status
            self._end(span, self._loop.time(), served.error or ("broken off" if is_broken else ""), is_ours=is_broken)

    # Spans

    def _add(self, name: str, begin: float, end: float, parent: Context, about: Mapping[str, Value] | None = None, error: str = "") -> None:
        self._end(self._begin(name, begin, parent, about or {}), end, error)

    @contextlib.contextmanager
    def _span(self, name: str, begin: float, end: float, parent: Context, about: Mapping[str, Value], error: str) -> Iterator[Context]:
        """Gives what its parts belong to."""
        span = self._begin(name, begin, parent, about)
        yield set_span_in_context(span, Context())
        self._end(span, end, error)

    def _begin(self, name: str, at: float, parent: Context, about: Mapping[str, Value], kind: SpanKind = SpanKind.INTERNAL) -> Span:
        known = {f"{NAME}.{key}": value for key, value in about.items() if value not in (None, "")}
        return self._tracer.start_span(name, parent, kind, known, start_time=self._at(at))

    def _end(self, span: Span, at: float, error: str, *, is_ours: bool = True) -> None:
        """``is_ours``: an error is our fault."""
        if error:
            span.set_attribute("error.type", error)
        if error and is_ours:
            span.set_status(StatusCode.ERROR, error)
        span.end(self._at(at))

    def _at(self, seconds: float) -> int:
        """Nanoseconds since 1970, of a time of the loop's. One and the same difference for all: parts lie within what they are parts of."""
        return self._zero + round(seconds * 1e9)


class _Exporter(OTLPSpanExporter):
    """Complains once, and in the end begins nothing that would keep the node."""

    def __init__(self, endpoint: str) -> None:
        super().__init__(endpoint.rstrip("/").removesuffix(PATH) + PATH, timeout=PATIENCE)
        self.until = float("inf")
        self._is_told = False

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        if time.monotonic() > self.until:
            return SpanExportResult.FAILURE
        result = super().export(spans)
        if result is not SpanExportResult.SUCCESS and not self._is_told:
            self._is_told = True
            log.warning("the collector of otel.endpoint does not take spans: they are thrown away while that is so; this is told once")
        return result


def _context(traceparent: str) -> Context:
    """Of a parent elsewhere; empty, and not whatever is current in this task, where none is named."""
    return _w3c.extract({"traceparent": traceparent})


def _traceparent(span: Span) -> str:
    carrier: dict[str, str] = {}
    _w3c.inject(carrier, set_span_in_context(span, Context()))
    return carrier.get("traceparent", "")


def _about(journey: Journey) -> dict[str, Value]:
    return {
        "door": journey.origin.door,
        "request_id": journey.origin.request,
        "language": journey.language,
        "characters": journey.characters,
        "engine": journey.engine,
        "cached": journey.is_cached,
        "outcome": journey.outcome,
        "ttft": journey.ttft,
        "lag": journey.lag,
    }
