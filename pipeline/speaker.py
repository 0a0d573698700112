"""One voice on one track: takes sentences from its script, has them made ahead of time, and tells what is heard when it is heard."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import Annotated, Protocol

from pydantic import Field

from engines.base import EngineError
from pipeline.chain import CHARACTER, Track, primary
from pipeline.events import Dropped, DropReason, Event, SentenceChosen, SentenceFinished, SpeechStarted, Switched
from pipeline.forecast import CROWDED
from pipeline.framer import EDGE, silence
from pipeline.normalize import Spoken, normalize
from pipeline.performance import Chosen, CutBack, Ended
from pipeline.playout import Cue, PlayoutBuffer
from pipeline.report import CACHE, Report
from pipeline.script import Done, Outcome, Retract, Script, Sentence, Tell
from pipeline.studio import Studio
from pipeline.take import Sounded
from pipeline.turn import Fact, Turn

log = logging.getLogger(__name__)

FIRST_WINDOW = 0.3  # seconds of sound at the least in any step while others are made, too
ROUND = 0.07  # seconds of it for each of them: it should last until they have had a step each
FIRST_WORK = 0.06  # seconds of work at the most for what goes beyond the least: its listener waits for it
SHARED_WINDOW = 0.5  # seconds at the most while others are made, too: what they wait for is 30 ms of two cores
LARGEST_WINDOW = 2.0  # seconds at the most when nothing else is made: windows that grow cost less in all
LEAST_COST = 0.001  # seconds of work a second of speech: of an engine that takes next to nothing
SMALLEST_WAIT = 0.020  # seconds: how often a full or frozen buffer is looked at again


@dataclass(frozen=True, slots=True)
class SpeakerSettings:
    """How sentences follow each other on a track."""

    look_ahead: Annotated[float, Field(ge=0.5, le=60)] = 6.0
    """Seconds of sound that are made before they are heard; bounds what a track keeps in memory (48 KB a second)."""
    clause_pause: Annotated[float, Field(ge=0.02, le=5)] = 0.12
    """Seconds of silence between the parts of a sentence that was too long to be said in one."""
    sentence_pause: Annotated[float, Field(ge=0.05, le=5)] = 0.3
    """Seconds of silence between two sentences."""
    paragraph_pause: Annotated[float, Field(ge=0.05, le=10)] = 0.7
    """Seconds of silence after a paragraph."""


@dataclass(frozen=True, slots=True)
class TrackKey:
    """One voice in one language: one track."""

    speaker: str
    language: str

    @property
    def name(self) -> str:
        return f"{self.speaker}-{self.language}"


@dataclass(frozen=True, slots=True)
class Caption:
    """Words that begin to sound now."""

    track: TrackKey
    sentence: str
    """Id of the sentence: one segment."""
    text: str
    """With the white space before it, as its sender wrote it; may be empty when ``final``."""
    final: bool
    """The sentence has ended, or was cut."""


class Listeners(Protocol):
    """Who is told what a speaker does. Called on the node's loop; none of them blocks."""

    def tell(self, sender: str, event: Event) -> None: ...

    def done(self, sender: str, stream: str, seq: int) -> None: ...

    def caption(self, caption: Caption) -> None: ...


