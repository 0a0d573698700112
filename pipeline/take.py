"""One engine at work on one text: its steps, and the sound that comes of them."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from engines.base import NO_SAMPLES, Chunk, Engine, Pace, Request, Samples
from pipeline.chain import Candidate
from pipeline.framer import Framer
from pipeline.inspector import Inspector
from pipeline.lanes import Lanes, Steps
from pipeline.loudness import Gain, Loudness, fade_in
from pipeline.segmenter import first_clause

NEARLY = 0.030  # seconds before the next word at which one is over: what is missing of it is heard less than the word said again
FADE = 0.008  # seconds in which a voice that goes on for another one rises: no click


@dataclass(frozen=True, slots=True)
class Word:
    offset: int
    """Samples into the piece of sound that it comes with."""
    start: int
    """Its characters, in the text that was asked for."""
    end: int


@dataclass(frozen=True, slots=True)
class Sounded:
    """The next piece of sound, at the track's rate."""

    samples: Samples
    words: tuple[Word, ...] = ()
    audible: int | None = None
    """Offset of the first audible sample, in the one piece that holds it."""


@dataclass(frozen=True, slots=True)
class Order:
    """What a take is to say, and how it is to sound."""

    text: str
    rest: int
    """Its first character that is still to be said."""
    language: str
    speed: float
    rate: int
    """Hertz of the track."""
    pause: float
    """Seconds of silence that may end it, see :class:`Framer`."""
    gain: float = 1.0
    """Factor that makes this voice as loud as the others, to begin with."""
    loudness: Loudness | None = None
    """Of a voice that has not been heard for long enough: what is known of it. Its gain is learned while it speaks."""
    traceparent: str = ""
    """W3C Trace Context, for an engine that asks somebody else."""
    request_id: str = ""
    """Name of the request or session, likewise."""
    fades_in: bool = False
    """It goes on in the middle of a sentence."""


