"""What a request for speech may hold: one schema for all contracts, in which every name of every one of them works."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, WithJsonSchema
from pydantic_core import ErrorDetails, from_json

from agent.gateway.errors import Refused
from agent.gateway.settings import Format, Rate
from pipeline.protocol import NAME_CHARACTERS, Budget, Strategy, is_markup

ReplyFormat = Literal["json", "wav", "mp3", "ogg", "opus", "flac", "aac", "pcm"]
Factor = Annotated[float, Field(ge=0.5, le=2.0)]
TAG = re.compile(r"[A-Za-z]{2,8}([-_][A-Za-z0-9]{1,8})*")
Tag = Annotated[str, Field(min_length=2, max_length=35, pattern=f"^{TAG.pattern}$")]
Name = Annotated[str, Field(min_length=1, max_length=NAME_CHARACTERS)]
Optimization = Literal["high", "balanced", "low"]
Preset = Literal["maximum", "standard"]

BLOCKS = ("options", "tts_config", "voice_config", "batch_config", "server_config", "server_features")
"""Names under which a body may hold what says how."""
MOST_DETAILS = 20  # wrong fields that are named in one answer: the rest will be told when these are mended
MOST_WARNINGS = 20  # ignored fields that are named
SHOWN = 64  # characters of a caller's own words that are said back
_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x84\x86-\x9f]")
CODES = {
    "missing": "field_required",
    "literal_error": "unsupported_value",
    "string_too_long": "too_long",
    "string_too_short": "too_short",
    "string_pattern_mismatch": "bad_format",
    "greater_than": "out_of_bounds",
    "greater_than_equal": "out_of_bounds",
    "less_than": "out_of_bounds",
    "less_than_equal": "out_of_bounds",
    "too_long": "too_many",
    "too_short": "too_few",
}
"""By pydantic's word for it; everything else is ``wrong_type``."""


class Body(BaseModel):
    """Wrong types are errors; unknown fields are taken, and named in the answer's ``warnings``."""

    model_config = ConfigDict(strict=True, frozen=True, extra="allow", allow_inf_nan=False, use_attribute_docstrings=True)

    @classmethod
    def read(cls, raw: bytes) -> Self:
        """Raises :exc:`Refused`, which names every wrong field."""
        return cls.check(parse_object(raw))

    @classmethod
    def check(cls, found: Mapping[str, Any]) -> Self:
        """The same of what has been parsed."""
        try:
            return cls.model_validate(found)
        except ValidationError as error:
            raise refuse(error) from None


class Options(Body):
    """How a text is said. All of them work at the top of a body and in each of its blocks."""

    voice_id: Name | None = None
    """A voice of ``/voices``, or one of the ids that stand for a kind of voice."""
    speaker_id: Name | None = None
    """The same as ``voice_id``."""
    voice: Name | None = None
    """The same as ``voice_id``."""
    voice_description: str | None = None
    """Words for gender, language, accent and pace, which choose a voice where none is named."""
    language: Tag | None = None
    """BCP 47 tag; the voice's own where none is named."""
    engine: Name | None = None
    """Tried first; the others follow."""
    model_name: Name | None = None
    """The same as ``engine``."""
    model: Name | None = None
    """The same as ``engine``."""
    strict_engine: bool | None = None
    """Whether nobody else may speak where ``engine`` cannot."""
    strategy: Strategy | None = None
    """How an engine is chosen."""
    budget_ms: Budget | None = None
    """Milliseconds within which the first sound should be made; an engine is chosen that is in time."""
    speed: Factor | None = None
    """2 is twice as fast."""
    pitch: Factor | None = None
    """2 is an octave higher."""
    energy: Factor | None = None
    """2 is twice as loud."""
    emotion: Annotated[str, Field(max_length=32)] | None = None
    """Ignored with a warning: no engine here knows it."""
    temperature: Annotated[float, Field(ge=0, le=2)] | None = None
    """Ignored with a warning: no engine here takes it from a request."""
    format: Format | None = None
    """What the sound is encoded as."""
    output_format: Format | None = None
    """The same as ``format``."""
    sample_rate: Rate | None = None
    """Hertz."""
    use_cache: bool | None = None
    """Whether sentences that were said before may be taken from the cache."""
    enable_caching: bool | None = None
    """The same as ``use_cache``."""
    optimization_level: Optimization | None = None
    """``low`` chooses whoever is heard first, the others as strategy ``auto`` does."""
    quality_preset: Preset | None = None
    """``maximum`` chooses whoever sounds best."""
    normalize_audio: bool | None = None
    """Whether a whole reply is brought to the loudness of the settings."""
    trim_silence: bool | None = None
    """Whether a whole reply loses the silence at its ends."""
    compression: bool | None = None
    """Whether quiet parts are made louder."""
    enhance_audio: bool | None = None
    """Whether noise and rumble are taken out."""
    watermark: bool | None = None
    """Not supported yet."""


