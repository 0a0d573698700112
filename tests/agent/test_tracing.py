"""What a collector is sent, and a node whose collector is not there."""

import asyncio
import logging
import socket
import subprocess
import sys
import time
from contextlib import closing

import pytest

from agent.config import Settings
from agent.log import TALKATIVE
from agent.node import Node
from pipeline.journey import Journey, Leg, Origin
from pipeline.lanes import Lanes
from tests.collector import CALLER, PARENT, TRACE, Collector

pytestmark = pytest.mark.shell
LIGHT = """
import sys, agent.commands.run, agent.gateway.app, agent.node
found = [name for name in sys.modules if name.startswith(("opentelemetry.sdk", "opentelemetry.exporter", "agent.tracing"))]
assert not found, found
"""


def settings(endpoint):
    chain = {"selection": {"fallback_chain": ["tone"]}, "cache": {"dir": "none"}}
    return Settings.model_validate({**chain, "node": {"name": "booth 7"}, "otel": {"endpoint": endpoint}})


async def tell(*journeys):
    """The spans of these."""
    from agent.tracing import Tracing

    async with Collector() as collector:
        lanes, tracing = Lanes(), Tracing(collector.address + "/", "booth 7")
        for journey in journeys:
            tracing.on_journey(journey)
        await tracing.aclose(lanes)
        lanes.close()
        return collector


def journey(**fields):
    now = asyncio.get_running_loop().time()
    usual = {"language": "en", "characters": 9, "received": now - 5, "held": now - 4, "released": now - 3, "end": now, "outcome": "heard"}
    return Journey(**{"origin": Origin("room", "", PARENT), **usual, **fields})


async def test_each_engine_s_part_is_told_and_whose_fault_it_was():
    now = asyncio.get_running_loop().time()
    legs = (Leg("first", now - 2.5, now - 2, "failed", "BadSound"), Leg("second", now - 2, now + 0.5, "spoke"))
    collector = await tell(journey(legs=legs, audible=now - 1, encoded=(now - 1, now - 0.5)))
    (sentence,) = await collector.told("sentence")
    assert (sentence.trace, sentence.parent, sentence.is_error, sentence.service) == (TRACE, CALLER, False, "booth 7")
    parts = collector.parts(sentence)
    names = ["receive", "split", "queue", "synthesise first", "synthesise second", "encode", "send"]
    assert [part.name for part in parts] == names, "a step that ends after its sentence does not stick out of it"
    assert [(part.end - part.begin) / 1e9 for part in parts] == pytest.approx([1, 1, 0.5, 0.5, 2.5, 0.5, 1], abs=1e-3)
    assert abs(parts[-1].end - time.time_ns()) < 2e9
    assert [part.name for part in parts if part.is_error] == ["synthesise first"]
    assert parts[3].about == {"voicebooth.engine": "first", "voicebooth.ended": "failed", "error.type": "BadSound"}


async def test_what_nobody_could_say_is_an_error_and_what_was_dropped_is_none():
    collector = await tell(journey(outcome="dropped:failed"), journey(outcome="dropped:expired", characters=1))
    failed, expired = sorted(await collector.told("sentence", 2), key=lambda span: -span.about["voicebooth.characters"])
    assert (failed.is_error, expired.is_error) == (True, False)
    assert [part.name for part in collector.parts(expired)] == ["receive", "split", "queue"]
    assert expired.about["voicebooth.outcome"] == "dropped:expired" and "voicebooth.ttft" not in expired.about


async def test_a_trace_that_is_current_in_the_task_is_nobody_s():
    from opentelemetry import context, trace

    around = trace.set_span_in_context(trace.NonRecordingSpan(trace.SpanContext(1, 2, False, trace.TraceFlags(1))))
    token = context.attach(around)
    try:
        collector = await tell(journey(origin=Origin("own")))
    finally:
        context.detach(token)
    (sentence,) = await collector.told("sentence")
    assert sentence.parent == "" and int(sentence.trace, 16) != 1


async def test_what_a_node_says_reaches_the_collector_before_it_ends():
    async with Collector() as collector:
        async with Node(settings(collector.address)) as node:
            await node.ready()
            async for _ in node.say("One two. Three four."):
                pass
        first, second = (span for span in collector.spans if span.name == "sentence")
        for sentence in (first, second):
            collector.check(sentence)
            assert sentence.parent == "" and sentence.about["voicebooth.door"] == "own"
        assert first.trace != second.trace, "nobody has asked for them together"


@pytest.mark.parametrize("kind", ["absent", "hangs", "refuses"])
async def test_a_collector_that_takes_nothing_keeps_nobody_waiting(kind, caplog):
    caplog.set_level(TALKATIVE["opentelemetry"], "opentelemetry")
    caplog.handler.setLevel(logging.NOTSET)
    with closing(socket.create_server(("127.0.0.1", 0))) as server:
        port = server.getsockname()[1]
        if kind == "absent":
            server.close()
        loop = asyncio.get_running_loop()
        async with Collector() as other, Node(settings(f"http://127.0.0.1:{port}" if kind != "refuses" else other.address + "/x")) as node:
            await node.ready()
            for _ in range(3):
                begun = loop.time()
                async for _samples in node.say("One two three."):
                    assert loop.time() - begun < 0.5
                    break
                await asyncio.sleep(0.7)
            begun = loop.time()
            await node.aclose()
            assert loop.time() - begun < 1.7
    told = [record for record in caplog.records if record.levelno >= logging.WARNING]
    assert [(record.name, record.levelname) for record in told] == [("agent.tracing", "WARNING")]


async def test_whatever_waits_for_a_collector_that_hangs_is_left(caplog):
    from agent.tracing import WAITING, Tracing

    caplog.set_level(TALKATIVE["opentelemetry"], "opentelemetry")
    loop, lanes = asyncio.get_running_loop(), Lanes()
    with closing(socket.create_server(("127.0.0.1", 0))) as server:
        tracing = Tracing(f"http://127.0.0.1:{server.getsockname()[1]}", "booth 7")
        begun = loop.time()
        for _ in range(WAITING // 4):
            tracing.on_journey(journey())
        assert loop.time() - begun < 2.0
        begun = loop.time()
        await tracing.aclose(lanes)
        assert loop.time() - begun < 1.7
    lanes.close()


def test_a_node_without_a_collector_does_without_the_libraries():
    subprocess.run([sys.executable, "-c", LIGHT], check=True)


def test_an_endpoint_is_a_web_address():
    with pytest.raises(ValueError, match="begins with http"):
        settings("127.0.0.1:4318")
