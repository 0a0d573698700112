from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

import pytest

from agent.upstream import NoBooth, TooFarBehind, Upstream
from tests.e2e.conftest import House, pitches, sounds_like

RATE = 48_000
SETTLE = 0.3  # seconds: what was sent last is on its way to the listener, 60 ms behind


@contextlib.asynccontextmanager
async def upstream(house: House, events: list[dict[str, Any]], **options: Any) -> AsyncIterator[Upstream]:
    person = await house.person("translator")
    async with Upstream(person.room, on_event=events.append, **options) as up:
        yield up


async def test_what_was_said_before_there_was_a_node_is_spoken_when_it_comes(house: House):
    listener = await house.listener()
    async with upstream(house, []) as up:
        await up.say("Bonjour à tous.", language="fr")
        async with up.utterance(language="fr") as words:
            for delta in ("La séance ", "est ouv", "erte. Asseyez", "-vous"):
                await words.write(delta)
        await house.booth()
        await up.drain(20)
        assert up.waiting == 0
    await asyncio.sleep(SETTLE)
    assert sounds_like(
        pitches(listener.ears["booth-fr"].recording().samples, RATE), "Bonjour à tous.", "La séance est ouverte. Asseyez-vous"
    )


async def test_a_cancel_silences_one_utterance_and_the_next_one_is_spoken(house: House):
    await house.booth()
    listener = await house.listener()
    events: list[dict[str, Any]] = []
    async with upstream(house, events) as up:
        long = await up.say("This one is far too long for anybody who is in a hurry to get somewhere.")
        await (await listener.ear("booth-en")).onset(after=0.0)
        await up.cancel(long)
        await up.say("Next one.")
        await up.drain(20)
        await asyncio.sleep(SETTLE)
    assert sounds_like(pitches(listener.ears["booth-en"].recording().samples, RATE)[-2:], "Next one.")
    assert [event["interrupted"] for event in events if event["type"] == "speech_finished"] == [True, False]


async def test_an_utterance_whose_block_fails_is_cancelled(house: House):
    await house.booth()
    async with upstream(house, []) as up:
        with pytest.raises(LookupError):
            async with up.utterance() as words:
                await words.write("This is going to be cut. And this")
                raise LookupError
        await up.drain(20)


async def test_saying_waits_for_space_and_says_when_there_is_none(house: House):
    async with upstream(house, [], keep=2) as up:
        await up.say("One.")
        await up.say("Two.")
        with pytest.raises(TooFarBehind):
            await up.say("Three.", timeout=0.05)
        with pytest.raises(NoBooth):
            await up.wait_ready(0.05)
        waiting = asyncio.create_task(up.say("Three."))
        await house.booth()
        await waiting
        await up.drain(20)


async def test_a_text_that_is_too_long_for_a_packet_travels_as_a_stream(house: House):
    await house.booth()
    events: list[dict[str, Any]] = []
    async with upstream(house, events) as up:
        await up.wait_ready()
        await up.say("語" * 4_999 + "。", language="en")
        await up.cancel()
        await up.drain(20)
    assert not [event for event in events if event["type"] in ("error", "gap")]
