"""Sound on its way to one listener's track: what is in hand, what has been heard, and how it is silenced."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Collection
from dataclasses import dataclass

import numpy as np

from engines.base import NO_SAMPLES, Samples

KEPT = 60.0  # seconds of a sentence that a rewind can bring back; longer ones begin again later than their start
FADE = 0.008  # seconds: short enough to be silence at once, long enough not to click
CRUMB = 0.020  # seconds, a frame of most tracks: sound as short that lies between two cues is not worth being sent alone


@dataclass(frozen=True, slots=True)
class Cue:
    """Something that happens when the sound before it has been heard."""

    sentence: str
    """Id of the sentence it belongs to."""
    kind: str
    """``start``, ``audible``, ``word``, ``end``, or what its writer likes."""
    detail: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Sound:
    sentence: str
    """Id of the sentence it belongs to; the pause before a sentence is its own."""
    samples: Samples


@dataclass(frozen=True, slots=True)
class Heard:
    """How much of a sentence was heard before it was cut."""

    sentence: str
    seconds: float


class PlayoutBuffer:
    """The one buffer between a speaker and a track. Every method may be called from any thread, and none blocks.

    The speaker's side writes sound and cues; the track's side reads exact frames at the pace of its own clock. It guarantees:

    1. After :meth:`retract` or :meth:`clear` the very next read holds nothing of what was taken back but a fade of 8 ms.
    2. Every cue is handed to ``on_cue`` once, in order, when the sound before it has been read, or never if it was taken back.
    3. The sentence that is being read is kept until its ``end``, so that :meth:`rewind` can bring it back.

    Its bound is its writer's: a speaker stops writing when ``in_hand`` reaches its look-ahead.
    """

    def __init__(self, sample_rate: int, *, on_cue: Callable[[Cue, float], None]) -> None:
        """``on_cue(cue, now)`` is called on the reading side's thread, outside the lock, and must not block."""
        self.sample_rate = sample_rate
        self.on_ready: Callable[[], None] = lambda: None
        """Called (on the writing side's thread) when there is something to do again: text accepted, sound written."""
        self.is_live = True
        """False when whoever reads waits for sound rather than for time: while it runs dry, no time passes for the listener."""
        self._on_cue = on_cue
        self._lock = threading.Lock()
        self._items: deque[Sound | Cue] = deque()
        self._played: deque[Sound | Cue] = deque()
        self._kept_samples = self._heard_samples = 0
        self._in_hand_samples = 0
        self._tail = NO_SAMPLES
        self._speaking = ""  # the sentence whose sound is being read
        self._frozen = False
        self._dry_since: float | None = None
        self._heard_until = 0.0
        self.underruns = 0
        """How often a sentence that had begun ran dry."""

    @property
    def in_hand(self) -> float:
        """Seconds of sound that are made and not yet read."""
        return self._in_hand_samples / self.sample_rate

    def lasts(self, now: float) -> float:
        """Seconds until the listener runs dry: what is in hand, and what was given away faster than it can be heard."""
        given = 0.0 if self.is_live else max(0.0, self._heard_until - now)
        return self.in_hand + given

    def silent_for(self, now: float) -> float:
        """Seconds since a listener who gets sound faster than it can be heard has heard the last of it."""
        return max(0.0, now - self._heard_until)

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to read, neither sound nor cues."""
        return not self._items and not len(self._tail)

    @property
    def speaking(self) -> str:
        """Id of the sentence that is being heard; empty between sentences."""
        return self._speaking

    def rouse(self) -> None:
        """Sound will come soon: lets the track wake up while it is being made."""
        self.on_ready()

    def write(self, sentence: str, samples: Samples) -> None:
        with self._lock:
            self._items.append(Sound(sentence, samples))
            self._in_hand_samples += len(samples)
        self.on_ready()

    def cue(self, cue: Cue) -> None:
        with self._lock:
            self._items.append(cue)
        self.on_ready()

    def read(self, count: int, now: float) -> Samples | None:
        """Exactly ``count`` samples, silence where the sound ran out; None when there is nothing to play."""
        with self._lock:
            if self._frozen:
                return None
            parts, cues = self._take(count)
            read = sum(map(len, parts))
            self._note_dryness(read, count, now)
            self._give(read, now)
        for cue in cues:
            self._on_cue(cue, now)
        if not parts:
            return None
        return np.concatenate([*parts, np.zeros(count - read, dtype=np.int16)]) if read < count or len(parts) > 1 else parts[0]

    def take(self, count: int, now: float) -> Sound | None:
        """For a door that sends sound as data: at most ``count`` samples, of one sentence and of nothing between two cues.

        Cues pass alone, and then this gives None: what follows from them can be told before the sound behind them is taken. Those that
        follow within 20 ms pass with them: whoever plays what he gets would run dry after so little. The end of what was taken back is
        not given: whoever gets data silences it himself. Nothing that was taken can be brought back.
        """
        with self._lock:
            if self._frozen:
                return None
            self._tail = NO_SAMPLES
            cues, sound = self._next_cues(), None
            if self._items and not cues:
                sound = self._next_sound(count)
                self._played.clear()
                self._kept_samples = 0
                self._give(len(sound.samples), now)
        for cue in cues:
            self._on_cue(cue, now)
        return sound

    def hush(self) -> None:
        """Whoever gets data has thrown away what he had not heard yet."""
        self._heard_until = 0.0

    def _give(self, count: int, now: float) -> None:
        if count and not self.is_live:
            self._heard_until = max(self._heard_until, now) + count / self.sample_rate

    def _take(self, count: int) -> tuple[list[Samples], list[Cue]]:
        parts, cues = [], []
        if len(self._tail):
            parts.append(self._tail[:count])
            self._tail = self._tail[count:]
            count -= len(parts[0])
        while self._items and (count or isinstance(self._items[0], Cue)):
            item = self._items[0]
            if isinstance(item, Cue):
                cues.append(item)
                self._pass(item)
                self._items.popleft()
                continue
            sound = self._next_sound(count)
            parts.append(sound.samples)
            count -= len(sound.samples)
        return parts, cues

    def _next_cues(self) -> list[Cue]:
        """Those that come first, and those behind crumbs of the same sentence, whose sound then goes with what follows it."""
        cues: list[Cue] = []
        crumbs: list[Sound] = []
        most = CRUMB * self.sample_rate
        while self._items:
            item = self._items[0]
            if crumbs and (item.sentence != crumbs[0].sentence or (isinstance(item, Cue) and item.kind in ("start", "end"))):
                break
            if isinstance(item, Cue):
                cues.append(item)
                self._pass(item)
            elif cues and sum(len(crumb.samples) for crumb in crumbs) + len(item.samples) <= most:
                crumbs.append(item)
            else:
                break
            self._items.popleft()
        if crumbs:
            if self._items and isinstance(following := self._items[0], Sound) and following.sentence == crumbs[0].sentence:
                crumbs.append(following)
                self._items.popleft()
            self._items.appendleft(Sound(crumbs[0].sentence, np.concatenate([crumb.samples for crumb in crumbs])))
        return cues

    def _next_sound(self, count: int) -> Sound:
        """At most ``count`` samples of what comes first, which is sound."""
        item = self._items.popleft()
        assert isinstance(item, Sound)
        if len(item.samples) > count:
            self._items.appendleft(Sound(item.sentence, item.samples[count:]))
            item = Sound(item.sentence, item.samples[:count])
        self._in_hand_samples -= len(item.samples)
        self._keep(item)
        return item

    def _pass(self, cue: Cue) -> None:
        if cue.kind in ("start", "end"):
            self._played.clear()
            self._kept_samples = self._heard_samples = 0
            self._speaking = cue.sentence if cue.kind == "start" else ""
        if cue.kind == "end":
            self._dry_since = None  # nothing was owed any more
        elif self._speaking:
            self._played.append(cue)

    def _keep(self, sound: Sound) -> None:
        if not self._speaking:
            return
        self._played.append(sound)
        self._heard_samples += len(sound.samples)
        self._kept_samples += len(sound.samples)
        while self._kept_samples > KEPT * self.sample_rate:
            oldest = self._played.popleft()
            self._kept_samples -= len(oldest.samples) if isinstance(oldest, Sound) else 0

    def _note_dryness(self, read: int, count: int, now: float) -> None:
        if read and self._dry_since is not None:
            self.underruns += 1
            self._dry_since = None
        if read < count and self._speaking and self._dry_since is None:
            self._dry_since = now + read / self.sample_rate

    def retract(self, sentences: Collection[str]) -> Heard | None:
        """Take these sentences back: what of them is unread is never heard. Tells what was heard of the one that was cut."""
        with self._lock:
            return self._take_back(lambda sentence: sentence in sentences)

    def _take_back(self, is_taken: Callable[[str], bool]) -> Heard | None:
        cut = None
        if self._speaking and is_taken(self._speaking):
            cut = Heard(self._speaking, self._heard_samples / self.sample_rate)
            self._tail = self._fade(self._speaking)
            self._played.clear()
            self._kept_samples, self._speaking, self._dry_since = 0, "", None
            self._heard_until = 0.0  # what was given away is silenced, too
        self._items = deque(item for item in self._items if not is_taken(item.sentence))
        self._in_hand_samples = sum(len(item.samples) for item in self._items if isinstance(item, Sound))
        return cut

    def _fade(self, sentence: str) -> Samples:
        sound = next((item for item in self._items if isinstance(item, Sound)), None)
        if sound is None or sound.sentence != sentence:
            return NO_SAMPLES
        tail = sound.samples[: int(FADE * self.sample_rate)]
        return (tail * np.linspace(1, 0, len(tail), dtype=np.float32)).astype(np.int16)

    def cut_back(self, sentence: str, count: int) -> int:
        """Take back the last ``count`` samples of one sentence, as far as they are unread, and the cues among them. What is left fades out.

        Gives how many were taken back.
        """
        with self._lock:
            taken = 0
            tail: list[Sound | Cue] = []
            while self._items and taken < count:
                item = self._items.pop()
                if item.sentence != sentence:
                    tail.append(item)
                elif isinstance(item, Sound):
                    keep = max(0, len(item.samples) - (count - taken))
                    taken += len(item.samples) - keep
                    if keep:
                        self._items.append(Sound(sentence, item.samples[:keep]))
                elif item.kind == "start":
                    tail.append(item)
                    break
            while taken and self._items and self._begins_what_is_gone(self._items[-1], sentence):
                self._items.pop()
            if taken and self._items and isinstance(last := self._items[-1], Sound) and last.sentence == sentence:
                self._items[-1] = Sound(sentence, self._faded_out(last.samples))
            self._items.extend(reversed(tail))
            self._in_hand_samples -= taken
            return taken

    @staticmethod
    def _begins_what_is_gone(item: Sound | Cue, sentence: str) -> bool:
        return isinstance(item, Cue) and item.sentence == sentence and item.kind != "start"

    def _faded_out(self, samples: Samples) -> Samples:
        count = min(len(samples), int(FADE * self.sample_rate))
        end = (samples[len(samples) - count :] * np.linspace(1, 0, count, dtype=np.float32)).astype(np.int16)
        return np.concatenate([samples[: len(samples) - count], end])

    def rewind(self) -> None:
        """Bring the sentence that is being heard back to its start, to be heard again; its cues pass again, too."""
        with self._lock:
            while self._played:
                item = self._played.pop()
                self._items.appendleft(item)
                if isinstance(item, Sound):
                    self._in_hand_samples += len(item.samples)
            self._kept_samples = self._heard_samples = 0
            self._speaking, self._dry_since = "", None

    def freeze(self) -> None:
        """Nothing can be heard now: reads give nothing until :meth:`thaw`, and that is no underrun."""
        with self._lock:
            self._frozen = True
            self._dry_since = None

    def thaw(self) -> None:
        with self._lock:
            self._frozen = False
            is_wanted = bool(self._items)  # a track that is roused for nothing would not wait for its first listener
        if is_wanted:
            self.on_ready()
