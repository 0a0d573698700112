import asyncio

import pytest

from pipeline.chain import Track
from pipeline.timing import Together
from tests.virtual_time import run


class Listener:
    def __init__(self, in_hand=0.0, room=0.0):
        self.track = Track()
        self.hand, self.until_room = in_hand, room

    def due(self):
        return 100.0 + self.hand

    def in_hand(self):
        return self.hand

    def window(self, cost):
        return self.hand * cost

    def pause(self):
        return 0.3

    async def room(self):
        await asyncio.sleep(self.until_room)
        if self.until_room < 0:
            raise ValueError("nobody listens")


def test_it_is_made_for_whoever_needs_it_soonest():
    async def go():
        own, other = Listener(5.0), Listener(1.0)
        together = Together(own)
        assert (together.due(), together.in_hand(), together.window(2.0)) == (105.0, 5.0, 10.0)
        with together.joined(other):
            assert (together.due(), together.in_hand(), together.window(2.0)) == (101.0, 1.0, 2.0)
        assert together.in_hand() == 5.0
        assert together.track is own.track and together.pause() == 0.3

    run(go())


def test_its_own_listener_s_look_ahead_holds_until_somebody_else_needs_more():
    async def go():
        loop = asyncio.get_running_loop()
        together = Together(Listener(room=8.0))
        began = loop.time()
        await together.room()
        assert loop.time() - began == pytest.approx(8.0)

        async def want():
            await asyncio.sleep(3.0)
            with together.wanted():
                await asyncio.sleep(0.5)

        wanting = asyncio.ensure_future(want())
        began = loop.time()
        await together.room()
        assert loop.time() - began == pytest.approx(3.0)
        await wanting
        began = loop.time()
        await together.room()
        assert loop.time() - began == pytest.approx(8.0), "nobody wants it any more"
        await asyncio.sleep(0)
        assert len(asyncio.all_tasks()) == 1

    run(go())


def test_what_goes_wrong_with_its_own_listener_is_told():
    async def go():
        with pytest.raises(ValueError, match="nobody"):
            await Together(Listener(room=-1.0)).room()

    run(go())


def test_a_cancelled_wait_leaves_nothing_behind():
    async def go():
        waiting = asyncio.ensure_future(Together(Listener(room=8.0)).room())
        await asyncio.sleep(1.0)
        waiting.cancel()
        await asyncio.wait((waiting,))
        await asyncio.sleep(0)
        assert len(asyncio.all_tasks()) == 1

    run(go())
