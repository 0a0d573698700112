import asyncio
import dataclasses
from contextlib import aclosing
from itertools import groupby, islice

import numpy as np
import pytest

from engines.base import EngineUnavailable, SynthesisFailed, Voice
from engines.scripted import Hang, Script, Scripted
from engines.tone import ToneEngine
from pipeline.cache import Cache, CacheSettings
from pipeline.chain import Chain, ChainSettings, Track
from pipeline.events import Dropped, SentenceChosen, Switched
from pipeline.lanes import Lanes, LaneSettings
from pipeline.loudness import TARGET, Loudness, amplify
from pipeline.performance import Chosen, Ended
from pipeline.protocol import Text
from pipeline.script import Wish
from pipeline.studio import LOADING, LONGEST_RETRY, MOST_MIXED, RETRY, SHORT, UNLOADING, Studio, pauses
from pipeline.studio import LONG as LONGER
from pipeline.take import Sounded
from tests.virtual_time import PRACTICE, Room, Work, run, virtual_lanes


class Waiting:
    """A listener with nothing in hand, who takes everything at once."""

    def __init__(self):
        self.track = Track()

    def due(self):
        return asyncio.get_running_loop().time() + self.in_hand()

    def in_hand(self):
        return 0.0

    def window(self, cost):
        return self.in_hand()

    def pause(self):
        return 0.3

    async def room(self):
        return


class Provided(Waiting):
    def in_hand(self):
        return 2.0


class Broken(ToneEngine):
    name = "broken"

    def load(self):
        raise EngineUnavailable("no model", remedy="get one")


class Asked(ToneEngine):
    """Remembers the texts it was asked for."""

    def __init__(self):
        super().__init__()
        self.texts = []

    def synthesize(self, request, pace):
        self.texts.append(request.text)
        return super().synthesize(request, pace)


class Mixing(Asked):
    """Has every voice whose id is a sum."""

    def voice(self, id):
        if "+" in id:
            return dataclasses.replace(super().voice(""), id=id)
        return super().voice(id)


def studio(*engines, lanes=None):
    chain = Chain(ChainSettings(order=tuple(engine.name for engine in engines)))
    return Studio(engines, chain, lanes or virtual_lanes())


async def collect(studio, text, wish=None, timing=None):
    async with aclosing(studio.speak(text, wish or Wish("en"), timing or Waiting())) as sounds:
        return [sound async for sound in sounds]


def test_an_engine_that_cannot_be_had_is_told_and_left_out():
    async def go():
        made = studio(Broken(), ToneEngine())
        await made.load()
        assert [(status.name, status.state) for status in made.status] == [("broken", "unavailable"), ("tone", "ready")]
        assert "get one" in made.status[0].reason
        assert set(made.offers) == {"tone"}
        assert made.speaks("en-GB") and not made.speaks("tlh")

    run(go())


def test_words_come_with_the_piece_of_sound_in_which_they_begin():
    async def go():
        made = studio(ToneEngine())
        await made.load()
        text = "Good morning everybody."
        sounds = await collect(made, text)
        assert isinstance(sounds[0], Chosen) and isinstance(sounds[-1], Ended)
        pieces = [sound for sound in sounds if isinstance(sound, Sounded)]
        words = [(text[word.start : word.end], word.offset) for piece in pieces for word in piece.words]
        assert [word for word, _ in words] == ["Good", "morning", "everybody."]
        for piece in pieces:
            assert all(0 <= word.offset <= len(piece.samples) for word in piece.words)
        assert sum(piece.audible is not None for piece in pieces) == 1
        heard = np.concatenate([piece.samples for piece in pieces])
        assert len(heard) == pytest.approx(24_000 * (0.24 + 0.42 + 0.6 + 2 * 0.04), rel=0.05)

    run(go())


LONG = "When the delegates had finally taken their seats, the chair opened the session and asked everybody for patience with the machines."