class Take:
    """Says what is left of a text with one voice. Used on the loop; what is blocking runs in the lanes.

    ``start`` a step, wait for ``future``, ``finish`` it, until ``is_whole``; ``close`` in any case.
    """

    def __init__(
        self, candidate: Candidate, engine: Engine, order: Order, lanes: Lanes, *, now: float, is_long: Callable[[int], bool]
    ) -> None:
        """``is_long``: whether so many characters, asked for at once now, would keep the listener waiting."""
        self.candidate = candidate
        self.opened = now
        self.order = order
        self.future: asyncio.Future[Chunk | None] | None = None
        self.is_whole = False
        """True when all has been said."""
        self.work = 0.0
        """Seconds of lanes' time that its steps took, in all."""
        self.said = 0
        """Samples of it that have gone out, at the track's rate."""
        self.window = 0.0
        """Seconds of sound that the last step was allowed to make."""
        self.characters = 0
        """Of the part that is being said, or said first."""
        self.part_work = 0.0
        """Seconds of work in that part, without the step that runs."""
        self.took = 0.0
        """Seconds of work for the samples that its last step gave, steps without any before it included; 0 when it gave none."""
        self.silent_work = 0.0
        """Seconds of work since its last samples, without the step that runs."""
        self.part_sounds = False
        """True once that part has been heard: its front is over."""
        self.raw: list[Samples] | None = [] if order.loudness is not None else None
        """What the engine gave, where it tells how loud the voice is."""
        self._engine = engine
        self._lanes = lanes
        self._steps: Steps | None = None
        self._holds = False
        self._begun: float | None = None
        self._inspector: Inspector | None = None
        self._gain = Gain(candidate.voice.sample_rate, order.gain, order.loudness)
        self._framer = Framer(candidate.voice.sample_rate, order.rate, pause=order.pause)
        self._next_part = order.rest  # the first character that the engine has not been asked for
        self._is_long = is_long
        self.characters = self._next_length()
        self._part_start = self._part_begun = 0
        self._waiting: deque[tuple[int, int, int]] = deque()  # marks whose sound has not gone out: engine sample, start, end

    # What it knows

    @property
    def gain(self) -> Gain:
        """The factor that makes it as loud as the others, where it began and where it is now."""
        return self._gain

    @property
    def is_audible(self) -> bool:
        return self._framer.is_audible

    @property
    def trailing(self) -> float:
        """Seconds of silence at the end of what has gone out."""
        return self._framer.trailing

    @property
    def is_queued(self) -> bool:
        """True while nothing of it has been begun."""
        return self._steps is None or (self._steps.begun is None and self.work == 0)

    @property
    def begun(self) -> float | None:
        """When its first step got a lane; None while nothing of it has been begun."""
        return self._begun if self._begun is not None or self._steps is None else self._steps.begun

    def running(self, now: float) -> float:
        """Seconds for which its step has been in a lane; 0 when it has none."""
        begun = self._steps.begun if self._steps is not None and self.future is not None else None
        return 0.0 if begun is None else now - begun

    def next_word(self) -> tuple[int, int] | None:
        """The word that follows what has gone out, if the engine has told it: where it begins in this take's samples, its character.

        Where all has been made that lies before it, that is the end of what has gone out: the framer holds what fills no window.
        """
        if not self._waiting:
            return None
        sample, start, _ = self._waiting[0]
        made = self._part_begun + (self._inspector.made if self._inspector is not None else 0)
        is_over = made >= sample - NEARLY * self.candidate.voice.sample_rate
        return (self.said if is_over else max(self.said, self._framer.position(sample))), start

    # What it does

    def start(self, *, due: float, window: float) -> asyncio.Future[Chunk | None]:
        """Its next step begins as soon as it has a lane."""
        if self._steps is None:
            order = self.order
            self._part_start, self._next_part = self._next_part, self._next_part + self._next_length()
            text = order.text[self._part_start : self._next_part]
            pace, engine = Pace(), self._engine
            if not self._holds:
                self._lanes.hold(engine.name)  # until all parts have been said: else it could be unloaded between two of them
                self._holds = True
            chunks = engine.synthesize(self._request(text), pace)
            self._steps = self._lanes.steps(chunks, pace, network=engine.network, owner=engine.name, is_held=True)
            self._inspector = Inspector(text, self.candidate.voice.sample_rate, speed=order.speed)
            self.characters, self.part_work, self.silent_work, self.part_sounds = len(text), 0.0, 0.0, False
        self.window = window
        self.future = self._steps.start(due=due, window=window)
        return self.future

    def finish(self) -> Sounded | None:
        """What came of the step. Raises what the engine raised, and :exc:`engines.base.BadSound`."""
        assert self.future is not None and self._steps is not None and self._inspector is not None
        future, self.future, self._begun = self.future, None, self.begun
        spent, self.took = self._steps.took, 0.0
        self.work += spent
        self.part_work += spent
        self.silent_work += spent
        chunk = future.result()
        if chunk is not None and len(chunk.samples):
            self.took, self.silent_work = self.silent_work, 0.0
        if chunk is not None:
            samples, marks = self._inspector.check(chunk)
            if self.raw is not None:
                self.raw.append(samples)
            self._waiting.extend(
                (self._part_begun + mark.sample, self._part_start + mark.start, self._part_start + mark.end) for mark in marks
            )
            return self._frame(samples)
        self._inspector.finish()
        self._part_begun += self._inspector.made
        self._steps.close()
        self._steps = None
        if self._next_part < len(self.order.text):
            return None
        self.is_whole = True
        return self._frame(NO_SAMPLES, last=True)

    def close(self, *, overdue: bool = False) -> None:
        """Leave it; see :meth:`Steps.close`."""
        if self._steps is not None:
            self._steps.close(overdue=overdue)
            self._steps = None
        if self._holds:
            self._lanes.let_go(self._engine.name)
            self._holds = False
        self.future = None
        self._is_long = (
            _nobody_waits  # whoever made it knows it, too: a circle would wait for the garbage collector, and that stops every track
        )

    def _next_length(self) -> int:
        """Characters of the part that comes next."""
        text, left = self.order.text, len(self.order.text) - self._next_part
        return first_length(text, self._next_part, self._engine.comfort, self.order.language) if self._is_long(left) else left

    def _request(self, text: str) -> Request:
        order = self.order
        return Request(
            text,
            self.candidate.voice.id,
            order.language,
            order.speed,
            traceparent=order.traceparent,
            request_id=order.request_id,
        )

    def _frame(self, samples: Samples, *, last: bool = False) -> Sounded | None:
        framed = self._framer.feed(self._gain.feed(samples), last=last)
        self.part_sounds = self.part_sounds or (self._inspector is not None and self._inspector.is_audible)
        sound = framed.samples
        if not len(sound) and not last:
            return None
        if self.order.fades_in and not self.said:
            sound = fade_in(sound, int(FADE * self.order.rate))
        sounded = Sounded(sound, self._due_words(None if last else self.said + len(sound)), framed.audible)
        self.said += len(sound)
        return sounded

    def _due_words(self, end: int | None) -> tuple[Word, ...]:
        """The words that begin before ``end``; all that are left when there is no more sound."""
        words = []
        while self._waiting and (end is None or self._framer.position(self._waiting[0][0]) < end):
            sample, start, stop = self._waiting.popleft()
            words.append(Word(max(0, self._framer.position(sample) - self.said), start, stop))
        return tuple(words)


def _nobody_waits(characters: int) -> bool:
    return False


def first_length(text: str, start: int, comfort: int, language: str) -> int:
    """Characters from ``start`` on that an engine is asked for first, where all that are left would keep the listener waiting.

    ``comfort``: as in :class:`engines.base.Engine`.
    """
    rest = text[start:]
    return first_clause(rest, comfort, language) or len(rest)
