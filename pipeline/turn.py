"""One sentence's turn to speak: its phases, its times, and how much of it has been heard.

Rule: everything that decides what may follow what in the life of a sentence is in ``TRANSITIONS``. A fact that does not apply
in a phase is ignored: cues cross threads, and one may arrive after its sentence has been cut.
"""

from __future__ import annotations

from enum import Enum

from pipeline.chain import primary
from pipeline.journey import Journey, Leg
from pipeline.script import Sentence


class Phase(Enum):
    TAKEN = "taken"  # handed out by the script
    CHOSEN = "chosen"  # an engine makes it; its sound may be in hand
    STARTED = "started"  # the track has come to it
    AUDIBLE = "audible"  # its first audible sample has gone out
    FINISHED = "finished"  # its last sample has gone out
    CUT = "cut"  # silenced after it had started
    DROPPED = "dropped"  # given up before it had started


class Fact(Enum):
    CHOOSE = "choose"
    START = "start"
    SOUND = "sound"
    END = "end"
    RETRACT = "retract"
    REWIND = "rewind"


TRANSITIONS: dict[Phase, dict[Fact, Phase]] = {
    Phase.TAKEN: {Fact.CHOOSE: Phase.CHOSEN, Fact.RETRACT: Phase.DROPPED},
    Phase.CHOSEN: {Fact.CHOOSE: Phase.CHOSEN, Fact.START: Phase.STARTED, Fact.RETRACT: Phase.DROPPED},
    Phase.STARTED: {
        Fact.CHOOSE: Phase.STARTED,
        Fact.SOUND: Phase.AUDIBLE,
        Fact.END: Phase.FINISHED,
        Fact.RETRACT: Phase.CUT,
        Fact.REWIND: Phase.CHOSEN,
    },
    Phase.AUDIBLE: {Fact.CHOOSE: Phase.AUDIBLE, Fact.END: Phase.FINISHED, Fact.RETRACT: Phase.CUT, Fact.REWIND: Phase.CHOSEN},
    Phase.FINISHED: {},
    Phase.CUT: {},
    Phase.DROPPED: {},
}


class Turn:
    """A sentence from the moment it is taken until nothing more will be heard of it."""

    def __init__(self, sentence: Sentence) -> None:
        self.sentence = sentence
        self.phase = Phase.TAKEN
        self.engine = ""
        """Who speaks it, as far as is known."""
        self.is_cached = False
        """It was said before, and is said again."""
        self.begun_by = ""
        """Whose its first audible sample is."""
        self.samples = 0
        """Made of it so far, at the track's rate."""
        self.characters = 0
        """Heard of it so far, counted in its sender's text."""
        self.owed = 0.0
        """Seconds of silence that belong after it, once it has been made: they are part of what it has to say."""
        self.is_whole = True
        """False when no engine could say its end."""
        self.was_started = False
        """True once the track has come to it; a rewind does not change that: its end is owed to whoever was told."""
        self.was_told = False
        """True once its start has been told; a rewind does not tell it again."""
        self.legs: list[Leg] = []
        """Who had a part in it, as far as that is over."""
        self.audible: float | None = None
        """When its first audible sample went out."""
        self.ttft: float | None = None
        self.lag: float | None = None
        self.encoded: tuple[float, float] | None = None

    def on(self, fact: Fact) -> bool:
        """Move on; False when the fact does not apply any more."""
        phase = TRANSITIONS[self.phase].get(fact)
        if phase is None:
            return False
        self.phase = phase
        self.was_started |= phase is Phase.STARTED
        return True

    def journey(self, outcome: str, now: float) -> Journey:
        """All that it went through; it is over now."""
        sentence = self.sentence
        received, held = sentence.arrived
        return Journey(
            origin=sentence.wish.origin,
            language=primary(sentence.wish.language),
            characters=len(sentence.text),
            received=received,
            held=held,
            released=sentence.completed,
            end=now,
            outcome=outcome,
            legs=tuple(self.legs),
            audible=self.audible,
            engine=self.begun_by or self.engine,
            is_cached=self.is_cached,
            ttft=self.ttft,
            lag=self.lag,
            encoded=self.encoded,
        )

    @property
    def is_over(self) -> bool:
        return not TRANSITIONS[self.phase]

    @property
    def has_started(self) -> bool:
        return self.phase in (Phase.STARTED, Phase.AUDIBLE)
