"""Another node's voices, by a small server of our own that answers as a node's HTTP door does."""

from __future__ import annotations

import http.server
import json
import select
import socket
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

from engines.base import (
    NO_SAMPLES,
    BrokenOff,
    Chunk,
    EngineUnavailable,
    Pace,
    RateLimited,
    Refused,
    Request,
    Samples,
    ServiceFailed,
    SynthesisFailed,
    UnknownVoice,
    Unreachable,
)
from engines.remote import SAMPLE_RATE, RemoteEngine, RemoteSettings
from engines.tone import ToneEngine
from pipeline.chain import Candidate, Chain, ChainSettings

TEXT = "The session is open, and everybody may speak."
VOICES = [
    {
        "voice_id": "en-us-female-premium",
        "name": "Sarah",
        "language": "en-US",
        "gender": "female",
        "quality_tier": "premium",
        "supported_engines": ["xtts", "kokoro"],
    },
    {"id": "de_DE-thorsten-medium", "language": "de-DE", "quality_tier": ["odd"], "supported_engines": ["piper"]},
]
PATIENCE = 5.0  # seconds for what happens at once


def tones(text: str) -> bytes:
    engine = ToneEngine()
    engine.load()
    return b"".join(chunk.samples.tobytes() for chunk in engine.synthesize(Request(text), Pace(60.0)))


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: OtherNode

    def do_GET(self) -> None:
        self.server.asked.append((self.path, dict(self.headers), {}))
        self.reply(self.server.voices)

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.asked.append((self.path, dict(self.headers), body))
        if self.server.status != 200:
            self.reply(self.server.refusal, self.server.status)
            return
        self.send_response(200)
        for name, value in ({"Content-Type": "audio/pcm", "X-Sample-Rate": "24000"} | self.server.headers).items():
            self.send_header(name, value)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        try:
            self.server.script(self, body["text"])
        except OSError:
            self.server.lost.set()

    def reply(self, content: Any, status: int = 200) -> None:
        data = content if isinstance(content, bytes) else json.dumps(content).encode()
        self.send_response(status)
        for name, value in self.server.headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def piece(self, data: bytes) -> None:
        self.wfile.write(f"{len(data):x}\r\n".encode() + data + b"\r\n")
        self.wfile.flush()

    def is_left(self) -> bool:
        """Whether the caller has gone, within our patience."""
        ready, _, _ = select.select([self.connection], [], [], PATIENCE)
        return bool(ready) and not self.connection.recv(1)

    def log_message(self, *arguments: Any) -> None: ...


def well(call: Handler, text: str) -> None:
    data = tones(text)
    for start in range(0, len(data), 4095):  # odd: a piece may end inside a sample
        call.piece(data[start : start + 4095])
    call.piece(b"")


