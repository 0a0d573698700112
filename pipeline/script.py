"""What one track is going to say: the utterances of all senders in the order in which they were accepted, sentence by sentence."""

from __future__ import annotations

import heapq
from collections import OrderedDict, deque
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, field

from pipeline.events import Dropped, DropReason, Event, Failure, SpeechFinished
from pipeline.protocol import OPENING, Text, is_markup, opening
from pipeline.segmenter import Ending, Piece, Segmenter, SegmenterSettings
from pipeline.utterance import History, Line, Part, Utterance
from pipeline.utterance import Wish as Wish  # those who write for a script find it here


@dataclass(frozen=True, slots=True)
class ScriptLimits:
    """How much one track's script keeps, and how long an unfinished utterance may keep others waiting."""

    characters: int = 40_000
    """Accepted and not handed out, over all senders: about 45 minutes of speech. More is ``dropped`` (``overflow``)."""
    utterances: int = 1_000
    """Accepted and not begun. More are ``dropped`` (``overflow``)."""
    quiet: float = 10.0
    """Seconds without a delta after which an utterance that is not final is closed, while others wait."""
    alone: float = 60.0
    """Seconds without a delta after which it is closed in any case."""
    longest: float = 120.0
    """Seconds after which an utterance that still grows is closed, while others wait."""
    parts: int = 1_000
    """Numbered texts that may share one sentence. A sentence has a few hundred characters; more texts are empty or repeated, and are
    ``dropped`` (``overflow``), for each is remembered until the sentence has been heard."""
    remembered: int = 256
    """Utterances whose revision is remembered after their end, so that a late older one is not said."""


@dataclass(frozen=True, slots=True)
class Sentence:
    """The unit given to an engine."""

    id: str
    sender: str
    utterance: str
    text: str
    """As its sender wrote it."""
    wish: Wish
    completed: float
    """When the node held the whole of it, in seconds."""
    ending: Ending
    """What ends here."""
    arrived: tuple[float, float] = (0.0, 0.0)
    """When its first character came, and its last one; it was whole only when it was certain that it ends there."""


@dataclass(frozen=True, slots=True)
class Tell:
    """Send this event to that sender."""

    sender: str
    event: Event
    lost: Sentence | None = field(default=None, compare=False)
    """The sentence that will not be spoken, where the event tells that of a whole one. Its id is empty if it was never handed out."""


@dataclass(frozen=True, slots=True)
class Done:
    """All of that numbered text has been heard, or its sender was told why not."""

    sender: str
    stream: str
    seq: int


@dataclass(frozen=True, slots=True)
class Retract:
    """These sentences were handed out and must not be heard any more."""

    ids: frozenset[str]


Outcome = Tell | Done | Retract


