"""Sentences under faults, in virtual time. More schedules: ``VOICEBOOTH_EXAMPLES=5000 pytest tests/pipeline/test_performance.py``."""

import asyncio
import os
import random
from dataclasses import replace
from itertools import cycle, pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engines.base import Chunk
from engines.guard import Guarded
from engines.scripted import Clipped, Dice, Die, End, Hang, Late, Odd, Script, Scripted, Silent, Slow, level_of
from engines.tone import ToneEngine
from pipeline.chain import CHARACTER
from pipeline.events import Dropped, SentenceChosen, SentenceFinished, SpeechFinished, SpeechStarted, Switched
from pipeline.pace import KANA, SYLLABLE
from pipeline.protocol import Config, Text
from pipeline.stage import StageSettings
from tests.examples import examples
from tests.virtual_time import Room, Work, run, virtual_lanes
from tests.words import distinct_words

EXAMPLES = int(os.environ.get("VOICEBOOTH_EXAMPLES", "40"))
WORD = 0.2  # seconds
QUICK, BETTER = Script(word=WORD, front=0.02, step=0.02), Script(word=WORD, front=0.05, step=0.05)
WORDS = distinct_words(300)
AFTERWARDS = 4000.0  # seconds of virtual time: even what hangs has ended then


def passage(counts):
    """Sentences of so many words; neighbours differ in every word."""
    words = cycle(WORDS)
    return [" ".join(next(words) for _ in range(count)).capitalize() + "." for count in counts]


class Hall:
    """One room, some engines, and what its listener makes of it."""

    def __init__(self, *engines, lanes=2, order=None, **options):
        """``engines``: name, script, faults."""
        self.work = Work()
        self.engines = [Scripted(name, script, faults=faults, work=self.work.spend) for name, script, faults in engines]
        self.options = {"lanes": virtual_lanes(0.0, count=lanes, work=self.work, allowance=0.5), **options}

    def say(self, sentences, *, apart=None):
        """Says them all at once, or each so many seconds after the one before it has been heard."""

        async def go():
            options = {**self.options}
            async with Room(self.engines, **options) as room:
                for sentence in sentences:
                    room.stage.on_message("up", Text(text=sentence + " "))
                    if apart is not None:
                        await room.quiet()
                        await asyncio.sleep(apart)
                await room.quiet(1200)
                for pump in room.pumps:
                    pump.cancel()
                for engine in self.engines:
                    engine.faults = {}
                async with asyncio.timeout(AFTERWARDS):
                    while self.is_running():  # noqa: ASYNC110 - what hangs ends when its time is over
                        await asyncio.sleep(60.0)
                return room

        self.room = run(go())
        return self.room

    def is_running(self):
        return any(engine.begun != engine.closed for engine in self.engines)

    def words(self):
        """(level, seconds) of everything that was heard, in order; fades belong to the word that they are part of."""
        sound = np.concatenate(self.room.sound["booth-en"])
        edges = np.flatnonzero(np.diff(sound, prepend=sound[0] - 1, append=sound[-1] - 1))
        runs = zip(sound[edges[:-1]].tolist(), np.diff(edges).tolist(), strict=True)
        return [(level, count / 24_000) for level, count in runs if count > 240 and level]

    def seconds(self):
        return sum(map(len, self.room.sound["booth-en"])) / 24_000

    def gaps(self):
        """Seconds of silence between the words of one sentence, which are said without any."""
        return [after[0] - before[1] for before, after in pairwise(self.room.heard()) if after[0] - before[1] < 0.29]


def check(hall, sentences):
    """Every sentence was heard completely and once, in order, or was reported; nothing is left running."""
    room = hall.room
    dropped = {event.text.strip() for event in room.told(Dropped)}
    left = iter(hall.words())
    heard = next(left, None)
    for sentence in sentences:
        if any(sentence.endswith(text) for text in dropped):
            while heard is not None and heard[0] in {level_of(word) for word in sentence.split()}:
                heard = next(left, None)
            continue
        for word in sentence.split():
            pieces = []
            while heard is not None and heard[0] == level_of(word):
                pieces.append(heard[1])
                heard = next(left, None)
            assert pieces and pieces[-1] > WORD - 0.02, f"{word} of {sentence!r} was not heard: {pieces}"
            assert all(piece < WORD - 0.005 for piece in pieces[:-1]), f"{word} of {sentence!r} was heard twice: {pieces}"
    assert heard is None, f"and {heard} was heard"
    assert [event.why for event in room.told(Dropped)] == ["failed"] * len(dropped)
    assert len(room.told(SentenceFinished)) >= len(sentences) - len(dropped)
    for engine in hall.engines:
        assert engine.begun == engine.closed, f"{engine.name} is left running"


