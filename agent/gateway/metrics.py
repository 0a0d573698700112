"""``/metrics``: the names that dashboards know, fed by what the node reports and by every request."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from importlib.metadata import version
from typing import TYPE_CHECKING

from fastapi import APIRouter
from fastapi.responses import Response
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, PlatformCollector, ProcessCollector, Summary
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from prometheus_client.registry import Collector

from agent.gateway import documents
from agent.gateway.bounds import UNANSWERED, Exchange
from agent.gateway.canary import Canary
from agent.gateway.health import gpu_bytes
from agent.node import DOORS, Node
from pipeline.cache import CacheStats
from pipeline.chain import UNRATED
from pipeline.report import Watcher

if TYPE_CHECKING:
    from agent.gateway.slots import Slots

BUCKETS = (0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.4, 0.5, 0.75, 1.0, 2.5, 5.0, 10.0)  # seconds; the tiers' edges are among them
FINE = (0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 1.5, 2.0, 2.5, 3.0, 3.5, 4.0, 4.5, 5.0, 7.5, 10.0, 30.0, 60.0)
REASONS = {"hedge": "hedge", "late": "late", "rests": "resting", "back to": "returned", "lanes": "load"}
"""Words in the reason for a change of engine, and the label for it; anything else is ``failed``. Labels are few and known."""
RATING = "1 to 5: the rating that the settings give an engine (selection.quality), not measured; 1 while it is not heard."
MARK = (
    "1 to 5: what DNSMOS estimates that listeners would give the last sentence of the canary that it marked; for an engine of which it"
    " has marked none, the rating that the settings give (selection.quality), not measured; 1 while it is not heard."
)
UNHEARD = 1.0  # of 5: how an engine is rated that was not heard when it should have been


class Metrics(Watcher):
    """Counts sentences from every door, and exchanges over HTTP. No text, voice or client is ever a label."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        PlatformCollector(registry=self.registry)
        registry = self.registry
        self._requests = Counter("tts_synthesis_requests_total", "Sentences made.", ["engine", "language"], registry=registry)
        self._all = Counter("tts_requests_total", "The same, without labels.", registry=registry)
        self._ttft = Histogram(
            "tts_ttft_duration_seconds",
            "From a complete sentence to its first audible sample, failed engines included.",
            ["engine"],
            buckets=BUCKETS,
            registry=registry,
        )
        self._duration = Histogram(
            "tts_synthesis_duration_seconds", "Work on one sentence.", ["engine"], buckets=BUCKETS, registry=registry
        )
        self._latency = Histogram("tts_latency_seconds", "The same, without labels.", buckets=BUCKETS, registry=registry)
        self._errors = Counter("tts_synthesis_errors_total", "Sentences that nobody could say.", ["type"], registry=registry)
        self._seconds = Counter("tts_audio_seconds_total", "Sound made.", ["engine"], registry=registry)
        self._gap = Histogram("tts_chunk_gap_seconds", "Between two pieces of a streamed reply.", buckets=BUCKETS, registry=registry)
        self._underruns = Counter("tts_underruns_total", "Sentences that ran dry while they were heard.", registry=registry)
        self._fallback = Counter(
            "tts_fallback_total", "Changes of engine that nobody asked for.", ["from", "to", "reason"], registry=registry
        )
        self._misses = Counter("tts_budget_miss_total", "Sentences that began later than their budget.", ["engine"], registry=registry)
        self._rtf = Gauge("tts_rtf", "Seconds of work for each second of sound, of the latest sentence.", ["engine"], registry=registry)
        self._http = Counter("http_requests_total", "Requests.", ["handler", "method", "status"], registry=registry)
        self._http_seconds = Histogram("http_request_duration_seconds", "From request to end.", ["handler", "method"], registry=registry)
        self._http_fine = Histogram(
            "http_request_duration_highr_seconds", "The same, without labels, finer.", buckets=FINE, registry=registry
        )
        self._http_received = Summary("http_request_size_bytes", "Bodies received.", ["handler"], registry=registry)
        self._http_sent = Summary("http_response_size_bytes", "Bodies sent.", ["handler"], registry=registry)

    def watch(self, node: Node, canary: Canary, slots: Slots, kept: Callable[[], CacheStats]) -> None:
        """Count what this node says, from here on, and read ``kept`` of what it said."""
        node.report.watch(self)
        self.registry.register(_State(node, canary, slots, kept))

    def on_started(self, engine: str, *, ttft: float, lag: float, budget: float) -> None:
        self._ttft.labels(engine).observe(ttft)
        if ttft > budget:
            self._misses.labels(engine).inc()

    def on_made(self, engine: str, language: str, *, work: float, seconds: float) -> None:
        self._requests.labels(engine, language).inc()
        self._all.inc()
        self._duration.labels(engine).observe(work)
        self._latency.observe(work)
        self._seconds.labels(engine).inc(seconds)
        if seconds:
            self._rtf.labels(engine).set(work / seconds)

    def on_failed(self, kind: str) -> None:
        self._errors.labels(kind).inc()

    def on_switched(self, old: str, new: str, why: str) -> None:
        self._fallback.labels(old, new, reason_of(why)).inc()

    def on_count(self, what: str, number: int) -> None:
        if what == "underruns":
            self._underruns.inc(number)

    def on_gap(self, seconds: float) -> None:
        """Between two pieces of a streamed reply."""
        self._gap.observe(seconds)

    def on_exchange(self, exchange: Exchange) -> None:
        status = str(UNANSWERED) if exchange.status == UNANSWERED else f"{exchange.status // 100}xx"
        self._http.labels(exchange.handler, exchange.method, status).inc()
        self._http_seconds.labels(exchange.handler, exchange.method).observe(exchange.seconds)
        self._http_fine.observe(exchange.seconds)
        self._http_received.labels(exchange.handler).observe(exchange.received)
        self._http_sent.labels(exchange.handler).observe(exchange.sent)


