"""What is told of a sentence when it is over, in virtual time."""

import asyncio
from itertools import pairwise

import pytest

from engines.base import SynthesisFailed
from engines.scripted import Die, Hang, Late, Script, Scripted
from engines.tone import ToneEngine
from pipeline.journey import Origin, read_traceparent, trace_of
from pipeline.protocol import Cancel, Text
from pipeline.report import Watcher
from pipeline.script import Wish
from pipeline.stage import Stage, StageSettings
from tests.pipeline.test_cache import in_memory
from tests.pipeline.test_performance import BETTER, QUICK, WORD, Hall, passage
from tests.virtual_time import Room, Work, run, virtual_lanes

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
PARENT = f"00-{TRACE}-00f067aa0ba902b7-01"


class Follower(Watcher):
    def __init__(self, room):
        self.journeys = []
        room.report.watch(self)

    def on_journey(self, journey):
        self.journeys.append(journey)

    @property
    def outcomes(self):
        return [journey.outcome for journey in self.journeys]


def follow(say, *engines, **options):
    """The journeys of what ``say(room)`` has said. ``engines``: name, script, faults."""

    async def go():
        work = Work()
        made = [Scripted(name, script, faults=faults, work=work.spend) for name, script, faults in engines or [("one", QUICK, None)]]
        async with Room(made, lanes=virtual_lanes(0.0, count=2, work=work, allowance=0.5), **options) as room:
            follower = Follower(room)
            await say(room)
            await room.quiet()
        return follower

    follower = run(go())
    for journey in follower.journeys:
        assert is_in_order(journey), journey
    return follower


def is_in_order(journey):
    begun = [leg.begin for leg in journey.legs[:1]]
    heard = [] if journey.audible is None else [journey.audible]
    times = [journey.received, journey.held, journey.released, *begun, *heard, journey.end]
    parts = all(journey.released <= leg.begin <= leg.end for leg in journey.legs)
    return parts and all(before <= after for before, after in pairwise(times))


def text(words, **fields):
    async def say(room):
        room.stage.on_message("up", Text(text=words, **fields))

    return say


def legs(journey):
    return [(leg.engine, leg.how) for leg in journey.legs]


def test_a_sentence_that_is_heard():
    (journey,) = follow(text("One two three.")).journeys
    assert (journey.outcome, journey.engine, journey.language, journey.characters, journey.is_cached) == ("heard", "one", "en", 14, False)
    assert legs(journey) == [("one", "spoke")]
    assert journey.received == journey.held == journey.released
    assert journey.ttft == journey.lag == pytest.approx(journey.audible - journey.released, abs=1e-6)
    assert journey.end - journey.audible == pytest.approx(3 * WORD, abs=0.02)
    (leg,) = journey.legs
    assert leg.end - leg.begin == pytest.approx(0.08, abs=0.01) and leg.end < journey.end


def test_text_that_grows_tells_when_its_characters_came_and_when_it_was_certain():
    async def say(room):
        for words in ("How ", "are you?", " Fi", "ne"):
            room.stage.on_message("up", Text(text=words, utterance="u", final=False))
            await asyncio.sleep(0.1)
        await asyncio.sleep(1.0)
        room.stage.on_message("up", Text(text=".", utterance="u"))

    first, second = follow(say).journeys
    assert first.held - first.received == pytest.approx(0.1, abs=0.01), "its last character is the question mark"
    assert first.released - first.held == pytest.approx(0.1, abs=0.01), "the next word shows that it ends there"
    assert second.received == pytest.approx(first.released, abs=0.01), "a blank belongs to the sentence before it"
    assert second.held - second.received == pytest.approx(1.2, abs=0.01) and second.released == second.held


def test_two_sentences_of_one_text_wait_for_each_other():
    first, second = follow(text("One two three. Four five six.")).journeys
    assert first.received == second.received and second.legs[0].begin >= first.legs[0].end
    assert second.audible > first.end and second.lag > second.ttft == pytest.approx(0.0, abs=0.02)