def test_a_long_sentence_is_cut_at_its_first_clause_when_nothing_is_in_hand():
    async def go():
        engine = Asked()
        made = studio(engine)
        await made.load()
        engine.texts.clear()
        sounds = await collect(made, LONG)
        assert len(LONG) > engine.comfort and len(engine.texts) == 2 and "".join(engine.texts) == LONG
        words = [LONG[w.start : w.end] for sound in sounds if isinstance(sound, Sounded) for w in sound.words]
        assert " ".join(words) == LONG
        engine.texts.clear()
        await collect(made, LONG, timing=Provided())
        assert engine.texts == [LONG]

    run(go())


def test_nobody_who_speaks_the_language_is_an_error_that_says_so():
    async def go():
        made = studio(ToneEngine())
        with pytest.raises(EngineUnavailable, match="tlh"):
            await collect(made, "nuqneH", Wish("tlh"))

    run(go())


def test_text_that_no_engine_can_say_is_an_error():
    async def go():
        made = studio(ToneEngine())
        await made.load()
        with pytest.raises(SynthesisFailed):
            await collect(made, "...")

    run(go())


async def test_it_is_the_same_on_real_lanes():
    lanes = Lanes(LaneSettings(count=2))
    made = studio(ToneEngine(), lanes=lanes)
    await made.load()
    sounds = await collect(made, "Good morning everybody.")
    assert sum(len(sound.samples) for sound in sounds if isinstance(sound, Sounded)) > 24_000
    await made.aclose()


def test_a_voice_that_is_mixed_for_somebody_is_spoken_with():
    async def go():
        made = studio(Mixing())
        await made.load()
        assert made.has_voice("a+b") and not made.has_voice("a") and not made.has_voice("")
        chosen = (await collect(made, "Hello.", Wish("en", voice="a+b")))[0]
        assert (chosen.engine, chosen.voice.id) == ("tone", "a+b")

    run(go())


def test_of_voices_that_are_mixed_for_somebody_the_latest_are_kept():
    async def go():
        made = studio(Mixing())
        await made.load()
        for name in ("a+b", "a+c"):
            assert made.has_voice(name)
            await collect(made, "Hello.", Wish("en", voice=name))
        assert set(made.chain.outcomes()) >= {("tone", "a+b"), ("tone", "a+c")}
        for number in range(MOST_MIXED - 1):
            assert made.has_voice("a+c") and made.has_voice(f"a+{number}")
        mixed = [voice.id for voice in made.offers["tone"] if "+" in voice.id]
        assert len(mixed) == MOST_MIXED
        assert "a+c" in mixed and "a+b" not in mixed
        assert ("tone", "a+c") in made.chain.outcomes()
        assert ("tone", "a+b") not in made.chain.outcomes(), "nothing is kept of those that are not"

    run(go())


class Nicknamed(ToneEngine):
    """Answers to a name that is not an id."""

    def voice(self, id):
        return super().voice("" if id == "nick" else id)


def test_a_voice_is_spoken_with_under_the_name_that_it_was_asked_for_by():
    async def go():
        made = studio(Nicknamed())
        await made.load()
        assert made.has_voice("nick")
        assert (await collect(made, "Hello.", Wish("en", voice="nick")))[0].voice.id == "nick"

    run(go())