FAULTS = [
    Late(at=2, seconds=1.5),
    Slow(at=1, times=20.0),
    Hang(at=2),
    Die(at=2),
    Silent(at=2),
    End(at=2),
    Clipped(at=2),
    Odd(at=2, kind="nan"),
]
AT_ONCE = [Late(seconds=1.5), Slow(times=20.0), Hang(), Die(), Silent(), End(), Clipped(), Odd(), Odd(kind="stereo"), Odd(kind="nothing")]


@pytest.mark.long
@pytest.mark.parametrize("fault", [*FAULTS, *AT_ONCE], ids=repr)
def test_whatever_goes_wrong_in_a_sentence_it_is_heard_completely_and_once(fault):
    hall = Hall(("better", BETTER, {1: fault}), ("quick", QUICK, None))
    sentences = passage([5, 5, 5])
    room = hall.say(sentences, apart=1.0)
    check(hall, sentences)
    assert not room.told(Dropped)
    assert [event.new for event in room.told(Switched)] == ["quick", "better"]
    assert [event.engine for event in room.told(SpeechStarted)] == ["better", "quick" if fault.at == 0 else "better", "better"]
    if not isinstance(fault, Silent):
        assert all(gap < 0.15 for gap in hall.gaps())


@pytest.mark.parametrize("fault", [Hang(at=1), Slow(at=1, times=30.0), Late(at=1, seconds=3.0)], ids=repr)
def test_a_word_of_odd_length_is_not_said_again(fault):
    """What a listener has heard cannot be cut back."""
    hall = Hall(("better", replace(BETTER, word=0.2037), {1: fault}), ("quick", replace(QUICK, word=0.2037), None))
    sentences = passage([5, 5])
    hall.say(sentences, apart=1.0)
    levels = [level for level, seconds in hall.words() if seconds > 0.16]
    assert levels == [level_of(word) for sentence in sentences for word in sentence.split()]


@pytest.mark.long
@pytest.mark.parametrize("fault", AT_ONCE, ids=repr)
def test_the_first_sound_comes_within_the_budget_whatever_the_first_engine_does(fault):
    hall = Hall(("better", BETTER, {1: fault}), ("quick", QUICK, None))
    room = hall.say(passage([5, 5]), apart=1.0)
    if not isinstance(fault, Silent):  # which looks like a good engine for as long as its windows take
        assert room.told(SpeechStarted)[1].ttft < 0.25


class _Always:
    def __init__(self, fault):
        self.fault = fault

    def get(self, sentence):
        return self.fault


def test_a_text_and_a_sender_have_budgets_of_their_own():
    async def go():
        work = Work()
        engines = [Scripted("better", BETTER, work=work.spend), Scripted("quick", QUICK, work=work.spend)]
        async with Room(engines, lanes=virtual_lanes(0.0, count=2, work=work)) as room:
            for text in (Text(text="Balatan."), Text(text="Beletan.", budget_ms=70), Text(text="Bilitan.")):
                room.stage.on_message("up", text)
                await room.quiet()
                await asyncio.sleep(1.0)
            room.stage.on_message("up", Config(budget_ms=70))
            room.stage.on_message("up", Text(text="Bolotan."))
            await room.quiet()
            return [event.engine for event in room.told(SpeechStarted)]

    assert run(go()) == ["better", "quick", "better", "quick"]


def test_an_engine_that_hangs_for_ever_is_left_alone_and_probed():
    hall = Hall(("better", BETTER, _Always(Hang())), ("quick", QUICK, None))
    sentences = passage([4] * 12)
    room = hall.say(sentences, apart=1.0)
    check(hall, sentences)
    assert {event.engine for event in room.told(SpeechStarted)} == {"quick"}
    assert hall.engines[0].begun < 3 + 5 + 8, "five sentences, and probes"
    assert all(event.ttft < 0.25 for event in room.told(SpeechStarted))


