import asyncio
import ctypes
from typing import Any

import numpy as np
import pytest
from livekit.rtc._ffi_client import FfiClient

from agent.capture import OUTSTANDING, Capture

RATE = 24_000
PACKET = np.zeros(480, dtype=np.int16)  # two frames


async def sent(capture: Capture) -> None:
    async with asyncio.timeout(5):
        while is_busy(capture):  # noqa: ASYNC110 - the answer comes on a thread of the library
            await asyncio.sleep(0.001)


def is_busy(capture: Capture) -> bool:
    with capture._lock:  # as the library's thread may be between two frames
        return capture._is_busy


async def test_frames_reach_the_library_and_each_is_answered_once():
    capture = Capture(RATE)
    for _ in range(5):
        capture.push(PACKET)
        assert capture._is_busy
        await sent(capture)
    assert capture.lost == 0 and not capture._answers._waiting
    await capture.aclose()


async def test_of_frames_that_are_pushed_at_once_one_is_sent_when_the_one_before_has_arrived(monkeypatch: pytest.MonkeyPatch):
    capture, sent_frames = Capture(RATE), list[int]()
    request = FfiClient.instance.request

    def note(message: Any) -> Any:
        frame = message.capture_audio_frame.buffer
        sent_frames.append(ctypes.cast(frame.data_ptr, ctypes.POINTER(ctypes.c_int16))[0])
        assert len(capture._answers._waiting) == 1
        return request(message)

    monkeypatch.setattr(FfiClient.instance, "request", note)
    capture.push(np.repeat(np.arange(10, dtype=np.int16), 240))
    await sent(capture)
    assert sent_frames == list(range(10))
    monkeypatch.undo()
    await capture.aclose()


async def test_what_the_library_does_not_take_is_counted_and_not_waited_for():
    capture = Capture(RATE)
    capture._is_busy = True
    for _ in range(OUTSTANDING):
        capture.push(PACKET)
    assert capture.lost == OUTSTANDING
    await capture.aclose()


async def test_a_frame_that_cannot_be_sent_does_not_stop_those_after_it(monkeypatch: pytest.MonkeyPatch):
    capture = Capture(RATE)

    def fail(message: Any) -> Any:
        raise AssertionError("the handle is not known")

    monkeypatch.setattr(FfiClient.instance, "request", fail)
    with pytest.raises(AssertionError):
        capture.push(PACKET)
    monkeypatch.undo()
    capture.push(PACKET)
    await sent(capture)
    assert capture.lost == 0 and not capture._waiting
    await capture.aclose()


async def test_nothing_goes_to_a_source_that_was_given_back():
    capture = Capture(RATE)
    await capture.aclose()
    capture.push(PACKET)
    assert not capture._is_busy and capture.lost == 0
