"""The peers beside us, in a process of their own: each joins the room, hears texts, and speaks them on a track of its own.

``whole``    ``piper-tts`` makes the whole sentence, then it is put into a track: what a node of a hundred lines does.
``adapter``  livekit-agents' ``StreamAdapter`` over the same voice: what its framework does with an engine that cannot stream.
``fallback`` livekit-agents' ``FallbackAdapter`` over a scripted engine that hangs for ever and one that does not.
``direct``   the tones of the engine ``tone``, made beforehand and put straight into a track: what transport alone costs.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import time
from abc import ABC, abstractmethod
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from livekit import rtc
from livekit.agents import APIConnectOptions, APITimeoutError, tts, utils
from livekit.agents.types import DEFAULT_API_CONNECT_OPTIONS

from bench import scripts
from bench.listener import CONNECT, token
from engines.base import NO_SAMPLES, Pace, Request, Samples
from engines.scripted import SAMPLE_RATE, Scripted
from engines.tone import ToneEngine

if TYPE_CHECKING:
    from piper import PiperVoice

TOPIC = "bench.peer"
SYSTEMS = ("whole", "adapter", "fallback", "direct")
UNBOUNDED = 100_000  # milliseconds of a track's queue: a whole utterance is put into it at once
FRAMEWORK = 200  # milliseconds of a track's queue: what livekit-agents' own room output has
WARM_UP = "This is said once before anything is measured, and it is about as long as a sentence is."
HANGING = 64  # threads that may hang before the peer has none left; each attempt and each recovery leaves one behind
TEXTS_WAITING = 64  # texts that a peer may be behind


class Peer(ABC):
    """One system: a participant whose identity and track carry its name. Texts come one after the other, as packets on ``TOPIC``."""

    name: str
    sample_rate: int
    queue: int
    """Milliseconds."""
    dtx = True
    """The library's default."""

    def __init__(self) -> None:
        self.room = rtc.Room()
        self._texts: asyncio.Queue[str] = asyncio.Queue(TEXTS_WAITING)

    async def open(self, url: str, room: str) -> None:
        self.room.on("data_received", self._on_data)
        async with asyncio.timeout(CONNECT):
            await self.room.connect(url, token(room, self.name), rtc.RoomOptions(auto_subscribe=False))
            self.source = rtc.AudioSource(self.sample_rate, 1, queue_size_ms=self.queue)
            track = rtc.LocalAudioTrack.create_audio_track(self.name, self.source)
            options = rtc.TrackPublishOptions(source=rtc.TrackSource.SOURCE_MICROPHONE, dtx=self.dtx)
            await self.room.local_participant.publish_track(track, options)

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            await self.speak(await self._texts.get())

    async def put(self, samples: Samples) -> None:
        await self.source.capture_frame(rtc.AudioFrame(samples.tobytes(), self.sample_rate, 1, len(samples)))

    @abstractmethod
    async def speak(self, text: str) -> None: ...

    def _on_data(self, packet: rtc.DataPacket) -> None:
        if packet.topic == TOPIC:
            self._texts.put_nowait(json.loads(packet.data)["text"])


class Whole(Peer):
    name, queue = "whole", UNBOUNDED

    def __init__(self, voice: PiperVoice) -> None:
        super().__init__()
        self.sample_rate = voice.config.sample_rate
        self._voice = voice
        self._pool = ThreadPoolExecutor(1)

    async def speak(self, text: str) -> None:
        await self.put(await asyncio.get_running_loop().run_in_executor(self._pool, synthesize, self._voice, text))


class Adapter(Peer):
    name, queue = "adapter", FRAMEWORK

    def __init__(self, voice: PiperVoice) -> None:
        super().__init__()
        self.sample_rate = voice.config.sample_rate
        self._adapter = tts.StreamAdapter(tts=PiperTTS(voice))

    async def speak(self, text: str) -> None:
        async with self._adapter.stream() as stream:
            stream.push_text(text)
            stream.end_input()
            async for audio in stream:
                await self.source.capture_frame(audio.frame)


class Fallback(Peer):
    name, queue = "fallback", FRAMEWORK

    def __init__(self, *engines: Scripted) -> None:
        super().__init__()
        self.sample_rate = SAMPLE_RATE
        self._adapter = tts.FallbackAdapter([ScriptedTTS(engine) for engine in engines])

    async def speak(self, text: str) -> None:
        async with self._adapter.synthesize(text) as stream:
            async for audio in stream:
                await self.source.capture_frame(audio.frame)


class Direct(Peer):
    name, queue, dtx = "direct", UNBOUNDED, False  # what the node publishes with: it is the way through the node that is measured

    def __init__(self) -> None:
        super().__init__()
        self._engine = ToneEngine()
        self._engine.load()
        self.sample_rate = self._engine.voice("").sample_rate

    async def speak(self, text: str) -> None:
        steps = [chunk.samples for chunk in self._engine.synthesize(Request(text), Pace())]
        await self.put(np.concatenate(steps) if steps else NO_SAMPLES)


