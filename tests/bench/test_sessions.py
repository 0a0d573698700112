from __future__ import annotations

import asyncio

import numpy as np

from bench.sessions import FRAME, Door
from pipeline.events import Dropped, SpeechFinished
from tests.virtual_time import run


class Slept:
    """A buffer whose third read takes the loop's time."""

    sample_rate = 24_000

    def __init__(self, loop):
        self.reads, self._loop = [], loop

    def read(self, count, now):
        self.reads.append((count, now))
        if len(self.reads) == 3:
            self._loop.now += 0.1
        return np.zeros(count, dtype=np.int16)


def test_a_door_takes_sound_at_the_pace_of_the_clock_and_tells_how_late_it_was() -> None:
    async def go() -> None:
        door, loop = Door(), asyncio.get_running_loop()
        buffer = Slept(loop)
        start = loop.time()
        door.open_track("booth-en", buffer)
        await asyncio.sleep(1.0)
        await door.close()
        assert abs(len(buffer.reads) - 1.0 / FRAME) <= 2, "what was late is made up for"
        assert {count for count, _ in buffer.reads} == {240}
        assert buffer.reads[0][1] == start and 0.08 < door.late < 0.11

    run(go())


def test_a_door_waits_for_what_it_is_told() -> None:
    async def go() -> None:
        door = Door()
        waiting = asyncio.create_task(door.wait((SpeechFinished, Dropped), "b"))
        door.send("up", Dropped("a", "One.", "failed"))
        await asyncio.sleep(0)
        assert not waiting.done()
        door.send("up", SpeechFinished("b", 1.0, 4, False))
        assert await waiting == door.of(SpeechFinished)[0] and len(door.of(Dropped)) == 1

    run(go())
