"""The incremental dialect: a config, then text as it comes, spoken sentence by sentence until the end of the stream."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, ClassVar

from agent.gateway.errors import Refused
from agent.gateway.socket.dialect import INCREMENTAL, Dialect, Terms, to_base64
from agent.gateway.socket.orders import Hush, Open, Order, Send, TakeVoice, Tell
from agent.gateway.socket.sound import Press
from agent.gateway.socket.wishes import SAMPLES, Manner, check_text, make_text, read_manner
from agent.gateway.speech import Plan, failure_of, refusal_of
from pipeline.events import Dropped, Event, Failure, SentenceChosen, SentenceFinished, Spoken
from pipeline.playout import Sound
from pipeline.protocol import Cancel, Flush
from pipeline.speaker import TrackKey

STREAM = "text"  # the node's own numbering of what comes: it tells when all of it has been sent
CHOSEN = 256  # sentences that are made and not yet sent: the stage's look-ahead holds a few


class Incremental(Dialect):
    """Text is numbered for the stage; a stream is complete when the stage has told the number of its end."""

    name: ClassVar[str] = INCREMENTAL
    keepalive: ClassVar[dict[str, Any] | None] = {"type": "keepalive"}

    def __init__(self, terms: Terms) -> None:
        super().__init__(terms)
        self._press: Press | None = None
        self._taking: Manner | None = None  # a config, while the voice that it brought is being taken
        self._priority = 1
        self._numbers = 0  # texts given to the stage
        self._streams = 0  # of this connection, the open one included; names the stage's utterances
        self._is_open = False  # text has come that no end_of_stream follows yet
        self._ends: list[tuple[int, str]] = []  # numbers that end a stream, and its name; bounded by ws.max_queued
        self._counts: dict[str, int] = {}  # sentences that a stream has had
        self._places: dict[str, int] = {}  # in its stream, of the stage's sentences that are not yet sent
        self._sequence = self._place = 0

    @property
    def encoding(self) -> str:
        return self._press.format if self._press is not None else ""

    def error(self, refused: Refused, *, is_last: bool) -> dict[str, Any]:
        found = {"type": "error", "message": refused.message, "code": refused.code, "field": refused.field, "recoverable": not is_last}
        return {name: value for name, value in found.items() if value is not None}

    def _take(self, message: dict[str, Any], now: float) -> list[Order]:
        kind = message.get("type")
        if kind == "keepalive":
            return []
        if kind == "cancel":
            return self._cancel()
        if kind == "config" or (kind is None and "text" not in message):
            return self._configure(message)
        if kind not in (None, "text", "flush", "end_of_stream"):
            raise Refused("unknown_message", f"type: there is no message of type {str(kind)[:40]!r}", 422, field="type")
        if self._taking is not None:
            raise Refused("not_ready", "the voice is being taken from its recording: `ready` comes before text", 409)
        if self._press is None:
            raise Refused("config_required", "a config comes first; {} is one", 422)
        if kind == "flush":
            return [Tell(Flush(utterance=self._utterance))] if self._is_open else []
        if kind == "end_of_stream":
            return self._end()
        return self._say(check_text(message, self._terms.text_characters, begins=not self._is_open))

    def _configure(self, message: dict[str, Any]) -> list[Order]:
        if self._is_open or self._ends:
            raise Refused("stream_open", "a config comes between streams, and this one is not complete", 409)
        terms = self._terms
        manner = read_manner(message, terms.settle, terms.limits.description_chars, terms.audio)
        if manner.brings_voice:
            self._taking, self._press = manner, None
            return [Open(), TakeVoice(manner.wanted, manner.plan)]
        return [Open(), *self._ready(manner)]

    def on_voice(self, found: Plan | Refused) -> list[Order]:
        manner, self._taking = self._taking, None
        assert manner is not None, "another config ends it"
        if isinstance(found, Refused):
            return [Send(self.error(found, is_last=False))]
        return self._ready(replace(manner, plan=found))

    def _ready(self, manner: Manner) -> list[Order]:
        terms = self._terms
        self._taking = None
        self._press = Press(terms.rate, manner.medium, manner.plan.effects)
        self._priority = manner.plan.priority
        self._numbers = 0
        self._forget()
        ready: dict[str, Any] = {"type": "ready", "message": f"{terms.node} is ready", "sample_rate": self._press.rate, **self._named()}
        if terms.request_id:
            ready["request_id"] = terms.request_id
        warnings = list(manner.warnings)
        if manner.wanted.timeout is not None:
            warnings.append("timeout: ignored, nobody knows how long a stream's text will be in coming")
        if warnings:
            ready["warnings"] = warnings
        return [Tell(manner.plan.config), Send(ready)]

    def _named(self) -> dict[str, str]:
        """What the sound is, where it is not what everybody expects."""
        return {} if self._press is None or self._press.format == SAMPLES else {"format": self._press.format}

    @property
    def _utterance(self) -> str:
        return f"stream {self._streams}"

    def _say(self, text: str, *, is_last: bool = False) -> list[Order]:
        if not self._is_open:
            self._streams += 1
        made = make_text(text, utterance=self._utterance, final=is_last, priority=self._priority, stream=STREAM, seq=self._numbers)
        self._numbers += 1
        self._is_open = not is_last
        return [Tell(made)]

    def _end(self) -> list[Order]:
        if len(self._ends) >= self._terms.ws.max_queued:
            raise Refused("queue_full", f"{len(self._ends)} streams wait already: wait for `complete`", 429)
        orders = self._say("", is_last=True)
        self._ends.append((self._numbers - 1, self._utterance))
        return orders

    def _cancel(self) -> list[Order]:
        self._ends.clear()
        self._is_open = False
        self._counts.clear()
        self._places.clear()
        self._forget()
        return [Tell(Cancel()), Hush(), Send({"type": "cancelled"})]

    def _forget(self) -> None:
        self._sequence = self._place = 0
        if self._press is not None:
            self._press.drop()

    def on_event(self, event: Event, now: float) -> list[Order]:
        match event:
            case SentenceChosen():
                self._places[event.id] = self._counts.get(event.utterance, 0)
                self._counts[event.utterance] = self._places[event.id] + 1
                if len(self._places) > CHOSEN:
                    del self._places[next(iter(self._places))]
            case SentenceFinished():
                self._places.pop(event.id, None)
            case Dropped(why="nothing_to_say" | "cancelled" | "not_supported"):
                pass
            case Dropped():
                return [Send(self.error(refusal_of(event), is_last=False))]
            case Failure():
                return [Send(self.error(failure_of(event), is_last=False))]
            case Spoken(seq=reached):
                return self._on_spoken(reached)
        return []

    def _on_spoken(self, reached: int) -> list[Order]:
        orders: list[Order] = []
        while self._ends and self._ends[0][0] <= reached:
            self._counts.pop(self._ends.pop(0)[1], None)
            assert self._press is not None, "a stream has a config"
            rest = self._press.flush()
            seconds = round(self._press.seconds, 3)
            orders += self._audio(rest) if seconds else []
            orders.append(Send({"type": "complete", "message": "all audio has been sent", "duration_seconds": seconds}))
            self._forget()
        return orders

    def on_sound(self, track: TrackKey, sound: Sound) -> list[Order]:
        if self._press is None or sound.sentence not in self._places:
            return []
        self._place = self._places[sound.sentence]
        return self._audio(self._press.feed(sound.samples))

    def _audio(self, pcm: bytes) -> list[Order]:
        if not pcm or self._press is None:
            return []
        self._sequence += 1
        audio = {"type": "audio", "data": to_base64(pcm), "sample_rate": self._press.rate, "sequence": self._sequence - 1}
        return [Send({**audio, "sentence": self._place, **self._named()})]
