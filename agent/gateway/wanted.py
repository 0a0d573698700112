"""What a request for speech comes to once all its names are read: one value that says everything. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from agent.gateway.errors import Refused
from agent.gateway.fields import SpeechBody, check_text, not_supported
from pipeline.protocol import Strategy

SYNONYMS: Mapping[str, tuple[str, ...]] = {
    "text": ("text", "input"),
    "voice_id": ("voice_id", "speaker_id", "voice"),
    "engine": ("engine", "model_name", "model"),
    "format": ("format", "output_format", "response_format"),
    "use_cache": ("use_cache", "enable_caching"),
}
"""By canonical name; a name that is not here is its own."""
CANONICAL = {synonym: name for name, synonyms in SYNONYMS.items() for synonym in synonyms}
LATER = ("watermark", "ssml", "segments", "webhook_url")
ENGINE_SPEEDS = (0.5, 2.0)  # what engines and the protocol take; what goes beyond is done to the sound


@dataclass(frozen=True, slots=True)
class Wanted:
    """What one text shall sound like, and in what shape."""

    text: str
    voice: str = ""
    """As it was asked for; empty for whoever fits."""
    description: str = ""
    language: str = ""
    engine: str = ""
    is_strict: bool = False
    strategy: Strategy | None = None
    budget: int | None = None
    """Milliseconds to the first sound."""
    speed: float = 1.0
    pitch: float = 1.0
    energy: float = 1.0
    format: str = ""
    """Empty: what the route, or the caller's ``Accept``, has."""
    sample_rate: int | None = None
    has_options: bool = False
    """A block ``options`` was sent: whoever sends one expects 22 050 Hz."""
    use_cache: bool = True
    """False where a voice is to be cloned, too: what a lent voice says is not kept."""
    priority: int = 1
    timeout: float | None = None
    normalize: bool | None = None
    trim: bool | None = None
    compress: bool | None = None
    enhance: bool = False
    include_audio: bool = True
    reference: str = ""
    """Base64 of the sound of a voice that is to be cloned."""
    may_fall_back: bool = False
    warnings: tuple[str, ...] = ()


def read(body: SpeechBody, *, characters: int, description: int) -> Wanted:
    """``characters``, ``description``: how many each may have. Raises :exc:`Refused`."""
    found = Found(body)
    for name in LATER:
        if found.get(name):
            raise not_supported(f"{name} is not supported yet", field=name)
    text, words = found.get("text"), found.get("voice_description") or ""
    if text is None:
        raise Refused("text_required", "text: there is nothing to say", 422, field="text")
    if len(words) > description:
        raise Refused(
            "too_long", f"voice_description: at most {description} characters, these are {len(words)}", 422, field="voice_description"
        )
    ignored = [f"{name}: ignored, no engine here takes it from a request" for name in ("emotion", "temperature") if found.get(name)]
    return Wanted(
        text=check_text(text, characters, field=found.path("text")),
        voice=found.get("voice_id") or "",
        description=words,
        language=(found.get("language") or "").replace("_", "-"),
        engine=found.get("engine") or "",
        is_strict=bool(found.get("strict_engine")),
        strategy=found.get("strategy") or _strategy(found),
        budget=found.get("budget_ms"),
        speed=found.get("speed", 1.0),
        pitch=found.get("pitch", 1.0),
        energy=found.get("energy", 1.0),
        format=found.get("format") or "",
        sample_rate=found.get("sample_rate"),
        has_options=body.options is not None,
        use_cache=found.get("use_cache", True) and not found.get("voice_clone_reference"),
        priority=found.get("priority", 1),
        timeout=found.get("timeout"),
        normalize=found.get("normalize_audio"),
        trim=found.get("trim_silence"),
        compress=found.get("compression"),
        enhance=bool(found.get("enhance_audio")),
        include_audio=found.get("include_audio", True),
        reference=found.get("voice_clone_reference") or "",
        may_fall_back=bool(found.get("allow_voice_fallback")),
        warnings=(*ignored, *body.unknown()),
    )


class Found:
    """The values of a body by canonical name. Equal values under several names pass."""

    def __init__(self, body: SpeechBody) -> None:
        self._body = body

    def _values(self, name: str) -> Iterator[tuple[str, Any]]:
        for path, block in self._body.blocks():
            for synonym in SYNONYMS.get(name, (name,)):
                value = getattr(block, synonym, None)
                if value is not None and (synonym, value) != ("response_format", "json"):
                    yield path + synonym, value

    def get(self, name: str, default: Any = None) -> Any:
        """Raises :exc:`Refused` when two names disagree."""
        values = list(self._values(name))
        if not values:
            return default
        first = values[0]
        for other in values[1:]:
            if other[1] != first[1]:
                message = f"{first[0]} and {other[0]} say different things"
                details = [{"field": place, "message": message, "code": "conflicting_fields"} for place, _ in (first, other)]
                raise Refused("conflicting_fields", message, 422, field=first[0], details=details)
        return first[1]

    def path(self, name: str) -> str:
        """Where the value was found."""
        return next((path for path, _ in self._values(name)), name)


@contextmanager
def as_sent(body: SpeechBody) -> Iterator[None]:
    """What is refused in here names its field as the body does."""
    try:
        yield
    except Refused as refused:
        found = Found(body)
        raise refused.renamed({name: found.path(name) for name in (*SYNONYMS, "language")}) from None


def canonical(name: str) -> str:
    """What a field is called here, whatever its contract calls it."""
    return CANONICAL.get(name, name)


def _strategy(found: Found) -> Strategy | None:
    if found.get("quality_preset") == "maximum":
        return "quality_first"
    level = found.get("optimization_level")
    return None if level is None else "speed_first" if level == "low" else "auto"