class Script:
    """Puts the texts of all senders of one track into one order, and knows of each what has become of it. It guarantees:

    1. Utterances are handed out in the order in which they were accepted (by priority among those that have not begun), and
       never mixed: one that has begun, or is first in line, keeps the others waiting until it is final.
    2. Every accepted character is in a sentence that was finished, or in a :class:`~pipeline.events.Dropped`; white space between
       sentences goes without saying. Where a started sentence was cut, its rest is told, too.
    3. ``Done`` comes once for every numbered text, ``SpeechFinished`` once for every utterance of which something was started.
    4. What it keeps is bounded by :class:`ScriptLimits`, and each call costs what it changes, not what is waiting.

    The shell tells what becomes of each sentence that it took: :meth:`on_started`, then :meth:`on_finished`; or
    :meth:`on_dropped`. After a :class:`Retract` it says so only for those that had been started (:meth:`on_finished`, with what was
    heard); for the others nothing is owed, and what is said about an unknown id is ignored.

    Names. An utterance that its sender did not name gets a name (``prefix`` and ``u17``) which events carry. A name may be used
    again: text for one that is final begins a new utterance. So does text for one that was closed for being quiet too long, but
    a revision of it replaces all of it. What comes for one that was cancelled while it grew is dropped until it is final: it was
    on its way before the cancel.

    Revisions. A higher revision carries the whole utterance in its new wording and replaces what was not started; what was handed
    out and reads the same is not taken back. What was started, or has failed in its turn, is left out: the text's beginning, where
    it still reads the same; otherwise as many sentences as that were, and their new wording is told as ``superseded``. It holds for
    an utterance that has ended, too, as long as it is remembered.

    Markup. An utterance that begins with ``<speak``, in one part or in several, is not said: every text of it is answered with a
    :class:`~pipeline.events.Failure`, until it is final.

    Expiry. Whole sentences expire, from the ``expires_ms`` of the utterance's latest text that has one, until they are started;
    text that is no sentence yet does not.
    """

    def __init__(
        self,
        limits: ScriptLimits = ScriptLimits(),
        segmenter: SegmenterSettings | None = None,
        *,
        prefix: str = "s",
        allow: Callable[[str], str | None] = str,
    ) -> None:
        """``prefix`` begins every sentence's id. ``allow`` gives what may be said of a sentence; None: nothing."""
        self._allow = allow
        self._limits = limits
        self._segmenter = segmenter or SegmenterSettings()
        self._prefix = prefix
        self._numbers = 0
        self._ids = 0
        self._live: dict[int, Utterance] = {}
        self._names: dict[tuple[str, str], Utterance] = {}  # the latest of each name, live or remembered
        self._spent: deque[Utterance] = deque()
        self._queue: list[tuple[int, int, Utterance]] = []  # heap of those not begun; may hold ones that are dead or begun
        self._unbegun = 0
        self._current: Utterance | None = None
        self._out: OrderedDict[str, Line] = OrderedDict()  # handed out and not settled, in that order
        self._alarms: list[tuple[float, int, Utterance | Line]] = []  # heap; an entry counts if its target's `alarm` says so
        self._alarm_count = 0
        self._tidy_at = 64
        self._waiting = 0

    @property
    def waiting_characters(self) -> int:
        """Accepted and not handed out."""
        return self._waiting

    @property
    def is_idle(self) -> bool:
        """Nothing is waiting, growing, or handed out."""
        return not self._live

    def owes(self, sender: str) -> bool:
        """Whether something of this sender's is waiting, growing, or handed out."""
        return any(utterance.sender == sender for utterance in self._live.values())

    def on_text(self, sender: str, text: Text, wish: Wish, *, now: float) -> list[Outcome]:
        known = self._names.get((sender, text.utterance)) if text.utterance else None
        if known is not None and text.revision < known.revision:
            return self._refuse(sender, text, "superseded")
        if known is not None and known.is_deaf and text.revision == known.revision:
            known.is_deaf = not text.final
            if known.cancelled == "not_supported":
                return _refuse_markup(sender, text)
            return self._refuse(sender, text, known.cancelled or "cancelled")
        is_newer = known is not None and text.revision > known.revision
        grows = known is not None and not known.is_closed
        if is_markup((known.beginning if known is not None and grows and not is_newer else "") + text.text):
            return self._on_markup(sender, known if grows or is_newer else None, text, wish, now)
        is_full = known is not None and self._is_full(known, text, grows=grows and not is_newer)
        if is_full or self._waiting + len(text.text) > self._limits.characters:
            outcomes = self._refuse(sender, text, "overflow")
            return outcomes + self._close(known, now) if known and grows and text.final and not is_newer else outcomes
        if known is not None and is_newer and self._can_reopen(known):
            return self._revise(known, text, wish, now)
        if known is not None and grows and not is_newer:
            return self._feed(known, text, text.text, wish, now)
        if known is None or known.cancelled is not None or (known.is_final and not is_newer):
            return self._open(sender, text, wish, History(), now)
        return self._open(sender, text, wish, known.history, now, is_newer=is_newer)

    def on_flush(self, sender: str, utterance: str | None, *, now: float) -> list[Outcome]:
        """Say what is held of one utterance, or of all of this sender's, as if a sentence ended there."""
        outcomes: list[Outcome] = []
        for found in self._find(sender, utterance):
            if not found.is_closed:
                outcomes += self._take(found, found.segmenter.flush(now), now)
        return outcomes

    def on_end(self, sender: str, now: float) -> list[Outcome]:
        """The sender has said everything: its utterances are final."""
        return [outcome for found in self._find(sender, None) for outcome in self._close(found, now)]

    def on_aborted(self, sender: str, utterance: str, *, now: float) -> list[Outcome]:
        """Its text was broken off: whole sentences are said, the rest is not."""
        outcomes: list[Outcome] = []
        for found in self._find(sender, utterance):
            if not found.is_closed:
                outcomes += self._drop_pending(found, "aborted")
                outcomes += self._close(found, now)
        return outcomes

    def on_cancel(self, sender: str, utterance: str | None, *, now: float) -> list[Outcome]:
        """Silence, and forget the rest: of one utterance, or of all of this sender's."""
        return self._cancel(self._find(sender, utterance), "cancelled")

    def clear(self, why: DropReason) -> list[Outcome]:
        """Everything is dropped and told. As after a cancel, :meth:`on_finished` is owed for what had been started."""
        return self._cancel(list(self._live.values()), why)

    def next(self, now: float) -> Sentence | None:
        """The next sentence to be made; None while there is none, or while :meth:`on_timer` is due for the first in line."""
        utterance = self._head()
        if utterance is None or not utterance.waiting:
            return None
        line = utterance.waiting[0]
        if line.expires is not None and line.expires <= now:
            return None
        if not utterance.is_begun:
            heapq.heappop(self._queue)
            utterance.is_begun, self._current = True, utterance
            self._unbegun -= 1
        utterance.waiting.popleft().is_waiting = False
        self._waiting -= line.size
        self._ids += 1
        line.id = f"{self._prefix}{self._ids}"
        self._out[line.id] = line
        utterance.out += 1
        return _sentence(line)

    def on_started(self, id: str, *, now: float) -> list[Outcome]:
        """Its first sample has gone out: it cannot be replaced any more."""
        line = self._out.get(id)
        if line is not None and not line.is_started:
            self._start(line)
        return []

    def on_finished(self, id: str, *, heard: float, characters: int, now: float) -> list[Outcome]:
        """It has ended: after ``heard`` seconds, and that many of its characters (fewer than it has: it was cut)."""
        line = self._out.get(id)
        if line is None:
            return []
        if not line.is_started:
            self._start(line)
        utterance = line.utterance
        utterance.position += heard
        utterance.characters += min(characters, len(line.text))
        rest, outcomes = line.text[characters:].strip(), []
        utterance.is_interrupted |= bool(rest)
        if any(character.isalnum() for character in rest):
            outcomes.append(_dropped(utterance, rest, utterance.cancelled or "failed"))
        return outcomes + self._settle(line) + self._retire(utterance)

    def on_dropped(self, id: str, why: DropReason, *, now: float) -> list[Outcome]:
        """It will not be heard."""
        line = self._out.get(id)
        if line is None:
            return []
        if not line.is_started:
            line.utterance.history.add(line.text)  # its turn has been: what follows may be heard, and a revision goes on behind it
        return self._drop(line, why) + self._retire(line.utterance)

    def timer(self) -> float | None:
        """When :meth:`on_timer` is to be called, in seconds; there may be nothing to do then after all."""
        while self._alarms and self._alarms[0][2].alarm != self._alarms[0][0]:
            heapq.heappop(self._alarms)
        return self._alarms[0][0] if self._alarms else None

    def on_timer(self, now: float) -> list[Outcome]:
        due = []
        while (at := self.timer()) is not None and at <= now:
            due.append(heapq.heappop(self._alarms)[2])
            due[-1].alarm = None
        outcomes: list[Outcome] = []
        for target in due:
            outcomes += self._expire(target) if isinstance(target, Line) else self._on_due(target, now)
        return outcomes

    # Text

    def _is_full(self, utterance: Utterance, text: Text, *, grows: bool) -> bool:
        """Whether as many numbered texts as may be share a sentence already. One that ends it is no more than one more."""
        if grows and not text.final and len(utterance.parts) >= self._limits.parts:
            return True
        return any(len(line.parts) > self._limits.parts and line.utterance.history is utterance.history for line in self._out.values())

    def _on_markup(self, sender: str, known: Utterance | None, text: Text, wish: Wish, now: float) -> list[Outcome]:
        """What it begins, continues or revises is not said, nor what is still to come of it."""
        outcomes: list[Outcome] = []
        if (known is None or not known.is_live) and text.utterance and not text.final:
            nothing = text.model_copy(update={"text": "", "stream": None, "seq": None})
            outcomes += self._open(sender, nothing, wish, History(), now)
            known = self._names.get((sender, text.utterance))
        if known is not None and known.is_live:
            outcomes += self._cancel([known], "not_supported")
            known.revision, known.is_deaf = text.revision, not text.final
        return outcomes + _refuse_markup(sender, text)

    def _refuse(self, sender: str, text: Text, why: DropReason) -> list[Outcome]:
        outcomes: list[Outcome] = [Tell(sender, Dropped(text.utterance or "", text.text, why))]
        if text.stream is not None and text.seq is not None:
            outcomes.append(Done(sender, text.stream, text.seq))
        return outcomes

    def _open(self, sender: str, text: Text, wish: Wish, history: History, now: float, *, is_newer: bool = False) -> list[Outcome]:
        """A new utterance; ``history`` is that of the ended one which it continues, or of which it is a newer revision."""
        if self._unbegun >= self._limits.utterances:
            return self._refuse(sender, text, "overflow")
        self._numbers += 1
        utterance = Utterance(
            number=self._numbers,
            sender=sender,
            name=text.utterance or f"{self._prefix}u{self._numbers}",
            priority=text.priority,
            revision=text.revision,
            wish=wish,
            segmenter=Segmenter(wish.language, self._segmenter),
            history=history,
            opened=now,
            fed_at=now,
        )
        utterance.has_content = bool(history.count or history.members)
        history.members.append(utterance)
        self._live[utterance.number] = utterance
        if text.utterance:
            self._names[sender, text.utterance] = utterance
        self._enqueue(utterance)
        if is_newer:
            return self._replace(utterance, text, wish, now)
        return self._feed(utterance, text, text.text, wish, now)

    def _revise(self, utterance: Utterance, text: Text, wish: Wish, now: float) -> list[Outcome]:
        kept = self._unchanged(utterance, text.text, wish)
        rest = utterance.history.rest_of(text.text, [line.text for line in kept])
        retracted: set[str] = set()
        if rest is None or rest.strip() or not text.final:
            retracted = self._hand_back_after(utterance)
            if utterance.is_begun:
                self._current = utterance
        outcomes = self._drop_unstarted(utterance, "superseded", retracted, kept)
        utterance.revision = text.revision
        utterance.segmenter = Segmenter(wish.language, self._segmenter)
        utterance.base, utterance.beginning = utterance.fed, ""
        utterance.expires = None if text.expires_ms is None else now + text.expires_ms / 1000
        for line in kept:
            line.expires, line.alarm = utterance.expires, None
            if line.expires is not None:
                self._set_alarm(line, line.expires)
        utterance.is_closed = utterance.is_final = False
        return outcomes + self._replace(utterance, text, wish, now, kept)

    def _unchanged(self, utterance: Utterance, text: str, wish: Wish) -> list[Line]:
        """The sentences handed out and not started that a revision leaves as they are: what was made of them is not made again."""
        if not utterance.out:
            return []
        lines = [line for line in self._out.values() if line.utterance is utterance and not line.is_started]
        while lines:
            rest = utterance.history.rest_of(text, [line.text for line in lines])
            is_whole = rest is not None and (not lines[-1].text[-1].isalnum() or not rest.strip())
            if is_whole and all(line.wish == wish for line in lines):
                break
            lines.pop()
        return lines

    def _can_reopen(self, utterance: Utterance) -> bool:
        """Whether nothing that comes after it has been started."""
        if not utterance.is_live or utterance.cancelled is not None:
            return False
        return not any(other.has_started for other in self._later(utterance))

    def _later(self, utterance: Utterance) -> set[Utterance]:
        """Those that have begun after it."""
        if not utterance.is_begun:
            return set()
        out = [line.utterance for line in self._out.values()]
        later = set(out[out.index(utterance) :]) if utterance.out else set()
        if self._current is not None and self._current.is_live:
            later.add(self._current)
        return later - {utterance}

    def _hand_back_after(self, utterance: Utterance) -> set[str]:
        """Let those that began after it begin again: what was handed out of them waits again; the ids to retract."""
        later = self._later(utterance)
        lines = [line for line in self._out.values() if line.utterance in later]
        ids = {line.id for line in lines}
        for line in reversed(lines):
            del self._out[line.id]
            line.id, line.is_waiting = "", True
            line.utterance.out -= 1
            line.utterance.waiting.appendleft(line)
            self._waiting += line.size
        for other in later:
            other.is_begun = False
            self._enqueue(other)
        return ids

    def _replace(self, utterance: Utterance, text: Text, wish: Wish, now: float, kept: Collection[Line] = ()) -> list[Outcome]:
        """Feed the first text of a revision, without what was started or is kept; what else it revises is dropped."""
        history, outcomes = utterance.history, []
        for other in [other for other in history.members if other is not utterance]:
            outcomes += self._drop_unstarted(other, "superseded") + self._retire(other)
        rest = history.rest_of(text.text, [line.text for line in kept])
        utterance.skip = history.count if rest is None else 0
        utterance.has_content |= rest is not None and history.count > 0
        return outcomes + self._feed(utterance, text, text.text if rest is None else rest, wish, now)

    def _feed(self, utterance: Utterance, text: Text, words: str, wish: Wish, now: float) -> list[Outcome]:
        utterance.wish = wish
        if len(utterance.beginning) < OPENING:
            utterance.beginning = opening(utterance.beginning + text.text)
        if text.text:  # nothing is no sign of life: others wait
            utterance.fed_at = now
        if text.expires_ms is not None:
            utterance.expires = now + text.expires_ms / 1000
        start, utterance.fed = utterance.fed, utterance.fed + len(words)
        if words:
            utterance.arrivals.append((utterance.fed, now))
        self._waiting += len(words)
        if text.stream is not None and text.seq is not None:
            part = Part(text.stream, text.seq, start, utterance.fed)
            utterance.parts.append(part)
            if len(words) < len(text.text):
                self._owe_to_handed(utterance, part)
        outcomes = self._take(utterance, utterance.segmenter.feed(words, now), now)
        return outcomes + self._close(utterance, now) if text.final else outcomes

    def _owe_to_handed(self, utterance: Utterance, part: Part) -> None:
        """A revision's beginning is heard when the sentences are that it was left out for."""
        for line in self._out.values():
            if line.utterance.history is utterance.history:
                line.parts.append(part)
                part.owed += 1

    def _take(self, utterance: Utterance, pieces: Iterable[Piece], now: float) -> list[Outcome]:
        """Accept what the segmenter found."""
        outcomes: list[Outcome] = []
        for found in pieces:
            if not found.text:
                continue  # white space goes with what follows, or with the rest
            end = utterance.base + found.end
            size = end - utterance.covered
            arrived = utterance.arrived(utterance.base + found.last)
            parts = utterance.cover(end)
            for part in parts:
                part.owed += 1
            utterance.has_content = True
            line = Line(utterance, found.text, size, utterance.wish, now, utterance.expires, found.ending, parts, arrived)
            if not found.speakable:
                outcomes += self._drop(line, "nothing_to_say")
            elif utterance.skip:
                utterance.skip -= 1
                outcomes += self._drop(line, "superseded")
            elif (allowed := self._allow(found.text)) is None:
                outcomes += self._drop(line, "filtered")
            else:
                line.is_waiting, line.allowed = True, allowed
                utterance.waiting.append(line)
                if line.expires is not None:
                    self._set_alarm(line, line.expires)
        if not utterance.segmenter.pending.strip():
            outcomes += self._cover_rest(utterance)
        self._watch(utterance)
        return outcomes

    def _cover_rest(self, utterance: Utterance) -> list[Outcome]:
        """What is left of the accepted characters is white space, or has been told."""
        self._waiting -= utterance.fed - utterance.covered
        return [_done(utterance, part) for part in utterance.cover(utterance.fed) if not part.owed]

    def _close(self, utterance: Utterance, now: float, *, is_final: bool = True) -> list[Outcome]:
        """No more of it will come (``is_final``: says its sender): say what is held."""
        utterance.is_final |= is_final
        if utterance.is_closed:
            return []
        outcomes = self._take(utterance, utterance.segmenter.flush(now), now)
        outcomes += self._cover_rest(utterance)
        if not utterance.has_content:
            outcomes.insert(0, _dropped(utterance, "", "nothing_to_say"))
        utterance.is_closed, utterance.alarm = True, None
        return outcomes + self._retire(utterance)

    # Order

    def _enqueue(self, utterance: Utterance) -> None:
        heapq.heappush(self._queue, (utterance.priority, utterance.number, utterance))
        self._unbegun += 1
        if self._unbegun <= 2:  # somebody waits now, where nobody did: less patience with those that grow
            for other in self._live.values():
                self._watch(other)

    def _head(self) -> Utterance | None:
        """Whose turn it is."""
        current = self._current
        if current is not None and (current.waiting or not current.is_closed):
            return current
        self._current = None
        while self._queue and (self._queue[0][2].is_begun or not self._queue[0][2].is_live):
            heapq.heappop(self._queue)
        return self._queue[0][2] if self._queue else None

    def _find(self, sender: str, name: str | None) -> list[Utterance]:
        return [found for found in self._live.values() if found.sender == sender and name in (None, found.name)]

    def _start(self, line: Line) -> None:
        utterance = line.utterance
        line.is_started, line.alarm, utterance.has_started = True, None, True
        utterance.history.add(line.text)

    # What becomes of it

    def _settle(self, line: Line) -> list[Outcome]:
        """Nothing more is owed for this line, wherever it was."""
        utterance = line.utterance
        line.alarm = None
        if line.id:
            del self._out[line.id]
            utterance.out -= 1
        else:
            self._waiting -= line.size
            if line.is_waiting:
                utterance.waiting.remove(line)
        outcomes: list[Outcome] = []
        for part in line.parts:
            part.owed -= 1
            if part.is_covered and not part.owed:
                outcomes.append(_done(utterance, part))
        return outcomes

    def _drop(self, line: Line, why: DropReason) -> list[Outcome]:
        lost = Tell(line.utterance.sender, Dropped(line.utterance.name, line.text, why), _sentence(line))
        return [lost, *self._settle(line)]

    def _drop_pending(self, utterance: Utterance, why: DropReason) -> list[Outcome]:
        """What is no sentence yet; the segmenter must not be used again, but to be flushed in vain."""
        pending = utterance.segmenter.pending.strip()
        utterance.segmenter = Segmenter(utterance.wish.language, self._segmenter)
        outcomes = self._cover_rest(utterance)
        utterance.base = utterance.fed
        if pending:
            utterance.has_content = True
            outcomes.insert(0, _dropped(utterance, pending, why))
        return outcomes

    def _drop_unstarted(
        self, utterance: Utterance, why: DropReason, retracted: Iterable[str] = (), kept: Collection[Line] = ()
    ) -> list[Outcome]:
        """Take back what was handed out, drop what was not started and is not kept; ``retracted`` go back with it."""
        out = self._out.values() if utterance.out else ()
        handed = [line for line in out if line.utterance is utterance and not line.is_started and line not in kept]
        ids = frozenset(retracted).union(line.id for line in handed)
        outcomes: list[Outcome] = [Retract(ids)] if ids else []
        for line in [*handed, *utterance.waiting]:
            outcomes += self._drop(line, why)
        if not utterance.is_closed:
            outcomes += self._drop_pending(utterance, why)
        return outcomes

    def _cancel(self, utterances: list[Utterance], why: DropReason) -> list[Outcome]:
        chosen = {utterance: None for utterance in utterances if utterance.cancelled is None}
        playing = frozenset(line.id for line in self._out.values() if line.is_started and line.utterance in chosen)
        outcomes: list[Outcome] = [Retract(playing)] if playing else []
        for utterance in chosen:
            outcomes += self._drop_unstarted(utterance, why)
            utterance.cancelled, utterance.is_interrupted = why, True
            utterance.is_deaf, utterance.is_closed, utterance.alarm = not utterance.is_closed, True, None
            outcomes += self._retire(utterance)
        return outcomes

    def _retire(self, utterance: Utterance) -> list[Outcome]:
        """If nothing of it is left and no more can come, that is told, and it is only remembered."""
        if not utterance.is_live or not utterance.is_closed or utterance.waiting or utterance.out:
            return []
        utterance.is_live = False
        utterance.history.members.remove(utterance)
        del self._live[utterance.number]
        if not utterance.is_begun:
            self._unbegun -= 1
        self._spent.append(utterance)
        if len(self._spent) > self._limits.remembered:
            oldest = self._spent.popleft()
            if self._names.get((oldest.sender, oldest.name)) is oldest:
                del self._names[oldest.sender, oldest.name]
        if not utterance.has_started:
            return []
        event = SpeechFinished(utterance.name, utterance.position, utterance.characters, utterance.is_interrupted)
        return [Tell(utterance.sender, event)]

    # Time

    def _watch(self, utterance: Utterance) -> None:
        """Set the alarm of an utterance that may still grow."""
        if utterance.is_closed:
            return
        due = self._patience(utterance)
        found = utterance.segmenter.timer()
        due = due if found is None else min(due, found)
        if utterance.alarm is None or due < utterance.alarm:
            self._set_alarm(utterance, due)

    def _patience(self, utterance: Utterance) -> float:
        """Until when an utterance may grow, in seconds."""
        if self._unbegun > (not utterance.is_begun):
            return min(utterance.fed_at + self._limits.quiet, utterance.opened + self._limits.longest)
        return utterance.fed_at + self._limits.alone

    def _on_due(self, utterance: Utterance, now: float) -> list[Outcome]:
        outcomes: list[Outcome] = []
        due = utterance.segmenter.timer()
        if due is not None and due <= now:
            outcomes += self._take(utterance, utterance.segmenter.on_timer(now), now)
        if self._patience(utterance) <= now:
            outcomes.append(Tell(utterance.sender, _unfinished(utterance.name, now - utterance.fed_at)))
            outcomes += self._close(utterance, now, is_final=False)
        self._watch(utterance)
        return outcomes

    def _expire(self, line: Line) -> list[Outcome]:
        outcomes: list[Outcome] = [Retract(frozenset((line.id,)))] if line.id else []
        return outcomes + self._drop(line, "expired") + self._retire(line.utterance)

    def _set_alarm(self, target: Utterance | Line, due: float) -> None:
        target.alarm = due
        self._alarm_count += 1
        heapq.heappush(self._alarms, (due, self._alarm_count, target))
        if len(self._alarms) > self._tidy_at:
            self._alarms = [entry for entry in self._alarms if entry[2].alarm == entry[0]]
            heapq.heapify(self._alarms)
            self._tidy_at = 64 + 2 * len(self._alarms)


def _refuse_markup(sender: str, text: Text) -> list[Outcome]:
    words = "text: SSML is not understood yet: send plain text"
    outcomes: list[Outcome] = [Tell(sender, Failure("not_supported", words, False, text.stream, text.seq))] if text.text else []
    if text.stream is not None and text.seq is not None:
        outcomes.append(Done(sender, text.stream, text.seq))
    return outcomes


def _unfinished(name: str, quiet: float) -> Failure:
    words = f"utterance: {name!r} never ended and is closed, {quiet:.0f} s after its last text; what comes later begins a new one"
    return Failure("not_finished", words)


def _sentence(line: Line) -> Sentence:
    return Sentence(
        id=line.id,
        sender=line.utterance.sender,
        utterance=line.utterance.name,
        text=line.text if line.allowed is None else line.allowed,
        wish=line.wish,
        completed=line.completed,
        ending=line.ending,
        arrived=line.arrived,
    )


def _dropped(utterance: Utterance, text: str, why: DropReason) -> Outcome:
    return Tell(utterance.sender, Dropped(utterance.name, text, why))


def _done(utterance: Utterance, part: Part) -> Outcome:
    return Done(utterance.sender, part.stream, part.seq)
