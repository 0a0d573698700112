import asyncio
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engines.base import Chunk, Engine, Mark, SynthesisFailed, Voice
from engines.tone import ToneEngine
from pipeline.events import Dropped, SentenceFinished, SpeechFinished, SpeechStarted, Switched
from pipeline.forecast import CROWDED
from pipeline.protocol import Cancel, Text
from pipeline.segmenter import SegmenterSettings
from pipeline.speaker import FIRST_WINDOW, FIRST_WORK, SHARED_WINDOW, SpeakerSettings, window
from pipeline.stage import StageSettings
from tests.virtual_time import Room, run

RATE = 24_000


class Scripted(Engine):
    """Says a word a step, 0.2 s each; what it does at which word is scripted."""

    def __init__(self, name, at=None):
        self.name = name
        self.at = at or {}
        self.closed = self.begun = 0

    build = "scripted"

    def load(self): ...

    def unload(self): ...

    def voices(self):
        return (Voice(f"{self.name}-en", self.name, "en", 24_000),)

    def synthesize(self, request, pace):
        self.begun += 1
        try:
            for index, word in enumerate(request.text.split()):
                what = self.at.get(word.strip(".,"))
                if isinstance(what, Exception):
                    raise what
                level = 0 if what == "silent" else 3000
                start = request.text.index(word)
                mark = _mark(start, start + len(word), index * 4800)
                yield Chunk(np.full(4800, level, dtype=np.int16), (mark,))
        finally:
            self.closed += 1


def _mark(start, end, sample):
    return Mark(start, end, sample, exact=True)


def speak(text, engines=None, *, settings=None, cost=0.02, during=None):
    async def go():
        async with Room(engines, settings=settings, cost=cost) as room:
            room.stage.on_message("up", Text(text=text, utterance="u"))
            if during is not None:
                await during(room)
            await room.quiet()
            return room

    return run(go())


@pytest.mark.parametrize("pause", [0.1, 0.3, 0.8])
def test_the_pause_between_sentences_is_the_one_that_the_settings_name(pause):
    room = speak("One here. Two there. Three.", settings=StageSettings(speaker=SpeakerSettings(sentence_pause=pause)))
    spans = room.heard()
    assert len(spans) == 3
    for before, after in pairwise(spans):
        assert after[0] - before[1] == pytest.approx(pause, abs=0.02)


def test_a_paragraph_has_a_pause_of_its_own():
    room = speak("One here.\n\nTwo there.")
    first, second = room.heard()
    assert second[0] - first[1] == pytest.approx(0.7, abs=0.02)


class Taker(Room):
    """Its listener takes sound as data, all that there is, and hears it at its own pace."""

    async def _pump(self, name, buffer):
        buffer.is_live = False
        while True:
            sound = buffer.take(RATE, self.loop.time())
            if sound is not None:
                self.sound[name].append(sound.samples)
            await asyncio.sleep(0.01 if buffer.is_empty else 0)

    def silence(self):
        """Seconds between the two sentences that were taken."""
        loud = np.flatnonzero(np.concatenate(*self.sound.values()))
        return np.diff(loud).max() / RATE


@pytest.mark.parametrize(("utterance", "later", "pause"), [("v", 0.3, 0.3), ("v", 0.5, 0.2), ("v", 30.0, 0.0), ("u", 30.0, 0.3)])
def test_who_takes_sound_as_data_gets_no_pause_that_is_long_over_unless_it_is_all_one_recording(utterance, later, pause):
    async def go():
        async with Taker([Scripted("steady")]) as room:
            room.stage.on_message("up", Text(text="One here.", utterance="u", final=utterance == "v"))
            await asyncio.sleep(later)
            room.stage.on_message("up", Text(text="Two there.", utterance=utterance))
            await room.quiet()
            return room.silence()

    assert run(go()) == pytest.approx(pause, abs=0.02)


def test_the_next_sentence_is_made_while_one_is_heard():
    room = speak("The first sentence takes a while to say. Second.", [Scripted("steady")], cost=0.1)
    first, second = room.heard()
    assert second[0] - first[1] == pytest.approx(0.3, abs=0.02)
    assert room.told(SpeechStarted)[1].ttft == pytest.approx(0, abs=0.02)


