import asyncio
import weakref

import numpy as np
import pytest

from engines.base import NO_SAMPLES, BadSound, Chunk, Engine
from engines.scripted import Die, Hang, Odd, Script, Scripted, level_of
from pipeline.chain import Candidate
from pipeline.loudness import Loudness
from pipeline.take import Order, Take, first_length
from tests.virtual_time import Work, run, virtual_lanes
from tests.words import distinct_words

WORDS = distinct_words(40)
TEXT = " ".join(WORDS[:4]) + "."
LONG = " ".join(WORDS[:6]) + ", " + " ".join(WORDS[6:30]) + "."


def order(text=TEXT, **changes):
    usual = {"rest": 0, "language": "en", "speed": 1.0, "rate": 24_000, "pause": 0.3}
    return Order(text, **{**usual, **changes})


class Desk:
    """An engine, lanes in virtual time, and a take between them."""

    def __init__(self, asked, *, fault=None, script=None, lanes=1, is_long=lambda count: True):
        self.work = Work()
        self.engine = Scripted(
            "engine", script or Script(step=0.1), faults={0: fault} if fault else None, work=self.work.spend, rehearsals=0
        )
        self.lanes = virtual_lanes(0.0, count=lanes, work=self.work)
        self.take = Take(Candidate("engine", self.engine.voices()[0]), self.engine, asked, self.lanes, now=0.0, is_long=is_long)

    async def step(self):
        await asyncio.wait([self.take.start(due=0.0, window=0.0)])
        return self.take.finish()

    async def all(self):
        sounds = []
        while not self.take.is_whole:
            sounds.append(await self.step())
        return [sound for sound in sounds if sound is not None]


def test_sound_comes_with_its_words_and_what_it_cost():
    async def go():
        desk = Desk(order())
        sounds = await desk.all()
        assert [sound.samples[1000] for sound in sounds[:4]] == [level_of(word) for word in WORDS[:4]]
        assert [TEXT[word.start : word.end] for sound in sounds for word in sound.words] == TEXT.split()
        assert sounds[0].audible == 0 and all(sound.audible is None for sound in sounds[1:])
        assert desk.take.work == pytest.approx(0.4) and desk.take.said == 4 * 4800
        assert desk.engine.begun == desk.engine.closed == 1 and desk.lanes.live == 0

    run(go())


def test_a_voice_is_made_as_loud_as_it_is_told_and_measured_as_it_is():
    async def go():
        desk = Desk(order(gain=0.5, loudness=Loudness(24_000)))
        sounds = await desk.all()
        assert sounds[0].samples[1000] == level_of(WORDS[0]) // 2
        assert np.concatenate(desk.take.raw)[1000] == level_of(WORDS[0])
        assert Desk(order()).take.raw is None

    run(go())


def test_what_a_piece_of_sound_took_holds_the_steps_without_any_before_it(monkeypatch):
    async def go():
        desk = Desk(order())
        whole = desk.engine.synthesize

        def staged(request, pace):
            for chunk in whole(request, pace):
                for _ in range(2):
                    desk.work.spend(0.03)
                    yield Chunk(NO_SAMPLES)
                yield chunk

        monkeypatch.setattr(desk.engine, "synthesize", staged)
        found = []
        while not desk.take.is_whole:
            await desk.step()
            found.append((desk.take.took, desk.take.silent_work))
        assert [pytest.approx(values) for values in found[3:6]] == [(0.0, 0.13), (0.0, 0.16), (0.16, 0.0)], "the second word"
        assert found[-1][0] == 0.0

    run(go())


def test_the_rest_of_a_sentence_rises_from_nothing():
    async def go():
        start = TEXT.index(WORDS[2])
        sounds = await Desk(order(rest=start, fades_in=True)).all()
        assert sounds[0].samples[0] == 0 and sounds[0].samples[500] == level_of(WORDS[2])
        assert [TEXT[word.start : word.end] for sound in sounds for word in sound.words] == TEXT.split()[2:]
        assert sounds[1].samples[0] == level_of(WORDS[3])

    run(go())


