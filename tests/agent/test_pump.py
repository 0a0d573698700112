from __future__ import annotations

import asyncio
import threading
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.pump import BEAT, LATE, LINGER_LEAST, LINGERING, Feed, Pump
from pipeline.playout import Cue, PlayoutBuffer
from tests.examples import examples
from tests.virtual_time import run as in_virtual_time

RATE = 1_000
LINGER = 2.0


class FakeSink:
    def __init__(self) -> None:
        self.log: list[Any] = []

    def push(self, samples: Any) -> None:
        self.log.append(samples.tolist())

    def mute(self) -> None:
        self.log.append("mute")

    def unmute(self) -> None:
        self.log.append("unmute")

    @property
    def heard(self) -> list[int]:
        return [sample for item in self.log if isinstance(item, list) for sample in item]


def ramp(count: int) -> Any:
    return np.arange(1, count + 1, dtype=np.int16)


def a_feed(sound: int = 0) -> tuple[Feed, FakeSink, PlayoutBuffer]:
    buffer, sink = PlayoutBuffer(RATE, on_cue=lambda cue, now: None), FakeSink()
    if sound:
        buffer.write("s", ramp(sound))
    return Feed(buffer, sink, LINGER), sink, buffer


def test_a_beat_is_a_packet_of_sound_and_silence_fills_it_up():
    feed, sink, _ = a_feed(30)
    feed.want(0.0)
    feed.wake(0.0)
    feed.beat(0.0)
    feed.beat(0.02)
    assert sink.log == ["unmute", [*range(1, 21)], [*range(21, 31), *[0] * 10]]


def test_beats_are_due_every_twenty_milliseconds_however_late_the_loop_wakes():
    feed, _, _ = a_feed()
    feed.is_held = True
    feed.want(5.0)
    feed.wake(5.0)
    feed.beat(5.004)
    assert feed.due == pytest.approx(5.020)
    feed.beat(5.033)
    assert feed.due == pytest.approx(5.040)


def test_a_short_lateness_is_made_up_for_and_a_long_one_is_not():
    feed, sink, _ = a_feed()
    feed.is_held = True
    feed.want(0.0)
    feed.wake(0.0)
    while feed.due <= 0.05:
        feed.beat(0.05)
    assert len(sink.log) == 1 + 3
    while feed.due <= 1.0:
        feed.beat(1.0)
    assert len(sink.log) <= 1 + 3 + LATE / BEAT + 1


def test_a_feed_sleeps_when_nothing_was_said_or_announced_for_a_while():
    feed, sink, _ = a_feed(20)
    feed.want(0.0)
    feed.wake(0.0)
    feed.beat(1.0)
    feed.beat(2.9)
    assert feed.is_awake
    feed.want(1.5)
    feed.beat(3.4)
    assert feed.is_awake
    feed.beat(3.6)
    assert not feed.is_awake and sink.log[-1] == "mute"


def test_while_sound_is_held_silence_goes_out():
    feed, sink, buffer = a_feed(20)
    feed.is_held = True
    feed.want(0.0)
    feed.wake(0.0)
    feed.beat(0.0)
    assert sink.log == ["unmute", [0] * 20] and buffer.in_hand == 0.02
    feed.is_held = False
    feed.beat(0.02)
    assert sink.heard[20:] == ramp(20).tolist()


@examples(50)
@given(st.lists(st.floats(min_value=0.0, max_value=0.05), min_size=50, max_size=50))
def test_over_time_there_is_as_much_sound_as_the_clock_asks_for(naps: list[float]):
    feed, sink, _ = a_feed()
    feed.is_held = True
    feed.wake(0.0)
    now = 0.0
    for nap in naps:
        now += nap
        feed.want(now)
        while feed.due <= now:
            feed.beat(now)
    assert abs((len(sink.log) - 1) * BEAT - now) <= BEAT + 1e-9


def test_a_feed_woken_before_its_sound_is_unmuted_at_once_and_beats_with_the_sound():
    async def run() -> FakeSink:
        loop, pump, (feed, sink, buffer) = asyncio.get_running_loop(), Pump(), a_feed()
        buffer.on_ready = lambda: pump.rouse(feed)
        pump.rouse(feed)
        await asyncio.sleep(0.033)
        assert sink.log == ["unmute"]
        wrote = loop.time()
        buffer.write("s", ramp(20))
        await asyncio.sleep(0)
        assert (sink.log, loop.time()) == (["unmute", ramp(20).tolist()], wrote)
        await asyncio.sleep(LINGER + 1)
        return sink

    sink = in_virtual_time(run())
    assert sink.log[-1] == "mute" and sink.log.count("unmute") == 1


