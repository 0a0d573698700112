import dataclasses

import pytest

import agent.node
from agent.config import Settings
from agent.gateway.errors import Refused
from agent.gateway.production import Medium, Workshop
from agent.gateway.slots import Slots
from agent.gateway.speech import Speech, make_plan
from agent.gateway.wanted import Wanted
from engines.tone import ToneEngine
from tests.agent.gateway.conftest import SETTINGS, decoded


@pytest.mark.parametrize(
    ("wanted", "format", "expected"),
    [
        ({}, "", Medium("wav", 24_000)),
        ({"sample_rate": 8_000}, "mp3", Medium("mp3", 8_000)),
        ({"has_options": True}, "", Medium("wav", 22_050)),
        ({"has_options": True, "sample_rate": 48_000}, "", Medium("wav", 48_000)),
        ({"sample_rate": 22_050}, "opus", Medium("opus", 24_000)),
    ],
)
def test_the_medium_follows_the_request_and_then_the_settings(wanted, format, expected):
    assert Medium.of(Wanted("Hi.", **wanted), format, Settings().audio) == expected


async def test_a_slot_is_held_while_it_is_made_and_no_longer(node):
    slots, gaps = Slots(1, 0.0), []
    workshop, wanted = Workshop(node, slots, gaps.append), Wanted("One two three. Four five six.")
    plan = make_plan(node, wanted)
    pieces = workshop.stream(Speech(node, plan), plan, Medium("pcm", 24_000))
    await anext(pieces)
    assert slots.is_full
    with pytest.raises(Refused, match=r"try again"):
        await workshop.whole(wanted, plan, Medium("wav", 24_000))
    rest = [len(piece) async for piece in pieces]
    assert not slots.is_full
    assert max(rest) <= node.settings.stream.chunk_bytes
    assert gaps


async def test_what_was_done_to_it_is_told(node):
    wanted = Wanted("One two three. Four five six.", enhance=True, compress=True, trim=False)
    product = await Workshop(node, Slots(1, 0.0), lambda gap: None).whole(wanted, make_plan(node, wanted), Medium("flac", 16_000))
    assert product.applied == ("enhancement", "compression", "loudness")
    rate, samples = decoded(product.data)
    assert (rate, len(samples) / rate) == (16_000, pytest.approx(product.seconds, abs=0.05))


class Other(ToneEngine):
    name = "other"
    build = "other-1"

    def voices(self):
        return tuple(dataclasses.replace(voice, engine=self.name) for voice in self._voices)


class TestKept:
    """Whole replies, and another engine beside the tones."""

    @pytest.fixture
    def other(self, monkeypatch):
        engine, find = Other(), agent.node.find_engine
        monkeypatch.setattr(agent.node, "find_engine", lambda name, settings: engine if name == "other" else find(name, settings))
        return engine

    @pytest.fixture
    def settings(self, other):
        ratings = {"tone": 4.0, "other": 4.0}
        return Settings.model_validate({**SETTINGS, "selection": {"fallback_chain": ["tone", "other"], "quality": ratings}})

    @pytest.fixture
    def say(self, node):
        workshop = Workshop(node, Slots(1, 0.0), lambda gap: None)

        async def say(text="One two three.", **fields):
            wanted = Wanted(text, **fields)
            return await workshop.whole(wanted, make_plan(node, wanted), Medium("wav", 24_000))

        return say

    async def test_a_reply_goes_with_the_build_and_the_voices_that_made_it(self, node, other, say):
        async def is_kept():
            first = await say(strategy="manual")
            await node.unload_engine("other")
            await node.load_engine("other")
            return (await say(strategy="manual")).data is first.data

        assert await is_kept(), "all is as it was"
        other.build = "other-2"
        assert not await is_kept()
        other._known = other._known[1:]
        assert not await is_kept()

    async def test_one_that_began_before_a_change_is_not_kept_for_what_was_before(self, node, other, say, monkeypatch):
        make = Workshop._make

        async def slow(*arguments):
            other.build += "x"
            await node.unload_engine("other")
            await node.load_engine("other")
            return await make(*arguments)

        with monkeypatch.context() as patch:
            patch.setattr(Workshop, "_make", slow)
            first = await say(strategy="manual")
        other.build = "other-1"
        await node.unload_engine("other")
        await node.load_engine("other")
        assert (await say(strategy="manual")).data is not first.data

    async def test_what_a_busy_moment_gave_to_another_engine_is_not_kept(self, node, say, monkeypatch):
        with monkeypatch.context() as patch:
            patch.setattr(node.studio.chain, "choose", lambda found, *_, **__: max(found, key=lambda one: one.engine == "other"))
            first = await say()
            assert (first.facts.engine, first.facts.fallback) == ("other", [])
            assert (await say()).data is not first.data
            for asked in ({"engine": "other"}, {"strategy": "speed_first"}):
                first = await say(**asked)
                assert first.facts.engine == "other" and (await say(**asked)).data is first.data, "that is what was asked for"
        monkeypatch.setattr(node.studio.chain, "choose", lambda found, *_, **__: found[0])
        first = await say()
        assert first.facts.engine == "tone" and (await say()).data is first.data

    async def test_a_reply_is_as_old_as_its_oldest_sentence(self, node, say, monkeypatch):
        begun, ttl = node.loop.time(), node.settings.cache.ttl_seconds

        def at(seconds):
            monkeypatch.setattr(node.loop, "time", lambda: begun + seconds)
            monkeypatch.setattr(node.studio.cache, "_clock", lambda: begun + seconds)

        at(0.0)
        await say(text="One two three.")
        at(ttl - 60)
        mixed = "One two three. Four five six."
        first = await say(text=mixed)
        assert (first.facts.cached, first.facts.sentences) == (1, 2)
        at(ttl - 1)
        assert (await say(text=mixed)).data is first.data
        at(ttl + 1)
        second = await say(text=mixed)
        assert second.data is not first.data and second.facts.cached == 1, "what was said a minute ago is young enough"
