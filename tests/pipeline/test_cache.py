"""Sentences that are said again, in virtual time. More schedules: ``VOICEBOOTH_EXAMPLES=5000 pytest tests/pipeline/test_cache.py``."""

import asyncio
import os
import random
import statistics
import time
from contextlib import AsyncExitStack, aclosing
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engines.scripted import Dice, Die, Hang, Late, Scripted
from engines.tone import ToneEngine
from pipeline.archive import Archive, ArchiveBusy, ArchiveFailed
from pipeline.cache import Cache, CacheSettings, Key, no_stats
from pipeline.chain import Chain, ChainSettings
from pipeline.events import Dropped, SentenceChosen, SentenceFinished, SpeechStarted, Switched
from pipeline.lanes import Lanes, LaneSettings
from pipeline.performance import Chosen, Ended
from pipeline.protocol import Cancel, Config, Text
from pipeline.recording import Recording
from pipeline.script import Wish
from pipeline.studio import Studio
from pipeline.take import Sounded
from tests.examples import examples
from tests.pipeline.test_performance import AFTERWARDS, BETTER, QUICK, Hall, check, passage
from tests.pipeline.test_studio import Waiting
from tests.virtual_time import Room, Work, run, virtual_lanes

EXAMPLES = int(os.environ.get("VOICEBOOTH_EXAMPLES", "30"))
RATE = 24_000


def in_memory(**changes):
    """What a room makes its cache with."""
    return lambda lanes: Cache(CacheSettings(**changes), lanes, clock=asyncio.get_running_loop().time)


def on_disk(folder, **changes):
    return lambda lanes: Cache(CacheSettings(**changes), lanes, folder=folder, clock=asyncio.get_running_loop().time)


def recording(seconds=1.0, level=500):
    return Recording(np.full(round(seconds * RATE), level, dtype=np.int16), (), 0, 0.0)


def keys(count):
    return [Key(f"text {number}", "tone", "1", "voice", "en", 1.0, RATE, None, {}).digest() for number in range(count)]


# What is kept


def test_everything_that_changes_the_sound_is_in_the_key():
    usual = {"text": "t", "engine": "e", "build": "b", "voice": "v", "language": "en", "speed": 1.0, "rate": 24_000, "level": None}
    other = {"text": "u", "engine": "f", "build": "c", "voice": "w", "language": "de", "speed": 1.1, "rate": 48_000, "level": -21.0}
    plain = Key(**usual, options={}).digest()
    assert Key(**usual, options={}).digest() == plain
    changed = [Key(**{**usual, name: value}, options={}).digest() for name, value in other.items()]
    changed.append(Key(**usual, options={"noise": 0.5}).digest())
    assert len({plain, *changed}) == 10
    assert Key(**{**usual, "engine": "eb", "build": ""}, options={}).digest() != plain, "no two are one because of where they are cut"


def test_memory_alone_gives_back_what_it_was_given():
    async def go():
        cache = in_memory()(virtual_lanes())
        await cache.open()
        first, second = keys(2)
        cache.keep(first, recording())
        assert set(await cache.find([first, second])) == {first}
        stats = cache.stats()
        assert (stats.entries, stats.size_bytes, stats.memory_bytes) == (1, 48_016, 48_016)
        await cache.clear()
        assert await cache.find([first]) == {} and cache.stats().size_bytes == 0

    run(go())


def test_what_is_old_is_made_anew():
    async def go():
        cache = in_memory(ttl_seconds=60.0)(virtual_lanes())
        (key,) = keys(1)
        cache.keep(key, recording())
        await asyncio.sleep(59.0)
        assert await cache.find([key])
        assert cache.age(key) == 59.0
        await asyncio.sleep(1.5)
        assert not await cache.find([key])
        assert cache.age(keys(2)[1]) == 60.0, "of what is not there nobody knows"

    run(go())


def test_a_later_node_finds_what_an_earlier_one_has_said(tmp_path):
    async def go():
        wanted = keys(3)
        first = on_disk(tmp_path)(virtual_lanes())
        await first.open()
        for number, key in enumerate(wanted):
            first.keep(key, recording(level=number))
            await asyncio.sleep(1.0)
        await first.find(wanted[:1])
        await first.aclose()
        second = on_disk(tmp_path, max_entries=2)(virtual_lanes())
        await second.open()
        found = await second.find(wanted)
        assert set(found) == {wanted[0], wanted[2]}, "there is room for two: the second was asked for least recently"
        assert found[wanted[0]].samples[0] == 0 and found[wanted[2]].samples[0] == 2
        assert second.stats().memory_bytes == 2 * 48_016
        await second.aclose()

    run(go())