def test_a_voice_that_is_passed_over_begins_sentences_of_ours_in_calm_times_and_says_no_more_of_them():
    class Counted(Scripted):
        words = 0

        def synthesize(self, request, pace):
            for chunk in super().synthesize(request, pace):
                self.words += len(chunk.samples) > 0
                yield chunk

    async def go():
        work = Work()
        first = Counted("first", Script(front=0.3, step=0.02), work=work.spend)
        second = Scripted("second", Script(front=0.01, step=0.01), work=work.spend)
        made = studio(first, second, lanes=virtual_lanes(0.0, count=2, work=work))
        await made.load()
        await asyncio.sleep(PRACTICE)
        before, first.words = len(first.asked), 0
        assert (await collect(made, "Hello there."))[0].voice.engine == "second"
        await asyncio.sleep(8.0)
        assert [text for text, _ in list(first.asked)[before:]] == [SHORT, LONGER] and first.words == 2, "the first word of each"
        assert first.closed == first.begun
        busy = asyncio.create_task(made.lanes.run(lambda: work.spend(30.0), due=0.0, allowance=60.0))
        await asyncio.sleep(31.0)  # its step has ended: no lane is taken, but they were until now
        assert await busy is None and made.lanes.load() > 0.3
        assert (await collect(made, "Hello there."))[0].voice.engine == "second"
        begun = len(first.asked)
        await asyncio.sleep(1.0)
        assert len(first.asked) == begun, "somebody has just spoken"
        await asyncio.sleep(15.0)
        assert len(first.asked) == begun + 2

    run(go())


def test_an_engine_may_speak_before_it_has_said_a_long_sentence():
    class Counted(ToneEngine):
        def __init__(self):
            super().__init__()
            self.said = []

        def synthesize(self, request, pace):
            yield from super().synthesize(request, pace)
            self.said.append(request.text)

    async def go():
        engine = Counted()
        made = studio(engine)
        await made.load()
        assert made.status[0].state == "ready" and engine.said == [SHORT, SHORT]
        await asyncio.sleep(5.0)
        assert engine.said == [SHORT, SHORT, LONGER]

    run(go())


# Engines that come and go


class Shy(Scripted):
    """Cannot be loaded the first so many times; each load takes as long as it says."""

    def __init__(self, name, *, refusals=0, lacks="", loading=0.0, work=None):
        self.loads = []  # when each began
        self.unloads = 0
        self.refusals, self.lacks = refusals, lacks
        self._loading_takes = loading
        super().__init__(name, Script(step=0.02), work=(work or Work()).spend)
        self._loaded = False

    def missing(self):
        return self.lacks

    def load(self):
        self.loads.append(asyncio.get_running_loop().time())
        self._work(self._loading_takes)
        if len(self.loads) <= self.refusals:
            raise EngineUnavailable(f"{self.name} does not answer")
        self._loaded = True

    def unload(self):
        assert self.begun == self.closed, "no synthesis is running"
        self.unloads += 1
        self._loaded = False

    def voices(self):
        return super().voices() if self._loaded else ()


def test_pauses_grow_up_to_a_bound():
    first = list(islice(pauses(), 9))
    assert first[:4] == [RETRY, 2 * RETRY, 4 * RETRY, 8 * RETRY] and first[-1] == LONGEST_RETRY
    assert first == sorted(first)


def test_an_engine_that_could_not_be_loaded_is_tried_again_ever_more_rarely():
    async def go():
        engine = Shy("first", refusals=4)
        made = studio(engine, ToneEngine())
        await made.load()
        start = asyncio.get_running_loop().time()
        assert made.status[0].state == "unavailable" and set(made.offers) == {"tone"}
        await asyncio.sleep(200.0)
        assert [round(at - start) for at in engine.loads] == [0, 5, 15, 35, 75]
        assert made.status[0].state == "ready" and set(made.offers) == {"first", "tone"}
        assert isinstance((await collect(made, "Hello."))[0], Chosen)
        await made.aclose()

    run(go())


def test_what_is_known_to_be_missing_is_looked_for_and_not_loaded():
    async def go():
        engine = Shy("first", refusals=1, lacks="pip install it")
        made = studio(engine, ToneEngine())
        await made.load()
        await asyncio.sleep(100.0)
        assert len(engine.loads) == 1 and "does not answer" in made.status[0].reason
        engine.lacks = ""
        await asyncio.sleep(100.0)
        assert len(engine.loads) == 2 and made.status[0].state == "ready"
        await made.aclose()

    run(go())