class Speaker:
    """Speaks one script on one track.

    1. While a sentence is heard the next one is made, up to the look-ahead.
    2. What is taken back is silent before anything else happens.
    3. A sentence that cannot be said is reported, and the next one follows.
    """

    def __init__(
        self, key: TrackKey, script: Script, studio: Studio, report: Report, listeners: Listeners, settings: SpeakerSettings
    ) -> None:
        self.key = key
        self._script = script
        self._studio = studio
        self._report = report
        self._listeners = listeners
        self._settings = settings
        self._loop = asyncio.get_running_loop()
        self.buffer = PlayoutBuffer(studio.rate, on_cue=self._cross)
        self._turns: dict[str, Turn] = {}  # sentences taken and not over; bounded by the look-ahead
        self._making: tuple[str, asyncio.Task[None]] | None = None
        self._wake = asyncio.Event()
        self._timer: asyncio.TimerHandle | None = None
        self._last: Turn | None = None  # whose sound was written last
        self._free_at = 0.0  # when the speaker had nothing older to say
        self._underruns = 0
        self._track = Track()

    # What the stage tells

    def apply(self, decide: Callable[[Script, float], Sequence[Outcome]]) -> None:
        """Let the script decide, and do what it says: silence first."""
        outcomes = decide(self._script, self._loop.time())
        self._do(outcomes)
        if not self._script.is_idle:
            self.buffer.rouse()

    def freeze(self) -> None:
        """Nobody can hear: the playhead stands still."""
        self.buffer.freeze()

    def thaw(self) -> None:
        """Somebody can hear again: the sentence that was cut off is said again from its start."""
        turn = self._turns.get(self.buffer.speaking)
        if turn is not None and turn.on(Fact.REWIND):
            turn.characters = 0
        self.buffer.rewind()
        self.buffer.thaw()

    def on_encoded(self, sentence: str, begin: float, end: float) -> None:
        """As :meth:`Stage.on_encoded` has it."""
        turn = self._turns.get(sentence)
        if turn is not None:
            turn.encoded = (begin if turn.encoded is None else turn.encoded[0], end)

    @property
    def backlog(self) -> float:
        """Seconds of speech that wait, made or not."""
        return self._script.waiting_characters * CHARACTER + self.buffer.in_hand

    @property
    def waiting_characters(self) -> int:
        """Accepted, and not begun to be made."""
        return self._script.waiting_characters

    @property
    def is_idle(self) -> bool:
        """True when everything has been heard or reported."""
        return self._script.is_idle and not self._turns

    def owes(self, sender: str) -> bool:
        """True while something of that sender's is not yet heard or reported."""
        return self._script.owes(sender)

    # Making

    async def run(self) -> None:
        """Speak until cancelled; :meth:`close` follows."""
        while True:
            await self._wait(lambda: self.buffer.in_hand < self._settings.look_ahead)
            self._wake.clear()
            sentence = self._script.next(self._loop.time())
            if sentence is None:
                self._arm()
                await self._wake.wait()
            else:
                await self._make(sentence)

    def close(self, why: DropReason) -> None:
        """Silence; whatever was not heard is reported. The speaker may run again.

        What the end of a node drops does not count as done: it is its sender's to send again, to the next node.
        """
        outcomes = self._script.clear(why)
        self._do([outcome for outcome in outcomes if why != "shutdown" or not isinstance(outcome, Done)])
        if self._timer is not None:
            self._timer.cancel()

    async def _make(self, sentence: Sentence) -> None:
        turn = self._turns[sentence.id] = Turn(sentence)
        task = asyncio.create_task(self._say(turn))
        self._making = (sentence.id, task)
        try:
            await asyncio.wait([task])
        finally:
            self._making = None
            if not task.done():
                task.cancel()
                await asyncio.wait([task])  # short: a running step is left to its lane
        if task.cancelled():
            return
        error = task.exception()
        if error is not None:
            if not isinstance(error, EngineError):
                log.error("sentence %s failed", sentence.id, exc_info=error)
            self._fail(turn, error)

    async def _say(self, turn: Turn) -> None:
        sentence = turn.sentence
        spoken = normalize(sentence.text, sentence.wish.language)
        timing = _Timing(self, turn)
        async with aclosing(self._studio.speak(spoken.text, sentence.wish, timing, turn.legs)) as sounds:
            async for sound in sounds:
                match sound:
                    case Chosen():
                        self._on_chosen(turn, sound)
                    case Sounded():
                        self._write(turn, spoken, sound)
                        await asyncio.sleep(0)  # who sends it goes first: the thread of the next step would take the interpreter from it
                    case CutBack():
                        turn.samples -= self.buffer.cut_back(sentence.id, sound.count)
                        turn.begun_by = turn.begun_by if turn.samples else ""
                    case Ended():
                        self._finish(turn, trailing=sound.trailing)
                        seconds = turn.samples / self._studio.rate
                        engine = CACHE if turn.is_cached else turn.engine
                        self._report.on_made(engine, primary(sentence.wish.language), work=sound.work, seconds=seconds)

    def _on_chosen(self, turn: Turn, chosen: Chosen) -> None:
        sentence, is_first = turn.sentence, not turn.engine
        turn.on(Fact.CHOOSE)
        turn.engine = chosen.engine
        if is_first:
            turn.is_cached, voice = chosen.is_cached, chosen.voice.id
            about = chosen.engine, voice, chosen.is_cached, chosen.age, sentence.wish.language
            self._tell(sentence, SentenceChosen(sentence.id, sentence.utterance, sentence.text, *about))
        if chosen.old:
            self._report.on_switched(chosen.old, chosen.engine, chosen.why)
            self._tell(sentence, Switched(sentence.id, chosen.old, chosen.engine, chosen.why))

    def _write(self, turn: Turn, spoken: Spoken, sounded: Sounded) -> None:
        id = turn.sentence.id
        if not turn.samples and self._last is not turn:
            self.buffer.write(id, silence(self._pause_left(turn.sentence), self._studio.rate))
            self.buffer.cue(Cue(id, "start"))
            self._last = turn
        cues = [(word.offset, Cue(id, "word", (_source(turn.sentence.text, spoken, word.start, word.end),))) for word in sounded.words]
        if sounded.audible is not None:
            turn.begun_by = turn.begun_by or turn.engine
            cues.append((sounded.audible, Cue(id, "audible")))
        position = 0
        for offset, cue in sorted(cues, key=lambda item: item[0]):
            if offset > position:
                self.buffer.write(id, sounded.samples[position:offset])
                position = offset
            self.buffer.cue(cue)
        if position < len(sounded.samples):
            self.buffer.write(id, sounded.samples[position:])
        turn.samples += len(sounded.samples)

    def _finish(self, turn: Turn, *, trailing: float) -> None:
        self.buffer.cue(Cue(turn.sentence.id, "end"))
        turn.owed = max(0.0, self.pause_after(turn.sentence) - trailing - EDGE)

    def pause_after(self, sentence: Sentence) -> float:
        """Seconds of silence that belong after it."""
        settings = self._settings
        pauses = {"clause": settings.clause_pause, "sentence": settings.sentence_pause, "paragraph": settings.paragraph_pause}
        return pauses[sentence.ending]

    def _pause_left(self, following: Sentence) -> float:
        """Seconds of silence between what was written last and what is written now."""
        last, now = self._last, self._loop.time()
        if last is None:
            return 0.0
        if not last.is_over:
            return last.owed
        if self.buffer.is_live:
            return max(0.0, self._free_at - now)
        if (last.sentence.sender, last.sentence.utterance) == (following.sender, following.utterance):
            return last.owed  # one recording, however slowly it is made
        return max(0.0, last.owed - self.buffer.silent_for(now))

    def _fail(self, turn: Turn, error: BaseException) -> None:
        """Nobody could say it. What has sounded is heard to its end; the rest is read in the captions, in its turn, and reported."""
        log.warning("sentence %s could not be said: %s", turn.sentence.id, error)
        self._report.on_failed(type(error).__name__)
        if self._last is turn:
            turn.is_whole = False
            self._finish(turn, trailing=0.0)
        else:
            self.buffer.cue(Cue(turn.sentence.id, "unsaid"))

    # Hearing

    def _cross(self, cue: Cue, now: float) -> None:
        """On the track's thread; what follows is on ours."""
        self._loop.call_soon_threadsafe(self._on_cue, cue, now)

    def _on_cue(self, cue: Cue, now: float) -> None:
        turn = self._turns.get(cue.sentence)
        if turn is None:
            return
        match cue.kind:
            case "start":
                self._on_start(turn, now)
            case "audible" if turn.on(Fact.SOUND):
                self._on_audible(turn, now)
            case "word" if turn.has_started:
                self._on_word(turn, *cue.detail)
            case "end" if turn.on(Fact.END):
                self._on_end(turn, now)
            case "unsaid" if turn.on(Fact.RETRACT):
                self._on_unsaid(turn, now)

    def _on_start(self, turn: Turn, now: float) -> None:
        if turn.on(Fact.START) and not turn.was_told:
            self._do(self._script.on_started(turn.sentence.id, now=now))

    def _on_audible(self, turn: Turn, now: float) -> None:
        if turn.was_told:
            return
        turn.was_told, turn.audible = True, now
        sentence = turn.sentence
        lag = turn.lag = now - sentence.completed
        ttft = turn.ttft = max(0.0, min(lag, now - self._free_at))
        engine = CACHE if turn.is_cached else turn.begun_by
        self._report.on_started(engine, ttft=ttft, lag=lag, budget=self._studio.budget(sentence.wish))
        self._tell(sentence, SpeechStarted(sentence.id, sentence.utterance, ttft, lag, turn.begun_by))

    def _on_word(self, turn: Turn, end: int) -> None:
        if end > turn.characters:
            self._caption(turn, turn.sentence.text[turn.characters : end], final=False)
            turn.characters = end

    def _on_end(self, turn: Turn, now: float) -> None:
        sentence = turn.sentence
        if turn.is_whole:
            self._on_word(turn, len(sentence.text))
        else:
            self._caption(turn, sentence.text[turn.characters :], final=False)
        self._free_at = now + turn.owed
        self._report.on_count("underruns", self.buffer.underruns - self._underruns)
        self._underruns = self.buffer.underruns
        self._tell(sentence, SentenceFinished(sentence.id, sentence.utterance))
        self._close(turn, heard=turn.samples / self._studio.rate, now=now)
        self._tell_journey(turn, "heard" if turn.is_whole else "dropped:failed", now)

    def _on_unsaid(self, turn: Turn, now: float) -> None:
        sentence = turn.sentence
        del self._turns[sentence.id]
        self._caption(turn, sentence.text, final=False)
        self._caption(turn, "", final=True)
        self._do(self._script.on_dropped(sentence.id, "failed", now=now))
        self._tell_journey(turn, "dropped:failed", now)

    def _close(self, turn: Turn, *, heard: float, now: float) -> None:
        del self._turns[turn.sentence.id]
        self._caption(turn, "", final=True)
        self._do(self._script.on_finished(turn.sentence.id, heard=heard, characters=turn.characters, now=now))
        self._wake.set()

    # Doing what the script decides

    def _do(self, outcomes: Iterable[Outcome]) -> None:
        outcomes = list(outcomes)
        lost = {tell.lost.id: tell.event for tell in outcomes if isinstance(tell, Tell) and tell.lost is not None}
        for outcome in outcomes:
            if isinstance(outcome, Retract):
                self._retract(outcome.ids, lost)
        for outcome in outcomes:
            match outcome:
                case Tell(sender, event, sentence):
                    if isinstance(event, Dropped):
                        self._report.on_count(f"dropped:{event.why}")
                        if sentence is not None and not sentence.id:
                            self._tell_journey(Turn(sentence), f"dropped:{event.why}", self._loop.time())
                    self._listeners.tell(sender, event)
                case Done(sender, stream, seq):
                    self._listeners.done(sender, stream, seq)
        self._arm()
        self._wake.set()

    def _retract(self, ids: frozenset[str], lost: Mapping[str, Event]) -> None:
        """``lost``: those of them that will not be spoken. What was taken back otherwise is handed out again, and goes on."""
        heard = self.buffer.retract(ids)
        if self._making is not None and self._making[0] in ids:
            self._making[1].cancel()
        now = self._loop.time()
        for turn in [self._turns[id] for id in ids if id in self._turns]:
            had_started = turn.was_started
            turn.on(Fact.RETRACT)
            if self._last is turn:
                turn.owed, self._free_at = 0.0, now
            if had_started:
                self._report.on_count("interrupted")
                seconds = heard.seconds if heard is not None and heard.sentence == turn.sentence.id else 0.0
                self._close(turn, heard=seconds, now=now)
                self._tell_journey(turn, "interrupted", now)
            else:
                del self._turns[turn.sentence.id]
                if isinstance(event := lost.get(turn.sentence.id), Dropped):
                    self._tell_journey(turn, f"dropped:{event.why}", now)

    def _arm(self) -> None:
        """One timer, for whatever the script waits for."""
        if self._timer is not None:
            self._timer.cancel()
        due = self._script.timer()
        self._timer = None if due is None else self._loop.call_at(due, self._on_timer)

    def _on_timer(self) -> None:
        self._do(self._script.on_timer(self._loop.time()))

    async def _wait(self, is_met: Callable[[], bool]) -> None:
        """Look again when the sound in hand may have been played, or something has happened."""
        while not is_met():
            ahead = self.buffer.in_hand - self._settings.look_ahead
            self._wake.clear()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(max(SMALLEST_WAIT, ahead)):
                    await self._wake.wait()

    def _tell(self, sentence: Sentence, event: Event) -> None:
        self._listeners.tell(sentence.sender, event)

    def _tell_journey(self, turn: Turn, outcome: str, now: float) -> None:
        """When its making is over, too: an engine that is taken back is left a moment later."""
        if self._making is not None and self._making[0] == turn.sentence.id and not self._making[1].done():
            self._making[1].add_done_callback(lambda made: self._report.on_journey(turn.journey(outcome, now)))
        else:
            self._report.on_journey(turn.journey(outcome, now))

    def _caption(self, turn: Turn, text: str, *, final: bool) -> None:
        self._listeners.caption(Caption(self.key, turn.sentence.id, text, final))


