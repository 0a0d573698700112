"""Microsoft's neural voices, by the service that the browser Edge reads aloud with: MP3 decoded as it arrives, marks from its boundaries.

The text of every sentence goes to that service. It asks for no key and promises nothing: a last resort, where there is a network.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import importlib.resources
import importlib.util
import json
import math
import re
import time
from collections import deque
from collections.abc import Callable, Generator
from dataclasses import dataclass, field
from functools import cache, partial
from typing import Any
from xml.sax.saxutils import escape

import numpy as np

from engines.base import (
    NO_SAMPLES,
    BrokenOff,
    Chunk,
    Engine,
    EngineError,
    EngineUnavailable,
    Mark,
    Pace,
    RateLimited,
    Refused,
    Request,
    Samples,
    ServiceFailed,
    SynthesisFailed,
    Unreachable,
    Voice,
)
from engines.transfer import POLL, Silence, Transfer, retry_after, told
from engines.words import words

ENGINE = "edge"
SAMPLE_RATE = 24_000  # hertz of the one format that it is asked for: 48 kbit/s, mono
TICKS = 10_000_000  # in which it counts a second
DECODER_DELAY = 529  # samples by which a decoder of MP3 is late (ISO/IEC 11172-3, its filter bank); the encoder's own is not known
LIBRARIES = ("edge_tts", "av")
INSTALL = "pip install 'voicebooth[edge]'"
LICENCE = "Microsoft's terms of use"
ONE_REQUEST = 4096  # bytes of text, escaped, that edge-tts sends in one
SMALLEST = 0.1  # seconds of sound in a step, whatever its pace: they are here already
BABBLE = 10.0, 1.0  # seconds, and seconds a character, beyond which no more is taken: the slowest voice at half speed takes 0.2
REACH = 80  # characters beyond the last word in which the next one is looked for: a line of punctuation is shorter
RATE_LIMIT = 60.0  # seconds of rest when it does not say how long
RATE_LIMITED = (429, 503)  # with 503 it answers, too, when it has had enough
_ID = re.compile(r"([a-z]{2,3}-[A-Z]{2})-(?:[a-z]+-)?(\w+)Neural")


@dataclass(frozen=True, slots=True)
class EdgeSettings:
    """How the service is reached."""

    voices: tuple[str, ...] = ()
    """Ids of the voices to offer, the default one first; empty for all that are known."""
    proxy: str = field(default="", repr=False)
    """``http://host:port`` through which it is reached. Empty: directly, or as HTTPS_PROXY says."""
    connect_timeout: float = 4.0
    """Seconds until its first answer, after which a sentence is given to another engine."""
    receive_timeout: float = 4.0
    """Seconds without a byte after which it counts as broken off."""

    def __post_init__(self) -> None:
        if self.proxy and not self.proxy.startswith(("http://", "https://")):
            raise ValueError("edge.proxy begins with http:// or https://")
        if not 0 < self.connect_timeout <= 60 or not 0 < self.receive_timeout <= 60:
            raise ValueError("edge's timeouts are above 0 and at most 60 seconds")


@cache
def known_voices() -> tuple[Voice, ...]:
    """The standard voices for the languages that this package names, the default one first; each language begins with its main region.

    Taken from ``edge-tts --list-voices``; new ones can be named in the settings without being in this table.
    """
    rows = json.loads(importlib.resources.files("engines").joinpath("edge_voices.json").read_text(encoding="utf-8"))
    return tuple(_voice(row["id"], row["gender"]) for row in rows)


