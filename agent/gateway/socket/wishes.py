"""What a client's message asks for beside its text, under every name that the contracts have for it."""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from agent.gateway.errors import Refused
from agent.gateway.socket.sound import RATES
from engines.aliases import DEFAULT, TIERS, find_alias, nearest
from engines.base import Voice
from pipeline.protocol import Config, ProtocolError, Text, parse

NAMES: Mapping[str, tuple[str, ...]] = {
    "voice": ("voice_id", "voice", "speaker_id"),
    "language": ("language",),
    "engine": ("engine", "model_name"),
    "speed": ("speed",),
    "sample_rate": ("sample_rate",),
    "strict": ("strict_engine",),
    "level": ("optimization_level",),
    "quality": ("quality_preset",),
}
"""Ours, and what each is called in messages."""
NESTED = ("options", "tts_config", "voice_config", "server_config", "server_features")
STRATEGIES = {"low": "speed_first", "balanced": "auto", "high": "auto", "maximum": "quality_first", "standard": "auto"}
NEUTRAL: Mapping[str, object] = {
    "pitch": 1.0,
    "energy": 1.0,
    "emotion": None,
    "temperature": None,
    "enhance_audio": False,
    "voice_description": "neutral voice",
    "watermark": False,
    "segments": None,
}
"""Known options that have no effect here yet, and the value with which that is no loss."""
ENGINES = {"edge-tts": "edge"}
MARKUP = "<speak"
ANYTHING = ("default", "auto", "")  # engines and models that mean: whichever
NAME_CHARACTERS = 128


@dataclass(frozen=True, slots=True)
class Wishes:
    """How a client wants to be spoken to; None: as the node likes."""

    voice: str | None = None
    language: str | None = None
    engine: str | None = None
    is_strict: bool = False
    speed: float | None = None
    strategy: str | None = None
    sample_rate: int | None = None
    """Hertz."""
    warnings: tuple[str, ...] = ()
    """What was asked for and has no effect, in words."""


class Repertoire(Protocol):
    """Who speaks here: what a studio says of itself."""

    @property
    def offers(self) -> Mapping[str, tuple[Voice, ...]]: ...

    def languages(self) -> tuple[str, ...]: ...

    def speaks(self, language: str) -> bool: ...


Settle = Callable[[Wishes], Config]
"""Names what will speak, or raises :exc:`~agent.gateway.errors.Refused` with the field that cannot be had."""


def read_object(raw: str) -> dict[str, Any]:
    """A client's message. Raises :exc:`Refused`."""
    try:
        found = json.loads(raw, parse_constant=_no_number)
    except (ValueError, RecursionError) as error:
        raise Refused("bad_json", f"not a JSON object: {error}", 400) from error
    if not isinstance(found, dict):
        raise Refused("bad_json", "a message is a JSON object", 400)
    return found


def read_wishes(message: Mapping[str, Any]) -> Wishes:
    """Raises :exc:`Refused`, naming the field."""
    if message.get("voice_clone_reference") is not None:
        _check_reference(message)
    strict = _pick(message, "strict")
    if strict is not None and not isinstance(strict, bool):
        raise Refused("bad_field", "strict_engine is true or false", 422, field="strict_engine")
    level = [STRATEGIES.get(value) for name in ("quality", "level") if isinstance(value := _pick(message, name), str)]
    speed, rate = _pick(message, "speed"), _pick(message, "sample_rate")
    return Wishes(
        voice=_name(message, "voice"),
        language=_name(message, "language"),
        engine=_name(message, "engine"),
        is_strict=bool(strict),
        speed=None if speed is None else check_speed(speed),
        strategy=next((strategy for strategy in level if strategy), None),
        sample_rate=None if rate is None else check_rate(rate),
        warnings=tuple(f"{name} has no effect yet" for name in _without_effect(message)),
    )