class PiperTTS(tts.TTS[str]):
    """The smallest wrapper with which livekit-agents can speak with a Piper voice: whole sentences, in a thread."""

    def __init__(self, voice: PiperVoice) -> None:
        super().__init__(capabilities=tts.TTSCapabilities(streaming=False), sample_rate=voice.config.sample_rate, num_channels=1)
        self.voice = voice

    def synthesize(self, text: str, *, conn_options: APIConnectOptions = DEFAULT_API_CONNECT_OPTIONS) -> PiperSpeech:
        return PiperSpeech(tts=self, input_text=text, conn_options=conn_options)


class PiperSpeech(tts.ChunkedStream):
    async def _run(self, output_emitter: tts.AudioEmitter) -> None:
        assert isinstance(self._tts, PiperTTS)
        output_emitter.initialize(
            request_id=utils.shortuuid(), sample_rate=self._tts.sample_rate, num_channels=self._tts.num_channels, mime_type="audio/pcm"
        )
        samples = await asyncio.get_running_loop().run_in_executor(None, synthesize, self._tts.voice, self._input_text)
        output_emitter.push(samples.tobytes())
        output_emitter.flush()


class ScriptedTTS(tts.TTS[str]):
    """Streams what a scripted engine makes, step by step; a step may take as long as livekit-agents' time-out says."""

    def __init__(self, engine: Scripted) -> None:
        super().__init__(capabilities=tts.TTSCapabilities(streaming=False), sample_rate=SAMPLE_RATE, num_channels=1)
        self.engine = engine
        self.pool = ThreadPoolExecutor(HANGING)

    def synthesize(self, text: str, *, conn_options: APIConnectOptions = DEFAULT_API_CONNECT_OPTIONS) -> ScriptedSpeech:
        return ScriptedSpeech(tts=self, input_text=text, conn_options=conn_options)


class ScriptedSpeech(tts.ChunkedStream):
    async def _run(self, output_emitter: tts.AudioEmitter) -> None:
        assert isinstance(self._tts, ScriptedTTS)
        output_emitter.initialize(request_id=utils.shortuuid(), sample_rate=SAMPLE_RATE, num_channels=1, mime_type="audio/pcm")
        chunks = self._tts.engine.synthesize(Request(self._input_text), Pace())
        while True:
            step = asyncio.get_running_loop().run_in_executor(self._tts.pool, next, chunks, None)
            try:
                chunk = await asyncio.wait_for(step, self._conn_options.timeout)
            except TimeoutError:
                raise APITimeoutError() from None
            if chunk is None:
                break
            output_emitter.push(chunk.samples.tobytes())
        output_emitter.flush()


def synthesize(voice: PiperVoice, text: str) -> Samples:
    """All of it, as ``piper-tts`` makes it."""
    return np.concatenate([NO_SAMPLES, *(chunk.audio_int16_array for chunk in voice.synthesize(text))])


async def join(url: str, room: str, systems: list[str], voice: Path | None, seconds: float) -> None:
    """Every system named speaks in that room for at most ``seconds``."""
    peers = [_make(system, voice) for system in systems]
    async with AsyncExitStack() as stack:
        for peer in peers:
            stack.push_async_callback(peer.room.disconnect)
            await peer.open(url, room)
        print(json.dumps({"ready": systems, "at": time.monotonic()}), flush=True)
        try:
            async with asyncio.timeout(seconds), asyncio.TaskGroup() as group:
                for peer in peers:
                    group.create_task(peer.run())
        except TimeoutError:
            return


def _make(system: str, model: Path | None) -> Peer:
    if system == "direct":
        return Direct()
    if system == "fallback":
        return Fallback(scripts.ever_hanging(), scripts.sound())
    from piper import PiperVoice

    assert model is not None, f"the system {system} needs --voice"
    voice = PiperVoice.load(model)
    synthesize(voice, WARM_UP)
    return Whole(voice) if system == "whole" else Adapter(voice)


def main() -> None:
    parser = argparse.ArgumentParser(description="Peers that speak in a room, for the bench.")
    parser.add_argument("url")
    parser.add_argument("room")
    parser.add_argument("--systems", default="whole,adapter", help="of: " + ", ".join(SYSTEMS))
    parser.add_argument("--voice", type=Path, help="a Piper voice, *.onnx")
    parser.add_argument("--seconds", type=float, default=3600.0, help="end by itself after this time")
    given = parser.parse_args()
    try:
        asyncio.run(join(given.url, given.room, given.systems.split(","), given.voice, given.seconds))
    except KeyboardInterrupt:
        return


if __name__ == "__main__":
    main()