def test_one_that_is_interrupted_while_it_is_heard_and_those_behind_it():
    async def say(room):
        await text("One two three four five six. " * 8)(room)
        await asyncio.sleep(0.5)
        room.stage.on_message("up", Cancel())

    follower = follow(say)
    assert follower.outcomes.count("interrupted") == 1 and follower.outcomes.count("dropped:cancelled") == 7
    cut = next(journey for journey in follower.journeys if journey.outcome == "interrupted")
    assert legs(cut) == [("one", "spoke")] and cut.end - cut.audible == pytest.approx(0.4, abs=0.1)
    waited = [journey for journey in follower.journeys if not journey.legs]
    assert waited and {journey.audible for journey in waited} == {None}


def test_one_that_is_cancelled_while_it_is_made_tells_who_was_at_work():
    async def say(room):
        await text("One two three.")(room)
        await asyncio.sleep(0.3)
        room.stage.on_message("up", Cancel())

    (journey,) = follow(say, ("slow", Script(word=WORD, front=1.0), None)).journeys
    assert journey.outcome == "dropped:cancelled" and legs(journey) == [("slow", "left")]
    assert journey.legs[0].end == pytest.approx(journey.end, abs=0.01)


def test_one_that_expires_in_the_queue():
    async def say(room):
        await text("One two three four five six.", utterance="a")(room)
        await text("Too late.", utterance="b", expires_ms=100)(room)

    follower = follow(say, settings=StageSettings())
    assert sorted(follower.outcomes) in (["dropped:expired", "heard"],)
    expired = next(journey for journey in follower.journeys if journey.outcome != "heard")
    assert expired.end - expired.released == pytest.approx(0.1, abs=0.01)


def test_nothing_to_say_is_dropped_at_once():
    (journey,) = follow(text("...!")).journeys
    assert (journey.outcome, journey.legs) == ("dropped:nothing_to_say", ())


def test_a_hand_over_within_a_sentence():
    (journey,) = follow(text("One two three four."), ("first", QUICK, {0: Die(at=2)}), ("second", QUICK, None)).journeys
    assert legs(journey) == [("first", "failed"), ("second", "spoke")] and journey.legs[0].error == "SynthesisFailed"
    assert (journey.outcome, journey.engine) == ("heard", "first"), "whose its first sample was"


def test_one_that_hangs_is_late():
    (journey,) = follow(text("One two three four."), ("first", QUICK, {0: Hang()}), ("second", QUICK, None)).journeys
    assert legs(journey) == [("first", "late"), ("second", "spoke")] and journey.legs[0].error == "Overdue"


def test_when_nobody_can_say_it():
    failing = {0: Die(), 1: Die(error=SynthesisFailed("no"))}
    (journey,) = follow(text("One two three."), ("one", QUICK, failing)).journeys
    assert (journey.outcome, legs(journey), journey.audible) == ("dropped:failed", [("one", "failed")], None)


def test_a_hedge_has_a_loser():
    slow = Script(word=WORD, front=0.1, step=0.02, jitter=0.5)

    async def say(room):
        for sentence in passage([3] * 12):
            await text(sentence)(room)
            await room.quiet()
            await asyncio.sleep(1.0)

    late = {n: Late(seconds=0.15) for n in range(0, 12, 3)}
    told = [legs(journey) for journey in follow(say, ("better", slow, late), ("quick", QUICK, None), budget=0.16).journeys]
    assert [("better", "lost"), ("quick", "spoke")] in told


def test_what_was_said_before_comes_from_what_is_kept():
    async def say(room):
        for _ in range(2):
            await text("One two three.")(room)
            await room.quiet()

    first, second = follow(say, cache=in_memory()).journeys
    assert (first.is_cached, legs(first)) == (False, [("one", "spoke")])
    assert (second.is_cached, legs(second), second.outcome) == (True, [("one", "cached")], "heard")


