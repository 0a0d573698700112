"""Frames of sound into a LiveKit audio source, at the price of one answer each instead of one to every room in the process."""

from __future__ import annotations

import asyncio
import itertools
import threading
from collections import deque
from collections.abc import Callable

from livekit import rtc
from livekit.rtc._ffi_client import FfiClient
from livekit.rtc._proto.ffi_pb2 import FfiEvent, FfiRequest

from engines.base import Samples

FRAME = 0.010  # seconds: the only length that a source without a queue takes
OURS = 1 << 62  # ids from here on are given by us; the library's own count up from 1
OUTSTANDING = 12  # frames that wait: more means that the library is stuck, and a late frame is worth less than a current one


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
        self._waiting: dict[int, Callable[[str], None]] = {}
        self._ids = itertools.count(OURS)
        queue.put = self._take

    @classmethod
    def instance(cls) -> CaptureAnswers:
        """The only one; the first call must not run beside a first use of ``livekit.rtc`` in another thread."""
        with cls._lock:
            if cls._instance is None:
                cls._instance = cls()
            return cls._instance

    def expect(self, done: Callable[[str], None]) -> int:
        """An id for a request; ``done(error)`` runs on a library thread when it is answered."""
        id = next(self._ids)
        self._waiting[id] = done
        return id

    def _take(self, event: FfiEvent) -> None:
        answer = event.capture_audio_frame
        if event.WhichOneof("message") == "capture_audio_frame" and answer.async_id >= OURS:
            done = self._waiting.pop(answer.async_id, None)
            if done is not None:
                done(answer.error)
        else:
            self._pass_on(event)


class Capture:
    """One audio source without a queue. A frame is sent when the one before it has arrived: two on their way may overtake each other."""

    def __init__(self, sample_rate: int) -> None:
        """On the loop of the room that publishes it."""
        self.source = rtc.AudioSource(sample_rate, 1, queue_size_ms=0, loop=asyncio.get_running_loop())
        self.lost = 0
        """Frames that the library did not take."""
        self._frame = round(sample_rate * FRAME)
        self._answers = CaptureAnswers.instance()
        self._waiting: deque[Samples] = deque()
        self._lock = threading.Lock()
        self._is_busy = self._is_closed = False
        self._request = FfiRequest()
        request = self._request.capture_audio_frame
        request.source_handle = self.source._ffi_handle.handle
        request.buffer.sample_rate, request.buffer.num_channels, request.buffer.samples_per_channel = sample_rate, 1, self._frame

    def push(self, samples: Samples) -> None:
        """Whole frames of 10 ms, shape (n,), int16, contiguous. Any thread; never blocks."""
        with self._lock:
            for start in range(0, len(samples), self._frame):
                if len(self._waiting) < OUTSTANDING:
                    self._waiting.append(samples[start : start + self._frame])
                else:
                    self.lost += 1
            if not self._is_busy:
                self._send()

    def _send(self) -> None:
        self._is_busy = False  # also where the request below fails: the next frame is tried again
        if self._waiting and not self._is_closed:
            samples = self._waiting.popleft()
            request = self._request.capture_audio_frame
            request.buffer.data_ptr = samples.__array_interface__["data"][0]  # copied by the library before it returns
            request.request_async_id = self._answers.expect(self._on_answer)
            FfiClient.instance.request(self._request)
            self._is_busy = True

    def _on_answer(self, error: str) -> None:
        with self._lock:
            self.lost += bool(error)
            self._send()

    async def aclose(self) -> None:
        with self._lock:
            self._is_closed = True
        await self.source.aclose()
