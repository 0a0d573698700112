"""The Speak dialect: messages in the shape of Deepgram's, and sound as bare binary frames."""

from __future__ import annotations

from collections import deque
from typing import Any, ClassVar

from agent.gateway.errors import Refused
from agent.gateway.socket.dialect import SPEAK, Dialect, Terms
from agent.gateway.socket.orders import LEAVING, NORMAL, REFUSED, Close, Hush, Open, Order, Send, Tell
from agent.gateway.socket.sound import ENCODINGS, Encoder
from agent.gateway.socket.wishes import ANY_TEXT, check_rate, check_text, make_text
from agent.gateway.speech import failure_of, refusal_of
from agent.gateway.wanted import Wanted
from pipeline.events import Dropped, Event, Failure, Spoken
from pipeline.playout import Sound
from pipeline.protocol import Cancel, Config
from pipeline.speaker import TrackKey

TEXT_CHARACTERS = 2_000  # of one Speak message, as Deepgram has it
FLUSHES, FLUSHES_IN = 20, 60.0  # in so many seconds, as Deepgram has it
RATES = (8_000, 16_000, 24_000, 32_000, 48_000)
TELEPHONE = 8_000  # hertz, of mulaw and alaw where none is named
STREAM = "text"  # the node's own numbering of what comes: it tells when all of it has been sent


class Speak(Dialect):
    """Rate, encoding and voice are fixed by the query. ``Flushed`` follows the last frame of what was flushed, and no frame of what was
    cleared follows ``Cleared``."""

    name: ClassVar[str] = SPEAK

    def __init__(self, terms: Terms) -> None:
        super().__init__(terms)
        self._encoder: Encoder | None = None
        self._config = Config()
        self._numbers = 0  # texts given to the stage
        self._parts = 0  # what is between two flushes is one utterance
        self._is_open = False  # text has come that nothing has flushed yet
        self._waiting: deque[int] = deque()  # numbers behind each of which a Flushed is owed; bounded by FLUSHES
        self._flushed_at: deque[float] = deque(maxlen=FLUSHES)
        self._answers = 0
        self._closes_after: int | None = None

    @property
    def encoding(self) -> str:
        return self._encoder.encoding if self._encoder is not None else ""

    def error(self, refused: Refused, *, is_last: bool) -> dict[str, Any]:
        named = {} if refused.field is None else {"field": refused.field}
        return {"type": "Error" if is_last else "Warning", "description": refused.message, "code": refused.code, **named}

    def _begin(self, now: float) -> list[Order]:
        query = self._terms.query
        try:
            self._configure(query.get("encoding", "linear16"), query.get("sample_rate"), query.get("model"))
        except Refused as refused:
            return [Send(self.error(refused, is_last=True)), Close(REFUSED, refused.code)]
        model = self._config.voice or self._config.engine or "default"
        metadata = {"type": "Metadata", "request_id": self._terms.request_id or self._terms.fresh(), "model_name": model}
        return [
            Open(),
            Tell(self._config),
            Send({**metadata, "model_version": self._terms.version, "model_uuid": f"{self._terms.node}:{model}"}),
        ]

    def _configure(self, encoding: str, rate: str | None, model: str | None) -> None:
        if encoding not in ENCODINGS:
            raise Refused("unsupported_value", f"encoding: one of {', '.join(ENCODINGS)}", 422, field="encoding")
        usual = self._terms.rate if encoding == "linear16" else TELEPHONE
        hertz = usual if rate is None else next((known for known in RATES if str(known) == rate), rate)
        self._encoder = Encoder(self._terms.rate, check_rate(hertz, RATES), encoding)
        self._config = self._cast(model)

    def _cast(self, model: str | None) -> Config:
        """A model is a voice, or an engine."""
        try:
            return self._terms.settle(Wanted(ANY_TEXT, voice=model or "")).config
        except Refused as refused:
            if refused.code != "unknown_voice":
                raise refused.renamed({"voice_id": "model"}) from refused
            voices = refused.message.partition("there are: ")[2]
        try:
            return self._terms.settle(Wanted(ANY_TEXT, engine=model or "")).config
        except Refused as refused:
            words = f"model: neither a voice nor an engine; there are: {voices}"
            raise Refused("unknown_voice", words, 422, field="model") from refused

    def _take(self, message: dict[str, Any], now: float) -> list[Order]:
        kind = message.get("type")
        match kind:
            case "Speak":
                most = min(TEXT_CHARACTERS, self._terms.text_characters)
                return self._say(check_text(message, most, begins=not self._is_open))
            case "Flush":
                return self._flush(now)
            case "Clear":
                return self._clear()
            case "Close":
                orders = self._end_part()
                self._closes_after = self._numbers - 1
                return orders
            case "KeepAlive":
                return []
        raise Refused("unknown_message", f"type: there is no message of type {str(kind)[:40]!r}", 422, field="type")

    def _say(self, text: str, *, is_last: bool = False) -> list[Order]:
        if self._closes_after is not None:
            raise Refused("closing", "nothing is spoken after Close", 409)
        made = make_text(text, utterance=f"part {self._parts}", final=is_last, stream=STREAM, seq=self._numbers)
        self._numbers += 1
        self._is_open = not is_last
        self._parts += is_last
        return [Tell(made)]

    def _end_part(self) -> list[Order]:
        return self._say("", is_last=True)

    def _flush(self, now: float) -> list[Order]:
        if len(self._flushed_at) == FLUSHES and now - self._flushed_at[0] < FLUSHES_IN:
            raise Refused("too_many_flushes", f"at most {FLUSHES} flushes are taken in {FLUSHES_IN:.0f} s; this one is not", 429)
        orders = self._end_part()
        self._flushed_at.append(now)
        self._waiting.append(self._numbers - 1)
        return orders

    def _clear(self) -> list[Order]:
        self._parts += self._is_open  # what comes next does not belong to what was cleared
        self._is_open = False
        if self._encoder is not None:
            self._encoder.drop()
        flushed: list[Order] = []
        while self._waiting:  # what they wait for will not come
            self._waiting.popleft()
            flushed.append(self._answer("Flushed"))
        return [Tell(Cancel()), Hush(), *flushed, self._answer("Cleared")]

    def _answer(self, kind: str) -> Send:
        self._answers += 1
        return Send({"type": kind, "sequence_id": self._answers - 1})

    def on_event(self, event: Event, now: float) -> list[Order]:
        match event:
            case Dropped(why="nothing_to_say" | "cancelled" | "not_supported"):
                return []
            case Dropped():
                return self.refuse(refusal_of(event))
            case Failure(code="draining"):
                return [Send(self.error(failure_of(event), is_last=True)), Close(LEAVING, event.message)]
            case Failure():
                return self.refuse(failure_of(event))
            case Spoken(seq=reached):
                return [*self._tell_flushed(reached), *self._close_if(reached)]
        return []

    def _tell_flushed(self, reached: int) -> list[Order]:
        orders: list[Order] = []
        while self._waiting and self._waiting[0] <= reached:
            self._waiting.popleft()
            orders += [*self._rest(), self._answer("Flushed")]
        return orders

    def _close_if(self, reached: int) -> list[Order]:
        if self._closes_after is None or reached < self._closes_after:
            return []
        return [*self._rest(), Close(NORMAL, "closed")]

    def _rest(self) -> list[Order]:
        rest = self._encoder.flush() if self._encoder is not None else b""
        return [Send(rest)] if rest else []

    def on_sound(self, track: TrackKey, sound: Sound) -> list[Order]:
        frame = self._encoder.feed(sound.samples) if self._encoder is not None else b""
        return [Send(frame)] if frame else []
