"""The one-shot dialect: a message is an utterance, answered by chunks of sound and one last word."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar

from agent.gateway.errors import Refused
from agent.gateway.socket.dialect import ONESHOT, Dialect, Terms, to_base64
from agent.gateway.socket.orders import Hush, Open, Order, Send, TakeVoice, Tell
from agent.gateway.socket.sound import Press
from agent.gateway.socket.wishes import SAMPLES, Manner, check_text, make_text, read_manner
from agent.gateway.speech import Plan, failure_of, refusal_of
from pipeline.events import Dropped, Event, Failure, SentenceChosen, SpeechStarted, Spoken, Switched
from pipeline.playout import Sound
from pipeline.protocol import Text
from pipeline.speaker import TrackKey

REQUEST_ID_CHARACTERS = 128
TYPES = (None, "text", "synthesize")  # of a message that says text


@dataclass(slots=True)
class _Request:
    """One utterance, from its message to its last word."""

    id: str
    manner: Manner
    text: Text
    is_streamed: bool
    press: Press
    until: float | None
    """When all of it has to have been sent, in seconds of the loop's clock."""
    sequence: int = 0
    kept: bytearray = field(default_factory=bytearray)
    """The whole sound of one that is not streamed."""
    model: str = ""
    ttft: float | None = None
    fallback: list[dict[str, str]] = field(default_factory=list)
    problem: Refused | None = None


