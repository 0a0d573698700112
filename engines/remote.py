"""Another voicebooth node, by its HTTP stream: heavy engines live there, on a machine with a GPU, and are heard here."""

from __future__ import annotations

import hashlib
import importlib
import json
import threading
from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

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
from engines.tiers import KEEPERS
from engines.transfer import POLL, Silence, Transfer, retry_after, told
from engines.words import words

ENGINE = "remote"
SAMPLE_RATE = 24_000  # hertz that it is asked for: that of most tracks, whatever its engines speak at
NAME_IT = "set remote.url"
STREAM, VOICES = "/synthesize/stream", "/voices"
NAME_LENGTH = 128  # characters of a request's name that the other node takes
TEXTS = (400, 413, 422)  # its answers to one text that it does not take: too long, in another language, not let through; others may well be
TOLD = 4096  # bytes of an error's body that are read: its message is a line
LISTED = 4 << 20  # bytes of a list of voices: a thousand voices take half a megabyte
REST = 5.0  # seconds of rest when a node is full and does not say for how long
UNIT = 0.068  # seconds of speech a unit of text takes, until a voice has been heard: a Latin letter is a unit
WIDE = 3.0  # units of a character that is a syllable
LEARNT = 0.3  # share of the newest sentence in what is known of a voice's pace
BABBLE = 10.0, 1.0  # seconds, and seconds a character, beyond which no more is taken


@dataclass(frozen=True, slots=True)
class RemoteSettings:
    """Where the other node is, and how it is asked."""

    url: str = ""
    """``https://gpu.example.org:8003``. Empty: there is none."""
    token: str = field(default="", repr=False)
    """Sent as a bearer token. Empty: none."""
    engine: str = ""
    """The engine there that is to speak. Empty: the node chooses."""
    connect_timeout: float = 4.0
    """Seconds until its first answer, after which a sentence is given to another engine."""
    receive_timeout: float = 4.0
    """Seconds without a byte after which it counts as broken off."""

    def __post_init__(self) -> None:
        if self.url and not self.url.startswith(("http://", "https://")):
            raise ValueError("remote.url begins with http:// or https://")
        if not 0 < self.connect_timeout <= 60 or not 0 < self.receive_timeout <= 60:
            raise ValueError("remote's timeouts are above 0 and at most 60 seconds")


class RemoteEngine(Engine):
    """Speaks with the voices of another node. A connection a sentence; no more than its steps ever read from it.

    The stream says nothing of words: its marks are guesses by proportion, better once a voice has been heard.
    """

    name = ENGINE
    network = True

    def __init__(self, settings: RemoteSettings | None = None) -> None:
        self._settings = settings or RemoteSettings()
        self._voices: tuple[Voice, ...] = ()
        self._digest = ""
        self._units: dict[str, float] = {}  # seconds a unit of text, by voice
        self._learning = threading.Lock()

    @property
    def build(self) -> str:
        return f"remote-1 {self._settings.url} {self._settings.engine} {self._digest}"

    def missing(self) -> str:
        return "" if self._settings.url else NAME_IT

    def load(self) -> None:
        """Asks the node for its voices."""
        if self._voices:
            return
        if not self._settings.url:
            raise EngineUnavailable("no other node is named", remedy=NAME_IT)
        pieces: list[bytes] = []
        transfer = self._transfer(partial(self._fetch, "GET", VOICES, None, LISTED, {}))
        try:
            while not transfer.is_over:
                pieces += self._receive(transfer, begun=bool(pieces))
        except SynthesisFailed as problem:
            raise EngineUnavailable(str(problem), remedy="remote.url and remote.token name it") from problem
        finally:
            transfer.close()
        listed = b"".join(pieces)
        voices = self._read(listed)
        if not voices:
            raise EngineUnavailable(f"{self._settings.url} has no voice", remedy="`voicebooth doctor` there says why")
        self._voices, self._digest = voices, hashlib.sha256(listed).hexdigest()[:16]

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
            raise SynthesisFailed(f"engine remote finds no word in {len(request.text)} characters")
        body = {
            "text": request.text,
            "voice_id": voice.id,
            "language": request.language or voice.language,
            "speed": request.speed,
            "format": "pcm",
            "sample_rate": SAMPLE_RATE,
            "use_cache": False,  # sentences that come again are in our own; what the other one has kept would tell nothing of its pace
        }
        if self._settings.engine:
            body |= {"engine": self._settings.engine, "strict_engine": True}
        transfer = self._transfer(partial(self._fetch, "POST", STREAM, body, None, _whose(request)))
        try:
            yield from self._follow(transfer, request, voice, pace)
        finally:
            transfer.close()

    def _follow(self, transfer: Transfer[bytes], request: Request, voice: Voice, pace: Pace) -> Generator[Chunk, None, None]:
        unit = self._units.get(voice.id, UNIT) / request.speed
        most = int((BABBLE[0] + BABBLE[1] * len(request.text) / request.speed) * SAMPLE_RATE)
        held, made = bytearray(), 0
        marks = _guess(request.text, unit)
        while not transfer.is_over or len(held) > 1:
            if len(held) < 2:
                held += b"".join(self._receive(transfer, begun=made > 0))
            samples = _take(held, int(max(pace.window, POLL) * SAMPLE_RATE))
            made += len(samples)
            if made > most:
                raise ServiceFailed(f"the other node sent {made / SAMPLE_RATE:.0f} s for {len(request.text)} characters, and no end")
            yield Chunk(samples, marks if len(samples) else ())
            marks = () if len(samples) else marks
        if not made:
            raise ServiceFailed(f"the other node gave no sound for {len(request.text)} characters")
        self._learn(voice.id, made / SAMPLE_RATE * request.speed / _units(request.text))

    def _learn(self, voice: str, unit: float) -> None:
        with self._learning:
            self._units[voice] = LEARNT * unit + (1 - LEARNT) * self._units.get(voice, unit)

    def _transfer(self, talk: Callable[[Callable[[bytes], None]], Any]) -> Transfer[bytes]:
        return Transfer(talk, first=self._settings.connect_timeout, next=self._settings.receive_timeout)

    def _receive(self, transfer: Transfer[bytes], *, begun: bool) -> list[bytes]:
        """Whatever goes wrong in aiohttp becomes an error of ours here."""
        aiohttp = _import("aiohttp")
        try:
            return transfer.wait(POLL)
        except Silence:
            raise Unreachable(
                "the other node sends nothing", remedy="remote.connect_timeout and .receive_timeout are the patience"
            ) from None
        except (aiohttp.ClientError, OSError, ValueError) as problem:
            if begun:
                raise BrokenOff(f"the connection to the other node broke: {told(problem)}") from problem
            raise Unreachable(f"{self._settings.url} cannot be reached: {told(problem)}", remedy="remote.url names it") from problem

    async def _fetch(
        self,
        method: str,
        path: str,
        body: Mapping[str, Any] | None,
        most: int | None,
        whose: Mapping[str, str],
        tell: Callable[[bytes], None],
    ) -> None:
        """Raises :exc:`SynthesisFailed` and what aiohttp raises. ``most``: bytes of an answer that is not sound. ``whose``: headers."""
        aiohttp, settings = _import("aiohttp"), self._settings
        headers = {"Authorization": f"Bearer {settings.token}", **whose} if settings.token else whose
        async with (
            aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=None)) as session,
            session.request(method, settings.url.rstrip("/") + path, json=body, headers=headers) as answer,
        ):
            if answer.status != 200:
                raise _explain(answer.status, answer.headers, await answer.content.read(TOLD))
            if most is None:
                _check(answer.headers)
            count = 0
            async for piece in answer.content.iter_any():
                count += len(piece)
                if most is not None and count > most:
                    raise ServiceFailed(f"{settings.url}{path} answers with more than {most} bytes")
                tell(piece)

    def _read(self, listed: bytes) -> tuple[Voice, ...]:
        """The node's list of voices. Raises :exc:`EngineUnavailable`."""
        try:
            rows = json.loads(listed)["voices"]
            return tuple(
                Voice(
                    str(row.get("voice_id") or row["id"]),
                    ENGINE,
                    str(row["language"]),
                    SAMPLE_RATE,
                    str(row.get("name") or ""),
                    str(row.get("gender") or ""),
                    str(row.get("description") or ""),
                    _tier(row),
                )
                for row in rows
                if not self._settings.engine or self._settings.engine in row.get("supported_engines", ())
            )
        except (ValueError, LookupError, TypeError, AttributeError, RecursionError) as problem:
            raise EngineUnavailable(
                f"{self._settings.url} answers with no list of voices: {problem!r}", remedy="set remote.url"
            ) from problem


