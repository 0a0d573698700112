"""An engine that misbehaves as it is told: late, stalling, hanging, failing, silent or giving what is no sound. For tests of one's own.

``Scripted("first", faults={3: Die(at=2)})`` dies at the third word of its fourth sentence; ``Scripted("first", faults=Dice(seed=7))``
throws a die for every sentence.
"""

from __future__ import annotations

import random
import threading
import time
import zlib
from collections import deque
from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass
from typing import Any, Protocol, cast

import numpy as np

from engines.base import Chunk, Engine, Mark, Pace, Request, Samples, SynthesisFailed, Voice
from engines.tone import GAP, tone
from engines.words import words

SAMPLE_RATE = 24_000  # hertz: that of most tracks, so that samples come out as they went in
LOWEST, SPREAD, APART = 2000, 500, 20  # levels of words: that many of them, told apart even where a gain has been rounded
KEPT = 10_000  # texts that are remembered: a long test's
ENDLESS = 3600.0  # seconds that a hang lasts, unless its gate is opened: longer than any test


@dataclass(frozen=True, slots=True)
class Fault:
    """What goes wrong in one sentence, from the word ``at`` on (0 is the first one: before anything has been given)."""

    at: int = 0


@dataclass(frozen=True, slots=True)
class Late(Fault):
    """One step takes longer."""

    seconds: float = 0.4


@dataclass(frozen=True, slots=True)
class Slow(Fault):
    """Every step takes so many times as long."""

    times: float = 8.0


class Hang(Fault):
    """A step does not end."""


@dataclass(frozen=True, slots=True)
class Die(Fault):
    """It raises, within the word: half of the word has been given."""

    error: Exception | None = None
    """:exc:`SynthesisFailed` unless named; may be any exception, as a library would raise it."""


class Silent(Fault):
    """It goes on in silence."""


class End(Fault):
    """It ends, as if it had said everything."""


class Clipped(Fault):
    """It goes on far too loud."""


@dataclass(frozen=True, slots=True)
class Odd(Fault):
    """It yields what is no int16 mono sound: ``float``, ``nan``, ``stereo``, or ``nothing`` (no chunk at all)."""

    kind: str = "float"


class Faults(Protocol):
    """Decides for each sentence."""

    def get(self, sentence: int, /) -> Fault | None: ...


class Dice:
    """A fault in a part of all sentences, by a seeded die; the same seed gives the same faults."""

    def __init__(self, seed: int, *, share: float = 0.3, words: int = 8, kinds: tuple[type[Fault], ...] | None = None) -> None:
        """``words``: the fault begins before this word."""
        self._random = random.Random(seed)
        self._share = share
        self._words = words
        self._kinds = kinds or (Late, Slow, Hang, Die, Silent, End, Clipped, Odd)

    def get(self, sentence: int, /) -> Fault | None:
        if self._random.random() >= self._share:
            return None
        kind = self._random.choice(self._kinds)
        return kind(at=self._random.choice([0, self._random.randrange(self._words)]))


@dataclass(frozen=True, slots=True)
class Script:
    """How it speaks when nothing goes wrong."""

    word: float = 0.2
    """Seconds of each word."""
    is_pitched: bool = False
    """Words are tones, those of :class:`engines.tone.ToneEngine`, which a codec lets through; else each is a constant level."""
    front: float = 0.0
    """Seconds of work before the first word."""
    front_character: float = 0.0
    """Seconds of work before the first word, for each character of the text."""
    step: float = 0.0
    """Seconds of work for each word."""
    jitter: float = 0.0
    """By how much work may differ: 0.2 is a fifth more or less."""
    crowding: float = 0.0
    """How much longer a step takes for each other sentence that is being made: 1.0 is as long again."""
    seed: int = 0