def test_time_goes_on_while_no_node_runs(tmp_path):
    async def go():
        (key,) = keys(1)
        first = on_disk(tmp_path, ttl_seconds=100.0)(virtual_lanes())
        await first.open()
        first.keep(key, recording())
        await first.aclose()
        await asyncio.sleep(60.0)
        second = on_disk(tmp_path, ttl_seconds=100.0)(virtual_lanes())
        await second.open()
        assert second.age(key) == pytest.approx(60.0, abs=1.0), "on the disk"
        assert await second.find([key])
        assert second.age(key) == pytest.approx(60.0, abs=1.0), "and in memory"
        await asyncio.sleep(50.0)
        assert not await second.find([key]), "memory does not make it younger"
        await second.aclose()
        third = on_disk(tmp_path, ttl_seconds=100.0)(virtual_lanes())
        await third.open()
        assert third.stats().entries == 0
        await third.aclose()

    run(go())


STEPS = st.lists(st.tuples(st.sampled_from(["keep", "find", "clear", "restart"]), st.integers(0, 5), st.floats(0, 30)), max_size=30)


@examples(EXAMPLES)
@given(STEPS)
def test_whatever_is_found_is_what_was_kept_and_never_more_than_there_may_be(tmp_path_factory, steps):
    folder = tmp_path_factory.mktemp("speech")
    wanted = keys(6)
    bounds = {"size_mb": 0.2, "memory_mb": 0.1, "max_entries": 5, "ttl_seconds": 100.0}

    async def go():
        cache, kept, version = on_disk(folder, **bounds)(virtual_lanes()), {}, 0
        await cache.open()
        for what, index, later in steps:
            await asyncio.sleep(later)
            now, key = asyncio.get_running_loop().time(), wanted[index]
            if what == "keep":
                version += 1
                kept[key] = version, now
                cache.keep(key, recording(seconds=0.5 + index / 10, level=version))
                await asyncio.sleep(0.01)
                assert key in await cache.find([key]), "what was just kept is there"
            elif what == "clear":
                await cache.clear()
                kept.clear()
            elif what == "restart":
                await cache.aclose()
                cache = on_disk(folder, **bounds)(virtual_lanes())
                await cache.open()
            for found, it in (await cache.find(wanted)).items():
                version_of_it, stored = kept[found]
                assert it.samples[0] == version_of_it and now - stored < 100.0 + 0.1
            stats = cache.stats()
            assert stats.entries <= 5 and stats.size_bytes <= 200_000 and stats.memory_bytes <= 100_000
        await cache.aclose()
        archive = Archive(folder)
        assert sum(place.size for place in archive.open()) <= 200_000
        archive.close()

    run(go())


class Broken(Archive):
    def read(self, key):
        raise ArchiveFailed("the disk is gone")


def test_a_disk_that_fails_is_left_alone_and_memory_goes_on(tmp_path):
    async def go():
        (tmp_path / "file").write_text("")
        cache = on_disk(tmp_path / "file")(virtual_lanes())
        await cache.open()
        (key,) = keys(1)
        cache.keep(key, recording())
        assert await cache.find([key])
        await cache.aclose()

        cache = on_disk(tmp_path)(virtual_lanes())
        cache._archive = Broken(tmp_path)
        await cache.open()
        cache.keep(key, recording())
        await asyncio.sleep(0.1)
        cache._memory.clear()
        assert await cache.find([key]) == {}
        cache.keep(key, recording())
        assert await cache.find([key]) and cache.stats().size_bytes == cache.stats().memory_bytes
        await cache.aclose()

    run(go())


def test_a_disk_that_is_busy_loses_one_sentence_and_no_more(tmp_path):
    class Busy(Archive):
        is_busy = True

        def write(self, key, content, **more):
            if self.is_busy:
                raise ArchiveBusy("another process is writing")
            super().write(key, content, **more)

    async def go():
        cache = on_disk(tmp_path)(virtual_lanes())
        archive = cache._archive = Busy(tmp_path)
        await cache.open()
        first, second = keys(2)
        cache.keep(first, recording())
        await asyncio.sleep(0.1)
        archive.is_busy = False
        cache.keep(second, recording())
        await asyncio.sleep(0.1)
        assert cache.stats().entries == 1 and set(await cache.find([first, second])) == {first, second}
        await cache.aclose()

    run(go())


