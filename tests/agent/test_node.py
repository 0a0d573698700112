import asyncio

import numpy as np
import pytest

from agent.config import Settings
from agent.node import Node, find_engine, find_engines
from engines.base import EngineError, EngineUnavailable
from pipeline.events import Dropped, SpeechFinished
from pipeline.protocol import Text


def settings(*engines, **more):
    return Settings.model_validate({"selection": {"fallback_chain": engines or ("tone",)}, **more})


class Door:
    def __init__(self):
        self.tracks, self.events = {}, []

    def open_track(self, key, buffer):
        self.tracks[key.name] = buffer

    def send(self, sender, event):
        self.events.append(event)

    def caption(self, caption): ...


def test_engines_are_found_by_name_and_get_their_section():
    engine = find_engine("tone", settings(tone={"languages": ["eo"]}))
    engine.load()
    assert {voice.language for voice in engine.voices()} == {"eo"}


def test_an_unknown_engine_names_the_known_ones():
    with pytest.raises(EngineUnavailable, match="piper, tone"):
        find_engine("megaphone", settings())


def test_a_chain_that_nobody_has_set_holds_what_is_installed(monkeypatch):
    monkeypatch.setattr("engines.kokoro.KokoroEngine.missing", lambda engine: "pip install it")
    here, left_out = find_engines(Settings())
    assert "piper" in [engine.name for engine in here]
    assert "kokoro" not in [engine.name for engine in here]
    assert "engine kokoro is not installed: pip install it" in left_out


def test_a_chain_that_somebody_has_set_is_taken_as_it_is(monkeypatch):
    monkeypatch.setattr("engines.kokoro.KokoroEngine.missing", lambda engine: "pip install it")
    here, left_out = find_engines(settings("kokoro", "tone", "megaphone"))
    assert [engine.name for engine in here] == ["kokoro", "tone"]
    assert len(left_out) == 1 and "megaphone" in left_out[0]


async def test_say_gives_the_whole_text_with_its_pauses():
    async with Node(settings()) as node:
        await node.ready()
        pieces = [piece async for piece in node.say("One here. Two there.")]
        heard = np.concatenate(pieces)
        assert heard.dtype == np.int16
        loud = np.flatnonzero(np.abs(heard.astype(int)) > 200)
        gaps = np.diff(loud).max() / node.studio.rate
        assert gaps == pytest.approx(0.3, abs=0.02)


async def test_say_tells_what_was_not_said():
    async with Node(settings()) as node:
        await node.ready()
        with pytest.raises(EngineError, match="klingon"):
            async for _ in node.say("Hello.", language="klingon"):
                pass


async def test_a_node_without_an_engine_says_why():
    async with Node(settings("megaphone")) as node:
        with pytest.raises(EngineUnavailable, match="doctor"):
            await node.ready()


async def test_a_stage_lives_on_for_a_door_that_comes_back():
    async with Node(settings(node={"languages": ["en", "de"]})) as node:
        await node.ready()
        first, second = Door(), Door()
        stage = node.stage("room", first)
        assert set(first.tracks) == {"booth-en", "booth-de"}
        assert node.stage("room", second) is stage
        assert second.tracks == first.tracks
        stage.on_message("up", Text(text="Hello."))
        await node.close_stage("room")
        assert [type(event) for event in second.events if isinstance(event, Dropped)] == [Dropped] and not first.events
        assert node.find_stage("room") is None


async def test_a_drain_ends_when_everything_was_heard():
    async with Node(settings()) as node:
        await node.ready()
        door = Door()
        stage = node.stage("room", door)
        stage.on_message("up", Text(text="Hello."))

        async def listen():
            while True:
                door.tracks["booth-en"].read(2400, asyncio.get_running_loop().time())
                await asyncio.sleep(0.001)

        listening = asyncio.create_task(listen())
        await node.drain()
        listening.cancel()
        assert any(isinstance(event, SpeechFinished) for event in door.events)


async def test_a_drain_that_nobody_hears_ends_by_the_setting():
    async with Node(settings(node={"drain_wait": 0.05})) as node:
        await node.ready()
        node.stage("room", Door()).on_message("up", Text(text="Hello."))
        async with asyncio.timeout(2):
            await node.drain()
