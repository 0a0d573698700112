"""Far more text than anybody can say: its sender is told, nobody else is disturbed, and nothing of it is kept."""

from __future__ import annotations

import psutil
import pytest

from tests.agent.test_commands import Running
from tests.e2e.conftest import House

MEGABYTE = "word " * 200_000
WHOLE, GROWING = {"stream": "s", "seq": "0"}, {"utterance": "long"}


@pytest.mark.parametrize(
    ("attributes", "answer", "further", "growth"),
    [(WHOLE, ("error", "code", "too_large"), 4, 2.5), (GROWING, ("dropped", "why", "overflow"), 9, 7.0)],  # the last ones are megabytes
    ids=["whole", "growing"],
)
async def test_a_megabyte_in_one_stream_is_refused_while_it_is_open_and_the_session_goes_on(
    house: House, attributes: dict[str, str], answer: tuple[str, str, str], further: int, growth: float
):
    kind, field, word = answer
    with Running(house.server, "join", house.server.url, house.name) as node:
        sender, other = await house.person("sender"), await house.person("other")
        await sender.meet()
        await other.meet()
        writer = await sender.room.local_participant.stream_text(topic="voicebooth.text", attributes=attributes)
        await writer.write(MEGABYTE)
        refused = await sender.told(kind, **{field: word})
        process = psutil.Process(node.process.pid)
        before = process.memory_info().rss
        for number in range(further):
            await writer.write(MEGABYTE)
            await other.send(type="ping", t=number)
            await other.told("pong", t=number)
        assert (process.memory_info().rss - before) / 1e6 < growth, "what comes is read and thrown away"
        await writer.aclose()
        await sender.send(type="cancel")
        await sender.send(text="Still here.", utterance="last")
        await sender.told("speech_finished", utterance="last")
        await other.send(text="And so am I.", utterance="mine")
        await other.told("speech_finished", utterance="mine")
        assert not refused.get("retryable")
        assert not [event for event in other.events if event["type"] in ("error", "dropped")]