async def test_a_disk_that_does_not_answer_costs_one_sentence_fifty_milliseconds(tmp_path):
    class Stuck(Archive):
        def read(self, key):
            time.sleep(0.2)
            return super().read(key)

    lanes = Lanes(LaneSettings(count=1))
    cache = Cache(CacheSettings(), lanes, folder=tmp_path)
    cache._archive = Stuck(tmp_path)
    await cache.open()
    (key,) = keys(1)
    cache.keep(key, recording())
    await asyncio.wait(cache._writing)
    cache._memory.clear()
    for _ in range(3):
        began = time.monotonic()
        assert await cache.find([key]) == {}
        assert time.monotonic() - began < 0.15
    began = time.monotonic()
    assert await cache.find([key]) == {}
    assert time.monotonic() - began < 0.04, "it is not asked any more"
    await cache.aclose()
    lanes.close()
    await lanes.settle(1.0)


def test_what_a_cache_that_is_off_tells():
    stats = no_stats(CacheSettings(enabled=False))
    assert not stats.enabled and stats.hit_rate == 0.0 and stats.max_bytes == 500_000_000


# In a room


def say(room, *texts, sender="up"):
    for text in texts:
        room.stage.on_message(sender, Text(text=text + " "))


def sentences_of(engine):
    return engine.begun - 3  # those of its warm-up