def test_an_engine_that_recovers_is_found_by_a_probe_and_preferred_again():
    faults = {index: Die() for index in range(6)}  # five sentences and the first probe
    hall = Hall(("better", BETTER, faults), ("quick", QUICK, None))
    sentences = passage([4] * 20)
    room = hall.say(sentences, apart=1.0)
    check(hall, sentences)
    engines = [event.engine for event in room.told(SpeechStarted)]
    assert engines[0] == "quick" and engines[-1] == "better"
    assert engines == sorted(engines, reverse=True), "no sentence of a user's was tried before"


def test_when_all_fail_the_sentence_is_reported_and_the_next_is_heard():
    hall = Hall(("better", BETTER, {1: Die(at=2)}), ("quick", QUICK, {0: Die(at=0)}))
    sentences = passage([4, 4, 4])
    room = hall.say(sentences)
    check(hall, sentences)
    assert len(room.told(Dropped)) == 1


def test_an_engine_that_is_late_gets_its_time_when_nobody_else_can():
    hall = Hall(("better", BETTER, {0: Late(seconds=1.0)}), ("quick", QUICK, {0: Die()}))
    sentences = passage([4])
    room = hall.say(sentences)
    check(hall, sentences)
    assert not room.told(Dropped)


def test_manual_waits_for_its_engine():
    hall = Hall(("better", BETTER, {0: Late(seconds=1.0)}), ("quick", QUICK, None))
    hall.options["strategy"] = "manual"
    sentences = passage([4])
    room = hall.say(sentences)
    check(hall, sentences)
    assert not room.told(Switched) and room.told(SpeechStarted)[0].ttft > 1.0


def test_sound_in_hand_gives_an_engine_time():
    """A step that is late is nobody's concern while the listener has enough to hear."""
    hall = Hall(("better", BETTER, {1: Late(at=3, seconds=0.5)}), ("quick", QUICK, None))
    sentences = passage([12, 12])
    room = hall.say(sentences)
    check(hall, sentences)
    assert not room.told(Switched) and room.report.counts["underruns"] == 0


@pytest.mark.parametrize("others", [0, 1])
def test_a_step_may_take_longer_while_others_are_made(others):
    """They have their part of the cores; alone it would be overdue."""

    async def go():
        work = Work()
        engines = [Scripted("better", BETTER, faults={1: Late(at=1, seconds=0.13)}, work=work.spend)]
        engines.append(Scripted("quick", QUICK, work=work.spend))
        async with Room(engines, lanes=virtual_lanes(0.0, count=4, work=work)) as room:
            for count in range(2):
                for other in range(others * count):
                    room.stage.on_message("other", Config(strategy="manual", engine="quick"))
                    room.stage.on_message("other", Text(text=passage([40])[other], speaker="other"))
                room.stage.on_message("up", Text(text=passage([6])[0]))
                await room.quiet()
                await asyncio.sleep(1.0)
            return [event.new for event in room.told(Switched)]

    assert run(go()) == ([] if others else ["quick"])


@pytest.mark.long
def test_a_hedge_takes_a_lane_that_is_idle_only():
    slow = Script(word=WORD, front=0.1, step=0.02, jitter=0.5)
    spread = {"budget": 0.16}
    for lanes, expected in ((2, True), (1, False)):
        hall = Hall(("better", slow, {n: Late(seconds=0.06) for n in range(0, 30, 3)}), ("quick", QUICK, None), lanes=lanes, **spread)
        sentences = passage([3] * 30)
        hall.say(sentences, apart=1.0)
        check(hall, sentences)
        assert (hall.room.studio.chain.hedges.taken > 0) == expected


class Markless(Scripted):
    """Does not tell which words it speaks."""

    def synthesize(self, request, pace):
        for chunk in super().synthesize(request, pace):
            yield Chunk(chunk.samples)