def test_whoever_wants_the_same_follows():
    async def say(room):
        for speaker in ("a", "b"):
            await text("One two three.", speaker=speaker)(room)

    told = [legs(journey) for journey in follow(say, ("one", BETTER, None), cache=in_memory()).journeys]
    assert sorted(told) == [[("one", "followed")], [("one", "spoke")]]


def test_what_is_handed_back_is_told_when_it_is_over_and_once():
    async def say(room):
        await text("One two three four five. Six seven.", utterance="a")(room)
        await text("Eight nine.", utterance="b")(room)
        await asyncio.sleep(0.3)
        await text("One two three four five. Six seven. Seven and a half.", utterance="a", revision=1)(room)

    assert follow(say).outcomes == 4 * ["heard"]


def test_every_sentence_of_a_difficult_hour_has_one_journey():
    faults = {0: Die(at=1), 2: Hang(), 3: Late(), 5: Die()}
    hall = Hall(("first", BETTER, faults), ("second", QUICK, None))
    sentences = passage([3, 5, 2, 8, 3, 4, 6])
    with pytest.MonkeyPatch.context() as patch:
        told = []
        patch.setattr("pipeline.report.Report.on_journey", lambda report, journey: told.append(journey))
        hall.say(sentences)
    assert [journey.characters for journey in told] == [len(sentence) for sentence in sentences]
    assert all(is_in_order(journey) and legs(journey)[-1][1] == "spoke" for journey in told)


def test_a_text_s_own_trace_goes_before_that_of_its_place():
    async def go():
        async with Room() as room:
            follower = Follower(room)
            place = Origin("http", "mine", PARENT)
            stage = Stage("s", room.studio, StageSettings(), room, report=room.report, origin=place)
            other = PARENT.replace("00f0", "11f1")
            for fields in ({}, {"traceparent": other}, {"traceparent": "nonsense"}):
                stage.on_message("up", Text(text="One.", **fields))
                while not stage.is_idle:  # noqa: ASYNC110
                    await asyncio.sleep(0.05)
            await stage.aclose()
            assert [journey.origin for journey in follower.journeys] == [place, Origin("http", "mine", other), place]

    run(go())


def test_an_engine_is_told_the_trace_and_the_request_for_it_may_ask_somebody_else():
    asked = []

    class Asking(ToneEngine):
        def synthesize(self, request, pace):
            asked.append((request.text, request.traceparent, request.request_id))
            return super().synthesize(request, pace)

    async def go():
        async with Room([Asking()]) as room:
            stage = Stage("s", room.studio, StageSettings(), room, report=room.report, origin=Origin("http", "mine"))
            stage.on_message("up", Text(text="One two.", traceparent=PARENT))
            stage.on_message("up", Text(text="Three four."))
            while not stage.is_idle:  # noqa: ASYNC110
                await asyncio.sleep(0.05)
            await stage.aclose()

    run(go())
    assert asked[-2:] == [("One two.", PARENT, "mine"), ("Three four.", "", "mine")]


def test_where_a_text_comes_from_does_not_make_it_another_wish():
    assert Wish("en", origin=Origin("http")) == Wish("en") and hash(Wish("en", origin=Origin("http"))) == hash(Wish("en"))


def test_a_traceparent_that_is_none_is_ignored():
    later = f"01-{TRACE}-00f067aa0ba902b7-01-more"
    assert read_traceparent(PARENT) == PARENT and read_traceparent(later) == later and trace_of(PARENT) == trace_of(later) == TRACE
    bad = ("", "x", None, 7, PARENT + "-more", PARENT.upper(), "ff" + PARENT[2:], PARENT.replace(TRACE, "0" * 32), later + "x" * 600)
    for value in (*bad, PARENT.replace("00f067aa0ba902b7", "0" * 16), f" {PARENT}", f"{PARENT}\n"):
        assert read_traceparent(value) == "" == trace_of(value)
