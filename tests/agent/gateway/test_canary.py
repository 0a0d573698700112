import asyncio
import logging
import sys
import threading

import numpy as np
import pytest
from prometheus_client.exposition import generate_latest

from agent import dnsmos
from agent.config import Settings, SettingsError
from agent.gateway.app import make_app
from agent.gateway.canary import Canary
from agent.gateway.metrics import Metrics
from agent.gateway.slots import Slots
from agent.node import Node
from engines.base import Pace
from pipeline.events import SentenceChosen, Switched
from tests.agent.gateway.conftest import SETTINGS
from tests.agent.gateway.test_metrics import value

MARKED = Settings.model_validate({**SETTINGS, "canary": {"mos": True}})


async def test_it_speaks_and_leaves_no_trace_in_the_figures(node):
    canary = Canary(node)
    await canary.speak()
    assert (canary.problem, canary.engine) == ("", "tone")
    assert node.report.counts == {}
    assert node.studio.cache.stats().entries == 0


async def test_silence_is_not_speech(node, monkeypatch):
    canary = Canary(node)

    async def silence(*args, **named):
        if False:
            yield

    monkeypatch.setattr(node, "say", silence)
    await canary.speak()
    assert canary.problem == "no sound came"
    assert not canary.is_heard(0.0)


async def test_without_any_engine_it_says_why():
    async with Node(Settings.model_validate({**SETTINGS, "selection": {"fallback_chain": ["parrot"]}})) as node:
        canary = Canary(node)
        await canary.run()
        assert "no engine can speak here" in canary.problem


async def test_unless_it_is_wanted_nothing_is_marked_and_nothing_imported_for_it(node, monkeypatch):
    await quiet(node)
    for package in ("onnxruntime", "speechmos"):
        monkeypatch.delitem(sys.modules, package, raising=False)
    canary = Canary(node)
    await canary.speak()
    assert not canary.problem and canary.marks == {}
    assert not {"onnxruntime", "speechmos"} & sys.modules.keys()


class TestMarked:
    @pytest.fixture
    def settings(self):
        return MARKED

    @pytest.fixture
    async def node(self, node):
        await quiet(node)
        return node

    async def test_without_its_package_no_door_is_opened(self, node, monkeypatch):
        monkeypatch.setitem(sys.modules, "speechmos", None)
        with pytest.raises(SettingsError, match=r"canary\.mos: .*pip install 'voicebooth\[mos\]'"):
            make_app(node)

    async def test_the_mean_of_what_was_heard_is_the_mark_of_who_spoke(self, node, monkeypatch):
        threads = script(monkeypatch, 2.0, 3.0)
        canary = Canary(node)
        await canary.speak()
        assert canary.marks == {"tone": 2.5}
        assert quality(node, canary) == 2.5
        assert all(name.startswith("loader") for name in threads), "neither the loop nor a lane in which sentences wait"

    async def test_what_is_measured_and_what_is_a_rating_is_said(self, node):
        (told,) = [line for line in exposed(node, Canary(node)).splitlines() if line.startswith("# HELP tts_audio_quality_score")]
        assert "DNSMOS" in told and "none, the rating that the settings give (selection.quality), not measured" in told

    @pytest.mark.long  # DNSMOS is loaded
    async def test_speech_has_another_mark_than_noise(self, node, monkeypatch):
        canary = Canary(node)
        rated = quality(node, canary)
        assert rated == node.settings.selection.quality["tone"]
        marks = []
        for sound in (vowels(node.studio.rate), noise(node.studio.rate)):
            speak_as(monkeypatch, node, sound)
            await canary.speak()
            assert not canary.problem
            marks.append(quality(node, canary))
        assert marks[0] > marks[1] + 0.3 and rated not in marks

    async def test_an_engine_that_is_not_heard_has_no_mark(self, node, monkeypatch):
        script(monkeypatch, 4.0)
        canary = Canary(node)
        await canary.speak()
        assert quality(node, canary) == 4.0
        speak_as(monkeypatch, node, np.zeros(3 * node.studio.rate, np.int16))
        await canary.speak()
        assert quality(node, canary) == 1.0

    async def test_nothing_is_marked_while_a_sentence_is_made(self, node, monkeypatch):
        threads = script(monkeypatch, 4.0)
        canary = Canary(node)
        speak_as(monkeypatch, node, noise(node.studio.rate))
        sentence = begin(node)
        await canary.speak()
        assert not canary.problem and canary.marks == {} and not threads
        sentence.close()
        await canary.speak()
        assert canary.marks == {"tone": 4.0}

    async def test_a_sentence_that_begins_waits_for_no_more_than_nine_seconds_of_it(self, node, monkeypatch):
        begun = []
        script(monkeypatch, 4.0, lambda: begun.append(begin(node)) or 4.0, 4.0)
        canary = Canary(node)
        await canary.speak()
        assert begun and canary.marks == {} and not canary.problem
        begun[0].close()

    async def test_what_two_engines_said_is_the_mark_of_neither(self, node, monkeypatch):
        script(monkeypatch, 4.0)
        canary = Canary(node)
        speak_as(monkeypatch, node, noise(node.studio.rate), Switched("1", "tone", "other", "tone rests"))
        await canary.speak()
        assert not canary.problem and canary.marks == {}

    async def test_when_it_fails_ratings_stand_in_and_it_is_left(self, node, monkeypatch, caplog):
        canary = Canary(node)
        script(monkeypatch, 4.0)
        await canary.speak()
        threads = script(monkeypatch, lambda: 1 / 0)
        with caplog.at_level(logging.ERROR):
            await canary.speak()
            await canary.speak()
        assert not canary.problem and len(threads) == 1 and caplog.text.count("ratings stand in: a step raised ZeroDivisionError") == 1
        assert quality(node, canary) == node.settings.selection.quality["tone"]


