"""One sender's texts in the order in which they were numbered, each once: duplicates, gaps, acknowledgement."""

from __future__ import annotations

from bisect import bisect_right
from collections import OrderedDict
from dataclasses import dataclass

from pipeline.events import Ack, Event, Failure, Gap, Missing, Progress, Spoken
from pipeline.protocol import Text


@dataclass(frozen=True, slots=True)
class IngestLimits:
    """How long a sender's texts are waited for, and how much of them is kept meanwhile."""

    gap_wait: float = 0.3
    """Seconds for which a missing text is waited for before it is asked for: packets overtake each other by less."""
    ask_wait: float = 1.0
    """Seconds after it was asked for until it is skipped: a round trip and the sender's own work."""
    ahead: int = 4096
    """How far a ``seq`` may lie beyond the next one expected; one that lies further is a mistake, not a loss."""
    held: int = 256
    """Texts kept per stream while an earlier one is missing (1.3 million characters at the most); with one more, the first gap
    is skipped at once."""
    streams: int = 16
    """Streams known per sender. A sender makes a new one at each start, so the old ones are idle and the oldest is forgotten."""


@dataclass(frozen=True, slots=True)
class Delivered:
    """A text whose turn has come. If it is numbered, :meth:`Ingest.on_done` is owed for it."""

    text: Text


@dataclass(slots=True)
class _Hole:
    """Numbers that have not come while later ones have."""

    first: int
    last: int
    since: float
    """When a later one came, in seconds."""
    asked: float | None = None
    """When it was asked for, in seconds."""


