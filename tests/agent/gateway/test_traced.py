"""Requests and sessions as a collector sees them."""

import asyncio
import contextlib
import json
import time

import aiohttp
import numpy as np
import pytest
from starlette.responses import Response
from websockets.asyncio.client import connect

from agent.config import Settings
from agent.gateway.bounds import Bounds
from agent.gateway.errors import Refused
from agent.gateway.faults import Faults
from agent.gateway.settings import LimitSettings, StreamSettings
from agent.gateway.speech import Speech
from agent.gateway.traced import Traced
from agent.gateway.traffic import Traffic
from engines.base import Pace, Request
from engines.remote import RemoteEngine, RemoteSettings
from pipeline.lanes import Lanes
from tests.agent.gateway.conftest import SETTINGS
from tests.agent.gateway.test_synthesis import ask
from tests.collector import CALLER, PARENT, TRACE, Collector

SECRET = "Balatan"
SERVER, INTERNAL = 2, 1  # kinds of spans, in OTLP


@pytest.fixture
async def collector(monkeypatch):
    monkeypatch.setattr("agent.tracing.EVERY", 0.05)
    async with Collector() as collector:
        yield collector
    assert SECRET.lower().encode() not in collector.raw.lower(), "what was said is in a trace"


@pytest.fixture
def settings(collector):
    return Settings.model_validate({**SETTINGS, "otel": {"endpoint": collector.address}})


@pytest.mark.parametrize(("path", "format"), [("/synthesize", "mp3"), ("/synthesize/stream", "wav")])
async def test_a_request_is_a_span_and_its_sentences_are_parts_of_it(client, collector, path, format):
    before = time.time_ns()
    text = f"{SECRET} two three. Four five."
    headers = {"traceparent": PARENT, "X-Request-ID": "mine"}
    await ask(client, path, text=text, format=format, response_format=None, headers=headers)
    (served,) = await collector.told(f"POST {path}")
    first, second = await collector.told("sentence", 2)
    assert (served.trace, served.parent, served.kind, served.is_error) == (TRACE, CALLER, SERVER, False)
    assert served.about == {
        "http.request.method": "POST",
        "http.route": path,
        "http.response.status_code": 200,
        "voicebooth.door": "http",
        "voicebooth.request_id": "mine",
    }
    assert before < served.begin < served.end < time.time_ns()
    assert [span.name for span in collector.parts(served)] in (["sentence", "sentence", "encode"], ["sentence", "encode", "sentence"])
    for sentence in (first, second):
        collector.check(sentence)
        assert sentence.kind == INTERNAL and not sentence.is_error and sentence.service == "voicebooth"
    about = first.about
    assert 0 < about.pop("voicebooth.ttft") <= about.pop("voicebooth.lag") < 5
    assert about == {
        "voicebooth.door": "http",
        "voicebooth.request_id": "mine",
        "voicebooth.language": "en",
        "voicebooth.characters": len(SECRET) + 11,
        "voicebooth.engine": "tone",
        "voicebooth.cached": False,
        "voicebooth.outcome": "heard",
    }
    (encode,) = [span for span in collector.spans if span.name == "encode"]
    assert encode.about == {"voicebooth.format": format}


async def test_a_reply_that_was_kept_is_one_sentence_of_its_request(client, collector):
    text = f"{SECRET} two. Three four."
    for name in ("first", "again"):
        await ask(client, text=text, headers={"traceparent": PARENT, "X-Request-ID": name})
    _, again = await collector.told("POST /synthesize", 2)
    (sentence,) = [span for span in await collector.told("sentence", 3) if span.parent == again.id]
    collector.check(sentence)
    assert (sentence.trace, sentence.is_error, sentence.end <= again.end) == (TRACE, False, True)
    assert sentence.about == {
        "voicebooth.door": "http",
        "voicebooth.request_id": "again",
        "voicebooth.language": "en",
        "voicebooth.characters": len(text),
        "voicebooth.engine": "tone",
        "voicebooth.cached": True,
        "voicebooth.outcome": "heard",
        "voicebooth.ttft": 0.0,
        "voicebooth.lag": 0.0,
    }
    assert [part.about["voicebooth.ended"] for part in collector.parts(sentence) if part.name == "synthesise tone"] == ["cached"]


async def test_what_was_refused_and_what_is_no_speech(client, collector):
    await client.get("/live")
    await ask(client, text=f"{SECRET} two.", language="tlh")
    (served,) = await collector.told("POST /synthesize")
    assert (served.about["error.type"], served.about["http.response.status_code"]) == ("unsupported_language", 422)
    assert not served.is_error, "it is the caller's"
    assert len(collector.spans) == 1


async def test_a_fault_of_ours_is_an_error(client, collector, node, monkeypatch):
    monkeypatch.setattr(type(node.studio), "offers", property(lambda studio: 1 / 0))
    await ask(client, text=f"{SECRET} two.")
    (served,) = await collector.told("POST /synthesize")
    assert served.is_error and served.about["http.response.status_code"] == 500


SSE = {"model": "tts-1", "voice": "alloy", "input": SECRET, "response_format": "pcm", "stream_format": "sse"}
STREAMS = {
    "/synthesize/stream": {"text": SECRET, "format": "pcm"},
    "/v1/audio/speech": SSE,
    "/batch_synthesize": {"texts": [SECRET, " "], "parallel_processing": False},
}


