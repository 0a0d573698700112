"""A ``tts.TTS`` that speaks through a voicebooth node."""

from __future__ import annotations

import asyncio
import weakref
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import aiohttp
from livekit.agents import APIConnectionError, APIConnectOptions, APIError, APIStatusError, APITimeoutError, tts, utils
from livekit.agents.types import DEFAULT_API_CONNECT_OPTIONS, NOT_GIVEN, NotGivenOr

from .line import PATH, Line, LineClosed
from .words import Words

NODE = "http://127.0.0.1:8003"  # where `voicebooth run` listens
SAMPLE_RATE = 24_000  # hertz
BLANK = b"\0\0" * (SAMPLE_RATE // 100)  # livekit-agents takes an utterance without any sound for a failure; "..." is none
PAUSED = "not_finished"  # a model paused for longer than the node waits: what it says next is heard as an utterance of its own
OVER = "session_over"  # a connection lasts only so long, and the next one begins anew
REFUSED = {
    "unauthorized": 401,
    "forbidden": 403,
    "too_large": 413,
    "rate_limited": 429,
    **dict.fromkeys(("bad_field", "bad_text", "text_too_long"), 422),
    **dict.fromkeys(("unknown_language", "unknown_voice", "unknown_engine", "too_many_tracks"), 422),
}
"""The numbers that a node has for them over HTTP."""
CONTROL = {code: None for code in (*range(0x20), *range(0x7F, 0xA0)) if chr(code) not in "\t\n\r\x85"}  # what no node says


@dataclass(frozen=True)
class _Options:
    language: str | None
    voice: str | None
    engine: str | None
    speed: float | None
    budget_ms: int | None
    sample_rate: int

    def config(self) -> dict[str, Any]:
        named = {name: getattr(self, name) for name in ("language", "voice", "engine", "speed", "budget_ms")}
        audio = {"encoding": "linear16", "sample_rate": self.sample_rate, "delivery": "binary"}
        return {"type": "config", "audio": audio, **{name: value for name, value in named.items() if value is not None}}


class TTS(tts.TTS[Any]):
    """Streams text to a node as it comes, and sound back as it is made; words come with their times.

    Connections are kept and used again; an interrupted utterance is silenced at the node, and its connection is kept as well.
    """

    def __init__(
        self,
        *,
        base_url: str = NODE,
        api_key: str | None = None,
        language: str | None = None,
        voice: str | None = None,
        engine: str | None = None,
        speed: float | None = None,
        budget_ms: int | None = None,
        sample_rate: int = SAMPLE_RATE,
        http_session: aiohttp.ClientSession | None = None,
    ) -> None:
        """None leaves it to the node.

        ``base_url``: the node, by ``http``, ``https``, ``ws`` or ``wss``. ``api_key``: where the node wants one. ``language``: a BCP 47
        tag. ``voice``, ``engine``: names of the node's. ``speed``: 0.5 to 2. ``budget_ms``: to the first sound of a sentence.
        """
        super().__init__(capabilities=tts.TTSCapabilities(streaming=True, aligned_transcript=True), sample_rate=sample_rate, num_channels=1)
        self._url = _endpoint(base_url)
        self._api_key = api_key
        self._options = _Options(language, voice, engine, speed, budget_ms, sample_rate)
        self._session = http_session
        self._streams: weakref.WeakSet[SynthesizeStream] = weakref.WeakSet()
        self._pool = utils.ConnectionPool[Line](connect_cb=self._connect, close_cb=_hang_up)

    @property
    def model(self) -> str:
        return self._options.voice or self._options.engine or "default"

    @property
    def provider(self) -> str:
        return "voicebooth"

    def update_options(
        self,
        *,
        language: NotGivenOr[str | None] = NOT_GIVEN,
        voice: NotGivenOr[str | None] = NOT_GIVEN,
        engine: NotGivenOr[str | None] = NOT_GIVEN,
        speed: NotGivenOr[float | None] = NOT_GIVEN,
        budget_ms: NotGivenOr[int | None] = NOT_GIVEN,
    ) -> None:
        """For utterances that begin from now on."""
        given = {"language": language, "voice": voice, "engine": engine, "speed": speed, "budget_ms": budget_ms}
        named: dict[str, Any] = {name: value for name, value in given.items() if utils.is_given(value)}
        self._options = replace(self._options, **named)
        self._pool.invalidate()  # a node keeps what it was told: what is left out now would stay

    def synthesize(self, text: str, *, conn_options: APIConnectOptions = DEFAULT_API_CONNECT_OPTIONS) -> tts.ChunkedStream:
        return self._synthesize_with_stream(text, conn_options=conn_options)

    def stream(self, *, conn_options: APIConnectOptions = DEFAULT_API_CONNECT_OPTIONS) -> SynthesizeStream:
        stream = SynthesizeStream(tts=self, conn_options=conn_options)
        self._streams.add(stream)
        return stream

    def prewarm(self) -> None:
        """Connect now, so that the first utterance need not."""
        self._pool.prewarm()

    async def aclose(self) -> None:
        for stream in list(self._streams):
            await stream.aclose()
        self._streams.clear()
        await self._pool.aclose()
        await super().aclose()

    async def _connect(self, timeout: float) -> Line:
        session = self._session or utils.http_context.http_session()
        headers = {"Authorization": f"Bearer {self._api_key}"} if self._api_key else {}
        try:
            async with asyncio.timeout(timeout):
                return await Line.open(session, self._url, headers)
        except TimeoutError as error:
            raise APITimeoutError(f"no answer from {self._url}") from error
        except aiohttp.WSServerHandshakeError as error:
            raise APIStatusError(f"the node refused the connection: {error.message}", status_code=error.status) from error
        except LineClosed as error:
            raise APIConnectionError(str(error)) from error
        except (aiohttp.ClientError, OSError) as error:
            raise APIConnectionError(f"no node at {self._url}") from error

    async def _line(self, timeout: float) -> Line:
        """One that is open and told how to speak; :meth:`_give_back` is owed. Raises :exc:`APIError`."""
        while True:
            line = await self._pool.get(timeout=timeout)
            line.acquired, line.is_reused = self._pool.last_acquire_time, self._pool.last_connection_reused  # before another one asks
            if line.is_open:
                break
            self._pool.remove(line)  # the node has ended it while nobody used it
        config = self._options.config()
        if line.config != config:
            try:
                await line.send(**config)
            except LineClosed as error:
                self._pool.remove(line)
                raise APIConnectionError(str(error)) from error
            except BaseException:  # cancelled: nobody knows how much of it was sent
                self._pool.remove(line)
                raise
            line.config = config
        return line

    async def _give_back(self, line: Line, *, is_spent: bool) -> None:
        """``is_spent``: its utterance is over. If not, it is silenced."""
        try:
            if not is_spent:
                await line.hush()
        except LineClosed:
            self._pool.remove(line)
        except BaseException:
            self._pool.remove(line)
            raise
        else:
            self._pool.put(line)


class SynthesizeStream(tts.SynthesizeStream):
    """One utterance: text goes out as it comes in."""

    _tts: TTS
    _sent = 0
    """Texts of this utterance; a node tells by their numbers when all of it has come."""
    _last: int | None = None
    """The number of its last one."""

    async def _run(self, output_emitter: tts.AudioEmitter) -> None:
        utterance = utils.shortuuid("utterance_")
        output_emitter.initialize(
            request_id=utterance, sample_rate=self._tts.sample_rate, num_channels=1, mime_type="audio/pcm", stream=True
        )
        first = await self._first_text()
        if first is None:
            return
        line = await self._tts._line(self._conn_options.timeout)
        self._acquire_time, self._connection_reused = line.acquired, line.is_reused
        output_emitter.start_segment(segment_id=utterance)
        self._sent, self._last = 0, None
        is_over = False
        sending = asyncio.create_task(self._send(line, utterance, first))
        try:
            await self._receive(line, utterance, output_emitter, sending)
            is_over = True
        except LineClosed as error:
            raise APIConnectionError(str(error)) from error
        finally:
            await utils.aio.cancel_and_wait(sending)
            await self._tts._give_back(line, is_spent=is_over)
        output_emitter.end_segment()

    async def _first_text(self) -> str | None:
        async for item in self._input_ch:
            if isinstance(item, str):
                return item
        return None

    async def _send(self, line: Line, utterance: str, first: str) -> None:
        self._mark_started()
        await self._say(line, utterance, first)
        async for item in self._input_ch:
            if isinstance(item, str):
                await self._say(line, utterance, item)
            else:
                await line.send(type="flush", utterance=utterance)
        self._last = self._sent
        await self._text(line, utterance, "", final=True)

    async def _say(self, line: Line, utterance: str, text: str) -> None:
        text = text.translate(CONTROL)
        most = line.text_characters
        for start in range(0, len(text), most):
            await self._text(line, utterance, text[start : start + most], final=False)

    async def _text(self, line: Line, utterance: str, text: str, *, final: bool) -> None:
        number, self._sent = self._sent, self._sent + 1
        await line.send(type="text", text=text, utterance=utterance, stream=utterance, seq=number, final=final)

    async def _receive(self, line: Line, utterance: str, emitter: tts.AudioEmitter, sending: asyncio.Task[None]) -> None:
        """Returns when all of it has come. Raises :exc:`APIError` or :exc:`LineClosed`."""
        words, heard, lost = Words(), 0.0, ""
        while True:
            message = await self._next(line, sending)
            if isinstance(message, bytes):
                emitter.push(message)
                heard += len(message) / 2 / self._tts.sample_rate
                continue
            match message.get("type"):
                case "caption" if message["text"]:
                    for word in words.on_word(message["text"], heard):
                        emitter.push_timed_transcript(word)
                case "sentence_finished":
                    for word in words.on_end(heard):
                        emitter.push_timed_transcript(word)
                case "dropped" if message.get("why") != "nothing_to_say":
                    lost = f"not said ({message.get('why')}): {message.get('text')}"
                case "error" if message.get("code") != PAUSED:
                    raise _api_error(message)
                case "spoken" if message.get("stream") == utterance and message.get("seq") == self._last:
                    break
        if not heard:
            if lost:
                raise APIError(lost, body=None)
            emitter.push(BLANK)

    async def _next(self, line: Line, sending: asyncio.Task[None]) -> dict[str, Any] | bytes:
        """While text is still to come the node may be silent for as long as the text is."""
        receiving = asyncio.create_task(line.receive())
        try:
            while not receiving.done():
                pending = {receiving} if sending.done() else {receiving, sending}
                patience = self._conn_options.timeout if sending.done() else None
                done, _ = await asyncio.wait(pending, timeout=patience, return_when=asyncio.FIRST_COMPLETED)
                if sending in done:
                    sending.result()
                if not done:
                    raise APITimeoutError("the node has fallen silent")
            return receiving.result()
        finally:
            receiving.cancel()


async def _hang_up(line: Line) -> None:
    await line.aclose()


def _endpoint(base_url: str) -> str:
    parts = urlsplit(base_url)
    scheme = {"http": "ws", "https": "wss"}.get(parts.scheme, parts.scheme)
    if scheme not in ("ws", "wss") or not parts.netloc:
        raise ValueError(f"base_url is the address of a node, for example {NODE}; this is {base_url!r}")
    return urlunsplit((scheme, parts.netloc, parts.path.rstrip("/") + PATH, "", ""))


def _api_error(message: dict[str, Any]) -> APIError:
    code, words = str(message.get("code")), str(message.get("message"))
    if code == OVER:
        return APIConnectionError(words)
    is_retryable = bool(message.get("retryable"))
    return APIStatusError(words, status_code=REFUSED.get(code, 503 if is_retryable else 400), body=message, retryable=is_retryable)