def test_a_load_that_hangs_is_not_tried_again():
    async def go():
        work = Work()
        engine = Shy("first", loading=1e6, work=work)
        made = studio(engine, ToneEngine(), lanes=virtual_lanes(work=work))
        await made.load()
        assert made.status[0].state == "unavailable" and "engine first did not end" in made.status[0].reason
        await asyncio.sleep(1000.0)
        assert len(engine.loads) == 1
        await made.aclose()

    run(go())


class Stuck(Shy):
    """Its first sentence does not end."""

    def synthesize(self, request, pace):
        self._work(1e6)
        yield from super().synthesize(request, pace)


@pytest.mark.parametrize("stuck", [lambda work: Shy("first", loading=1e6, work=work), lambda work: Stuck("first", work=work)])
def test_an_engine_that_hangs_while_it_is_made_ready_is_told_in_time_and_nobody_who_speaks_notices(stuck):
    async def go():
        work = Work()
        made = studio(stuck(work), Shy("second", work=work), lanes=virtual_lanes(count=2, work=work))
        start = asyncio.get_running_loop().time()
        loading = asyncio.create_task(made.load())
        await asyncio.sleep(PRACTICE)
        async with Room(studio=made) as room:
            for number in range(20):
                room.stage.on_message("up", Text(text="The quick brown fox jumps over the lazy dog.", utterance=f"u{number}"))
            await loading
            assert asyncio.get_running_loop().time() - start == pytest.approx(LOADING, abs=1.0)
            assert made.status[0].state == "unavailable" and "engine first did not end" in made.status[0].reason
            await room.quiet()
            assert set(said_by(room)) == {"second"} and not room.told(Dropped)
            assert room.report.counts["underruns"] == 0
        await made.aclose()

    run(go())


def test_a_load_may_take_as_long_as_a_large_model_on_a_slow_disk():
    async def go():
        work = Work()
        made = studio(Shy("first", loading=LOADING - 1.0, work=work), lanes=virtual_lanes(work=work))
        await made.load()
        assert made.status[0].state == "ready"
        await made.aclose()

    run(go())


def test_a_closed_studio_tries_nothing_again():
    async def go():
        engine = Shy("first", refusals=99)
        made = studio(engine)
        await made.load()
        await made.aclose()
        await asyncio.sleep(1000.0)
        assert len(engine.loads) == 1

    run(go())


def said_by(room):
    return [event.engine for event in room.told(SentenceChosen)]


def test_nobody_who_speaks_notices_that_engines_come_and_go():
    async def go():
        work = Work()
        first, second = Shy("first", loading=8.0, work=work), Shy("second", work=work)
        async with Room([first, second], lanes=virtual_lanes(count=2, work=work)) as room:
            say = room.stage.on_message
            for number in range(20):
                say("up", Text(text="The quick brown fox jumps over the lazy dog.", utterance=f"u{number}"))
            await asyncio.sleep(5.0)
            await room.studio.unload_engine("first")
            assert first.unloads == 1 and room.studio.status[0].state == "unloaded"
            await asyncio.sleep(5.0)
            loading = asyncio.create_task(room.studio.load_engine("first"))
            await asyncio.sleep(1.0)
            assert room.studio.status[0].state == "loading"
            await loading
            await room.quiet()
            assert [engine for engine, _ in groupby(said_by(room))] == ["first", "second", "first"]
            why = [event.why for event in room.told(Switched)]
            assert why == ["first has been unloaded", "back to the preferred voice"]
            assert room.report.counts["underruns"] == 0 and not room.told(Dropped)

    run(go())


def test_an_engine_that_is_unloaded_says_its_sentence_to_the_end_though_that_is_in_two_parts():
    async def go():
        work = Work()
        first, second = Shy("first", work=work), Shy("second", work=work)
        async with Room([first, second], lanes=virtual_lanes(count=2, work=work)) as room:
            assert len(LONG) > first.comfort
            room.stage.on_message("up", Text(text=LONG, utterance="long"))
            while not room.told(SentenceChosen):  # noqa: ASYNC110 - in virtual time
                await asyncio.sleep(0.01)
            await room.studio.unload_engine("first")
            room.stage.on_message("up", Text(text="And the next one.", utterance="next"))
            await room.quiet()
            assert said_by(room) == ["first", "second"] and first.unloads == 1
            assert [event.why for event in room.told(Switched)] == ["first has been unloaded"]
            assert not room.told(Dropped)

    run(go())


