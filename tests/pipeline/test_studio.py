import asyncio
import dataclasses
from contextlib import aclosing

import numpy as np
import pytest

from engines.base import EngineUnavailable, SynthesisFailed
from engines.tone import ToneEngine
from pipeline.chain import Chain, ChainSettings, Track
from pipeline.lanes import Lanes, LaneSettings
from pipeline.performance import Chosen, Ended
from pipeline.script import Wish
from pipeline.studio import LONG as LONGER
from pipeline.studio import MOST_MIXED, SHORT, Studio
from pipeline.take import COMFORT, Sounded
from tests.virtual_time import run, virtual_lanes


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
        assert len(LONG) > COMFORT and len(engine.texts) == 2 and "".join(engine.texts) == LONG
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
