"""What the node tells the senders of text: one frozen event each, seconds here, milliseconds on the wire."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, ClassVar, Literal

DropReason = Literal[
    "nothing_to_say",
    "expired",
    "cancelled",
    "superseded",
    "aborted",
    "overflow",
    "failed",
    "unheard",
    "filtered",
    "not_supported",
    "shutdown",
]
"""Why accepted text was not spoken.

``nothing_to_say``: blank, punctuation or emoji only · ``expired``: not started within ``expires_ms`` · ``cancelled``: by its
sender · ``superseded``: an older revision · ``aborted``: its text stream was broken off · ``overflow``: more is waiting than
the node keeps · ``failed``: no engine could say it · ``unheard``: its track could not be had · ``filtered``: the settings do not
allow it · ``not_supported``: what came after it shows that it is markup · ``shutdown``: the node ended.
"""


@dataclass(frozen=True, slots=True)
class Event:
    type: ClassVar[str]
    wire: ClassVar[Mapping[str, str]] = {}
    """Fields whose name on the wire differs: a Python keyword, or seconds that travel as milliseconds (``_ms``). Empty: it stays here."""

    def encode(self) -> dict[str, Any]:
        """The JSON object that goes out; fields that are None are left out."""
        message: dict[str, Any] = {"type": self.type}
        for item in fields(self):
            value = getattr(self, item.name)
            if value is None:
                continue
            name = self.wire.get(item.name, item.name)
            if not name:
                continue
            message[name] = round(value * 1000) if name.endswith("_ms") else value
        return message


@dataclass(frozen=True, slots=True)
class Progress:
    """How far one stream of a sender has come; -1 when nothing."""

    held: int
    """Highest ``seq`` received without a gap."""
    spoken: int
    """Highest ``seq`` heard to its end (or reported as dropped) without a gap."""


@dataclass(frozen=True, slots=True)
class Ready(Event):
    """The answer to ``hello``: this node speaks here."""

    type: ClassVar[str] = "ready"
    protocol: int
    node: str
    languages: tuple[str, ...]
    voices: tuple[str, ...]
    last: Mapping[str, Progress]
    """By stream id, for the sender's streams that this node knows."""
    level: int

    def encode(self) -> dict[str, Any]:
        message = Event.encode(self)
        message["last"] = {stream: {"held": p.held, "spoken": p.spoken} for stream, p in self.last.items()}
        return message


@dataclass(frozen=True, slots=True)
class Ack(Event):
    """Everything up to ``seq`` has been received."""

    type: ClassVar[str] = "ack"
    stream: str
    seq: int


@dataclass(frozen=True, slots=True)
class Spoken(Event):
    """Everything up to ``seq`` has been heard to its end, or reported as dropped: it may be forgotten."""

    type: ClassVar[str] = "spoken"
    stream: str
    seq: int


@dataclass(frozen=True, slots=True)
class Missing(Event):
    """Please send these again; asked once."""

    type: ClassVar[str] = "missing"
    wire: ClassVar[Mapping[str, str]] = {"first": "from", "last": "to"}
    stream: str
    first: int
    last: int


@dataclass(frozen=True, slots=True)
class Gap(Event):
    """These were never received and are skipped now."""

    type: ClassVar[str] = "gap"
    wire: ClassVar[Mapping[str, str]] = {"first": "from", "last": "to"}
    stream: str
    first: int
    last: int


@dataclass(frozen=True, slots=True)
class SentenceChosen(Event):
    """A sentence begins to be made."""

    type: ClassVar[str] = "sentence"
    wire: ClassVar[Mapping[str, str]] = {"age": "", "language": ""}
    id: str
    utterance: str
    text: str
    """As its sender wrote it."""
    engine: str
    voice: str
    cached: bool
    age: float = 0.0
    """Seconds since it was said first, where it is ``cached``; for whoever keeps what comes of it."""
    language: str = ""
    """In which it is read; for the log."""


@dataclass(frozen=True, slots=True)
class SpeechStarted(Event):
    """Its first audible sample has gone out."""

    type: ClassVar[str] = "speech_started"
    wire: ClassVar[Mapping[str, str]] = {"ttft": "ttft_ms", "lag": "lag_ms"}
    id: str
    utterance: str
    ttft: float
    """Seconds since the node held the whole sentence and its speaker had nothing older to say."""
    lag: float
    """Seconds since the node held the whole sentence."""
    engine: str


@dataclass(frozen=True, slots=True)
class Captioned(Event):
    """Words that begin to sound, where captions travel among the events and not beside them."""

    type: ClassVar[str] = "caption"
    id: str
    """The sentence they belong to."""
    language: str
    speaker: str
    text: str
    """As its sender wrote them, with the white space before them; may be empty when ``final``."""
    final: bool
    """Whether the sentence has ended."""


@dataclass(frozen=True, slots=True)
class SentenceFinished(Event):
    """Its last sample has gone out."""

    type: ClassVar[str] = "sentence_finished"
    id: str
    utterance: str


@dataclass(frozen=True, slots=True)
class SpeechFinished(Event):
    """Nothing more will be heard of this utterance."""

    type: ClassVar[str] = "speech_finished"
    wire: ClassVar[Mapping[str, str]] = {"position": "position_ms"}
    utterance: str
    position: float
    """Seconds of it that were heard."""
    characters: int
    """How many of its characters, as its sender wrote them, were heard."""
    interrupted: bool


@dataclass(frozen=True, slots=True)
class Switched(Event):
    """Another engine speaks this sentence, or the rest of it."""

    type: ClassVar[str] = "switched"
    wire: ClassVar[Mapping[str, str]] = {"old": "from", "new": "to"}
    id: str
    old: str
    new: str
    why: str


@dataclass(frozen=True, slots=True)
class Dropped(Event):
    """Accepted text that will not be spoken."""

    type: ClassVar[str] = "dropped"
    utterance: str
    text: str
    why: DropReason


@dataclass(frozen=True, slots=True)
class Backlog(Event):
    """How much speech is waiting; on change, at most once a second."""

    type: ClassVar[str] = "backlog"
    seconds: float


@dataclass(frozen=True, slots=True)
class LevelChanged(Event):
    """How degraded the node is; 0 is not at all."""

    type: ClassVar[str] = "level"
    level: int
    why: str


@dataclass(frozen=True, slots=True)
class Failure(Event):
    """Something the sender asked for could not be done; the session goes on."""

    type: ClassVar[str] = "error"
    code: str
    message: str
    retryable: bool = False
    stream: str | None = None
    seq: int | None = None
    field: str | None = None
    """Of the message, that is to blame."""


@dataclass(frozen=True, slots=True)
class Pong(Event):
    type: ClassVar[str] = "pong"
    t: float | int | str | None = None


@dataclass(frozen=True, slots=True)
class Complete(Event):
    """Everything said before ``end`` has been heard."""

    type: ClassVar[str] = "complete"
