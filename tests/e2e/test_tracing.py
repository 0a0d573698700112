"""A real room's sentences as a collector sees them."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from agent.config import Settings
from agent.upstream import Upstream
from tests.collector import CALLER, PARENT, PARTS, TRACE, Collector
from tests.e2e.conftest import House


@pytest.fixture
async def collector() -> AsyncIterator[Collector]:
    async with Collector() as collector:
        yield collector


@pytest.fixture
def settings(collector: Collector) -> Settings:
    chain = {"selection": {"fallback_chain": ["tone"]}, "node": {"languages": ["en"]}}
    return Settings.model_validate({**chain, "otel": {"endpoint": collector.address}})


async def test_what_is_said_in_a_room_is_part_of_its_sender_s_trace(house: House, collector: Collector) -> None:
    await house.booth()
    await house.listener()
    person = await house.person()
    async with Upstream(person.room) as up:
        await up.say("One two three. Four five.", traceparent=PARENT)
        await up.drain(20)
        async with up.utterance(traceparent=PARENT.replace("4bf9", "5cf9")) as words:
            await words.write("Six ")
            await words.write("seven")
        await up.drain(20)
    writer = await person.room.local_participant.stream_text(topic="voicebooth.text", attributes={"traceparent": PARENT})
    await writer.write("Eight nine")
    await writer.aclose()
    await person.told("speech_finished", count=3)
    await person.send(text="Ten eleven.", traceparent="nonsense")
    sentences = await collector.told("sentence", 5)
    assert [sentence.trace for sentence in sentences[:4]] == [TRACE, TRACE, TRACE.replace("4bf9", "5cf9"), TRACE]
    assert [sentence.parent for sentence in sentences] == 4 * [CALLER] + [""], "what is malformed counts as none"
    for sentence in sentences:
        collector.check(sentence)
        assert sorted(part.name for part in collector.parts(sentence)) == sorted(PARTS), "LiveKit's library encodes, unseen"
        assert (sentence.about["voicebooth.door"], sentence.about["voicebooth.outcome"]) == ("room", "heard")
        (send,) = [part for part in collector.parts(sentence) if part.name == "send"]
        assert 0.2 < (send.end - send.begin) / 1e9 < 2, "a room hears it at the pace of the clock"