class OneShot(Dialect):
    """Utterances are answered in the order in which they came; each gets exactly one message with ``is_final``."""

    name: ClassVar[str] = ONESHOT
    keepalive: ClassVar[dict[str, Any] | None] = {"type": "keepalive"}

    def __init__(self, terms: Terms) -> None:
        super().__init__(terms)
        self._queue: deque[_Request] = deque()
        self._current: _Request | None = None
        self._names = [terms.request_id] if terms.request_id else []

    @property
    def encoding(self) -> str:
        return self._current.press.format if self._current is not None else ""

    def error(self, refused: Refused, *, is_last: bool, request: str | None = None) -> dict[str, Any]:
        found = {"type": "error", "message": refused.message, "code": refused.code, "field": refused.field, "is_final": True}
        return {name: value for name, value in {**found, "request_id": request}.items() if value is not None}

    def _take(self, message: dict[str, Any], now: float) -> list[Order]:
        kind = message.get("type")
        if kind == "keepalive":
            return []
        if kind == "cancel":
            return self._cancel()
        id = message.get("request_id")
        id = id if isinstance(id, str) and 0 < len(id) <= REQUEST_ID_CHARACTERS and id.isprintable() else self._name()
        try:
            if kind not in TYPES:
                raise Refused("unknown_message", f"type: there is no message of type {str(kind)[:40]!r}", 422, field="type")
            if len(self._queue) >= self._terms.ws.max_queued:
                most = self._terms.ws.max_queued
                raise Refused("queue_full", f"{most} utterances wait already: wait for an is_final", 429, retry_after=1.0)
            self._queue.append(self._read(message, id, now))
        except Refused as refused:
            return [Send(self.error(refused, is_last=False, request=id))]
        return self._next() if self._current is None else []

    def _name(self) -> str:
        """Of a request whose client names none: the first one has that of the upgrade."""
        return self._names.pop() if self._names else self._terms.fresh()

    def _read(self, message: dict[str, Any], id: str, now: float) -> _Request:
        text = check_text(message, self._terms.text_characters)
        if not text.strip():
            raise Refused("text_required", "text is blank", 422, field="text")
        is_streamed = message.get("stream", True)
        if not isinstance(is_streamed, bool):
            raise Refused("bad_field", "stream is true or false", 422, field="stream")
        terms = self._terms
        manner = read_manner(message, terms.settle, terms.limits.description_chars, terms.audio)
        press = Press(terms.rate, manner.medium, manner.plan.effects, is_open=is_streamed)
        said = make_text(text, utterance="text", stream="text", seq=0, priority=manner.plan.priority)
        until = None if manner.wanted.timeout is None else now + manner.wanted.timeout
        request = _Request(id, manner, said, is_streamed, press, until)
        request.fallback += [{"engine": engine, "reason": why} for engine, why in manner.plan.fallback]
        return request

    def _next(self) -> list[Order]:
        if not self._queue:
            self._current = None
            return []
        self._current = self._queue.popleft()
        manner = self._current.manner
        return [Open(), TakeVoice(manner.wanted, manner.plan)] if manner.brings_voice else [Open(), *self._begun(self._current)]

    def _begun(self, request: _Request) -> list[Order]:
        return [Tell(request.manner.plan.config), Tell(request.text)]

    def on_voice(self, found: Plan | Refused) -> list[Order]:
        request = self._current
        assert request is not None, "taking it ends with its request"
        if isinstance(found, Refused):
            request.problem = found
            return self._finish(request)
        request.manner = replace(request.manner, plan=found)
        return self._begun(request)

    def _cancel(self) -> list[Order]:
        gone = [*([] if self._current is None else [self._current]), *self._queue]
        self._queue.clear()
        self._current = None
        over = Refused("cancelled", "this text was cancelled", 409)
        return [Open(), Hush(), *(Send(self.error(over, is_last=False, request=one.id)) for one in gone), Send({"type": "cancelled"})]

    def timer(self) -> float | None:
        waiting = [*self._queue, *([] if self._current is None else [self._current])]
        return min((request.until for request in waiting if request.until is not None), default=None)

    def on_timer(self, now: float) -> list[Order]:
        late = [request for request in self._queue if request.until is not None and request.until <= now]
        for one in late:
            self._queue.remove(one)
        orders: list[Order] = [Send(self.error(_too_late(one), is_last=False, request=one.id)) for one in late]
        request = self._current
        if request is not None and request.until is not None and request.until <= now:
            request.problem = _too_late(request)
            orders = [*self._finish(request), *orders]
        return orders

    def on_event(self, event: Event, now: float) -> list[Order]:
        request = self._current
        if request is None:
            return []
        match event:
            case SentenceChosen():
                request.model = request.model or f"{event.engine}:{event.voice}"
            case SpeechStarted():
                request.ttft = event.ttft if request.ttft is None else request.ttft
            case Switched():
                request.fallback.append({"engine": event.old, "reason": event.why})
            case Dropped(why="nothing_to_say"):
                pass
            case Dropped():
                request.problem = refusal_of(event)
            case Failure():
                request.problem = failure_of(event)
                return self._finish(request)
            case Spoken():
                return self._finish(request)
        return []

    def on_sound(self, track: TrackKey, sound: Sound) -> list[Order]:
        return self._chunks(self._current, self._current.press.feed(sound.samples)) if self._current is not None else []

    def _chunks(self, request: _Request, pcm: bytes) -> list[Order]:
        if not request.is_streamed:
            request.kept += pcm
            return []
        most = self._terms.stream.chunk_bytes & ~1  # whole samples
        orders: list[Order] = []
        for start in range(0, len(pcm), most):
            chunk = {"audio_chunk": to_base64(pcm[start : start + most]), "sample_rate": request.press.rate, "sequence": request.sequence}
            orders.append(Send({**chunk, "is_final": False, **_named(request)}))
            request.sequence += 1
        return orders

    def _finish(self, request: _Request) -> list[Order]:
        rest = request.press.flush()
        orders = self._chunks(request, rest) if request.press.seconds else []
        if request.problem is None and not request.press.seconds:
            request.problem = Refused("nothing_to_say", "text holds nothing that could be said", 422, field="text")
        if request.problem is not None:
            orders.append(Send(self.error(request.problem, is_last=False, request=request.id)))
        else:
            orders.append(Send(self._last_word(request)))
        return [*orders, *(self._next() or [Open()])]

    def _last_word(self, request: _Request) -> dict[str, Any]:
        word: dict[str, Any] = {
            "audio_chunk": to_base64(bytes(request.kept)),
            "sample_rate": request.press.rate,
            "sequence": request.sequence,
            "is_final": True,
            "duration_seconds": round(request.press.seconds, 3),
            "model_used": request.model,
            "ttfa_ms": None if request.ttft is None else round(request.ttft * 1000),
            "fallback": request.fallback,
            "request_id": request.id,
            **_named(request),
        }
        return {**word, "warnings": list(request.manner.warnings)} if request.manner.warnings else word


def _named(request: _Request) -> dict[str, str]:
    """What the sound is, where it is not what everybody expects."""
    return {} if request.press.format == SAMPLES else {"format": request.press.format}


def _too_late(request: _Request) -> Refused:
    return Refused("timeout", f"the reply was not ready within {request.manner.wanted.timeout:g} s", 504)