class _Timing:
    """What the studio asks about the listener of one sentence."""

    def __init__(self, speaker: Speaker, turn: Turn) -> None:
        self._speaker = speaker
        self._turn = turn
        self._loop = asyncio.get_running_loop()
        self._first = turn.sentence.completed + speaker._studio.budget(turn.sentence.wish)

    def due(self) -> float:
        now = self._loop.time()
        return max(self._first, now + self._speaker.buffer.lasts(now))

    @property
    def track(self) -> Track:
        return self._speaker._track

    def in_hand(self) -> float:
        return self._speaker.buffer.lasts(self._loop.time())

    def window(self, cost: float) -> float:
        return window(self.in_hand(), cost, live=self._speaker._studio.lanes.live, has_begun=self._turn.samples > 0)

    def pause(self) -> float:
        return self._speaker.pause_after(self._turn.sentence)

    async def room(self) -> None:
        await self._speaker._wait(lambda: self._speaker.buffer.in_hand < self._speaker._settings.look_ahead)


def window(in_hand: float, cost: float, *, live: int, has_begun: bool) -> float:
    """Seconds of sound that a sentence's next step should make: as short as its listener needs it, as long as is cheap for all.

    ``cost``: seconds of work a second of sound. ``live``: sentences that are being made, this one included.
    """
    if live <= 1:
        return min(in_hand, LARGEST_WINDOW)
    if not has_begun and not in_hand:
        return max(FIRST_WINDOW, min(live * ROUND, FIRST_WORK / max(cost, LEAST_COST), SHARED_WINDOW))
    # It is made before what is in hand has been heard.
    return min(max(in_hand / CROWDED / max(cost, LEAST_COST), FIRST_WINDOW), SHARED_WINDOW)


def _source(text: str, spoken: Spoken, start: int, end: int) -> int:
    """Where a spoken word ends in its sender's text, the punctuation behind it included."""
    index = spoken.source_span(start, end)[1]
    while index < len(text) and not text[index].isspace() and not text[index].isalnum():
        index += 1
    return index