def test_a_long_text_is_said_in_two_parts_when_the_listener_waits():
    async def go():
        comfort = Engine.comfort
        assert len(LONG) > comfort and first_length(LONG, 0, comfort, "en") == len(" ".join(WORDS[:6])) + 2
        assert first_length(LONG, 0, len(LONG), "en") == len(LONG) == Desk(order(LONG), is_long=lambda count: False).take.characters
        desk = Desk(order(LONG))
        sounds = await desk.all()
        assert desk.engine.begun == 2
        assert [LONG[word.start : word.end] for sound in sounds for word in sound.words] == LONG.split()

    run(go())


def test_a_take_that_is_closed_lets_go_of_whoever_made_it():
    async def go():
        class Maker:
            def is_long(self, count):
                return True

        maker = Maker()
        maker.desk = Desk(order(), is_long=maker.is_long)
        await maker.desk.step()
        maker.desk.take.close()
        known = weakref.ref(maker)
        del maker
        return known() is None

    assert run(go())


def test_what_is_left_is_cut_again_while_its_front_would_keep_the_listener_waiting():
    async def go():
        text = ", ".join(" ".join(WORDS[start : start + 6]) for start in range(0, 36, 6)) + "."
        left = []
        desk = Desk(order(text), is_long=lambda count: left.append(count) or count > 120)
        sounds = await desk.all()
        assert left == sorted(left, reverse=True) and left[-1] <= 120 < left[-2]
        assert desk.engine.begun == len(set(left)) > 3
        assert [text[word.start : word.end] for sound in sounds for word in sound.words] == text.split()

    run(go())


def test_the_word_that_follows_is_known_before_it_is_said():
    async def go():
        desk = Desk(order())
        await desk.step()
        assert desk.take.next_word() == (4800, TEXT.index(WORDS[1]))
        await desk.all()
        assert desk.take.next_word() is None

    run(go())


def test_a_word_of_which_all_is_made_is_over_though_its_end_fills_no_window():
    async def go():
        desk = Desk(order(), script=Script(word=0.2037))
        await desk.step()
        assert desk.take.said == 4800
        assert desk.take.next_word() == (4800, TEXT.index(WORDS[1])), "the framer holds the other 88 samples"

    run(go())


@pytest.mark.parametrize("fault", [Die(at=1, error=ZeroDivisionError("oops")), Odd(at=1)])
def test_whatever_the_engine_does_it_is_an_engine_error(fault):
    async def go():
        desk = Desk(order(), fault=fault)
        with pytest.raises(BadSound if isinstance(fault, Odd) else Exception, match="float64" if isinstance(fault, Odd) else "oops"):
            await desk.all()
        desk.take.close()
        await asyncio.sleep(0.1)
        assert desk.engine.begun == desk.engine.closed

    run(go())


def test_a_step_that_runs_is_told_from_one_that_waits():
    async def go():
        loop = asyncio.get_running_loop()
        desk = Desk(order(), fault=Hang(at=1))
        other = asyncio.ensure_future(desk.lanes.run(lambda: desk.work.spend(0.5), due=0.0))
        await asyncio.sleep(0)
        first = desk.take.start(due=0.0, window=0.0)
        await asyncio.sleep(0.3)
        assert desk.take.is_queued and desk.take.running(loop.time()) == 0
        await asyncio.wait([first])
        desk.take.finish()
        desk.take.start(due=0.0, window=0.0)
        await asyncio.sleep(0.3)
        assert not desk.take.is_queued and desk.take.running(loop.time()) == pytest.approx(0.3)
        desk.take.close(overdue=True)
        assert desk.lanes.has_idle() and desk.take.running(loop.time()) == 0
        await other

    run(go())
