import asyncio

import pytest

from agent.gateway.errors import Refused
from agent.gateway.slots import Slots
from tests.virtual_time import run


def test_who_waits_too_long_is_told_to_come_again():
    async def story():
        slots = Slots(1, 2.0)
        async with slots.one():
            assert slots.is_full
            begun = asyncio.get_running_loop().time()
            with pytest.raises(Refused) as caught:
                await slots.take()
            assert asyncio.get_running_loop().time() - begun == pytest.approx(2.0)
        assert (caught.value.status, caught.value.code, caught.value.retry_after) == (503, "at_capacity", 1.0)
        assert (slots.taken, slots.waiting) == (0, 0)

    run(story())


def test_a_slot_goes_to_whoever_waits_longest():
    async def story():
        slots, order = Slots(1, 2.0), []

        async def work(name):
            async with slots.one():
                order.append(name)
                await asyncio.sleep(0.5)

        await asyncio.gather(*(work(name) for name in "abc"))
        assert order == ["a", "b", "c"]

    run(story())


def test_who_gives_up_waiting_takes_none():
    async def story():
        slots = Slots(1, 2.0)
        async with slots.one():
            waiting = asyncio.create_task(slots.take())
            await asyncio.sleep(0.1)
            assert slots.waiting == 1
            waiting.cancel()
            await asyncio.gather(waiting, return_exceptions=True)
        async with slots.one():
            assert slots.taken == 1

    run(story())