@pytest.mark.parametrize(
    ("language", "sentence", "syllable"),
    [
        ("en", "Balatan beletan bilitan bolotan bulutan.", WORD),
        ("zh", "今天天气很好我们一起去公园里走走。", SYLLABLE),
        ("ja", "きのうはともだちとうみまであるいた。", KANA),
        ("th", "วันนี้อากาศดีมากเราไปเดินเล่นกัน", CHARACTER),
    ],
)
def test_for_an_engine_without_marks_somebody_goes_on_where_it_has_come_to(language, sentence, syllable):
    async def go():
        work = Work()
        script = Script(word=syllable, front=0.02, step=0.005)
        first = Markless("first", script, faults={0: Die(at=3 if language == "en" else 10)}, languages=(language,), work=work.spend)
        second = Scripted("second", script, languages=(language,), work=work.spend)
        settings = StageSettings(languages=(language,))
        async with Room([first, second], settings=settings, lanes=virtual_lanes(0.0, count=2, work=work)) as room:
            room.stage.on_message("up", Text(text=sentence, utterance="u", final=True))
            await room.quiet()
            assert not room.told(Dropped) and room.told(Switched)
            return second.asked[-1][0]

    rest = run(go())
    assert sentence.endswith(rest)
    begun = len(sentence) - len(rest)
    assert begun in range(8, 11), "at a word in its middle: neither all of it anew, nor beyond it"


def test_a_hedge_that_is_heard_first_is_told_as_one():
    slow = Script(word=WORD, front=0.1, step=0.02, jitter=0.5)
    hall = Hall(("better", slow, {n: Late(seconds=0.15) for n in range(0, 30, 3)}), ("quick", QUICK, None), lanes=2, budget=0.16)
    sentences = passage([3] * 30)
    room = hall.say(sentences, apart=1.0)
    check(hall, sentences)
    assert "hedge: quick was faster" in {event.why for event in room.told(Switched)}


DICE = st.integers(0, 2**32)


@examples(EXAMPLES)
@given(seed=DICE)
def test_any_schedule_of_faults_is_heard_completely_and_once_or_reported(seed):
    dice = random.Random(seed)
    engines = []
    for index in range(dice.randrange(1, 4)):
        script = Script(
            word=WORD, front=dice.uniform(0, 0.15), step=dice.uniform(0.01, 0.1), jitter=0.3, crowding=dice.choice([0, 0.5]), seed=seed
        )
        engines.append((f"engine{index}", script, Dice(seed + index, share=dice.choice([0.0, 0.3, 0.6, 1.0]))))
    hall = Hall(*engines, lanes=dice.randrange(1, 4))
    sentences = passage([dice.randrange(1, 9) for _ in range(dice.randrange(1, 8))])
    hall.say(sentences, apart=dice.choice([None, 0.1, 1.0]))
    check(hall, sentences)