class OtherNode(http.server.ThreadingHTTPServer):
    daemon_threads = False

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.voices: Any = {"voices": VOICES}
        self.script: Callable[[Handler, str], None] = well
        self.status = 200
        self.headers: dict[str, str] = {}
        self.refusal: Any = {"success": False, "error": "no, and no again", "code": "no"}
        self.asked: list[tuple[str, dict[str, str], dict[str, Any]]] = []
        self.gate = threading.Event()
        self.lost = threading.Event()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A caller that has gone is what some tests want."""
        self.lost.set()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


@pytest.fixture
def node() -> Iterator[OtherNode]:
    with OtherNode() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.gate.set()
        server.shutdown()
        thread.join(PATIENCE)


def engine(node: OtherNode, **settings: Any) -> RemoteEngine:
    made = RemoteEngine(RemoteSettings(node.url, **settings))
    made.load()
    return made


def speak(by: RemoteEngine, text: str = TEXT, *, window: float = 1.0, **wish: Any) -> list[Chunk]:
    return list(by.synthesize(Request(text, **wish), Pace(window)))


def sound(chunks: list[Chunk]) -> Samples:
    return np.concatenate([NO_SAMPLES, *(chunk.samples for chunk in chunks)])


def test_its_voices_are_those_of_the_other_node(node: OtherNode) -> None:
    made = engine(node, token="key")
    assert [voice.tier for voice in made.voices()] == ["premium", ""]
    assert [(voice.id, voice.language, voice.gender, voice.name) for voice in made.voices()] == [
        ("en-us-female-premium", "en-US", "female", "Sarah"),
        ("de_DE-thorsten-medium", "de-DE", "", ""),
    ]
    assert (node.asked[0][0], node.asked[0][1]["Authorization"]) == ("/voices", "Bearer key")
    made.load()
    assert len(node.asked) == 1
    assert made.build == engine(node).build
    made.unload()
    assert made.voices() == ()


def test_only_the_engine_that_is_named_counts(node: OtherNode) -> None:
    made = engine(node, engine="xtts")
    assert [voice.id for voice in made.voices()] == ["en-us-female-premium"]
    speak(made)
    assert (node.asked[-1][2]["engine"], node.asked[-1][2]["strict_engine"]) == ("xtts", True)


def test_a_sentence_comes_sample_by_sample_as_it_was_made(node: OtherNode) -> None:
    made = engine(node, token="key")
    chunks = speak(made, speed=1.25, language="en")
    assert np.array_equal(sound(chunks), np.frombuffer(tones(TEXT), dtype="<i2"))
    assert all(chunk.samples.dtype == np.int16 and len(chunk.samples) <= SAMPLE_RATE for chunk in chunks)
    path, headers, body = node.asked[-1]
    assert (path, headers["Authorization"]) == ("/synthesize/stream", "Bearer key")
    assert body == {
        "text": TEXT,
        "voice_id": "en-us-female-premium",
        "language": "en",
        "speed": 1.25,
        "format": "pcm",
        "sample_rate": 24_000,
        "use_cache": False,
    }


def test_whose_trace_it_is_part_of_goes_along(node: OtherNode) -> None:
    made = engine(node)
    speak(made)
    assert not {"traceparent", "X-Request-ID"} & set(node.asked[-1][1])
    speak(made, traceparent="00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", request_id="mine 1")
    assert node.asked[-1][1]["traceparent"] == "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
    assert node.asked[-1][1]["X-Request-ID"] == "mine 1"


@pytest.mark.parametrize("name", ["x" * 129, "a\r\nb: c", "a\tb", "\x00", "ü"])
def test_a_name_that_is_no_header_does_not_go_along(node: OtherNode, name: str) -> None:
    made = engine(node)
    assert len(sound(speak(made, request_id=name))) and not {"X-Request-ID", "b"} & set(node.asked[-1][1])


def test_marks_are_guesses_that_learn(node: OtherNode) -> None:
    made = engine(node)
    first = [mark for chunk in speak(made) for mark in chunk.marks]
    second = [mark for chunk in speak(made) for mark in chunk.marks]
    assert [(mark.start, mark.end) for mark in first] == [(mark.start, mark.end) for mark in second]
    assert not any(mark.exact for mark in first + second)
    length = len(tones(TEXT)) // 2
    end = second[-1].sample * len(TEXT) / second[-1].start
    assert end == pytest.approx(length, rel=0.01)
    assert [TEXT[mark.start : mark.end] for mark in first][:3] == ["The", "session", "is"]


def test_sound_is_given_while_the_rest_is_still_made(node: OtherNode) -> None:
    def slow(call: Handler, text: str) -> None:
        data = tones(text)
        call.piece(data[:4800])
        node.gate.wait(PATIENCE)
        call.piece(data[4800:])
        call.piece(b"")

    node.script = slow
    steps = engine(node).synthesize(Request(TEXT), Pace(1.0))
    first: list[Chunk] = []
    while not len(sound(first)):
        first.append(next(steps))
    assert not len(next(steps).samples)
    node.gate.set()
    assert len(sound(list(steps))) > SAMPLE_RATE


@pytest.mark.parametrize(
    ("status", "kind", "retryable"),
    [
        (401, Refused, False),
        (403, Refused, False),
        (404, Refused, False),
        (400, SynthesisFailed, True),
        (413, SynthesisFailed, True),
        (422, SynthesisFailed, True),
        (500, ServiceFailed, True),
        (504, ServiceFailed, True),
    ],
)
def test_a_refusal_is_told_with_its_reason(node: OtherNode, status: int, kind: type[SynthesisFailed], retryable: bool) -> None:
    made = engine(node)
    node.status = status
    with pytest.raises(kind, match=f"{status}: no, and no again") as caught:
        speak(made)
    assert (type(caught.value), caught.value.is_retryable) == (kind, retryable)
    chain, voice = Chain(ChainSettings(order=("remote",))), Candidate("remote", made.voice(""))
    assert chain.on_failed(voice, caught.value, now=0.0) is not retryable, "a text that it does not take says nothing of others"


@pytest.mark.parametrize(("status", "headers", "rest"), [(429, {"Retry-After": "7"}, 7), (503, {"Retry-After": "2"}, 2), (503, {}, 5)])
def test_a_node_that_is_full_says_for_how_long(node: OtherNode, status: int, headers: dict[str, str], rest: float) -> None:
    made = engine(node)
    node.status, node.headers, node.refusal = status, headers, b"<html>"
    with pytest.raises(RateLimited, match=str(status)) as caught:
        speak(made)
    assert caught.value.retry_after == rest


def leave(call: Handler, text: str) -> None:
    call.piece(tones(text)[:9600])
    call.connection.shutdown(socket.SHUT_RDWR)
    call.close_connection = True


def test_a_stream_that_is_cut_is_told(node: OtherNode) -> None:
    node.script = leave
    steps, given = engine(node).synthesize(Request(TEXT), Pace(1.0)), 0
    with pytest.raises(BrokenOff):
        for chunk in steps:
            given += len(chunk.samples)
    assert given == 4800


@pytest.mark.parametrize("after", [0, 9600])
def test_patience_ends(node: OtherNode, after: int) -> None:
    def stall(call: Handler, text: str) -> None:
        if after:
            call.piece(tones(text)[:after])
        node.gate.wait(PATIENCE)
        call.piece(b"")

    node.script = stall
    with pytest.raises(Unreachable, match="sends nothing"):
        speak(engine(node, connect_timeout=0.1, receive_timeout=0.1))


@pytest.mark.parametrize("after", [0, 9600])
def test_closing_ends_the_connection_at_once(node: OtherNode, after: int) -> None:
    left: list[bool] = []
    begun, done = threading.Event(), threading.Event()

    def endless(call: Handler, text: str) -> None:
        if after:
            call.piece(tones(text)[:after])
        begun.set()
        left.append(call.is_left())
        done.set()
        call.close_connection = True

    node.script = endless
    steps = engine(node).synthesize(Request(TEXT), Pace(1.0))
    while not begun.is_set():
        next(steps)
    closed = time.perf_counter()
    steps.close()
    assert done.wait(PATIENCE)
    assert left == [True]
    assert time.perf_counter() - closed < 1.0


@pytest.mark.parametrize("headers", [{"Content-Type": "audio/wav"}, {"X-Sample-Rate": "22050"}])
def test_sound_of_another_kind_is_told(node: OtherNode, headers: dict[str, str]) -> None:
    made = engine(node)
    node.headers = headers
    with pytest.raises(ServiceFailed, match="not with audio/pcm at 24000"):
        speak(made)


def test_no_sound_and_too_much_are_told(node: OtherNode) -> None:
    made = engine(node)
    node.script = lambda call, text: call.piece(b"")
    with pytest.raises(ServiceFailed, match="no sound"):
        speak(made)

    def babble(call: Handler, text: str) -> None:
        while True:
            call.piece(bytes(48_000))

    node.script = babble
    with pytest.raises(ServiceFailed, match="no end"):
        speak(made, "Oh!", window=60.0)


def test_a_node_that_is_not_there_is_unavailable() -> None:
    with pytest.raises(EngineUnavailable, match=r"set remote\.url"):
        RemoteEngine().load()
    with pytest.raises(EngineUnavailable, match="cannot be reached"):
        RemoteEngine(RemoteSettings("http://127.0.0.1:9")).load()


@pytest.mark.parametrize(
    ("voices", "told"),
    [
        ({"voices": []}, "has no voice"),
        ([], "no list of voices"),
        (b"<html>", "no list of voices"),
        ({"voices": [{"id": "x"}]}, "no list"),
        ({"voices": 3}, "no list"),
        (b"[" * 5_000_000, "more than"),
    ],
)
def test_a_node_that_answers_nonsense_is_unavailable(node: OtherNode, voices: Any, told: str) -> None:
    node.voices = voices
    with pytest.raises(EngineUnavailable, match=told):
        engine(node)


def test_what_cannot_be_spoken_is_not_asked_for(node: OtherNode) -> None:
    made = engine(node)
    with pytest.raises(UnknownVoice):
        speak(made, voice="anna")
    with pytest.raises(UnknownVoice, match="'tlh'"):
        speak(made, language="tlh")
    with pytest.raises(SynthesisFailed, match="no word"):
        speak(made, "...")
    made.synthesize(Request(TEXT), Pace()).close()
    assert len(node.asked) == 1


@pytest.mark.parametrize("wrong", [{"url": "gpu.example.org"}, {"connect_timeout": 0.0}, {"receive_timeout": 99.0}])
def test_settings_have_bounds(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="remote"):
        RemoteSettings(**wrong)


def test_it_waits_in_lanes_of_its_own_and_hides_its_token() -> None:
    assert RemoteEngine.network
    assert "hush" not in repr(RemoteSettings(token="hush"))


def test_a_node_that_nobody_has_named_is_missing() -> None:
    assert RemoteEngine().missing() == "set remote.url"
    assert RemoteEngine(RemoteSettings(url="http://127.0.0.1:1")).missing() == ""
