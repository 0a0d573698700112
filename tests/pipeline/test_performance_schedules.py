"""Thousands of schedules in virtual time: engines fail, utterances are cancelled, revised and said again."""

import asyncio
import logging
import random
from contextlib import AsyncExitStack
from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engines.scripted import Dice, Script, Scripted, level_of
from pipeline.cache import Cache, CacheSettings
from pipeline.events import Dropped
from pipeline.protocol import Cancel, Text
from tests.examples import examples
from tests.pipeline.test_performance import AFTERWARDS, WORD, Hall, passage
from tests.virtual_time import Room, Work, run, virtual_lanes

SCHEDULES = 2000  # a minute
STRATEGIES = ("auto", "auto", "quality_first", "speed_first", "manual")
REPORTED = {"failed", "cancelled", "superseded"}


@dataclass
class Said:
    """What one utterance asked for, and what became of it."""

    sentences: list[str]
    """In its newest wording."""
    is_cancelled: bool = False
    older: list[str] = field(default_factory=list)
    """Sentences of its older wording that the newest one does not have."""


class Schedule:
    """One room's hour, drawn by a seed."""

    def __init__(self, seed: int) -> None:
        self.dice = random.Random(seed)
        dice = self.dice
        self.work = Work()
        self.engines = [self._engine(index, seed) for index in range(dice.randrange(1, 4))]
        self.lanes = virtual_lanes(0.0, count=dice.randrange(1, 4), work=self.work, allowance=0.5)
        self.strategy = dice.choice(STRATEGIES)
        self.is_cached = dice.random() < 0.5
        self.said: list[Said] = []

    def _engine(self, index: int, seed: int) -> Scripted:
        dice = self.dice
        script = Script(
            word=WORD, front=dice.uniform(0, 0.15), step=dice.uniform(0.01, 0.1), jitter=0.3, crowding=dice.choice([0, 0.5]), seed=seed
        )
        faults = Dice(seed + index, share=dice.choice([0.0, 0.3, 0.6, 1.0]))
        return Scripted(f"engine{index}", script, faults=faults, network=dice.random() < 0.3, work=self.work.spend)

    def cache(self, lanes):
        return Cache(CacheSettings(), lanes, clock=asyncio.get_running_loop().time)

    async def run(self) -> Room:
        options = {"lanes": self.lanes, "strategy": self.strategy, "cache": self.cache if self.is_cached else None}
        async with AsyncExitStack() as stack:
            room = self.room = await stack.enter_async_context(Room(self.engines, **options))
            await self._talk(room)
            await room.quiet(1200)
            for pump in room.pumps:
                pump.cancel()
            for engine in self.engines:
                engine.faults = {}
            async with asyncio.timeout(AFTERWARDS):
                while any(engine.begun != engine.closed for engine in self.engines):  # noqa: ASYNC110 - what hangs ends when its time is over
                    await asyncio.sleep(60.0)
            if self.is_cached:
                assert not room.studio.cache._flights, "nothing is left in the air"
            return room

    async def _talk(self, room: Room) -> None:
        dice = self.dice
        count = dice.randrange(1, 5)
        texts = passage([dice.randrange(1, 6) for _ in range(3 * count)])
        for number in range(count):
            own = texts[3 * number : 3 * number + dice.randrange(1, 3)]
            is_again = len(self.said) > 1 and dice.random() < 0.4  # as it was said a little while ago, and may have been kept
            said = Said(list(self.said[-2].sentences) if is_again else own)
            self.said.append(said)
            name = f"u{number}"
            room.stage.on_message("up", Text(text=" ".join(said.sentences), utterance=name))
            what = dice.choice(["say", "say", "say", "cancel", "revise"])
            if what == "say":
                await asyncio.sleep(dice.choice([0.0, 0.0, 0.1, 1.0, 5.0]))
                continue
            await asyncio.sleep(dice.choice([0.0, 0.02, 0.1, 0.3, 0.7, 1.5, 4.0]))
            if what == "cancel":
                said.is_cancelled = True
                room.stage.on_message("up", Cancel(utterance=name))
            else:
                said.older = said.sentences[1:]
                said.sentences = [said.sentences[0], texts[3 * number + 2]]
                room.stage.on_message("up", Text(text=" ".join(said.sentences), utterance=name, revision=1))


def check(schedule: Schedule) -> None:
    """Every sentence was heard completely and once and in order, or in part and reported; nothing is left running."""
    room = schedule.room
    why = {(event.text.strip(), event.why) for event in room.told(Dropped)}
    assert {reason for _, reason in why} <= REPORTED
    ears = Hall()
    ears.room = room
    heard = _apart(ears.words()) if any(len(sound) for sound in room.sound["booth-en"]) else []
    at = {0}  # so many pieces of it can be explained by the utterances up to here
    for said in schedule.said:
        ends = _ends_of(said, heard, at, why)
        assert ends, f"{said} was not heard in {heard[min(at) :]}"
        at = ends
    assert len(heard) in at, f"and {heard[max(at) :]} was heard"
    for engine in schedule.engines:
        assert engine.begun == engine.closed, f"{engine.name} is left running"


def _apart(heard: list[tuple[int, float]]) -> list[tuple[int, float]]:
    """The same word twice without a pause is one sound to the ear."""
    apart = []
    for level, seconds in heard:
        count, left = divmod(seconds + 0.005, WORD)
        if left > 0.01:
            apart.append((level, left - 0.005))
        apart += [(level, WORD)] * int(count)
    return apart


def _ends_of(said: Said, heard: list[tuple[int, float]], starts: set[int], why: set[tuple[str, str]]) -> set[int]:
    """Where it may have ended, when it began at one of these."""
    first, *rest = said.sentences
    ends = set()
    for count in range(len(said.older) + 1):  # so many of its older sentences had begun when it was revised
        at = starts
        for sentence in [first, *said.older[:count], *rest[count:]]:
            at = _ends_of_sentence(sentence, heard, at, may_stop=said.is_cancelled or any(sentence.endswith(text) for text, _ in why))
        ends |= at
    return ends


def _ends_of_sentence(sentence: str, heard: list[tuple[int, float]], starts: set[int], *, may_stop: bool) -> set[int]:
    """A word can have been cut and said again; one that may stop may do so anywhere."""
    at, stopped = starts, set()
    for word in sentence.split():
        whole = set()
        for start in at:
            end, last = start, 0.0
            while True:
                if may_stop:
                    stopped.add(end)
                if last >= WORD - 0.02:
                    whole.add(end)
                if end == len(heard) or heard[end][0] != level_of(word) or last > WORD - 0.005:
                    break
                last = heard[end][1]
                end += 1
        at = whole
    return at | stopped


@pytest.mark.long
@examples(SCHEDULES)
@given(seed=st.integers(0, 2**32))
def test_any_schedule_of_faults_cancels_and_revisions_is_heard_once_or_reported(seed):
    logging.disable(logging.ERROR)  # what failed is meant to: a thousand lines of it would hide the seed
    try:
        schedule = Schedule(seed)
        run(schedule.run())
        check(schedule)
    finally:
        logging.disable(logging.NOTSET)