def test_a_feed_that_was_woken_for_nothing_falls_asleep_again():
    async def run() -> list[Any]:
        pump, (feed, sink, _) = Pump(), a_feed()
        pump.rouse(feed)
        await asyncio.sleep(LINGER + 1)
        assert not feed.is_awake
        return sink.log

    log = in_virtual_time(run())
    assert (log[0], log[-1]) == ("unmute", "mute")


def test_of_many_that_are_silent_those_that_have_been_so_for_longest_sleep_first():
    async def run() -> list[bool]:
        pump, fed = Pump(), [a_feed(20) for _ in range(LINGERING + 2)]
        for feed, _, _ in fed:
            pump.rouse(feed)
            await asyncio.sleep(0.05)
        await asyncio.sleep(LINGER_LEAST + 0.2)
        return [feed.is_awake for feed, _, _ in fed]

    assert in_virtual_time(run()) == [False] * 2 + [True] * LINGERING


def test_feeds_roused_at_different_times_are_all_heard_whole_and_then_asleep():
    async def run() -> list[FakeSink]:
        pump, fed = Pump(), [a_feed(500 + n) for n in range(5)]
        for n, (feed, _, buffer) in enumerate(fed):
            buffer.on_ready = lambda feed=feed: pump.rouse(feed)
            await asyncio.sleep(0.007 * n)
            pump.rouse(feed)
        await asyncio.sleep(0.3)
        fed[0][2].cue(Cue("s", "end"))
        await asyncio.sleep(5.0)
        assert not any(feed.is_awake for feed, _, _ in fed)
        assert pump._timer is None
        return [sink for _, sink, _ in fed]

    for n, sink in enumerate(in_virtual_time(run())):
        assert [sample for sample in sink.heard if sample] == ramp(500 + n).tolist()
        assert sink.log[0] == "unmute" and sink.log[-1] == "mute" and sink.log.count("mute") == 1


def test_a_feed_that_fails_is_told_and_does_not_silence_the_others():
    problems: list[Any] = []

    async def run() -> FakeSink:
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda _, context: problems.append(context["exception"]))
        pump, (bad, broken, _), (good, sink, _) = Pump(), a_feed(100), a_feed(100)
        pump.rouse(bad)
        pump.rouse(good)
        await asyncio.sleep(0.03)

        def fail(samples: Any) -> None:
            raise RuntimeError("the source is gone")

        broken.push = fail  # type: ignore[method-assign]
        await asyncio.sleep(1.0)
        return sink

    sink = in_virtual_time(run())
    assert [str(problem) for problem in problems] == ["the source is gone"]
    assert [sample for sample in sink.heard if sample] == ramp(100).tolist()


def test_a_feed_that_failed_is_heard_again_with_the_next_sound():
    async def run() -> list[int]:
        asyncio.get_running_loop().set_exception_handler(lambda _, context: None)
        pump, (feed, sink, buffer) = Pump(), a_feed(20)
        buffer.on_ready = lambda: pump.rouse(feed)

        def fail(samples: Any) -> None:
            raise RuntimeError("the source is gone")

        push, sink.push = sink.push, fail  # type: ignore[method-assign]
        pump.rouse(feed)
        await asyncio.sleep(0.1)
        sink.push = push  # type: ignore[method-assign]
        buffer.write("t", ramp(20))
        await asyncio.sleep(0.1)
        return sink.heard[:20]

    assert in_virtual_time(run()) == ramp(20).tolist()


def test_a_stopped_feed_is_not_pumped_any_more():
    async def run() -> int:
        pump, (feed, sink, _) = Pump(), a_feed(1_000)
        pump.rouse(feed)
        await asyncio.sleep(0.1)
        pump.stop(feed)
        await asyncio.sleep(0.0)
        sent = len(sink.log)
        await asyncio.sleep(1.0)
        return len(sink.log) - sent

    assert in_virtual_time(run()) == 0


async def test_it_is_roused_from_any_thread():
    pump, (feed, sink, _) = Pump(), a_feed(20)
    thread = threading.Thread(target=pump.rouse, args=(feed,))
    thread.start()
    async with asyncio.timeout(5):
        while not sink.heard:  # noqa: ASYNC110 - nobody is told of it
            await asyncio.sleep(0.001)
    pump.stop(feed)
    thread.join()