@pytest.mark.parametrize("path", STREAMS)
@pytest.mark.parametrize(("code", "status"), [("synthesis_failed", 500), ("content_filtered", 422)])
async def test_a_stream_that_fails_on_its_way_is_an_error_where_the_fault_is_ours(client, collector, monkeypatch, path, code, status):
    async def half(speech):
        speech.facts.samples += 24_000
        for _ in range(2):
            yield np.zeros(12_000, np.int16)
        raise Refused(code, SECRET, status)

    monkeypatch.setattr(Speech, "sound", half)
    with contextlib.suppress(aiohttp.ClientPayloadError):
        answer, _ = await ask(client, path, **STREAMS[path])
        assert answer.status == 200
    (served,) = await collector.told(f"POST {path}")
    is_covered = path == "/batch_synthesize" and status < 500
    assert (served.about["error.type"], served.is_error) == ("text_required" if is_covered else code, status == 500)
    assert served.about["http.response.status_code"] == 200


async def begins(scope, receive, send):
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"", "more_body": True})


async def fails(scope, receive, send):
    await begins(scope, receive, send)
    raise ZeroDivisionError(SECRET)


async def stays(scope, receive, send):
    await begins(scope, receive, send)
    await asyncio.sleep(60)


@pytest.mark.parametrize(
    ("app", "reading", "error"), [(fails, 0.0, "internal"), (begins, 60.0, "slow_reader"), (stays, 0.0, "CancelledError")]
)
async def test_an_answer_that_breaks_off_is_an_error_whatever_its_status(collector, app, reading, error):
    from agent.tracing import Tracing

    async def send(message):
        await asyncio.sleep(reading)

    async def refuse(request, refused):
        return Response()

    lanes, tracing = Lanes(), Tracing(collector.address, "booth")
    whole = Bounds(Traced(Faults(app, refuse), tracing), LimitSettings(), StreamSettings(stall_s=0.05), Traffic())
    with contextlib.suppress(ZeroDivisionError, OSError):
        async with asyncio.timeout(0.3):
            await whole({"type": "http", "method": "POST", "path": "/synthesize", "headers": []}, None, send)
    await tracing.aclose(lanes)
    lanes.close()
    (served,) = collector.spans
    assert (served.about["error.type"], served.is_error, served.about["http.response.status_code"]) == (error, True, 200)


async def test_whoever_is_not_sampled_leaves_nothing(client, collector):
    await ask(client, text=f"{SECRET} two.", headers={"traceparent": PARENT[:-2] + "00"})
    await ask(client, text="Three.", headers={"traceparent": "nonsense"})
    (sentence,) = await collector.told("sentence")
    assert sentence.trace != TRACE and {span.trace for span in collector.spans} == {sentence.trace}


async def test_the_log_names_the_trace_that_begins_here(client, collector, caplog):
    caplog.set_level("INFO")
    await ask(client, text=f"{SECRET} two.", headers={"X-Request-ID": "mine"})
    (served,) = await collector.told("POST /synthesize")
    assert served.parent == ""
    assert [vars(record)["trace_id"] for record in caplog.records if vars(record).get("request_id") == "mine"] == [served.trace]


async def test_a_session_s_sentences_belong_to_the_trace_of_its_upgrade_or_to_their_own(address, collector):
    other = PARENT.replace("4bf9", "5cf9")
    place = address.replace("http", "ws", 1) + "/ws/synthesize?dialect=native"
    async with connect(place, additional_headers={"traceparent": PARENT, "X-Request-ID": "mine"}) as ws:
        for fields in ({}, {"traceparent": other}):
            await ws.send(json.dumps({"type": "text", "text": f"{SECRET} two.", **fields}))
        count = 0
        while count < 2:
            message = await ws.recv()
            count += isinstance(message, str) and json.loads(message)["type"] == "speech_finished"
    first, second = await collector.told("sentence", 2)
    assert (first.trace, first.parent, second.trace, second.parent) == (TRACE, CALLER, other[3:35], CALLER)
    for sentence in (first, second):
        collector.check(sentence)
        assert (sentence.about["voicebooth.door"], sentence.about["voicebooth.request_id"]) == ("websocket", "mine")
        assert "encode" not in [span.name for span in collector.parts(sentence)], "samples are sent as they are"


async def test_another_node_that_is_asked_for_a_sentence_belongs_to_its_trace(address, collector):
    asking = RemoteEngine(RemoteSettings(url=address))

    def ask_it():
        asking.load()
        return list(asking.synthesize(Request(f"{SECRET} two.", traceparent=PARENT, request_id="mine"), Pace()))

    await asyncio.to_thread(ask_it)
    (served,) = await collector.told("POST /synthesize/stream")
    (sentence,) = await collector.told("sentence")
    assert (served.trace, served.parent, sentence.parent) == (TRACE, CALLER, served.id)
    assert served.about["voicebooth.request_id"] == "mine"


SOUND = {"type": "config", "audio": {"encoding": "mulaw", "sample_rate": 8000}}
ENCODED = {
    "native": ([SOUND, {"type": "text", "text": f"{SECRET} two."}], "speech_finished"),
    "oneshot": ([{"text": f"{SECRET} two.", "format": "mp3"}], "duration_seconds"),
    "incremental": ([{"format": "mp3"}, {"text": f"{SECRET} two."}, {"type": "end_of_stream"}], "complete"),
    "speak&encoding=alaw": ([{"type": "Speak", "text": f"{SECRET} two."}, {"type": "Flush"}], "Flushed"),
}
"""What a client says to each dialect, and what is in the message that comes last."""


@pytest.mark.parametrize("dialect", ENCODED)
async def test_what_a_socket_encodes_is_told_with_its_sentence(address, collector, dialect):
    said, last = ENCODED[dialect]
    async with connect(address.replace("http", "ws", 1) + f"/ws/synthesize?dialect={dialect}") as ws:
        for message in said:
            await ws.send(json.dumps(message))
        async for message in ws:
            if isinstance(message, str) and last in message:
                break
    (sentence,) = await collector.told("sentence")
    collector.check(sentence)
    assert "encode" in [span.name for span in collector.parts(sentence)]
