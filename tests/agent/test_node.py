import asyncio
import threading
from importlib.metadata import EntryPoint, EntryPoints

import numpy as np
import pytest

from agent import node
from agent.config import Settings
from agent.node import SAID_AT_ONCE, Node, find_engine, find_engines, text_parts
from engines.base import EngineError, EngineUnavailable
from engines.guard import Guarded
from engines.tone import ToneEngine
from pipeline.events import Dropped, Failure, SentenceChosen, SpeechFinished
from pipeline.lanes import Lanes, LaneSettings
from pipeline.protocol import Text
from pipeline.report import Watcher


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


class Made(Watcher):
    def __init__(self, seen):
        self.seen = seen

    def on_made(self, engine, language, *, work, seconds):
        self.seen.append(seconds)


def test_parts_are_the_text_and_fit():
    assert text_parts("") == [""] and text_parts("a" * 4000) == ["a" * 4000]
    for size, room in ((4001, 4000), (1 << 20, 40_000), (500, 1), (5001, 40_000)):
        parts = text_parts("x" * size, room)
        assert "".join(parts) == "x" * size and max(map(len, parts)) <= min(room, SAID_AT_ONCE)


def test_engines_are_found_by_name_and_get_their_section():
    engine = find_engine("tone", settings(tone={"languages": ["eo"]}))
    engine.load()
    assert {voice.language for voice in engine.voices()} == {"eo"}