def test_an_engine_that_does_not_let_go_stays():
    async def go():
        work = Work()
        first = Scripted("first", faults={0: Hang()}, work=work.spend)
        async with Room([first, Shy("second", work=work)], lanes=virtual_lanes(count=2, work=work)) as room:
            room.stage.on_message("up", Text(text="The quick brown fox.", utterance="u"))
            await room.quiet()
            start = room.loop.time()
            with pytest.raises(EngineUnavailable, match="still speaks"):
                await room.studio.unload_engine("first")
            assert room.loop.time() - start == pytest.approx(UNLOADING)
            assert room.studio.status[0].state == "ready" and "first" in room.studio.offers

    run(go())


def test_an_engine_is_loaded_and_unloaded_once_however_often_it_is_asked_for():
    async def go():
        engine = Shy("first")
        made = studio(engine, ToneEngine())
        await made.load()
        await asyncio.sleep(PRACTICE)
        await made.load_engine("first")
        await asyncio.gather(made.unload_engine("first"), made.load_engine("first"), made.load_engine("first"))
        assert (len(engine.loads), engine.unloads) == (2, 1) and "first" in made.offers
        with pytest.raises(EngineUnavailable, match="there is no engine 'third' here"):
            await made.load_engine("third")
        engine.refusals = 99
        await made.unload_engine("first")
        with pytest.raises(EngineUnavailable, match="does not answer"):
            await made.load_engine("first")
        await asyncio.sleep(2 * RETRY)
        assert len(engine.loads) == 4
        await made.unload_engine("first")
        await asyncio.sleep(1000.0)
        assert len(engine.loads) == 4, "what somebody has unloaded stays so"
        await made.aclose()

    run(go())


def test_voices_that_were_mixed_go_with_their_engine():
    async def go():
        made = studio(Mixing(), Shy("second"))
        await made.load()
        await asyncio.sleep(PRACTICE)
        assert made.has_voice("a+b")
        await made.unload_engine("tone")
        assert not made.has_voice("a+b") and set(made.offers) == {"second"}
        await made.aclose()

    run(go())


# Ids that mean a kind of voice


KINDS = {"sarah": "premium", "anybody": ""}


def kinds(id, voices, language):
    """The second of the voices; who speaks for no voice in particular is nobody's."""
    return (([voice.id for voice in voices] + ["", ""])[1], KINDS[id]) if id in KINDS else None


class Two(Scripted):
    def voices(self):
        return tuple(dataclasses.replace(super(Two, self).voices()[0], id=f"{self.name}-{number}") for number in range(2))


def test_an_id_that_means_a_kind_of_voice_is_spoken_by_the_nearest_and_its_tier_gives_the_budget():
    async def go():
        made = Studio([Two("first"), Two("second")], Chain(ChainSettings(order=("first", "second"))), virtual_lanes(), meaning=kinds)
        await made.load()
        assert made.has_voice("sarah") and not made.has_voice("Donald") and not made.has_voice("")
        for wish, voice, budget in (
            (Wish("en", voice="sarah"), "first-1", 0.4),
            (Wish("en", voice="anybody"), "first-1", 0.25),
            (Wish("en", voice="sarah", engine="second"), "second-1", 0.4),
            (Wish("en", voice="sarah", budget=0.1), "first-1", 0.1),
            (Wish("en", voice="second-0"), "second-0", 0.25),
            (Wish("en"), "first-0", 0.25),
        ):
            assert (await collect(made, "Hello.", wish, Provided()))[0].voice.id == voice
            assert made.budget(wish) == budget
        await made.unload_engine("first")
        assert (await collect(made, "Hello.", Wish("en", voice="sarah"), Provided()))[0].voice.id == "second-1"
        await made.aclose()

    run(go())