class EdgeEngine(Engine):
    """Speaks with the voices of the service. A connection a sentence; no more than its steps ever read from it."""

    name = ENGINE
    network = True

    def __init__(self, settings: EdgeSettings | None = None) -> None:
        self._settings = settings or EdgeSettings()
        self._voices: tuple[Voice, ...] = ()
        self._rests_until = 0.0  # by the monotonic clock: it has asked to be left alone

    @property
    def build(self) -> str:
        return f"edge-1 edge-tts-{_version('edge-tts')}"

    def missing(self) -> str:
        return "" if all(importlib.util.find_spec(name) for name in LIBRARIES) else INSTALL

    def load(self) -> None:
        """Connects to nothing: whether the service can be reached is found out by speaking."""
        for name in LIBRARIES:
            _import(name)
        known = {voice.id: voice for voice in known_voices()}
        self._voices = tuple(known[id] if id in known else _named(id) for id in self._settings.voices) or known_voices()

    def unload(self) -> None:
        self._voices = ()

    def voices(self) -> tuple[Voice, ...]:
        return self._voices

    def synthesize(self, request: Request, pace: Pace) -> Generator[Chunk, None, None]:
        """A step waits a twentieth of a second at the most, and yields no samples when none came; then ``close()`` breaks off at once.

        Raises :exc:`UnknownVoice`, :exc:`SynthesisFailed` and its kind :exc:`engines.base.ServiceFailed`.
        """
        voice = self.choose(request)
        if not words(request.text):
            raise SynthesisFailed(f"engine edge finds no word in {len(request.text)} characters")
        if (left := self._rests_until - time.monotonic()) > 0:
            raise RateLimited(f"engine edge has been asked to wait for {left:.0f} s more", retry_after=left)
        communicate = _import("edge_tts").Communicate(
            request.text,
            voice.id,
            rate=f"{round((request.speed - 1) * 100):+d}%",
            boundary="WordBoundary",
            proxy=self._settings.proxy or None,
            connect_timeout=math.ceil(self._settings.connect_timeout),
        )
        answer = _Answer(request)
        transfer: Transfer[dict[str, Any]] = Transfer(
            partial(_listen, communicate), first=self._settings.connect_timeout, next=self._settings.receive_timeout
        )
        try:
            yield from self._follow(transfer, answer, communicate, pace)
        except RateLimited as refusal:
            self._rests_until = time.monotonic() + refusal.retry_after
            raise
        finally:
            transfer.close()

    def _follow(self, transfer: Transfer[dict[str, Any]], answer: _Answer, communicate: Any, pace: Pace) -> Generator[Chunk, None, None]:
        is_one = len(escape(answer.text).encode()) <= ONE_REQUEST
        is_over = False
        while not is_over or answer.has_sound:
            if not answer.has_sound:
                for message in self._receive(transfer, begun=answer.has_begun):
                    answer.feed(message)
                # Its turn has ended: what is left is a farewell that nobody needs to wait for.
                is_over = transfer.is_over or (is_one and answer.has_begun and _is_whole(communicate))
                if is_over:
                    answer.finish()
            yield answer.take(pace)
        if not _is_whole(communicate):
            raise BrokenOff("the connection to the Edge service ended inside the sentence")

    def _receive(self, transfer: Transfer[dict[str, Any]], *, begun: bool) -> list[dict[str, Any]]:
        """Whatever goes wrong in edge-tts and aiohttp becomes an error of ours here."""
        edge, aiohttp = _import("edge_tts"), _import("aiohttp")
        try:
            return transfer.wait(POLL)
        except Silence:
            raise Unreachable(
                "the Edge service sends nothing", remedy="edge.connect_timeout and .receive_timeout are the patience"
            ) from None
        except (aiohttp.ClientError, edge.exceptions.EdgeTTSException, OSError, ValueError, LookupError, TypeError) as problem:
            raise _explain(problem, begun=begun) from problem


class _Answer:
    """What the service has sent for one sentence, as samples and marks."""

    def __init__(self, request: Request) -> None:
        self.text = request.text
        self.has_begun = False
        """True once there has been sound."""
        self._decoder = _import("av").CodecContext.create("mp3", "r")
        self._held: deque[Samples] = deque()
        self._made = self._given = 0  # samples decoded, and handed out
        self._most = int((BABBLE[0] + BABBLE[1] * len(request.text) / request.speed) * SAMPLE_RATE)
        self._marks: list[Mark] = []
        self._said = 0  # characters up to the end of the last word that it has told

    @property
    def has_sound(self) -> bool:
        return self._made > self._given

    def feed(self, message: dict[str, Any]) -> None:
        """Raises :exc:`ServiceFailed`."""
        if message["type"] == "audio":
            self.has_begun = True
            self._decode(message["data"])
        elif message["type"] == "WordBoundary":
            self._mark(str(message["text"]), int(message["offset"]))

    def finish(self) -> None:
        """Raises :exc:`ServiceFailed`."""
        self._decode(None)
        if not self._made:
            raise ServiceFailed(f"the Edge service gave no sound for {len(self.text)} characters")

    def take(self, pace: Pace) -> Chunk:
        """The next piece, and the marks that are known by now."""
        most = int(max(pace.window, SMALLEST) * SAMPLE_RATE)
        taken: list[Samples] = []
        while self._held and most:
            first = self._held.popleft()
            taken.append(first[:most])
            if len(first) > most:
                self._held.appendleft(first[most:])
            most -= len(taken[-1])
        samples = np.concatenate(taken) if taken else NO_SAMPLES
        self._given += len(samples)
        marks, self._marks = tuple(self._marks), []
        return Chunk(samples, marks)

    def _decode(self, data: bytes | None) -> None:
        """``None`` for the last of it."""
        av = _import("av")
        try:
            packets = self._decoder.parse(data or b"")
            frames = [frame for packet in packets for frame in self._decoder.decode(packet)]
            if data is None:
                frames += self._decoder.decode(None)
        except av.error.FFmpegError as problem:
            raise ServiceFailed(f"the Edge service sent what is no MP3: {problem}") from problem
        for frame in frames:
            if frame.sample_rate != SAMPLE_RATE or frame.layout.nb_channels != 1:
                raise ServiceFailed(f"the Edge service sent {frame.layout.nb_channels} channels at {frame.sample_rate} Hz")
            self._held.append(frame.to_ndarray()[0])
            self._made += frame.samples
        if self._made > self._most:
            raise ServiceFailed(f"the Edge service sent {self._made / SAMPLE_RATE:.0f} s for {len(self.text)} characters, and no end")

    def _mark(self, word: str, offset: int) -> None:
        found = self._find(word)
        if found is None:
            return
        start, end, exact = found
        self._said = end
        sample = offset * SAMPLE_RATE // TICKS + DECODER_DELAY
        # A word of which it tells after its sound has gone out begins, for all that anybody can do about it, now.
        self._marks.append(Mark(start, end, max(sample, self._given), exact and sample >= self._given))

    def _find(self, word: str) -> tuple[int, int, bool] | None:
        """Its characters; those of the next word when it says something else, such as a number in words."""
        word = word.strip()
        at = self.text.find(word, self._said, self._said + REACH + len(word)) if word else -1
        if at >= 0:
            return at, at + len(word), True
        for start, end in words(self.text[self._said :]):
            return self._said + start, self._said + end, False
        return None