async def quiet(node):
    """Engines practise for a while after they are ready."""
    while node.studio.lanes.live:  # noqa: ASYNC110 - as long as a tone takes
        await asyncio.sleep(0.001)


def script(monkeypatch, *steps):
    """DNSMOS that gives these marks, or what these calls give; and the threads on which it was asked."""
    threads = []

    def marks(sound, rate):
        assert sound.dtype == np.float32 and 0.01 < np.abs(sound).max() <= 1
        for step in steps:
            threads.append(threading.current_thread().name)
            yield step() if callable(step) else step

    monkeypatch.setattr(dnsmos, "marks", marks)
    return threads


def speak_as(monkeypatch, node, sound, *events):
    async def say(*args, on_event, **named):
        for event in (SentenceChosen("1", "text", "A sentence.", "tone", "tone-en", False), *events):
            on_event(event)
        yield sound

    monkeypatch.setattr(node, "say", say)


def begin(node):
    """Somebody's sentence, that is being made until it is closed."""
    return node.studio.lanes.steps((chunk for chunk in ()), Pace(), owner="tone")


def exposed(node, canary):
    metrics = Metrics()
    metrics.watch(node, canary, Slots(1, 0.0), node.studio.cache.stats)
    return generate_latest(metrics.registry).decode()


def quality(node, canary):
    return value(exposed(node, canary), "tts_audio_quality_score", engine="tone")


def noise(rate):
    return (np.random.default_rng(1).normal(0, 0.1, 3 * rate) * 32767).astype(np.int16)


def vowels(rate):
    """Three seconds of a voice that says vowels: harmonics under two formants, in syllables."""
    at = np.arange(3 * rate) / rate
    pitch = 120 + 15 * np.sin(2 * np.pi * 0.7 * at)
    phase = 2 * np.pi * np.cumsum(pitch) / rate
    formants = ((600 + 200 * np.sin(2 * np.pi * 1.3 * at), 90), (1400 + 500 * np.sin(2 * np.pi * 0.9 * at), 140))
    sound = np.zeros(len(at))
    for number in range(1, 30):
        strength = sum(1 / (1 + ((number * pitch - centre) / width) ** 2) for centre, width in formants)
        sound += strength * np.sin(number * phase)
    sound *= np.clip(np.sin(2 * np.pi * 2 * at), 0, 1) ** 0.5
    return (0.3 * sound / np.abs(sound).max() * 32767).astype(np.int16)
