from __future__ import annotations

import asyncio
import contextlib
import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from agent.upstream import NoBooth, NotAllowed, TooFarBehind, Upstream
from tests.e2e.conftest import House, judged_by_ear, pitches, sounds_like

README = Path(__file__).parent.parent.parent / "README.md"
RATE = 48_000
SETTLE = 0.3  # seconds: what was sent last is on its way to the listener, 60 ms behind


@contextlib.asynccontextmanager
async def upstream(house: House, events: list[dict[str, Any]], **options: Any) -> AsyncIterator[Upstream]:
    person = await house.person("translator")
    async with Upstream(person.room, on_event=events.append, **options) as up:
        yield up


@judged_by_ear
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


@judged_by_ear
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


@judged_by_ear
async def test_who_may_not_publish_data_is_told_so_and_nobody_else_is_disturbed(house: House):
    await house.booth()
    listener = await house.listener()
    events: list[dict[str, Any]] = []
    mute = await house.person("mute", is_met=False, data=False)
    async with upstream(house, events) as up:
        await up.say("One two three four five six.")
        async with Upstream(mute.room) as refused:
            with pytest.raises(NotAllowed):
                await refused.say("Not for your ears.")
            with pytest.raises(NotAllowed):
                await refused.wait_ready()
        await mute.send(text="Not for your ears.")  # by hand: the server throws it away
        await up.say("Seven eight.")
        await up.drain(20)
    await asyncio.sleep(SETTLE)
    spoken = pitches(listener.ears["booth-en"].recording().samples, RATE)
    assert sounds_like(spoken, "One two three four five six.", "Seven eight.")
    assert mute.events == []
    assert not [event for event in events if event["type"] in ("error", "dropped")]


async def test_a_text_that_is_too_long_for_a_packet_travels_as_a_stream(house: House):
    await house.booth()
    events: list[dict[str, Any]] = []
    async with upstream(house, events) as up:
        await up.wait_ready()
        await up.say("語" * 4_999 + "。", language="en")
        await up.cancel()
        await up.drain(20)
    assert not [event for event in events if event["type"] in ("error", "gap")]


@judged_by_ear
async def test_a_revision_replaces_what_has_not_begun_and_is_continued_and_ended(house: House):
    await house.booth()
    listener = await house.listener()
    await listener.ear("booth-en")
    events: list[dict[str, Any]] = []
    async with upstream(house, events) as up:
        await up.wait_ready()
        await up.say("Wait for me, please.")
        async with up.utterance() as words:
            await words.write("This is not what")
            await words.revise("This is what", revision=1)
            await words.write(" I mean")
        async with up.utterance() as words:
            await words.write("Wrong again")
            await words.revise("Right at last.", revision=1, final=True)
        await up.drain(20)
    await asyncio.sleep(SETTLE)
    texts = ("Wait for me, please.", "This is what I mean", "Right at last.")
    assert sounds_like(pitches(listener.ears["booth-en"].recording().samples, RATE), *texts)
    assert {event["text"] for event in events if event["type"] == "dropped"} <= {"This is not what", "Wrong again"}
    assert not [event for event in events if event["type"] == "error"]


async def seen(events: AsyncIterator[dict[str, Any]], type: str) -> str:
    """The utterance of the next event like that."""
    async with asyncio.timeout(10):
        async for event in events:
            if event["type"] == type:
                return str(event["utterance"])
    raise AssertionError("events have ended")


@judged_by_ear
async def test_a_flush_says_what_is_held_of_one_utterance_or_of_all(house: House):
    await house.booth()
    listener = await house.listener()
    await listener.ear("booth-en")
    async with upstream(house, []) as up, contextlib.aclosing(up.events()) as events:
        for text, named in (("The first has no end", True), ("and the second neither", False)):
            heard = asyncio.create_task(seen(events, "sentence_finished"))
            async with up.utterance() as words:
                await words.write(text)
                await (words.flush() if named else up.flush())
                assert await heard == words.id  # while it is open
        await up.drain(20)
    await asyncio.sleep(SETTLE)
    spoken = pitches(listener.ears["booth-en"].recording().samples, RATE)
    assert sounds_like(spoken, "The first has no end", "and the second neither")


async def test_two_readers_of_events_are_told_all_from_when_they_began(house: House):
    await house.booth()
    async with upstream(house, []) as up, contextlib.aclosing(up.events()) as early, contextlib.aclosing(up.events()) as late:
        await up.wait_ready()
        told = asyncio.create_task(seen(early, "speech_finished"))
        one = await up.say("One.")
        assert await told == one
        both = [asyncio.create_task(seen(reader, "speech_finished")) for reader in (early, late)]
        await asyncio.sleep(0)  # the second one begins to read
        two = await up.say("Two.")
        assert await asyncio.gather(*both) == [two, two]


@judged_by_ear
async def test_the_example_of_the_readme_is_heard(house: House):
    await house.booth()
    listener = await house.listener()
    await listener.ear("booth-en")
    blocks = re.findall(r"^```python\n(.*?)^```", README.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    (example,) = (block for block in blocks if "agent.upstream" in block)
    own = example.replace("ws://127.0.0.1:7880", house.server.url).replace('"lobby"', repr(house.name))
    names: dict[str, Any] = {}
    exec(own.replace("asyncio.run(main())", ""), names)
    async with asyncio.timeout(30):
        await names["main"]()
    await asyncio.sleep(SETTLE)
    spoken = pitches(listener.ears["booth-en"].recording().samples, RATE)
    assert sounds_like(spoken, "The session is open.", "Please take your seats.")
