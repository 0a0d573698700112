"""A service on this machine that speaks the protocol of Edge's, with a tone for each word, and misbehaves as a test wants it to."""

from __future__ import annotations

import json
import re
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import lru_cache
from http import HTTPStatus
from types import TracebackType
from typing import Self
from xml.sax.saxutils import escape, unescape

import av
import numpy as np
import pytest
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request as Asked
from websockets.http11 import Response
from websockets.sync.server import Server, ServerConnection, serve

from engines.base import Mark, Pace, Request, Samples
from engines.tone import ToneEngine

RATE = 24_000
ENCODER_DELAY = 576  # samples by which the encoder used here is late
PATIENCE = 5.0  # seconds for what happens at once
PROXIES = ("ws_proxy", "WS_PROXY")  # where aiohttp looks for the way to a ws:// address
Script = Callable[["Call"], None]


def tones(text: str) -> tuple[Samples, tuple[Mark, ...]]:
    engine = ToneEngine()
    engine.load()
    chunks = list(engine.synthesize(Request(text), Pace(window=60.0)))
    return np.concatenate([chunk.samples for chunk in chunks]), tuple(mark for chunk in chunks for mark in chunk.marks)


@lru_cache
def mp3(text: str) -> bytes:
    """The tones of a text, at the service's 48 kbit/s."""
    return encode(tones(text)[0])


def encode(samples: Samples, rate: int = RATE) -> bytes:
    encoder = av.CodecContext.create("libmp3lame", "w")
    encoder.sample_rate, encoder.layout, encoder.format, encoder.bit_rate = rate, "mono", "s16p", 48_000
    encoder.open()
    size = encoder.frame_size
    packets = []
    for start in range(0, len(samples), size):
        frame = av.AudioFrame.from_ndarray(samples[None, start : start + size], format="s16p", layout="mono")
        frame.sample_rate, frame.pts = rate, start
        packets += encoder.encode(frame)
    return b"".join(bytes(packet) for packet in [*packets, *encoder.encode(None)])


class Call:
    """One sentence that somebody wants spoken."""

    def __init__(self, socket: ServerConnection) -> None:
        self.socket = socket
        self.config = str(socket.recv(PATIENCE))
        self.ssml = str(socket.recv(PATIENCE)).partition("\r\n\r\n")[2]
        found = re.search(r"<prosody[^>]*>(.*)</prosody>", self.ssml, re.DOTALL)
        assert found
        self.text = unescape(found[1])

    def tell(self, path: str, content: object) -> None:
        kind = "application/json; charset=utf-8"
        self.socket.send(f"X-RequestId:1\r\nContent-Type:{kind}\r\nPath:{path}\r\n\r\n{json.dumps(content)}")

    def word(self, text: str, sample: int) -> None:
        told = {"Text": escape(text), "Length": len(text), "BoundaryType": "WordBoundary"}
        data = {"Offset": sample * 10_000_000 // RATE, "Duration": 1_000_000, "text": told}
        self.tell("audio.metadata", {"Metadata": [{"Type": "WordBoundary", "Data": data}]})

    def words(self) -> None:
        for mark in tones(self.text)[1]:
            self.word(self.text[mark.start : mark.end], mark.sample)

    def sound(self, data: bytes, piece: int = 720) -> None:
        head = b"X-RequestId:1\r\nContent-Type:audio/mpeg\r\nX-StreamId:1\r\nPath:audio\r\n"
        for start in range(0, len(data), piece):
            self.socket.send(len(head).to_bytes(2, "big") + head + data[start : start + piece])

    def end(self) -> None:
        self.tell("turn.end", {})


def well(call: Call) -> None:
    """As the service does it."""
    call.tell("turn.start", {"context": {}})
    call.tell("response", {"context": {}})
    call.words()
    call.sound(mp3(call.text))
    call.end()


class EdgeService:
    """``with EdgeService() as service``; it answers by ``script``, or refuses with ``status``."""

    def __init__(self) -> None:
        self.script: Script = well
        self.status = 0
        self.headers: dict[str, str] = {}
        self.asked: list[Asked] = []
        self.calls: list[Call] = []
        self.gate = threading.Event()
        """For scripts that wait for their test."""
        self.lost = threading.Event()
        """Set when a caller has gone before the end."""
        self._server: Server

    @property
    def url(self) -> str:
        return f"ws://127.0.0.1:{self._server.socket.getsockname()[1]}/edge/v1?TrustedClientToken=none"

    def __enter__(self) -> Self:
        self._server = serve(self._answer, "127.0.0.1", 0, process_request=self._admit, close_timeout=0.2)
        self._thread = threading.Thread(target=self._server.serve_forever)
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.gate.set()
        self._server.shutdown()
        self._thread.join(PATIENCE)

    def wait_until_lost(self) -> float:
        """Seconds that it took to notice that the caller has gone."""
        begun = time.perf_counter()
        assert self.lost.wait(PATIENCE)
        return time.perf_counter() - begun

    def _admit(self, socket: ServerConnection, asked: Asked) -> Response | None:
        self.asked.append(asked)
        if not self.status:
            return None
        response = socket.respond(HTTPStatus(self.status), "no")
        for name, value in self.headers.items():
            response.headers[name] = value
        return response

    def _answer(self, socket: ServerConnection) -> None:
        try:
            call = Call(socket)
            self.calls.append(call)
            self.script(call)
        except (ConnectionClosed, TimeoutError):
            self.lost.set()


@contextmanager
def in_place_of_edge(monkeypatch: pytest.MonkeyPatch) -> Iterator[EdgeService]:
    """What edge-tts asks instead of Edge's own, and without the proxy that this machine may have: no proxy finds its way back here.

    ``monkeypatch`` takes both back at the end of its test, in order with whatever else the test has patched.
    """
    for name in PROXIES:
        monkeypatch.delenv(name, raising=False)
    with EdgeService() as service:
        monkeypatch.setattr("edge_tts.communicate.WSS_URL", service.url)
        yield service


def waves(text: str) -> Iterator[tuple[int, int, int]]:
    """Start, end and first sample of each word."""
    for mark in tones(text)[1]:
        yield mark.start, mark.end, mark.sample
