"""The messages that reach the node, version 1: JSON objects in UTF-8, one each, checked here and nowhere else."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, TypeAdapter, ValidationError
from pydantic_core import ErrorDetails

from pipeline.events import Event, Failure
from pipeline.journey import read_traceparent

VERSION = 1
TEXT_CHARACTERS = 5_000
"""The most that one ``text`` may hold."""
MESSAGE_BYTES = 128 * 1024
"""Above this a message is not even parsed: 5 000 characters written as JSON escapes take 60 000 bytes."""
SEQ_LIMIT = 2**53
"""Numbers above it are not whole in every JSON reader (RFC 8259, section 6)."""

NAME_CHARACTERS = 128
"""The most that an id or a name may have, at every door."""
Name = Annotated[str, Field(min_length=1, max_length=NAME_CHARACTERS, pattern=r"^[^\x00-\x1f\x7f-\x9f]+$")]
"""An id or a name that somebody else made up: printable, bounded."""
Speed = Annotated[float, Field(ge=0.5, le=2.0)]
Budget = Annotated[int, Field(ge=20, le=10_000)]
Strategy = Literal["auto", "manual", "quality_first", "speed_first"]


MARKUP = ("<speak", "<?xml")
"""What begins so is SSML, which is not understood yet, or another document in XML."""
OPENING = max(map(len, MARKUP))
"""Characters of an utterance that tell whether it is markup, blanks before them left out."""
_BLANKS = re.compile(r"[\s\ufeff]*")  # U+FEFF: files begin with it, and what was read from them


def opening(text: str) -> str:
    """As much of it as tells whether it is markup, or will."""
    start = _BLANKS.match(text).end()  # type: ignore[union-attr]  # it matches nothing, too
    return text[start : start + OPENING]


def is_markup(text: str) -> bool:
    """Whether an utterance that begins so is markup, and no text to be read out."""
    return opening(text).lower().startswith(MARKUP)


class ProtocolError(Exception):
    """A message that cannot be taken; ``event`` is the answer to its sender."""

    def __init__(self, code: str, message: str, *, stream: str | None = None, seq: int | None = None, field: str | None = None) -> None:
        super().__init__(message)
        self.event = Failure(code=code, message=message, retryable=False, stream=stream, seq=seq, field=field)


class Message(BaseModel):
    """Wrong types are errors, unknown fields are not."""

    model_config = ConfigDict(strict=True, frozen=True, extra="ignore", allow_inf_nan=False)


class Hello(Message):
    """Asks for ``ready``; sent again until it comes."""

    type: Literal["hello"] = "hello"
    protocol: int = VERSION
    session: Name | None = None
    """On a WebSocket: made anew by the client for what shall go on after a lost connection; a secret between the two."""
    received: Annotated[int, Field(ge=0, lt=SEQ_LIMIT)] = 0
    """Messages of that session that it has, but for ``ready`` and ``pong``."""


class AudioFormat(Message):
    """How the sound travels, where it travels as data (WebSocket)."""

    encoding: str = "linear16"
    sample_rate: int = 24_000
    delivery: str = "binary"


class Config(Message):
    """Defaults for what follows; only the named fields change."""

    type: Literal["config"] = "config"
    language: Name | None = None
    voice: Name | None = None
    engine: Name | None = None
    strict_engine: bool | None = None
    """Whether nobody else may speak where ``engine`` cannot."""
    strategy: Strategy | None = None
    budget_ms: Budget | None = None
    speed: Speed | None = None
    use_cache: bool | None = None
    """Whether sentences may be said from what is kept of those that were said before, and are kept themselves."""
    audio: AudioFormat | None = None


class Text(Message):
    """Says text, or a further part of an utterance."""

    type: Literal["text"] = "text"
    text: Annotated[str, Field(max_length=TEXT_CHARACTERS)]
    utterance: Name | None = None
    stream: Name | None = None
    seq: Annotated[int, Field(ge=0, lt=SEQ_LIMIT)] | None = None
    final: bool = True
    language: Name | None = None
    speaker: Name | None = None
    voice: Name | None = None
    speed: Speed | None = None
    budget_ms: Budget | None = None
    revision: Annotated[int, Field(ge=0, lt=SEQ_LIMIT)] = 0
    expires_ms: Annotated[int, Field(gt=0, le=86_400_000)] | None = None
    priority: Annotated[int, Field(ge=0, le=9)] = 1
    """Lower goes first among utterances that have not begun."""
    traceparent: Annotated[str, BeforeValidator(read_traceparent)] = ""
    """W3C Trace Context, to which its sentences belong; one that is malformed counts as none."""


class Flush(Message):
    """Say what is held, complete or not."""

    type: Literal["flush"] = "flush"
    utterance: Name | None = None


class Cancel(Message):
    """Silence now, and forget the rest: of one utterance, or of all that this sender has sent."""

    type: Literal["cancel"] = "cancel"
    utterance: Name | None = None


class Ping(Message):
    type: Literal["ping"] = "ping"
    t: int | float | str | None = None


class End(Message):
    """Say what is held, then ``complete``."""

    type: Literal["end"] = "end"


AnyMessage = Hello | Config | Text | Flush | Cancel | Ping | End
_MESSAGES: TypeAdapter[AnyMessage] = TypeAdapter(Annotated[AnyMessage, Field(discriminator="type")])
_CONTROL = frozenset(map(chr, [*range(0x20), *range(0x7F, 0xA0)])) - frozenset("\t\n\r\x85")  # U+0085 is a line end, too


def parse(raw: bytes, *, characters: int = TEXT_CHARACTERS) -> AnyMessage:
    """One message from its bytes. ``characters``: the most that a text may hold here.

    Raises :exc:`ProtocolError`; where the message was numbered, the error carries ``stream`` and ``seq``, so that a text that
    cannot be taken does not leave a gap.
    """
    if len(raw) > MESSAGE_BYTES:
        raise ProtocolError("too_large", f"a message holds at most {MESSAGE_BYTES} bytes, this one {len(raw)}")
    try:
        message = _MESSAGES.validate_json(raw)
    except ValidationError as error:
        raise _explain(raw, error.errors(include_url=False, include_input=False)[0]) from error
    if isinstance(message, Text):
        if len(message.text) > characters:
            raise _too_long(characters, stream=message.stream, seq=message.seq)
        refused = _CONTROL.intersection(message.text)
        if refused:
            found = ", ".join(f"U+{ord(c):04X}" for c in sorted(refused))
            words = f"text holds control characters: {found}"
            raise ProtocolError("bad_text", words, stream=message.stream, seq=message.seq, field="text")
        if (message.stream is None) != (message.seq is None):
            missing = "stream" if message.stream is None else "seq"
            words = "stream and seq go together: send both or neither"
            raise ProtocolError("bad_field", words, stream=message.stream, seq=message.seq, field=missing)
    return message


def from_attributes(text: str, attributes: Mapping[str, str], *, final: bool) -> Text:
    """A ``text`` from a LiveKit text stream, whose attributes are all strings. Raises :exc:`ProtocolError`."""
    fields: dict[str, Any] = {
        name: value for name, value in attributes.items() if name in Text.model_fields and name not in ("type", "text", "final")
    }
    for name in ("seq", "revision", "expires_ms", "priority", "speed", "budget_ms"):
        if name in fields:
            try:
                fields[name] = json.loads(fields[name])
            except (ValueError, RecursionError):
                pass  # the check below names the field and the type it wants
    message = parse(json.dumps({**fields, "type": "text", "text": text, "final": final}).encode())
    assert isinstance(message, Text)
    return message


def encode(event: Event) -> bytes:
    return json.dumps(event.encode(), ensure_ascii=False, separators=(",", ":")).encode()


def _too_long(most: int, *, stream: str | None = None, seq: int | None = None) -> ProtocolError:
    return ProtocolError("text_too_long", f"text: holds at most {most} characters", stream=stream, seq=seq, field="text")


def _explain(raw: bytes, detail: ErrorDetails) -> ProtocolError:
    kind, place = detail["type"], ".".join(str(part) for part in detail["loc"][1:])
    if kind == "json_invalid":
        return ProtocolError("bad_json", f"not a JSON object in UTF-8: {detail['msg']}")
    found = json.loads(raw)
    stream, seq = (found.get("stream"), found.get("seq")) if isinstance(found, dict) else (None, None)
    known = isinstance(stream, str) and 0 < len(stream) <= 128 and type(seq) is int and 0 <= seq < SEQ_LIMIT
    where = {"stream": stream, "seq": seq} if known else {}
    if kind in ("union_tag_invalid", "union_tag_not_found"):
        words = "the field `type` names one of: hello, config, text, flush, cancel, ping, end"
        return ProtocolError("unknown_type", words, **where, field="type")
    if kind == "string_too_long" and place == "text":
        return _too_long(TEXT_CHARACTERS, **where)
    if kind in ("model_attributes_type", "model_type", "dict_type") and not place:
        return ProtocolError("bad_json", "a message is a JSON object")
    return ProtocolError("bad_field", f"{place or 'message'}: {detail['msg']}", **where, field=place or None)