def test_a_sentence_that_was_said_before_is_heard_again_with_its_words_and_pauses():
    async def go():
        engine = Scripted("quick", QUICK, work=(work := Work()).spend)
        async with Room([engine], lanes=virtual_lanes(0.0, count=2, work=work), cache=in_memory()) as room:
            sentences = passage([4, 3])
            for _ in range(2):
                say(room, *sentences)
                await room.quiet()
                await asyncio.sleep(5.0)
            assert [event.cached for event in room.told(SentenceChosen)] == [False, False, True, True]
            ages = [event.age for event in room.told(SentenceChosen)]
            assert ages[:2] == [0.0, 0.0] and all(5.0 < age < 60.0 for age in ages[2:])
            assert {event.engine for event in room.told(SentenceChosen)} == {"quick"} and not room.told(Switched)
            assert sentences_of(engine) == 2
            started = [event.ttft for event in room.told(SpeechStarted)]
            assert started[2] <= 0.01 < started[0]
            captions = [caption.text for caption in room.captions if caption.text]
            assert captions[: len(captions) // 2] == captions[len(captions) // 2 :]
            spans = np.round(np.diff(np.array(room.heard()).ravel()), 2)
            assert spans[0] == spans[4] and spans[1] == spans[5] == pytest.approx(0.3, abs=0.03) and spans[2] == spans[6]
            stats = room.studio.cache.stats()
            assert (stats.total_hits, stats.total_misses, stats.hit_rate) == (2, 2, 0.5)
            assert room.report.snapshot()["ttft"]["cache"].count == 2

    run(go())


def test_a_sender_can_leave_it_out_and_a_cloned_voice_is_not_kept():
    class Lent(Scripted):
        def voices(self):
            voice = super().voices()[0]
            return voice, replace(voice, id="lent", is_cloned=True)

    async def go(engine, **config):
        async with Room([engine], cache=in_memory()) as room:
            room.stage.on_message("up", Config(**config))
            for _ in range(2):
                say(room, "Balatan beletan.")
                await room.quiet()
            assert sentences_of(engine) == 2 and not any(event.cached for event in room.told(SentenceChosen))
            stats = room.studio.cache.stats()
            assert (stats.entries, stats.total_hits, stats.total_misses) == (0, 0, 0)

    run(go(Scripted("quick", QUICK, work=lambda seconds: None), use_cache=False))
    run(go(Lent("quick", QUICK, work=lambda seconds: None), voice="lent"))


def test_another_speed_or_voice_is_another_sentence():
    async def go():
        engine = Scripted("quick", QUICK, work=lambda seconds: None)
        async with Room([engine], cache=in_memory()) as room:
            for speed in (1.0, 1.2, 1.0):
                room.stage.on_message("up", Config(speed=speed))
                say(room, "Balatan beletan.")
                await room.quiet()
            assert [event.cached for event in room.told(SentenceChosen)] == [False, False, True]

    run(go())


def test_what_was_cut_or_said_by_two_voices_is_not_kept():
    async def go():
        work = Work()
        engines = [Scripted("better", BETTER, faults={0: Die(at=2)}, work=work.spend), Scripted("quick", QUICK, work=work.spend)]
        async with Room(engines, lanes=virtual_lanes(0.0, count=2, work=work), cache=in_memory()) as room:
            say(room, *passage([5]))
            await room.quiet()
            assert len(room.told(Switched)) == 1 and room.studio.cache.stats().entries == 0
            say(room, *passage([30, 40])[1:])
            await asyncio.sleep(1.0)
            room.stage.on_message("up", Cancel())
            await room.quiet()
            assert room.studio.cache.stats().entries == 0

    run(go())


def test_a_track_that_load_has_moved_is_not_thrown_back_and_forth():
    """What the preferred voice has said before is heard from it only where the chain would go back to it."""

    async def go():
        work = Work()
        slow = Scripted("better", BETTER, faults={number: Late(seconds=2.0) for number in range(4, 9)}, work=work.spend)
        engines = [slow, Scripted("quick", QUICK, work=work.spend)]
        async with Room(engines, lanes=virtual_lanes(0.0, count=2, work=work), cache=in_memory()) as room:
            known, *others = passage([6, 6, 6, 6])
            say(room, known)
            await room.quiet()
            await asyncio.sleep(2.0)
            say(room, *others, known)
            await room.quiet()
            assert len(room.told(Switched)) <= 2

    run(go())


# Several at once


async def both(stack, engines, *, count=2, lanes=None, **options):
    """So many rooms of one studio."""
    first = await stack.enter_async_context(Room(engines, lanes=lanes, cache=in_memory(), **options))
    others = [await stack.enter_async_context(Room(engines, studio=first.studio)) for _ in range(count - 1)]
    return first, *others


def sound_of(room):
    sound = np.concatenate(room.sound["booth-en"])
    loud = np.flatnonzero(sound)
    return sound[loud[0] : loud[-1] + 1]


@pytest.mark.parametrize("later", [0.0, 0.01, 0.05, 0.3, 0.9])
def test_two_who_want_the_same_at_once_get_it_made_once(later):
    async def go():
        async with AsyncExitStack() as stack:
            work = Work()
            engine = Scripted("quick", QUICK, work=work.spend)
            rooms = await both(stack, [engine], lanes=virtual_lanes(0.0, count=2, work=work), count=5)
            (sentence,) = passage([12])
            for room in rooms:
                say(room, sentence)
                await asyncio.sleep(later)
            for room in rooms:
                await room.quiet()
            assert sentences_of(engine) == 1
            assert all(np.array_equal(sound_of(room), sound_of(rooms[0])) for room in rooms[1:])
            assert max(event.ttft for room in rooms for event in room.told(SpeechStarted)) < 0.25
            assert not any(room.report.counts["underruns"] for room in rooms)
            stats = rooms[0].studio.cache.stats()
            assert stats.total_misses == 1 and stats.total_hits + stats.total_followed == 4

    run(go())


def test_whoever_follows_is_not_held_up_by_a_listener_who_is_in_no_hurry():
    """The first one's look-ahead is full, and his listener's connection is lost: the second one gets his sentence nevertheless."""

    async def go():
        async with AsyncExitStack() as stack:
            work = Work()
            engine = Scripted("quick", replace(QUICK, word=0.4), work=work.spend)
            first, second = await both(stack, [engine], lanes=virtual_lanes(0.0, count=2, work=work))
            (sentence,) = passage([28])
            say(first, sentence)
            await asyncio.sleep(1.0)
            first.stage.freeze()
            await asyncio.sleep(10.0)
            say(second, sentence)
            await second.quiet()
            assert not second.told(Dropped) and second.report.counts["underruns"] == 0 and sentences_of(engine) == 1
            first.stage.thaw()
            await first.quiet()
            assert np.array_equal(sound_of(second), sound_of(first)[-len(sound_of(second)) :])

    run(go())


@pytest.mark.long
@pytest.mark.parametrize("at", [0.03, 0.1, 0.5, 1.5])
def test_when_the_first_goes_away_the_others_go_on_by_themselves_once(at):
    async def go():
        async with AsyncExitStack() as stack:
            work = Work()
            engine = Scripted("quick", QUICK, work=work.spend)
            first, *others = await both(stack, [engine], lanes=virtual_lanes(0.0, count=2, work=work), count=4)
            (sentence,) = passage([28])
            for room in (first, *others):
                say(room, sentence)
            await asyncio.sleep(at)
            first.stage.on_message("up", Cancel())
            for room in others:
                await room.quiet()
                check(Ears(room, [engine]), [sentence])
            assert sentences_of(engine) <= 2, "the rest is made once, too"

    run(go())


def test_when_the_first_s_engine_fails_the_others_go_on_with_the_next_one():
    async def go():
        async with AsyncExitStack() as stack:
            work = Work()
            engines = [Scripted("better", BETTER, faults={0: Die(at=4)}, work=work.spend), Scripted("quick", QUICK, work=work.spend)]
            rooms = await both(stack, engines, lanes=virtual_lanes(0.0, count=2, work=work), count=3)
            (sentence,) = passage([9])
            for room in rooms:
                say(room, sentence)
            for room in rooms:
                await room.quiet()
                check(Ears(room, engines), [sentence])
                assert [event.new for event in room.told(Switched)] == ["quick"]
            assert [sentences_of(engine) for engine in engines] == [1, 1], "one has failed once, and one has gone on once"

    run(go())


class Ears(Hall):
    """What one of several rooms has heard."""

    def __init__(self, room, engines):
        self.room, self.engines = room, engines


@pytest.mark.long
@examples(EXAMPLES)
@given(seed=st.integers(0, 2**32))
def test_any_schedule_of_faults_and_departures_is_heard_completely_and_once_in_every_room(seed):
    dice = random.Random(seed)

    async def go():
        async with AsyncExitStack() as stack:
            work = Work()
            engines = [
                Scripted("better", BETTER, faults=Dice(seed, share=0.3, kinds=(Die, Hang, Late)), work=work.spend),
                Scripted("quick", QUICK, faults=Dice(seed + 1, share=0.1, kinds=(Die,)), work=work.spend),
            ]
            lanes = virtual_lanes(0.0, count=dice.choice([1, 2, 4]), work=work, allowance=0.5)
            *rooms, fickle = await both(stack, engines, lanes=lanes, count=4)
            texts = passage([dice.randint(2, 12) for _ in range(4)])
            said = {room: [dice.choice(texts) for _ in range(4)] for room in rooms}

            async def talk(room):
                for text in said[room]:
                    say(room, text)
                    await asyncio.sleep(dice.choice([0.0, 0.02, 0.3, 2.0]))

            async def come_and_go():
                for _ in range(4):
                    say(fickle, dice.choice(texts))
                    await asyncio.sleep(dice.choice([0.01, 0.05, 0.2, 0.7]))
                    fickle.stage.on_message("up", Cancel())

            await asyncio.gather(*map(talk, rooms), come_and_go())
            for room in (*rooms, fickle):
                await room.quiet(1200)
                for pump in room.pumps:
                    pump.cancel()
            for engine in engines:
                engine.faults = {}
            async with asyncio.timeout(AFTERWARDS):
                while any(engine.begun != engine.closed for engine in engines):  # noqa: ASYNC110 - what hangs ends when its time is over
                    await asyncio.sleep(60.0)
            for room in rooms:
                check(Ears(room, engines), said[room])
            assert not rooms[0].studio.cache._flights, "nothing is left in the air"

    run(go())


def test_what_nobody_could_say_is_told_to_each_and_tried_again():
    async def go():
        async with AsyncExitStack() as stack:
            work = Work()
            engine = Scripted("quick", QUICK, faults={0: Die(at=2), 1: Die(at=2)}, work=work.spend)
            rooms = await both(stack, [engine], lanes=virtual_lanes(0.0, count=2, work=work))
            for room in rooms:
                say(room, *passage([5]))
            for room in rooms:
                await room.quiet()
                assert [event.why for event in room.told(Dropped)] == ["failed"]
            say(rooms[1], *passage([5]))
            await rooms[1].quiet()
            assert rooms[1].told(SentenceFinished)

    run(go())


# How soon


async def speak(studio, text):
    began = time.perf_counter()
    first, events = 0.0, []
    async with aclosing(studio.speak(text, Wish("en"), Waiting())) as sounds:
        async for event in sounds:
            if isinstance(event, Sounded) and not first:
                first = time.perf_counter() - began
            events.append(event)
    return first, events


@pytest.mark.long
async def test_a_hit_starts_within_five_milliseconds_from_memory_and_from_the_disk(tmp_path):
    texts = [f"Good morning to all {number} of you who are here." for number in (2, 3, 4, 5, 6, 7, 8, 9)]
    sounds = {}
    for memory in (32.0, 0.0):
        lanes = Lanes(LaneSettings(count=2))
        cache = Cache(CacheSettings(memory_mb=memory), lanes, folder=tmp_path)
        studio = Studio([ToneEngine()], Chain(ChainSettings(order=("tone",))), lanes, cache=cache)
        await studio.load()
        took = []
        for text in texts:
            if memory:
                _, events = await speak(studio, text)
                sounds[text] = np.concatenate([event.samples for event in events if isinstance(event, Sounded)])
            first, events = await speak(studio, text)
            took.append(first)
            assert isinstance(events[0], Chosen) and events[0].is_cached and isinstance(events[-1], Ended)
            again = np.concatenate([event.samples for event in events if isinstance(event, Sounded)])
            assert np.array_equal(again, sounds[text])
        assert statistics.median(took) < 0.005
        assert cache.stats().memory_bytes == 0 or memory
        await studio.aclose()
