"""Which of its two shapes a reply has, the sound's bytes or a JSON envelope: the first step that decides wins. Pure."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Literal

from agent.gateway.errors import Refused

Shape = Literal["bytes", "json"]
TYPES: Mapping[str, tuple[str, ...]] = {
    "wav": ("audio/wav", "audio/x-wav", "audio/wave", "audio/vnd.wave"),
    "mp3": ("audio/mpeg", "audio/mp3"),
    "ogg": ("audio/ogg",),
    "opus": ("audio/ogg", "audio/opus"),
    "flac": ("audio/flac", "audio/x-flac"),
    "aac": ("audio/aac",),
    "pcm": ("audio/pcm", "audio/l16"),
}
"""What each format is called, its content type first."""
JSON = "application/json"
BYTES_FIELDS = frozenset({"options", "voice_description"})
"""Only services that answer with bytes take these."""
JSON_FIELDS = frozenset(
    "voice_id engine stream voice_clone_reference enhance_audio speaker_id use_cache speed pitch language model_name output_format "
    "server_config server_features temperature emotion".split()
)
"""Only services that answer with JSON take these, at the top of a body."""
RANGES = 64  # media ranges of an Accept header that are read


@dataclass(frozen=True, slots=True)
class Reply:
    shape: Shape
    rule: str
    """The step that decided."""
    format: str
    """Empty: nobody has named one."""


@dataclass(frozen=True, slots=True)
class Accept:
    """The media ranges that a caller takes, each with its weight (RFC 9110, section 12.5.1)."""

    weights: Mapping[str, float]

    def weight(self, kind: str) -> float:
        """0 when it is not acceptable. The most exact range counts."""
        main = kind.split("/")[0]
        for name in (kind, f"{main}/*", "*/*"):
            if name in self.weights:
                return self.weights[name]
        return 0.0


def parse_accept(header: str | None) -> Accept | None:
    """None when there is none; ranges that cannot be read are left out."""
    if header is None or not header.strip():
        return None
    weights: dict[str, float] = {}
    for part in header.split(",")[:RANGES]:
        kind, *parameters = (piece.strip().lower() for piece in part.split(";"))
        quality = next((piece[2:] for piece in parameters if piece.startswith("q=")), "1")
        if kind.count("/") == 1 and quality.replace(".", "", 1).isascii() and quality.replace(".", "", 1).isdigit():
            weights[kind] = max(weights.get(kind, 0.0), min(1.0, float(quality)))
    return Accept(weights) if weights else None


def decide(fields: Collection[str], *, named: str, response_format: str, accept: Accept | None, default: Shape) -> Reply:
    """``fields``: those at the top of the body. ``named``: the format that the body names, by any name.

    Raises :exc:`Refused` when no shape is acceptable.
    """
    if response_format:
        return Reply("json" if response_format == "json" else "bytes", "response_format", named)
    if accept is not None:
        format = named or preferred(accept)
        weights = {"json": accept.weight(JSON), "bytes": acceptable(accept, format)}
        if not any(weights.values()):
            raise not_acceptable(named, JSON)
        if weights["json"] != weights["bytes"]:
            return Reply("json" if weights["json"] > weights["bytes"] else "bytes", "accept", format)
        named = format
    if BYTES_FIELDS & set(fields):
        return Reply("bytes", "bytes_fields", named)
    if JSON_FIELDS & set(fields):
        return Reply("json", "json_fields", named)
    return Reply(default, "default", named)


def decide_format(named: str, accept: Accept | None, *, response_format: str = "") -> str:
    """Where only sound is answered: the format, empty when nobody has named one. Raises :exc:`Refused`."""
    if response_format or accept is None:
        return named
    format = named or preferred(accept)
    if not acceptable(accept, format):
        raise not_acceptable(named)
    return format


def preferred(accept: Accept) -> str:
    """The format whose very name is accepted with the most weight; empty when none is named."""
    best, most = "", 0.0
    for format, kinds in TYPES.items():
        weight = max((accept.weights.get(kind, 0.0) for kind in kinds), default=0.0)
        if weight > most:
            best, most = format, weight
    return best


def acceptable(accept: Accept, format: str) -> float:
    """The weight of a format, of any where none is named."""
    kinds = TYPES[format] if format else [kind for kinds in TYPES.values() for kind in kinds]
    return max(accept.weight(kind) for kind in kinds)


def not_acceptable(named: str, *others: str) -> Refused:
    """``others``: what might have been answered in place of sound."""
    sound = f"{TYPES[named][0]} (the body names {named})" if named else "audio/*"
    return Refused("not_acceptable", f"Accept: this is answered with {' or '.join((sound, *others))}", 406, field="Accept")
