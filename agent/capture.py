"""Frames of sound into a LiveKit audio source, at the price of one answer each instead of one to every room in the process."""

from __future__ import annotations

import asyncio
import itertools
import threading
from collections.abc import Callable

from livekit import rtc
from livekit.rtc._ffi_client import FfiClient
from livekit.rtc._proto.ffi_pb2 import FfiEvent, FfiRequest

FRAME = 0.010  # seconds: the only length that a source without a queue takes
OURS = 1 << 62  # ids from here on are given by us; the library's own count up from 1
OUTSTANDING = 3  # frames on their way: more means that the library is stuck, and a late frame is worth less than a current one


class CaptureAnswers:
    """Takes the library's answers to our frames before they reach its rooms.

    Every room subscribes to every answer of the library, so that each frame of each track would wake each room's loop: with
    8 rooms of which 2 speak that is 0.9 of a core, and 0.24 without (two cores, livekit 1.1.21). One for the process.
    """

    _lock = threading.Lock()
    _instance: CaptureAnswers | None = None

    def __init__(self) -> None:
        queue = FfiClient.instance.queue
        self._pass_on: Callable[[FfiEvent], None] = queue.put
        self._waiting: dict[int, tuple[rtc.AudioFrame, Callable[[str], None]]] = {}
        self._ids = itertools.count(OURS)
        queue.put = self._take

    @classmethod
    def instance(cls) -> CaptureAnswers:
        """The only one; the first call must not run beside a first use of ``livekit.rtc`` in another thread."""
        with cls._lock:
            if cls._instance is None:
                cls._instance = cls()
            return cls._instance

    def expect(self, frame: rtc.AudioFrame, done: Callable[[str], None]) -> int:
        """An id for a request that carries ``frame``, kept alive until the answer; ``done(error)`` runs on a library thread."""
        id = next(self._ids)
        self._waiting[id] = (frame, done)
        return id

    def _take(self, event: FfiEvent) -> None:
        answer = event.capture_audio_frame
        if event.WhichOneof("message") == "capture_audio_frame" and answer.async_id >= OURS:
            found = self._waiting.pop(answer.async_id, None)
            if found is not None:
                found[1](answer.error)
        else:
            self._pass_on(event)


class Capture:
    """One audio source without a queue: what is pushed is sent at once. Its methods belong to one thread and never block."""

    def __init__(self, sample_rate: int) -> None:
        self.source = rtc.AudioSource(sample_rate, 1, queue_size_ms=0, loop=asyncio.get_running_loop())
        self.samples = round(sample_rate * FRAME)
        """How many make a frame."""
        self.lost = 0
        """Frames that the library did not take."""
        self._answers = CaptureAnswers.instance()
        self._outstanding = 0
        self._lock = threading.Lock()

    @property
    def is_free(self) -> bool:
        """Whether the last frame has arrived: two on their way at once may overtake each other."""
        return self._outstanding == 0

    def push(self, pcm: bytes) -> None:
        """One frame of 10 ms, int16 mono."""
        if self._outstanding >= OUTSTANDING:
            self.lost += 1
            return
        frame = rtc.AudioFrame(pcm, self.source.sample_rate, 1, self.samples)
        request = FfiRequest()
        capture = request.capture_audio_frame
        capture.source_handle = self.source._ffi_handle.handle
        capture.buffer.CopyFrom(frame._proto_info())
        with self._lock:
            self._outstanding += 1
        capture.request_async_id = self._answers.expect(frame, self._on_answer)
        FfiClient.instance.request(request)

    def _on_answer(self, error: str) -> None:
        with self._lock:
            self._outstanding -= 1
            self.lost += bool(error)

    async def aclose(self) -> None:
        await self.source.aclose()