def _whose(request: Request) -> dict[str, str]:
    """The headers that tell what a sentence is part of. A name that is none to the other node, or no header at all, is left out."""
    name = request.request_id
    is_name = 0 < len(name) <= NAME_LENGTH and name.isascii() and name.isprintable()
    return ({"traceparent": request.traceparent} if request.traceparent else {}) | ({"X-Request-ID": name} if is_name else {})


def _tier(row: Mapping[str, Any]) -> str:
    """Of a voice there; what promises nothing here is none."""
    found = str(row.get("quality_tier"))
    return found if found in KEEPERS else ""


def _check(headers: Mapping[str, str]) -> None:
    """Raises :exc:`ServiceFailed` when what follows is not the sound that was asked for."""
    kind = headers.get("Content-Type", "").partition(";")[0]
    rate = headers.get("X-Sample-Rate", str(SAMPLE_RATE))
    if kind != "audio/pcm" or rate != str(SAMPLE_RATE):
        raise ServiceFailed(f"the other node answers with {kind or 'nothing'} at {rate} Hz, not with audio/pcm at {SAMPLE_RATE}")


def _explain(status: int, headers: Mapping[str, str], body: bytes) -> EngineError:
    """Our error for a refusal of the node's."""
    try:
        answer = json.loads(body)
        reason = str(answer.get("error") or answer.get("detail") or "")[:300] if isinstance(answer, dict) else ""
    except ValueError:
        reason = ""
    text = f"the other node answers {status}{': ' if reason else ''}{reason}"
    if status in (429, 503):
        rest = retry_after(headers, REST)
        return RateLimited(f"{text}; again in {rest:g} s", retry_after=rest)
    if status in (401, 403):
        return Refused(text, remedy="set remote.token")
    if status in TEXTS:
        return SynthesisFailed(text)
    return Refused(text) if status < 500 else ServiceFailed(text)


def _take(held: bytearray, most: int) -> Samples:
    """Whole samples from the front of what is held: pieces of a stream may end inside one."""
    count = min(len(held) // 2, most)
    if not count:
        return NO_SAMPLES
    samples = np.frombuffer(bytes(held[: 2 * count]), dtype="<i2").astype(np.int16)
    del held[: 2 * count]
    return samples


def _units(text: str) -> float:
    return sum(WIDE if character >= "\u2e80" else 1.0 for character in text)


def _guess(text: str, unit: float) -> tuple[Mark, ...]:
    """Where the words begin, when a unit of text takes so many seconds."""
    return tuple(Mark(start, end, int(_units(text[:start]) * unit * SAMPLE_RATE), exact=False) for start, end in words(text))


def _import(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError as problem:
        raise EngineUnavailable(f"engine remote needs {name}: {problem}", remedy=f"pip install {name}") from problem