class _State(Collector):
    """What is read off the node when somebody asks."""

    def __init__(self, node: Node, canary: Canary, slots: Slots, kept: Callable[[], CacheStats]) -> None:
        self._node = node
        self._kept = kept
        self._canary = canary
        self._slots = slots

    def describe(self) -> Iterator[Metric]:
        return iter(())

    def collect(self) -> Iterator[Metric]:
        node = self._node
        sessions = GaugeMetricFamily("tts_active_sessions", "Places in which text is taken.", labels=["door"])
        open_now = node.sessions()
        for door in (*DOORS, *(open_now.keys() - set(DOORS))):
            sessions.add_metric([door], open_now[door])
        yield sessions
        up = GaugeMetricFamily("tts_engine_up", "Whether an engine can speak.", labels=["engine"])
        quality = GaugeMetricFamily("tts_audio_quality_score", MARK if node.settings.canary.mos else RATING, labels=["engine"])
        for status in node.studio.status:
            is_up = status.state == "ready"
            up.add_metric([status.name], is_up)
            quality.add_metric([status.name], self._quality(status.name, is_up=is_up))
        yield up
        yield quality
        yield GaugeMetricFamily(
            "tts_queue_depth", "Requests and steps that wait for their turn.", self._slots.waiting + node.studio.lanes.queued
        )
        if (used := gpu_bytes()) is not None:
            yield GaugeMetricFamily("tts_gpu_memory_bytes", "GPU memory that engines hold.", used)
        stats = self._kept()
        yield CounterMetricFamily("tts_cache_hits", "Sentences that had been said before.", stats.total_hits)
        yield CounterMetricFamily("tts_cache_misses", "Sentences that could have been.", stats.total_misses)
        yield GaugeMetricFamily("tts_cache_bytes", "What is kept.", stats.size_bytes)
        build = GaugeMetricFamily("tts_build_info", "What runs here.", labels=["version"])
        build.add_metric([version("voicebooth")], 1)
        yield build

    def _quality(self, engine: str, *, is_up: bool) -> float:
        canary = self._canary
        if not is_up or (canary.engine == engine and canary.problem):
            return UNHEARD
        return canary.marks.get(engine, self._node.settings.selection.quality.get(engine, UNRATED))


def reason_of(why: str) -> str:
    """One of a few words."""
    return next((label for words, label in REASONS.items() if words in why), "failed")


def routes(metrics: Metrics) -> APIRouter:
    router = APIRouter(tags=["health"])

    @router.get("/metrics", **documents.METRICS)
    async def read() -> Response:
        """Everything that is counted, as Prometheus reads it."""
        return Response(generate_latest(metrics.registry), headers={"content-type": CONTENT_TYPE_LATEST})

    return router