class _Stream:
    """One stream: ``next`` is the first number not delivered. ``holes`` lie in order, and so do their times."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.next = 0
        self.held: dict[int, Text | None] = {}  # by seq; None for one that came but could not be taken
        self.holes: list[_Hole] = []
        self.end = 0  # one beyond the highest number that has come
        self.undone: OrderedDict[int, None] = OrderedDict()  # delivered and owed; bounded by what the script accepts
        self.told_spoken = -1

    @property
    def is_idle(self) -> bool:
        return not self.held and not self.undone

    @property
    def progress(self) -> Progress:
        return Progress(held=self.next - 1, spoken=next(iter(self.undone), self.next) - 1)

    def has(self, seq: int) -> bool:
        return seq < self.next or seq in self.held

    def put(self, seq: int, text: Text | None, now: float) -> None:
        """Keep one that has not come before."""
        if seq >= self.end:
            if seq > self.end:
                self.holes.append(_Hole(self.end, seq - 1, now))
            self.end = seq + 1
        else:
            at = bisect_right(self.holes, seq, key=lambda hole: hole.first) - 1
            hole = self.holes[at]
            parts = [(hole.first, seq - 1), (seq + 1, hole.last)]
            self.holes[at : at + 1] = [_Hole(first, last, hole.since, hole.asked) for first, last in parts if first <= last]
        self.held[seq] = text

    def take(self) -> list[Delivered | Event]:
        """Whatever has its turn now, and how far that brings the stream."""
        found: list[Delivered | Event] = []
        before = self.next
        while self.next in self.held:
            text = self.held.pop(self.next)
            if text is not None:
                found.append(Delivered(text))
                self.undone[self.next] = None
            self.next += 1
        if self.next > before:
            found.append(Ack(self.name, self.next - 1))
        return found + self.spoken()

    def spoken(self) -> list[Delivered | Event]:
        reached = self.progress.spoken
        if reached <= self.told_spoken:
            return []
        self.told_spoken = reached
        return [Spoken(self.name, reached)]

    def skip(self) -> list[Delivered | Event]:
        """Give up the first hole."""
        hole = self.holes.pop(0)
        self.next = hole.last + 1
        return [Gap(self.name, hole.first, hole.last), *self.take()]


class Ingest:
    """Puts one sender's texts into order. It guarantees:

    1. A numbered text is delivered once, in the order of ``seq`` within its stream, or its number is told in a
       :class:`~pipeline.events.Gap`, or it was answered with a :class:`~pipeline.events.Failure`. Streams do not wait for each
       other; texts without a number are delivered at once.
    2. What it keeps is bounded by :class:`IngestLimits`, whatever the numbers are.
    3. ``spoken`` never runs ahead of a text that is owed an :meth:`on_done`.

    A stream that it does not know begins at 0: a sender that is told by ``ready`` that this node does not know its stream (it is
    a new node) sends what is left under a new stream id. A message that could not be parsed, but was numbered, counts as
    received: it leaves no gap. One that comes after its gap was skipped is taken for a duplicate: it has been reported.
    """

    def __init__(self, limits: IngestLimits = IngestLimits()) -> None:
        self._limits = limits
        self._streams: OrderedDict[str, _Stream] = OrderedDict()  # the one that was quiet longest comes first

    @property
    def is_idle(self) -> bool:
        """Nothing is kept, and nothing owed."""
        return all(stream.is_idle for stream in self._streams.values())

    def on_text(self, text: Text, *, now: float) -> list[Delivered | Event]:
        if text.stream is None or text.seq is None:
            return [Delivered(text)]
        return self._on_number(text.stream, text.seq, text, now)

    def on_refused(self, stream: str, seq: int, *, now: float) -> list[Delivered | Event]:
        """A message with this number came and was answered with an error; no second error is given for it."""
        return self._on_number(stream, seq, None, now)

    def on_done(self, stream: str, seq: int) -> list[Event]:
        """That text has been heard to its end, or its sender was told why not."""
        known = self._streams.get(stream)
        if known is None:
            return []
        known.undone.pop(seq, None)
        return [event for event in known.spoken() if isinstance(event, Event)]

    def timer(self) -> float | None:
        """When :meth:`on_timer` has something to do, in seconds."""
        return min((due for stream in self._streams.values() for due in self._due(stream)), default=None)

    def on_timer(self, now: float) -> list[Delivered | Event]:
        found: list[Delivered | Event] = []
        for stream in self._streams.values():
            for hole in stream.holes:
                if hole.asked is None and hole.since + self._limits.gap_wait <= now:
                    hole.asked = now
                    found.append(Missing(stream.name, hole.first, hole.last))
            while stream.holes and self._is_given_up(stream.holes[0], now):
                found += stream.skip()
        return found

    def progress(self) -> dict[str, Progress]:
        """How far each stream has come, for ``ready``."""
        return {name: stream.progress for name, stream in self._streams.items()}

    def _on_number(self, name: str, seq: int, text: Text | None, now: float) -> list[Delivered | Event]:
        stream = self._streams.get(name)
        expected = stream.next if stream else 0
        if seq > expected + self._limits.ahead:
            message = f"the next seq expected is {expected}, and at most {self._limits.ahead} beyond it are waited for"
            return [Failure("seq_too_far", message, stream=name, seq=seq)] if text else []
        if stream is None:
            if not self._has_room():
                message = f"{self._limits.streams} streams of this sender are busy"
                return [Failure("too_many_streams", message, retryable=True, stream=name, seq=seq)] if text else []
            stream = self._streams[name] = _Stream(name)
        self._streams.move_to_end(name)
        if stream.has(seq):
            return [Ack(name, stream.next - 1)] if stream.next else []
        stream.put(seq, text, now)
        found = stream.take()
        while len(stream.held) > self._limits.held:
            found += stream.skip()
        return found

    def _has_room(self) -> bool:
        if len(self._streams) < self._limits.streams:
            return True
        idle = next((name for name, stream in self._streams.items() if stream.is_idle), None)
        if idle is None:
            return False
        del self._streams[idle]
        return True

    def _due(self, stream: _Stream) -> list[float]:
        """When its first gap is given up, and when the next one is asked for."""
        due = []
        if stream.holes and stream.holes[0].asked is not None:
            due.append(stream.holes[0].asked + self._limits.ask_wait)
        unasked = next((hole for hole in stream.holes if hole.asked is None), None)
        if unasked is not None:
            due.append(unasked.since + self._limits.gap_wait)
        return due

    def _is_given_up(self, hole: _Hole, now: float) -> bool:
        return hole.asked is not None and hole.asked + self._limits.ask_wait <= now
