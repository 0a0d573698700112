"""One utterance on its way through a script: what of it waits, what was handed out, and which numbered texts it answers for."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field

from pipeline.events import DropReason
from pipeline.journey import NOWHERE, Origin
from pipeline.segmenter import Ending, Segmenter

OPENING_CHARACTERS = 20_000
"""Of an utterance's started text, kept to recognise it in a revision: twenty minutes of speech. Beyond it sentences are counted."""


@dataclass(frozen=True, slots=True)
class Wish:
    """How a text is to be spoken."""

    language: str
    """BCP 47 tag."""
    speaker: str = "booth"
    voice: str = ""
    """A name or an id; empty: the language's default."""
    engine: str = ""
    """Empty: whichever the chain chooses."""
    is_strict: bool = False
    """Nobody but ``engine`` may say it."""
    strategy: str = "auto"
    budget: float | None = None
    """Seconds to the first audible sample; None: that of the voice's tier, or the node's setting."""
    speed: float = 1.0
    use_cache: bool = True
    """Whether a sentence may be one that was said before, and may be kept to be said again."""
    origin: Origin = field(default=NOWHERE, compare=False)
    """Where it comes from: the same words from elsewhere are spoken in the same way."""


@dataclass(slots=True, eq=False)
class Part:
    """A numbered text, as a stretch of its utterance's characters."""

    stream: str
    seq: int
    start: int
    end: int
    owed: int = 0
    """Lines that hold some of it and are not settled."""
    is_covered: bool = False
    """All of its characters lie in lines (or are white space between them)."""


@dataclass(slots=True, eq=False)
class Line:
    """A sentence on its way: waiting in its utterance, then handed out (it has an id), then started, then settled."""

    utterance: Utterance
    text: str
    size: int
    """Characters it accounts for: its own and the white space before it."""
    wish: Wish
    completed: float
    expires: float | None
    ending: Ending
    parts: list[Part]
    arrived: tuple[float, float]
    """When its first character came, and its last one."""
    id: str = ""
    allowed: str | None = None
    """What may be said of it, as long as it is; None before anybody was asked."""
    is_waiting: bool = False
    is_started: bool = False
    alarm: float | None = None


@dataclass(slots=True, eq=False)
class History:
    """What was started, or has failed in its turn, under one name, in that order; shared by an utterance and what goes on or revises it."""

    openings: list[str] | None = field(default_factory=list)
    """The sentences' texts; None when they grew too long to keep."""
    count: int = 0
    characters: int = 0
    members: list[Utterance] = field(default_factory=list)
    """Those that are live."""

    def add(self, text: str) -> None:
        self.count += 1
        self.characters += len(text)
        if self.characters > OPENING_CHARACTERS:
            self.openings = None
        if self.openings is not None:
            self.openings.append(text)

    def rest_of(self, text: str, further: Sequence[str] = ()) -> str | None:
        """A revision's wording without the sentences that were started, and ``further`` ones; None if it does not begin so."""
        if self.openings is None:
            return None
        at = 0
        for opening in [*self.openings, *further]:
            while text[at : at + 1].isspace():
                at += 1
            if not text.startswith(opening, at):
                return None
            at += len(opening)
            if opening[-1].isalnum() and text[at : at + 1].isalnum():
                return None
        return text[at:]


@dataclass(slots=True, eq=False)
class Utterance:
    """What one sender wants said. ``is_live`` until everything of it is settled and no more can come."""

    number: int
    sender: str
    name: str
    priority: int
    revision: int
    wish: Wish
    segmenter: Segmenter
    history: History
    opened: float
    fed_at: float
    expires: float | None = None
    beginning: str = ""
    """Its first few characters: markup is known by them, in however many parts it comes."""
    base: int = 0
    """Characters accepted before those of the present segmenter (a revision begins a new one)."""
    fed: int = 0
    """Characters accepted, over all revisions."""
    covered: int = 0
    """How many of them lie in lines."""
    arrivals: deque[tuple[int, float]] = field(default_factory=deque)
    """When those came that lie in no line: how many there were by then, in all. Bounded by what a segmenter holds."""
    parts: deque[Part] = field(default_factory=deque)
    """Those not covered."""
    waiting: deque[Line] = field(default_factory=deque)
    out: int = 0
    """Lines handed out and not settled."""
    skip: int = 0
    """Sentences still to be left out of a revision whose wording no longer matches what was started."""
    is_live: bool = True
    is_begun: bool = False
    is_closed: bool = False
    is_final: bool = False
    """Closed by its sender, not for being quiet too long."""
    is_deaf: bool = False
    """Cancelled while it grew: what still comes of it, until it is final, is not said."""
    has_content: bool = False
    has_started: bool = False
    is_interrupted: bool = False
    cancelled: DropReason | None = None
    position: float = 0.0
    """Seconds heard."""
    characters: int = 0
    """Characters heard."""
    alarm: float | None = None

    def arrived(self, last: int) -> tuple[float, float]:
        """When the first character came that lies in no line, and when the one before ``last`` did."""
        if not self.arrivals:
            return self.fed_at, self.fed_at
        return self.arrivals[0][1], next((at for fed, at in self.arrivals if fed >= last), self.fed_at)

    def cover(self, end: int) -> list[Part]:
        """The texts that share the characters up to ``end`` that no line had before."""
        found = []
        while self.parts and self.parts[0].end <= end:
            found.append(self.parts.popleft())
            found[-1].is_covered = True
        if self.parts and self.parts[0].start < end:
            found.append(self.parts[0])
        while self.arrivals and self.arrivals[0][0] <= end:
            self.arrivals.popleft()
        self.covered = end
        return found