def test_look_ahead_is_bounded_by_seconds():
    ahead = []

    async def watch(room):
        for _ in range(100):
            await asyncio.sleep(0.1)
            ahead.append(next(iter(room.stage._speakers.values())).buffer.in_hand)

    speak("A sentence of some length is here. " * 12, settings=StageSettings(speaker=SpeakerSettings(look_ahead=3.0)), during=watch)
    assert 2.5 < max(ahead) < 3.0 + 2.5


def test_captions_follow_the_sound_and_hold_the_text_as_written():
    said = "Well, “good morning” everybody!"
    seen = []

    async def watch(room):
        for _ in range(12):
            await asyncio.sleep(0.2)
            seen.append("".join(caption.text for caption in room.captions))

    room = speak(said, during=watch)
    assert "".join(caption.text for caption in room.captions) == said
    assert [caption.final for caption in room.captions].count(True) == 1 and room.captions[-1].final
    assert "" < seen[1] < said and len({text for text in seen if text}) > 2
    assert room.captions[0].text == "Well,"


def test_an_engine_that_fails_at_once_is_replaced():
    first, second = Scripted("first", {"Hello": SynthesisFailed("no")}), Scripted("second")
    room = speak("Hello there everybody.", [first, second])
    assert room.told(Switched)[0].old == "first" and room.told(Switched)[0].new == "second"
    assert [event.engine for event in room.told(SpeechStarted)] == ["second"]
    assert room.heard()[0][1] - room.heard()[0][0] == pytest.approx(0.6, abs=0.02)


def test_an_engine_that_dies_inside_is_continued_at_the_word():
    first, second = Scripted("first", {"four": SynthesisFailed("died")}), Scripted("second")
    room = speak("One two three four five.", [first, second])
    (span,) = room.heard()
    assert span[1] - span[0] == pytest.approx(1.0, abs=0.08)
    assert len(room.told(SentenceFinished)) == 1
    assert "".join(caption.text for caption in room.captions) == "One two three four five."


def test_an_engine_that_gives_only_silence_has_failed():
    silent, second = Scripted("silent", dict.fromkeys(["All", "quiet"], "silent")), Scripted("second")
    room = speak("All quiet.", [silent, second])
    assert [event.engine for event in room.told(SpeechStarted)] == ["second"]


def test_when_all_fail_the_sentence_is_reported_and_the_next_is_heard():
    engines = [Scripted(name, {"Bad": SynthesisFailed(name)}) for name in ("first", "second")]
    room = speak("Bad sentence. Good sentence.", engines)
    (dropped,) = room.told(Dropped)
    assert (dropped.text, dropped.why) == ("Bad sentence.", "failed")
    assert len(room.heard()) == 1
    assert "".join(caption.text for caption in room.captions if not caption.final) == "Bad sentence. Good sentence.".replace(". G", ".G")
    assert [caption.final for caption in room.captions].count(True) == 2


def test_what_nobody_can_say_is_read_in_its_turn():
    engines = [Scripted("only", {"Bad": SynthesisFailed("no")})]
    read = []

    async def listen(room):
        await asyncio.sleep(0.5)
        read.append("".join(caption.text for caption in room.captions))

    room = speak("One two three four five six. Bad sentence.", engines, during=listen)
    assert read == ["One two three"], "it could not be said long ago"
    assert room.captions[-2].text == "Bad sentence." and room.captions[-1].final
    assert [event.text for event in room.told(Dropped)] == ["Bad sentence."]


def test_what_nobody_can_say_and_is_cancelled_is_not_read():
    engines = [Scripted("only", {"Bad": SynthesisFailed("no")})]

    async def cancel(room):
        await asyncio.sleep(0.5)
        room.stage.on_message("up", Cancel())

    room = speak("One two three four five six. Bad sentence.", engines, during=cancel)
    assert not [caption for caption in room.captions if "Bad" in caption.text]
    assert {event.why for event in room.told(Dropped)} == {"cancelled"}