# How loud


class Quiet(ToneEngine):
    """So many decibels above what tones have, at most 0."""

    def __init__(self, name, *levels):
        """``levels``: of its voices; the first is its default."""
        super().__init__()
        self.name, self._levels = name, levels
        self.refuses = False

    def voices(self):
        genders = ("female", "male", "neutral")[: len(self._levels)]
        return tuple(Voice(f"{self.name}-{gender}", self.name, "en-US", 24_000, gender=gender) for gender in genders)

    def synthesize(self, request, pace):
        if self.refuses:
            raise SynthesisFailed("not now")
        level = self._levels[[voice.id for voice in self.voices()].index(request.voice)]
        for chunk in super().synthesize(dataclasses.replace(request, voice="tone-en"), pace):
            yield dataclasses.replace(chunk, samples=amplify(chunk.samples, 10 ** (level / 20)))

    def choose(self, request):
        return Voice("tone-en", "tone", "en", 24_000, gender="female")


async def loudness(made, text, voice="", part=slice(None)):
    """dBFS of the speech that is heard."""
    events = await collect(made, text, Wish("en", voice=voice))
    heard = Loudness(24_000)
    heard.learn(np.concatenate([event.samples for event in events if isinstance(event, Sounded)])[part])
    return heard.level


SENTENCE = "Good morning and welcome to everybody who has come here through the rain today."


def test_a_voice_that_is_first_heard_in_a_short_sentence_is_matched_afterwards():
    async def go():
        made = studio(Quiet("quiet", -1.0, -15.0))
        await made.load()
        await collect(made, "Yes.", Wish("en", voice="quiet-male"))
        await collect(made, SENTENCE, Wish("en", voice="quiet-male"))
        assert await loudness(made, SENTENCE, "quiet-male") == pytest.approx(TARGET, abs=0.7)
        await made.aclose()

    run(go())


def test_a_voice_that_has_not_spoken_is_as_loud_as_its_engine_s_first_one_and_matched_while_it_speaks():
    async def go():
        made = studio(Quiet("quiet", -13.5, -16.5))
        await made.load()
        second = slice(2 * 24_000, None)
        assert await loudness(made, SENTENCE, "quiet-male", part=slice(0, 24_000)) > TARGET - 4.5
        fresh = studio(Quiet("quiet", -13.5, -16.5))
        await fresh.load()
        assert await loudness(fresh, SENTENCE, "quiet-male", part=second) == pytest.approx(TARGET, abs=1.0)
        for one in (made, fresh):
            await one.aclose()

    run(go())


def test_a_hand_over_to_a_voice_that_was_never_heard_is_no_jump():
    async def go():
        loud, quiet = Quiet("loud", 0.0, 0.0), Quiet("quiet", -13.5, -13.5)
        made = studio(loud, quiet)
        await made.load()
        await asyncio.sleep(PRACTICE)
        before = await loudness(made, SENTENCE, "loud-male")
        loud.refuses = True
        assert abs(await loudness(made, SENTENCE, "loud-male") - before) < 1.0
        await made.aclose()

    run(go())


def test_what_was_said_while_its_loudness_was_not_known_is_not_kept():
    async def go():
        lanes = virtual_lanes()
        cache = Cache(CacheSettings(), lanes, folder=None)
        engine = Quiet("quiet", -1.0, -9.0)
        made = Studio([engine], Chain(ChainSettings(order=("quiet",))), lanes, cache=cache)
        await made.load()
        await asyncio.sleep(PRACTICE)
        again = []
        for _ in range(3):
            events = await collect(made, SENTENCE, Wish("en", voice="quiet-male"))
            again.append(events[0].is_cached)
        assert again == [False, False, True]
        assert await loudness(made, SENTENCE, "quiet-male") == pytest.approx(TARGET, abs=0.7)
        await made.aclose()

    run(go())
