"""A real voice in a real room, understood by a recogniser from what a listener recorded."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable

import pytest

from agent.config import Settings
from agent.devserver import DevServer
from agent.inbound import InboundSettings
from agent.node import Node
from agent.room import RoomSettings
from bench.passages import passage
from bench.recognition import transcribe, understood, word_errors
from engines.base import Samples
from tests.e2e.conftest import House, Person

pytestmark = pytest.mark.voice
RATE = 48_000
PARAGRAPHS = passage("twenty.en").paragraphs
SENTENCES = PARAGRAPHS[0]
TEXT = " ".join(SENTENCES)
UNDERSTOOD = 0.12  # word errors that the smallest recogniser makes of this voice, one misheard word in eight
SENTENCE = 0.5  # of each sentence's words, at least: the bound over the whole would let a short sentence be missing


async def by_packets(person: Person) -> None:
    """A text for each paragraph."""
    for seq, sentences in enumerate(PARAGRAPHS):
        await person.send(text=" ".join(sentences), stream="s", seq=seq)


async def by_text_stream(person: Person) -> None:
    writer = await person.room.local_participant.stream_text(topic="voicebooth.text")
    for word in TEXT.split(" "):
        await writer.write(word + " ")
        await asyncio.sleep(0.02)
    await writer.aclose()


async def by_transcription(person: Person) -> None:
    room = person.room.local_participant
    for number, sentence in enumerate(SENTENCES):
        writer = await room.stream_text(
            topic="lk.transcription", attributes={"lk.segment_id": str(number), "lk.transcription_final": "false"}
        )
        await writer.write(sentence)
        await writer.aclose(attributes={"lk.transcription_final": "true", "language": "en", "translated": "true"})


async def say(house: House, send: Callable[[Person], Awaitable[None]], track: str, count: int = len(SENTENCES)) -> Samples:
    """Sends so many sentences of the passage into a room of its own; what a listener recorded."""
    room = f"{house.name}-{send.__name__}"
    await house.booth(RoomSettings(inbound=InboundSettings(transcriptions=True)), room=room)
    listener = await house.listener(room=room)
    person = await house.person("translator", room=room)
    await send(person)
    await person.told("sentence_finished", count=count, timeout=180)
    await asyncio.sleep(0.5)
    return (await listener.ear(track)).recording().samples


async def test_a_passage_sent_in_three_ways_is_understood_completely_and_in_order(livekit_server: DevServer):
    settings = Settings.model_validate({"selection": {"fallback_chain": ["piper"]}})
    async with Node(settings) as node, contextlib.AsyncExitStack() as stack:
        await node.ready()
        house = House(livekit_server, node, stack)
        recordings = await asyncio.gather(
            say(house, by_packets, "booth-en", sum(map(len, PARAGRAPHS))),
            say(house, by_text_stream, "booth-en"),
            say(house, by_transcription, "translator-en"),
        )
    everything = [sentence for sentences in PARAGRAPHS for sentence in sentences]
    ways = {"packets": everything, "text stream": SENTENCES, "transcriptions": SENTENCES}
    for (way, sentences), samples in zip(ways.items(), recordings, strict=True):
        heard, text = transcribe(samples, RATE), " ".join(sentences)
        told = f"{way}\nmeant: {text}\nheard: {heard}"
        assert word_errors(text, heard) <= UNDERSTOOD, told
        assert min(understood(sentences, heard)) >= SENTENCE, told