def test_when_all_die_inside_what_was_heard_and_what_was_not_is_told():
    engines = [Scripted(name, {"tres": SynthesisFailed(name)}) for name in ("first", "second")]
    room = speak("One two tres four. Next one.", engines)
    (dropped,) = room.told(Dropped)
    assert dropped.why == "failed" and dropped.text.endswith("four.")
    assert "".join(caption.text for caption in room.captions).startswith("One two tres four."), "the rest is read"
    (finished,) = room.told(SpeechFinished)
    assert finished.interrupted
    assert len(room.heard()) == 2


def test_no_engine_is_left_running_after_a_cancel():
    engine = Scripted("first")

    async def cut(room):
        await asyncio.sleep(0.3)
        room.stage.on_message("up", Cancel(utterance="u"))

    room = speak("one two three four five six seven eight nine ten. " * 3, [engine], during=cut)
    assert room.heard()[-1][1] < 0.36
    assert engine.begun == engine.closed > 0
    assert {event.why for event in room.told(Dropped)} == {"cancelled"}


def test_a_slow_engine_is_an_underrun_and_is_counted():
    room = speak("one two three four.", [Scripted("slow")], cost=0.35)
    assert room.report.counts["underruns"] == 3


def test_tone_runs_dry_nowhere():
    room = speak("Several sentences follow. They are short. And they are many. " * 3, [ToneEngine()])
    assert room.report.counts["underruns"] == 0
    assert len(room.heard()) == 9


def test_the_parts_of_a_long_sentence_are_closer_than_sentences():
    settings = StageSettings(segmenter=SegmenterSettings(comfortable=40))
    room = speak("This sentence is long enough to be cut, which happens at a comma in the middle of it.", settings=settings)
    first, second = room.heard()
    assert second[0] - first[1] == pytest.approx(0.12, abs=0.02)


@pytest.mark.parametrize(
    ("in_hand", "cost", "live", "has_begun", "expected"),
    [
        (0.0, 0.1, 1, False, 0.0),  # alone: as short as the engine can
        (0.8, 0.1, 1, True, 0.8),  # and as much as is in hand
        (9.0, 0.1, 1, True, 2.0),
        (0.0, 0.1, 2, False, 0.3),  # first sound beside one other
        (0.0, 0.1, 6, False, 0.42),  # it lasts until all have had their step
        (0.0, 0.17, 20, False, 0.06 / 0.17),  # but nobody waits for more than 60 ms of work
        (0.0, 9.0, 20, False, 0.3),
        (0.0, 0.0, 99, False, 0.5),
        (0.0, 0.1, 2, True, 0.3),  # late
        (0.08, 0.1, 2, True, 0.4),  # what it makes in half the time that is in hand
        (0.4, 0.1, 2, True, 0.5),
        (0.1, 0.8, 2, True, 0.3),
        (0.6, 0.8, 2, True, 0.375),
        (5.0, 0.1, 2, True, 0.5),
        (5.0, 0.1, 2, False, 0.5),  # the next sentence, while the last one is heard
    ],
)
def test_how_much_a_step_makes(in_hand, cost, live, has_begun, expected):
    assert window(in_hand, cost, live=live, has_begun=has_begun) == pytest.approx(expected)


@given(st.floats(0, 60), st.floats(0, 10), st.integers(2, 200))
def test_a_step_beside_others_is_neither_longer_nor_shorter_than_they_bear(in_hand, cost, live):
    first, later = window(in_hand, cost, live=live, has_begun=False), window(in_hand, cost, live=live, has_begun=True)
    assert FIRST_WINDOW <= first <= SHARED_WINDOW and FIRST_WINDOW <= later <= SHARED_WINDOW
    assert later == FIRST_WINDOW or later * cost <= in_hand / CROWDED * 1.001
    assert in_hand or first == FIRST_WINDOW or first * cost <= FIRST_WORK * 1.001
    assert window(in_hand + 1, cost, live=live, has_begun=True) >= later