async def _listen(communicate: Any, tell: Callable[[dict[str, Any]], None]) -> None:
    async for message in communicate.stream():
        tell(message)


def _is_whole(communicate: Any) -> bool:
    """Whether the service has said that its turn has ended: edge-tts counts a turn's bytes, and begins anew with the next one.

    When the connection goes in the middle of a turn, edge-tts itself ends as if all had been said.
    """
    state = communicate.state
    return bool(state["cumulative_audio_bytes"]) and not state["chunk_audio_bytes"]


def _explain(problem: Exception, *, begun: bool) -> EngineError:
    """Our error for one of edge-tts, of aiohttp or of the network."""
    edge, aiohttp = _import("edge_tts").exceptions, _import("aiohttp")
    if isinstance(problem, edge.SkewAdjustmentError):
        return _refused(403)
    if isinstance(problem, aiohttp.ClientHttpProxyError):
        return Unreachable(f"the proxy does not lead to the Edge service: {problem.status}", remedy="edge.proxy names it")
    if isinstance(problem, aiohttp.ClientResponseError):
        if problem.status in RATE_LIMITED:
            rest = retry_after(problem.headers, RATE_LIMIT)
            return RateLimited(f"the Edge service answers {problem.status}: asked too much; again in {rest:.0f} s", retry_after=rest)
        if problem.status < 500:
            return _refused(problem.status)
        return ServiceFailed(f"the Edge service answers {problem.status}")
    if isinstance(problem, edge.NoAudioReceived):
        return ServiceFailed("the Edge service gave no sound", remedy="does it have the voice, and does that speak the language?")
    if begun and isinstance(problem, aiohttp.ClientError | edge.WebSocketError | OSError):
        return BrokenOff(f"the connection to the Edge service broke: {told(problem)}")
    if isinstance(problem, aiohttp.ClientError | edge.WebSocketError | OSError):
        return Unreachable(f"the Edge service cannot be reached: {told(problem)}", remedy="it needs a network; edge.proxy names a proxy")
    return ServiceFailed(
        f"the Edge service answers what edge-tts does not understand: {told(problem)}", remedy="pip install --upgrade edge-tts"
    )


def _refused(status: int) -> Refused:
    return Refused(f"the Edge service refuses: {status}", remedy="pip install --upgrade edge-tts, which knows how it wants to be asked")


def _voice(id: str, gender: str) -> Voice:
    match = _ID.fullmatch(id)
    assert match is not None, id
    language = match[1].replace("nb-", "no-")  # as the other engines call Norwegian
    name = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", match[2])
    return Voice(id, ENGINE, language, SAMPLE_RATE, name, gender, LICENCE)


def _named(id: str) -> Voice:
    """A voice that the table does not have: the service may be newer. Raises :exc:`EngineUnavailable`."""
    if _ID.fullmatch(id) is None:
        raise EngineUnavailable(f"edge.voices: {id!r} is no voice of the Edge service", remedy="write en-US-AriaNeural")
    return _voice(id, "")


def _import(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError as problem:
        raise EngineUnavailable(f"engine edge needs {name}: {problem}", remedy=INSTALL) from problem


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "none"