def test_cut_voices_are_kept_in_this_users_cache(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert find_engine("piper", settings())._settings.cache == tmp_path / "voicebooth" / "piper"
    assert find_engine("piper", settings(piper={"cache": tmp_path}))._settings.cache == tmp_path


def test_an_unknown_engine_names_the_known_ones():
    with pytest.raises(EngineUnavailable, match=r"piper, .*tone"):
        find_engine("megaphone", settings())


class Own(ToneEngine):
    name = "own"


@pytest.mark.parametrize(
    ("value", "settings_of_it", "told"),
    [
        ("nowhere_at_all:Engine", {}, "cannot be made: ModuleNotFoundError"),
        ("tests.agent.test_node:Nothing", {}, "cannot be made: AttributeError"),
        ("tests.agent.test_node:Door", {}, "is no engine called 'own'"),
        ("tests.agent.test_node:ToneEngine", {}, "is no engine called 'own'"),
        ("tests.agent.test_node:settings", {"a": "b"}, "takes no settings"),
        ("tests.agent.test_node:Own", {"lenguages": "eo"}, "own.own.lenguages: unknown setting"),
    ],
)
def test_an_engine_of_ones_own_that_cannot_be_made_is_told(monkeypatch, value, settings_of_it, told):
    found = EntryPoints([EntryPoint("own", value, node.ENGINES)])
    monkeypatch.setattr(node, "entry_points", lambda **wanted: found.select(**wanted))
    with pytest.raises(EngineUnavailable, match=told):
        find_engine("own", settings(own={"own": settings_of_it}))


def test_an_engine_of_ones_own_is_guarded_and_set(monkeypatch):
    found = EntryPoints([EntryPoint("own", "tests.agent.test_node:Own", node.ENGINES)])
    monkeypatch.setattr(node, "entry_points", lambda **wanted: found.select(**wanted))
    engine = find_engine("own", settings(own={"own": {"languages": "eo,tlh"}}))
    assert isinstance(engine, Guarded)
    with pytest.raises(EngineUnavailable, match="belongs to engine 'tone'"):
        engine.load()
    assert {voice.language for voice in engine.inside.voices()} == {"eo", "tlh"}


def test_a_chain_that_nobody_has_set_holds_what_is_installed(monkeypatch):
    monkeypatch.setattr("engines.kokoro.KokoroEngine.missing", lambda engine: "pip install it")
    here, left_out = find_engines(Settings())
    assert "piper" in [engine.name for engine in here]
    assert "kokoro" not in [engine.name for engine in here]
    assert left_out["kokoro"] == "it is not installed: pip install it"


def test_a_chain_that_somebody_has_set_is_taken_as_it_is(monkeypatch):
    monkeypatch.setattr("engines.kokoro.KokoroEngine.missing", lambda engine: "pip install it")
    here, left_out = find_engines(settings("kokoro", "tone", "megaphone"))
    assert [engine.name for engine in here] == ["kokoro", "tone"]
    assert list(left_out) == ["megaphone"] and "there is no engine" in left_out["megaphone"]


def test_no_text_goes_to_a_service_that_nobody_has_named(monkeypatch):
    for name in node.installed_engines():
        monkeypatch.setattr(type(find_engine(name, Settings())), "missing", lambda engine: "")
    here, left_out = find_engines(Settings())
    assert here and not left_out
    assert not any(engine.network for engine in here)
    here, _ = find_engines(settings("edge", "tone"))
    assert [engine.name for engine in here] == ["edge", "tone"]


GATE = threading.Event()


class Stuck(ToneEngine):
    name = "own"

    def __init__(self):
        GATE.wait(60)
        super().__init__()


async def test_an_engine_that_hangs_while_it_is_made_keeps_nobody_from_speaking(monkeypatch):
    own = EntryPoint("own", "tests.agent.test_node:Stuck", node.ENGINES)
    known = EntryPoints([own, *node.entry_points(group=node.ENGINES, name="tone")])
    monkeypatch.setattr(node, "entry_points", lambda **wanted: known.select(**wanted))
    monkeypatch.setattr(node, "MAKING", 0.2)
    try:
        async with Node(settings("own", "tone")) as made:
            await made.ready()
            assert set(made.studio.offers) == {"tone"} and "hangs" in made._left_out["own"]
            assert [piece async for piece in made.say("One here.")]
    finally:
        GATE.set()


async def test_rules_for_texts_that_cannot_be_read_keep_no_engine_from_being_loaded(monkeypatch, caplog):
    gate = threading.Event()
    monkeypatch.setattr(node, "_warm_up_text", lambda language: gate.wait(10))
    monkeypatch.setattr(node, "TEXT_RULES", 0.2)
    try:
        async with Node(settings()) as made:
            async with asyncio.timeout(1.5):
                await made.ready()
            assert set(made.studio.offers) == {"tone"} and "rules for texts in en" in caplog.text
    finally:
        gate.set()


async def test_one_that_hangs_while_it_looks_what_is_missing_is_left_out(monkeypatch):
    gate = threading.Event()
    for name in ("piper.PiperEngine", "xtts.XttsEngine"):
        monkeypatch.setattr(f"engines.{name}.missing", lambda engine: "")
    monkeypatch.setattr("engines.kokoro.KokoroEngine.missing", lambda engine: str(gate.wait(60)))
    monkeypatch.setattr(node, "MAKING", 0.2)
    lanes = Lanes(LaneSettings(count=1))
    try:
        here, left_out = await node.find_engines_in_lanes(Settings(), lanes)
        assert [engine.name for engine in here] == ["piper", "xtts"] and "hangs" in left_out["kokoro"]
    finally:
        gate.set()
        lanes.close()


async def test_when_nothing_is_installed_it_says_what_would_mend_that(monkeypatch):
    for engine in ("kokoro.KokoroEngine", "piper.PiperEngine", "xtts.XttsEngine"):
        monkeypatch.setattr(f"engines.{engine}.missing", lambda engine: f"pip install {engine.name}")
    async with Node(Settings()) as made:
        with pytest.raises(EngineUnavailable, match=r"kokoro: it is not installed: pip install kokoro; piper: .*; xtts: "):
            await made.ready()


async def test_say_gives_the_whole_text_with_its_pauses():
    async with Node(settings()) as node:
        await node.ready()
        pieces = [piece async for piece in node.say("One here. Two there.")]
        heard = np.concatenate(pieces)
        assert heard.dtype == np.int16
        loud = np.flatnonzero(np.abs(heard.astype(int)) > 200)
        gaps = np.diff(loud).max() / node.studio.rate
        assert gaps == pytest.approx(0.3, abs=0.02)


async def test_say_gives_a_text_that_is_longer_than_a_script_holds():
    words = [f"Number {n} is here." for n in range(1, 31)]
    text = " ".join(words)
    seen = []
    async with Node(settings(script={"characters": 150})) as made:
        await made.ready()
        made.report.watch(Made(seen))
        async for _ in made.say(text, speed=2.0):
            assert all(stage.waiting_characters <= 150 for stage in made._stages.values())
    assert len(seen) == len(words)


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


async def test_a_session_opens_the_track_of_its_text_alone_and_is_gone_after_it():
    async with Node(settings(node={"languages": "en,fr"})) as node:
        await node.ready()
        door = Door()
        async with node.session(door) as stage:
            assert not door.tracks
            stage.on_message("somebody", Text(text="Bonjour.", language="fr"))
            assert list(door.tracks) == ["booth-fr"]
            assert node.find_stage(stage.name) is stage
        assert node.find_stage(stage.name) is None


async def test_ids_that_mean_a_kind_of_voice_are_spoken_by_the_nearest():
    async with Node(settings()) as made:
        await made.ready()
        door = Door()
        stage = made.stage("room", door)
        for voice in ("en-us-female-premium", "ljspeech", "VCTK P226", "default", "en_US-lessac-medium"):
            stage.on_message("up", Text(text="Hello.", utterance=voice, voice=voice))

        async def listen():
            while True:
                door.tracks["booth-en"].read(2400, asyncio.get_running_loop().time())
                await asyncio.sleep(0.001)

        listening = asyncio.create_task(listen())
        await made.drain()
        listening.cancel()
        chosen = [event.voice for event in door.events if isinstance(event, SentenceChosen)]
        assert len(chosen) == 5 and set(chosen) <= {voice.id for voice in made.studio.offers["tone"]}
        stage = made.stage("other", door)
        stage.on_message("up", Text(text="Hello.", voice="nobody-knows-it"))
        assert [(event.code, event.field) for event in door.events if isinstance(event, Failure)] == [("unknown_voice", "voice")]


@pytest.mark.voice
async def test_a_real_engine_comes_and_goes_while_sessions_speak():
    """Piper and tone: sentences go over to tone while Piper is away, and back; each is heard."""
    lines = ("The harbour is open again.", "Ships come in one after the other.")
    chain = {"fallback_chain": ("piper", "tone"), "quality_threshold": 1.0, "ttft_threshold_ms": 10_000}  # however slow this machine is now
    wish = {"selection": chain, "lanes": {"allowance": 2.0}, "cache": {"enabled": False}}
    async with Node(Settings.model_validate(wish)) as node:
        await node.ready()
        is_over = asyncio.Event()
        said = [[] for _ in range(3)]  # engines, by speaker
        heard = [0] * len(said)

        async def speak(number):
            def on_event(event):
                if isinstance(event, SentenceChosen):
                    said[number].append(event.engine)

            while not is_over.is_set():
                for line in lines:
                    pieces = [piece async for piece in node.say(line, on_event=on_event)]
                    assert sum(map(len, pieces)) > node.studio.rate / 2
                    heard[number] += 1
                    await asyncio.sleep(0.3)  # three who never pause would take all that the lanes can bear

        async def all_said(engine):
            """Everybody has been spoken for by this engine since now."""
            begun = [len(engines) for engines in said]
            while not all(engine in engines[start:] for engines, start in zip(said, begun, strict=True)):  # noqa: ASYNC110
                await asyncio.sleep(0.01)

        async with asyncio.timeout(120), asyncio.TaskGroup() as group:
            for number in range(len(said)):
                group.create_task(speak(number))
            await all_said("piper")
            await node.unload_engine("piper")
            assert {status.name: status.state for status in node.studio.status} == {"piper": "unloaded", "tone": "ready"}
            away = [len(engines) for engines in said]
            await all_said("tone")
            assert not any("piper" in engines[start:] for engines, start in zip(said, away, strict=True))
            await node.load_engine("piper")
            await all_said("piper")
            is_over.set()
        assert heard == [len(engines) for engines in said]
        with pytest.raises(EngineUnavailable, match="engines: piper, tone"):
            await node.load_engine("xtts")