class Scripted(Engine):
    """Says a word a step. Each word has a level of its own (:func:`level_of`), so that a test can tell what was heard.

    1. Marks are exact and come with the first chunk.
    2. ``begun`` and ``closed`` count its sentences: they are equal when none is left running.
    """

    def __init__(
        self,
        name: str,
        script: Script | None = None,
        *,
        faults: Faults | Mapping[int, Fault] | None = None,
        languages: tuple[str, ...] = ("en",),
        network: bool = False,
        work: Callable[[float], object] = time.sleep,
        rehearsals: int = 3,
    ) -> None:
        """``faults``: by the number of the sentence, from 0. ``work``: spends time. ``rehearsals``: sentences at first that are spoken
        well and not counted: those with which a node warms its engines up."""
        self.name = name  # each of them has a name of its own
        self.network = network
        self.script = script or Script()
        self.faults: Faults | Mapping[int, Fault] = faults if faults is not None else {}
        self.begun = self.closed = 0
        self.asked: deque[tuple[str, Fault | None]] = deque(maxlen=KEPT)
        """The texts of its latest sentences, and what went wrong in each."""
        self.worked = 0.0
        """Seconds of work in all, without what hangs."""
        self.gate = threading.Event()
        """Opened, it lets hanging steps go."""
        self._languages = languages
        self._work = work
        self._random = random.Random(self.script.seed)
        self._rehearsals = rehearsals
        self._lock = threading.Lock()

    @property
    def build(self) -> str:
        return "scripted-1"

    def load(self) -> None:
        """Nothing to load."""

    def unload(self) -> None:
        """Nothing to give back."""

    def voices(self) -> tuple[Voice, ...]:
        return tuple(Voice(f"{self.name}-{language}", self.name, language, SAMPLE_RATE) for language in self._languages)

    def synthesize(self, request: Request, pace: Pace) -> Generator[Chunk, None, None]:
        with self._lock:
            sentence = self.begun - self._rehearsals
            self.begun += 1
        fault = self.faults.get(sentence) if sentence >= 0 else None
        self.asked.append((request.text, fault))
        try:
            yield from self._say(request.text, fault)
        finally:
            with self._lock:
                self.closed += 1

    def _say(self, text: str, fault: Fault | None) -> Generator[Chunk, None, None]:
        spans = words(text)
        if not spans:
            raise SynthesisFailed(f"engine {self.name} finds no word in {len(text)} characters")
        length = int(self.script.word * SAMPLE_RATE)
        marks = tuple(Mark(start, end, index * length, exact=True) for index, (start, end) in enumerate(spans))
        if self.script.front or self.script.front_character:
            self._spend(self.script.front + self.script.front_character * len(text), fault, 0)
            yield Chunk(np.zeros(0, dtype=np.int16))
        for index, (start, end) in enumerate(spans):
            self._spend(self.script.step, fault, index)
            sound = self._sound(text[start:end], length)
            if fault is not None and index >= fault.at:
                if isinstance(fault, End):
                    return
                if isinstance(fault, Die):
                    if index:
                        yield Chunk(sound[: length // 2])
                    raise fault.error or SynthesisFailed(f"engine {self.name} died at its word {index}")
                sound = _spoil(sound, fault)
            yield Chunk(sound, () if index else marks) if sound is not None else cast(Any, None)

    def _sound(self, word: str, length: int) -> Samples:
        if self.script.is_pitched:
            sound = np.zeros(length, dtype=np.int16)
            spoken = tone(word, length / SAMPLE_RATE - GAP, 0.0)
            sound[: len(spoken)] = spoken
            return sound
        return np.full(length, level_of(word), dtype=np.int16)

    def _spend(self, seconds: float, fault: Fault | None, index: int) -> None:
        if fault is not None and index >= fault.at:
            if isinstance(fault, Hang):
                self._hang()
            elif isinstance(fault, Slow):
                seconds *= fault.times
            elif isinstance(fault, Late) and index == fault.at:
                seconds += fault.seconds
        seconds *= 1 + self.script.jitter * self._random.uniform(-1, 1)
        seconds *= 1 + self.script.crowding * max(0, self.begun - self.closed - 1)
        if seconds > 0:
            self.worked += seconds
            self._work(seconds)

    def _hang(self) -> None:
        if self._work is time.sleep:
            self.gate.wait(ENDLESS)
        else:
            self._work(ENDLESS)


def level_of(word: str) -> int:
    """The constant sample value with which a word is said: one of 500."""
    bare = "".join(filter(str.isalnum, word)).casefold()
    return LOWEST + APART * (zlib.crc32(bare.encode(errors="replace")) % SPREAD)


def _spoil(sound: Samples, fault: Fault) -> Samples:
    if isinstance(fault, Silent):
        return np.zeros_like(sound)
    if isinstance(fault, Clipped):
        return np.where(np.arange(len(sound)) % 2, 32767, -32768).astype(np.int16)
    if isinstance(fault, Odd):
        odd: dict[str, Any] = {
            "float": sound / 32768,
            "nan": np.full(len(sound), np.nan, dtype=np.float32),
            "stereo": np.stack([sound, sound]),
            "nothing": None,
        }
        return cast(Samples, odd[fault.kind])
    return sound