def check_speed(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0.5 <= value <= 2.0:
        raise Refused("bad_field", "speed is a number from 0.5 to 2", 422, field="speed")
    return float(value)


def check_rate(value: object, rates: Iterable[int] = RATES) -> int:
    rates = tuple(rates)
    if isinstance(value, bool) or not isinstance(value, int) or value not in rates:
        raise Refused("bad_field", f"sample_rate is one of {', '.join(map(str, rates))}", 422, field="sample_rate")
    return value


def check_text(message: Mapping[str, Any], most: int) -> str:
    """The field ``text``: not blank, no markup, at most so many characters. Raises :exc:`Refused`."""
    text = message.get("text")
    if not isinstance(text, str):
        raise Refused("text_required", "text: a string is needed", 422, field="text")
    if len(text) > most:
        raise Refused("text_too_long", f"text holds at most {most} characters", 422, field="text")
    if text.lstrip()[: len(MARKUP)].lower() == MARKUP:
        raise Refused("not_supported", "text that is SSML (<speak ...>) is not supported yet", 501, field="text")
    return text


def make_text(text: str, **fields: Any) -> Text:
    """A message for the stage, held to the protocol's own rules. Raises :exc:`Refused`."""
    try:
        made = parse(json.dumps({"type": "text", "text": text, **fields}).encode())
    except ProtocolError as error:
        raise Refused("bad_text" if error.event.code == "bad_json" else error.event.code, error.event.message, 422, field="text") from error
    assert isinstance(made, Text)
    return made


def settle(wishes: Wishes, here: Repertoire, known_engines: Iterable[str]) -> Config:
    """Who will speak, of those who are here. Raises :exc:`Refused`."""
    offered = [voice for voices in here.offers.values() for voice in voices]
    if not offered:
        raise Refused("not_ready", "no engine can speak here yet", 503, retry_after=1.0)
    if wishes.language is not None and not here.speaks(wishes.language):
        there = ", ".join(here.languages())
        raise Refused(
            "unsupported_language", f"language: nobody here speaks {wishes.language!r}; there are: {there}", 422, field="language"
        )
    engine = ENGINES.get(wishes.engine or "", wishes.engine)
    engine = None if engine in ANYTHING else engine
    if engine is not None and engine not in (names := tuple(known_engines)):
        raise Refused("unknown_engine", f"engine: there is no {engine!r}; there are: {', '.join(names)}", 422, field="engine")
    language, voice, budget = wishes.language, None, None
    if wishes.voice not in (None, DEFAULT):
        found, budget = _find(wishes.voice or "", offered, language or "")
        voice, language = found.id, language or found.language
    fields = {
        "language": language,
        "voice": voice,
        "engine": engine,
        "strict_engine": wishes.is_strict,
        "strategy": wishes.strategy,
        "budget_ms": budget,
        "speed": wishes.speed,
    }
    return Config.model_validate({name: value for name, value in fields.items() if value is not None})


def _find(id: str, offered: list[Voice], language: str) -> tuple[Voice, int | None]:
    """The voice of that id, or the one that is meant by it, and the milliseconds that its tier promises."""
    found = next((voice for voice in offered if voice.id == id), None)
    if found is not None:
        return found, None
    alias = find_alias(id)
    found = nearest(alias, offered, language=language) if alias is not None else None
    if alias is None or found is None:
        there = ", ".join(voice.id for voice in offered[:20])
        raise Refused("unknown_voice", f"voice_id: there is no {id!r}; there are: {there}", 422, field="voice_id")
    tier = TIERS.get(alias.tier)
    return found, None if tier is None else round(tier.budget * 1000)


def _pick(message: Mapping[str, Any], ours: str) -> Any:
    """The value under any of its names, here or one level below; two that differ are refused."""
    found = dict(_values(message, NAMES[ours]))
    values = list(found.values())
    if any(value != values[0] for value in values):
        raise Refused("conflicting_fields", f"{' and '.join(found)} differ", 422, field=next(iter(found)))
    return values[0] if values else None


def _values(message: Mapping[str, Any], names: tuple[str, ...]) -> Iterator[tuple[str, Any]]:
    places = [("", message), *((f"{place}.", message[place]) for place in NESTED if isinstance(message.get(place), Mapping))]
    for place, fields in places:
        for name in names:
            if fields.get(name) is not None:
                yield place + name, fields[name]


def _name(message: Mapping[str, Any], ours: str) -> str | None:
    value = _pick(message, ours)
    if value is None:
        return None
    if not isinstance(value, str) or not 0 < len(value) <= NAME_CHARACTERS or not value.isprintable():
        field = NAMES[ours][0]
        raise Refused("bad_field", f"{field} is a string of 1 to {NAME_CHARACTERS} printable characters", 422, field=field)
    return value


def _without_effect(message: Mapping[str, Any]) -> Iterator[str]:
    for place in (message, *(message[name] for name in NESTED if isinstance(message.get(name), Mapping))):
        yield from (name for name, neutral in NEUTRAL.items() if place.get(name) not in (None, neutral))


def _check_reference(message: Mapping[str, Any]) -> None:
    field = "voice_clone_reference"
    try:
        base64.b64decode(message[field], validate=True)
    except (TypeError, ValueError, binascii.Error) as error:
        raise Refused("bad_base64", f"{field} is base64 of a recording: {error}", 422, field=field) from error
    if message.get("allow_voice_fallback") is not True:
        raise Refused("clone_unavailable", "no voice is taken from recordings over WebSocket yet", 503, field=field)


def _no_number(name: str) -> float:
    raise ValueError(f"{name} is no number in JSON")