@pytest.mark.long
@examples(max(10, EXAMPLES // 3))
@given(seed=DICE)
def test_with_one_sound_engine_nothing_is_dropped(seed):
    dice = random.Random(seed)
    hall = Hall(("better", BETTER, Dice(seed)), ("quick", QUICK, None))
    sentences = passage([dice.randrange(1, 9) for _ in range(8)])
    room = hall.say(sentences, apart=dice.choice([None, 1.0]))
    check(hall, sentences)
    assert not room.told(Dropped)


def quantile(values, q):
    return sorted(values)[min(len(values) - 1, int(q * len(values)))]


@pytest.mark.long
def test_thirty_faults_in_a_hundred_sentences_are_hardly_noticed():
    """In 30 % of the sentences the preferred engine stalls, hangs, dies, is slow or is silent."""
    front = {"word": WORD, "front": 0.02, "step": 0.04, "jitter": 0.2}
    dice = Dice(3, words=6)
    faulty = {}

    class Noted:
        def get(self, sentence):
            fault = faulty[sentence] = dice.get(sentence)
            return fault

    hall = Hall(("better", Script(front_character=0.0008, **front), Noted()), ("quick", Script(front_character=0.0004, **front), None))
    sentences = passage([2, 4, 7] * 33)
    room = hall.say(sentences, apart=1.0)
    check(hall, sentences)
    assert not room.told(Dropped)
    assert sum(fault is not None for fault in faulty.values()) > 20
    assert quantile([event.ttft for event in room.told(SpeechStarted)], 0.95) < 0.30
    assert quantile([0.0, *hall.gaps()], 0.95) < 0.15
    spoken_by = [event.engine for event in room.told(SpeechStarted)]
    healthy = len(sentences) - sum(fault is not None for fault in faulty.values())
    assert spoken_by.count("better") > 0.8 * healthy
    made = sum(engine.begun for engine in hall.engines) - 6
    needed = len(sentences) + len([event for event in room.told(Switched) if event.new == "quick"])
    assert made <= needed + 0.1 * len(sentences) + 20, "hedges, and probes"


def spoken(hall):
    """By sentence's text: the engines that were heard in it, in order."""
    room = hall.room
    texts = {event.id: event.text.strip() for event in room.told(SentenceChosen)}
    heard = {event.id: [event.engine] for event in room.told(SpeechStarted)}
    began = {event.id: at for at, event in enumerate(event for _, event in room.events) if isinstance(event, SpeechStarted)}
    for at, event in enumerate(event for _, event in room.events):
        if isinstance(event, Switched) and at > began.get(event.id, at):
            heard[event.id].append(event.new)
    return {texts[id]: engines for id, engines in heard.items()}


@pytest.mark.long
@pytest.mark.parametrize("seed", range(2))
def test_a_passage_without_pauses_goes_back_to_the_preferred_voice_after_each_fault(seed):
    script = Script(word=WORD, front=0.02, front_character=0.0008, step=0.04, jitter=0.2)
    faults = Dice(seed, words=6, kinds=(Late, Hang, Die, Slow, Silent))
    hall = Hall(("better", script, faults), ("quick", replace(script, front_character=0.0004), None))
    sentences = passage([2, 4, 7] * 30)
    room = hall.say(sentences)
    check(hall, sentences)
    assert not room.told(Dropped)
    faulty = {text for text, fault in hall.engines[0].asked if fault is not None}
    healthy = [text for text in sentences if text not in faulty]
    by = spoken(hall)
    assert len(healthy) < 0.85 * len(sentences)
    assert sum(by[text] == ["better"] for text in healthy) > 0.95 * len(healthy)
    ids = {event.id: event.text.strip() for event in room.told(SentenceChosen)}
    away = [event for event in room.told(Switched) if event.new == "quick"]
    unforced = [event for event in away if ids[event.id] not in faulty and "rests" not in event.why]
    assert len(unforced) <= hall.seconds() / 60, "each of them is followed by one more, back: two a minute"


@pytest.mark.long
def test_an_engine_that_hangs_time_and_again_costs_nobody_a_lane():
    hall = Hall(("better", BETTER, Dice(1, share=0.5, kinds=(Hang,))), ("quick", QUICK, None))
    sentences = passage([3] * 80)
    room = hall.say(sentences, apart=0.5)
    check(hall, sentences)
    assert not room.told(Dropped)
    assert [event.engine for event in room.told(SpeechStarted)][-20:] == ["quick"] * 20, "it is not asked any more"


@pytest.mark.long
def test_more_sessions_than_the_preferred_engine_can_carry():
    """Twelve sessions at 40 % duty on two lanes: some move to the cheaper voice, nobody hears a gap, and back it is when it is calm."""
    work = Work()
    better = Scripted("better", Script(word=0.3, front=0.02, front_character=0.0005, step=0.09, jitter=0.2), work=work.spend)
    quick = Scripted("quick", Script(word=0.3, front=0.01, front_character=0.0003, step=0.03, jitter=0.2), work=work.spend)
    dice = random.Random(1)

    async def session(room, name):
        await asyncio.sleep(dice.uniform(0, 10))
        for _ in range(3):
            counts = [dice.randrange(5, 14) for _ in range(dice.randrange(1, 4))]
            room.stage.on_message(name, Text(text=" ".join(passage(counts)), speaker=name))
            await asyncio.sleep(sum(counts) * 0.3 / 0.4)

    async def go():
        async with Room([better, quick], lanes=virtual_lanes(0.0, count=2, work=work)) as room:
            await asyncio.gather(*(session(room, f"s{index}") for index in range(12)))
            await room.quiet(600)
            crowded = room.told(SpeechStarted)
            await asyncio.sleep(10)
            for _ in range(3):
                room.stage.on_message("s0", Text(text=passage([8])[0], speaker="s0"))
                await room.quiet()
                await asyncio.sleep(2)
            return room, crowded

    room, crowded = run(go())
    assert {event.engine for event in crowded} == {"better", "quick"}
    assert quantile([event.ttft for event in crowded], 0.95) < 0.3
    assert room.report.counts["underruns"] == 0 and not room.told(Dropped)
    assert [event.engine for event in room.told(SpeechStarted)[-2:]] == ["better"] * 2


# What a foreign engine does, and what the others notice of it


class Foreign(ToneEngine):
    """Does in each sentence what its test wants."""

    name = "foreign"

    def __init__(self, does):
        super().__init__()
        self._does, self._sentences = does, 0

    def voices(self):
        return tuple(replace(voice, engine=self.name) for voice in super().voices())

    def synthesize(self, request, pace):
        self._sentences += 1
        if self._sentences <= 3:  # it is warmed up
            yield from super().synthesize(request, pace)
            return
        yield from self._does()


def _prints():
    print("what a library prints")  # noqa: T201 - that is what is tried
    raise RuntimeError("and then it fails")


def _gives(samples):
    yield Chunk(samples)


MISDEEDS = {
    "raises": lambda work: (1 / 0 for _ in range(1)),
    "prints": lambda work: (_prints() for _ in range(1)),
    "hangs": lambda work: (work.spend(1e6) for _ in range(1)),
    "floats": lambda work: _gives(np.zeros(100, dtype=np.float32)),
    "stereo": lambda work: _gives(np.zeros((2, 100), dtype=np.int16)),
    "no array": lambda work: _gives([0] * 100),
    "no chunk": lambda work: iter([b"sound"]),
    "silence": lambda work: _gives(np.zeros(48_000, dtype=np.int16)),
    "nothing": lambda work: iter(()),
}


@pytest.mark.long
@pytest.mark.parametrize("misdeed", MISDEEDS)
def test_what_a_foreign_engine_does_is_told_and_other_sessions_do_not_notice(misdeed):
    async def go(is_asked):
        work = Work()
        foreign = Guarded(Foreign(lambda: MISDEEDS[misdeed](work)))
        async with Room([Scripted("sound", QUICK, work=work.spend), foreign], lanes=virtual_lanes(count=2, work=work)) as room:
            if is_asked:
                room.stage.on_message("bad", Config(engine="foreign", strict_engine=True))
            for number in range(6):
                if is_asked:
                    room.stage.on_message("bad", Text(text="Nobody hears this.", speaker="bad", utterance=f"b{number}"))
                room.stage.on_message("good", Text(text="The quick brown fox jumps.", speaker="good", utterance=f"g{number}"))
                await asyncio.sleep(3.0)
            await room.quiet(600)
            return room

    room, alone = run(go(True)), run(go(False))
    assert len(room.told(Dropped, "bad")) == 6
    for one in (room, alone):
        assert len(one.told(SpeechFinished, "good")) == 6 and not one.told(Dropped, "good")
        assert one.report.counts["underruns"] == 0
    first, second = ([event.ttft for event in one.told(SpeechStarted, "good")] for one in (room, alone))
    assert max(first) < max(second) + 0.05


class Chatty(ToneEngine):
    """Prints in each of its steps, and is well otherwise."""

    def synthesize(self, request, pace):
        for chunk in super().synthesize(request, pace):
            print("step done,", len(chunk.samples))  # noqa: T201 - that is what is tried
            yield chunk


def test_an_engine_that_prints_and_then_speaks_well_is_heard_like_any_other(capsys):
    async def go(engine):
        async with Room([Guarded(engine)]) as room:
            room.stage.on_message("up", Text(text="The quick brown fox jumps. And then it sleeps."))
            await room.quiet()
            assert len(room.told(SentenceFinished)) == 2 and not room.told(Dropped)
            return np.concatenate(room.sound["booth-en"])

    chatty = run(go(Chatty()))
    assert "step done" in capsys.readouterr().out
    assert np.array_equal(chatty, run(go(ToneEngine())))
