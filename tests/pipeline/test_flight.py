import asyncio
from dataclasses import dataclass

import numpy as np

from engines.base import SynthesisFailed
from pipeline.flight import Flight
from pipeline.take import Sounded, Word
from pipeline.timing import Together
from tests.pipeline.test_timing import Listener
from tests.virtual_time import run


@dataclass
class Take:
    trailing: float = 0.0
    is_whole: bool = False


def sounded(*samples, words=(), audible=None):
    return Sounded(np.array(samples, dtype=np.int16), tuple(Word(*word) for word in words), audible)


def flight(**take):
    return Flight(Take(**take), Together(Listener()))


def test_whoever_follows_gets_all_of_it_whenever_he_comes():
    async def go():
        made = flight()
        pieces = [sounded(1, 2), sounded(3), sounded(4, 5)]

        async def follow():
            got = []
            while (piece := await made.get(len(got))) is not None:
                got.append(piece)
            return got

        early = asyncio.ensure_future(follow())
        assert not made.has_sound
        for piece in pieces[:2]:
            await asyncio.sleep(1.0)
            made.on_sounded(piece)
        late = asyncio.ensure_future(follow())
        await asyncio.sleep(1.0)
        made.on_sounded(pieces[2])
        made.end()
        assert await early == await late == await follow() == pieces

    run(go())


def test_it_is_told_why_there_is_no_more():
    async def go():
        made = flight()
        waiting = asyncio.ensure_future(made.get(0))
        await asyncio.sleep(1.0)
        error = SynthesisFailed("it broke")
        made.end(error)
        assert await waiting is None and made.error is error

    run(go())


def test_the_recording_is_all_of_it():
    async def go():
        made = flight(trailing=0.3, is_whole=True)
        made.on_sounded(sounded(0, 7, words=[(1, 0, 4)], audible=1))
        made.on_sounded(sounded(8, *[0] * 300, words=[(0, 5, 9), (301, 10, 12)]))
        recording = made.recording()
        assert recording.samples.tolist() == [0, 7, 8] + [0] * 300 and recording.trailing == 0.3
        assert [(word.offset, word.start, word.end) for word in recording.words] == [(1, 0, 4), (2, 5, 9), (303, 10, 12)]
        assert recording.audible == 1
        assert not recording.samples.flags.writeable, "all who repeat it share it"

    run(go())