Block = Annotated[Options, WithJsonSchema({"type": "object", "description": "The same fields as `options`."})]


class SpeechBody(Options):
    """A text and how it is said."""

    text: str | None = None
    """What is said."""
    input: str | None = None
    """The same as ``text``."""
    response_format: ReplyFormat | None = None
    """``json`` for the envelope, or a format for the sound itself."""
    options: Options | None = None
    """Any of the fields that say how."""
    tts_config: Block | None = None
    """The same as ``options``."""
    voice_config: Block | None = None
    """The same as ``options``."""
    batch_config: Block | None = None
    """The same as ``options``."""
    server_config: Block | None = None
    """The same as ``options``."""
    server_features: Block | None = None
    """The same as ``options``."""
    stream: bool | None = None
    """Asks for the envelope; sound that is sent while it is made comes from the streaming routes."""
    include_audio: bool | None = None
    """Whether the envelope holds the sound."""
    priority: Annotated[int, Field(ge=0, le=9)] | None = None
    """Lower goes first."""
    timeout: Annotated[float, Field(gt=0, le=300)] | None = None
    """Seconds in all."""
    enable_batching: bool | None = None
    """Taken and without effect: sentences share the lanes by their deadlines."""
    voice_clone_reference: Annotated[str, Field(min_length=1)] | None = None
    """Base64 of 3 to 10 s of somebody's speech, whose voice is to speak."""
    allow_voice_fallback: bool | None = None
    """Whether another voice may speak where none can be cloned."""
    ssml: bool | None = None
    """Not supported yet."""
    segments: list[dict[str, Any]] | None = None
    """Not supported yet."""
    webhook_url: str | None = None
    """Not supported yet."""

    def blocks(self) -> Iterator[tuple[str, Options]]:
        """Itself and its blocks, each with the path to its fields."""
        yield "", self
        for name in BLOCKS:
            block = getattr(self, name)
            if block is not None:
                yield f"{name}.", block

    def unknown(self) -> list[str]:
        """Fields that mean nothing here, said so."""
        names = [path + name for path, block in self.blocks() for name in block.model_extra or ()]
        return [f"{clip(name)}: unknown field, ignored" for name in names[:MOST_WARNINGS]]


def parse_object(raw: bytes) -> dict[str, Any]:
    """Raises :exc:`Refused`."""
    try:
        found = from_json(raw, allow_inf_nan=False, cache_strings="none")
    except ValueError as error:
        raise Refused("bad_json", f"the body is not JSON in UTF-8: {error}", 422) from None
    if not isinstance(found, dict):
        raise Refused("bad_json", "the body is a JSON object", 422)
    return found


def check_text(text: str, most: int, *, field: str = "text") -> str:
    """Raises :exc:`Refused` for what cannot be said."""
    if not text.strip():
        raise Refused("text_required", f"{field}: there is nothing to say", 422, field=field)
    if len(text) > most:
        raise Refused("text_too_long", f"{field}: at most {most} characters, these are {len(text)}", 422, field=field)
    if found := sorted({*_CONTROL.findall(text)}):
        names = ", ".join(f"U+{ord(one):04X}" for one in found)
        raise Refused("bad_text", f"{field}: holds control characters: {names}", 422, field=field)
    if is_markup(text):
        raise not_supported("SSML is not understood yet: send plain text", field=field)
    return text


def not_supported(message: str, *, field: str | None = None) -> Refused:
    """For what has a contract and is not built yet."""
    return Refused("not_supported", message, 501, field=field)


def clip(words: str) -> str:
    """A caller's own words, as they may stand in a sentence of ours."""
    shown = words if len(words) <= SHOWN else words[:SHOWN] + "…"
    return shown.encode("unicode_escape").decode() if not shown.isprintable() else shown


def refuse(error: ValidationError) -> Refused:
    """Every wrong field by its path."""
    details = [_detail(one) for one in error.errors(include_url=False, include_input=False)[:MOST_DETAILS]]
    message = "; ".join(f"{one['field']}: {one['message']}" if one["field"] else one["message"] for one in details[:3])
    return Refused(details[0]["code"], message, 422, field=details[0]["field"], details=details)


def _detail(error: ErrorDetails) -> dict[str, Any]:
    path = ".".join(clip(str(part)) for part in error["loc"])
    message = error["msg"].removeprefix("Value error, ")
    return {"field": path, "message": message[0].lower() + message[1:], "code": CODES.get(error["type"], "wrong_type")}
