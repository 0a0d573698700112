"""What a client's message asks for beside its text: read by the schema of all contracts, and settled by who is here."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from agent.gateway.clone import decode
from agent.gateway.errors import Refused
from agent.gateway.fields import SpeechBody, not_supported, parse_object
from agent.gateway.production import Medium
from agent.gateway.settings import AudioSettings
from agent.gateway.speech import Plan
from agent.gateway.wanted import Wanted, as_sent, read
from pipeline.protocol import ProtocolError, Text, is_markup, parse

OWN = ("type", "text", "input", "request_id", "stream")  # of a message, beside what it asks for
SAMPLES = "pcm"  # what sound is sent as where no format is named: 16 bits, little end first
ANY_TEXT = "a"  # the schema wants one; a session's text is judged as it comes

Settle = Callable[[Wanted], Plan]
"""Names who will speak, or raises :exc:`Refused` with the field that cannot be had."""


@dataclass(frozen=True, slots=True)
class Manner:
    """How a session speaks."""

    wanted: Wanted
    plan: Plan
    medium: Medium
    """As what its sound is sent: samples, unless a format was named."""
    ignored: tuple[str, ...] = ()
    """What was asked for and has no effect here, in words."""

    @property
    def brings_voice(self) -> bool:
        """Whether a recording came along, whose voice has to be taken first."""
        return bool(self.wanted.reference)

    @property
    def warnings(self) -> tuple[str, ...]:
        return (*self.plan.warnings, *self.ignored)


def read_object(raw: str) -> dict[str, Any]:
    """A client's message. Raises :exc:`Refused`."""
    return parse_object(raw.encode("utf-8", "surrogatepass"))


def read_manner(message: Mapping[str, Any], settle: Settle, description: int, audio: AudioSettings) -> Manner:
    """``description``: characters that one may have. Raises :exc:`Refused`, naming the field."""
    fields = {name: value for name, value in message.items() if name not in OWN}
    body = SpeechBody.check({**fields, "text": ANY_TEXT})
    wanted = read(body, characters=len(ANY_TEXT), description=description)
    if wanted.reference:
        decode(wanted.reference)
    with as_sent(body):
        plan = settle(wanted)
    asked = {"normalize_audio": wanted.normalize, "trim_silence": wanted.trim, "include_audio": not wanted.include_audio}
    ignored = [f"{name}: ignored, sound is sent here while it is made" for name, is_asked in asked.items() if is_asked]
    medium = Medium.of(wanted, wanted.format or SAMPLES, audio)
    return Manner(wanted, plan, medium, tuple(ignored))


def check_rate(value: object, rates: Iterable[int]) -> int:
    known = tuple(rates)
    if isinstance(value, bool) or not isinstance(value, int) or value not in known:
        raise Refused("unsupported_value", f"sample_rate: one of {', '.join(map(str, known))}", 422, field="sample_rate")
    return value


def check_text(message: Mapping[str, Any], most: int, *, begins: bool = False) -> str:
    """The field ``text``, which may be a part of something: at most so many characters, and no markup. Raises :exc:`Refused`.

    ``begins``: more may follow it, and the stage judges whether it is markup, for it remembers that until all of it has come.
    """
    text = message.get("text")
    if not isinstance(text, str):
        raise Refused("text_required", "text: a string is needed", 422, field="text")
    if len(text) > most:
        raise Refused("text_too_long", f"text: at most {most} characters, these are {len(text)}", 422, field="text")
    if not begins and is_markup(text):
        raise not_supported("SSML is not understood yet: send plain text", field="text")
    return text


def make_text(text: str, **fields: Any) -> Text:
    """A message for the stage, held to the protocol's own rules. Raises :exc:`Refused`."""
    try:
        made = parse(json.dumps({"type": "text", "text": text, **fields}).encode())
    except ProtocolError as error:
        raise Refused("bad_text" if error.event.code == "bad_json" else error.event.code, error.event.message, 422, field="text") from error
    assert isinstance(made, Text)
    return made
