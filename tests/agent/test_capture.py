import asyncio
import math

from agent.capture import FRAME, OUTSTANDING, Capture

RATE = 24_000


async def test_frames_reach_the_library_and_each_is_answered_once():
    capture = Capture(RATE)
    assert capture.samples == RATE * FRAME
    for _ in range(5):
        capture.push(bytes(2 * capture.samples))
        async with asyncio.timeout(5):
            while not capture.is_free:  # noqa: ASYNC110 - the answer comes on a thread of the library
                await asyncio.sleep(0.001)
    assert capture.lost == 0
    await capture.aclose()


async def test_what_the_library_does_not_take_is_counted_and_not_waited_for():
    capture = Capture(RATE)
    for _ in range(OUTSTANDING + 20):
        capture._outstanding = math.inf  # type: ignore[assignment]
        capture.push(bytes(2 * capture.samples))
    assert capture.lost == OUTSTANDING + 20
    await capture.aclose()
