"""What the OpenAPI page says of each route: bodies with examples that run, replies, and every error that can come."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from fastapi.responses import Response
from pydantic import BaseModel

from agent.gateway.encoding import MIMES

Document = dict[str, Any]
Schema = dict[str, Any]
Responses = dict[int | str, dict[str, Any]]

WORDS: Mapping[int, str] = {
    400: "The request cannot be understood or done; `param` names the field.",
    401: "A key is missing or wrong.",
    403: "This key may not do it, or pages of that origin may not call this node.",
    404: "There is no such thing.",
    406: "No acceptable shape: `Accept` takes neither sound nor JSON.",
    408: "The request did not arrive in time.",
    412: "`If-Match` names something else.",
    413: "Too large.",
    415: "Another content type is needed.",
    422: "The request cannot be understood or done; `detail` names each field.",
    429: "Too much was asked lately; `Retry-After` says when to come again.",
    500: "Every engine has failed.",
    501: "Not built yet.",
    503: "No engine can speak, or all slots are taken, or there are too many callers; `Retry-After` says when to come again.",
    504: "It was not ready in time.",
}
ERROR: Schema = {
    "type": "object",
    "required": ["success", "error", "detail", "code", "request_id"],
    "properties": {
        "success": {"type": "boolean", "const": False},
        "error": {"type": "string"},
        "detail": {"anyOf": [{"type": "string"}, {"type": "array", "items": {"$ref": "#/components/schemas/WrongField"}}]},
        "code": {"type": "string"},
        "field": {"type": "string", "description": "What of the request it is about, where that is known."},
        "request_id": {"type": "string"},
    },
}
WRONG_FIELD: Schema = {
    "type": "object",
    "required": ["field", "message", "code"],
    "properties": {"field": {"type": ["string", "null"]}, "message": {"type": "string"}, "code": {"type": "string"}},
}
OPENAI_ERROR: Schema = {
    "type": "object",
    "required": ["error"],
    "properties": {
        "error": {
            "type": "object",
            "required": ["message", "type", "param", "code"],
            "properties": {
                "message": {"type": "string"},
                "type": {"type": "string"},
                "param": {"type": ["string", "null"]},
                "code": {"type": "string"},
            },
        }
    },
}
COMPONENTS: Mapping[str, Schema] = {"Nothing": {"type": "object"}, "Error": ERROR, "WrongField": WRONG_FIELD, "OpenAIError": OPENAI_ERROR}
RETRY = {"Retry-After": {"description": "Seconds.", "schema": {"type": "integer", "minimum": 1}}}
REQUEST_ID = {"X-Request-ID": {"description": "The request's own name, or a new one.", "schema": {"type": "string"}}}
SOUND_HEADERS: Schema = {
    "X-Sample-Rate": {"description": "Hertz.", "schema": {"type": "integer"}},
    "X-Processing-Time": {"description": "Seconds; of a stream: to the first sound.", "schema": {"type": "string"}},
    "X-Language": {"schema": {"type": "string"}},
    "X-Voice": {"description": "Who spoke.", "schema": {"type": "string"}},
    "X-Engine": {"schema": {"type": "string"}},
    "X-Model": {"schema": {"type": "string"}},
    "X-Cache": {"schema": {"type": "string", "enum": ["hit", "miss", "off"]}},
    "X-Fallback": {"description": "Engines that could not, in order; absent where none was passed over.", "schema": {"type": "string"}},
    "X-Shape": {"description": "What decided the shape.", "schema": {"type": "string"}},
    **REQUEST_ID,
}
GATE = (401, 403, 429, 503)
"""What may be answered wherever a key may be needed."""
BINARY: Schema = {"schema": {"type": "string", "format": "binary"}}


class Envelope(BaseModel):
    """A whole reply as JSON. ``audio_data`` is base64 of the encoded file."""

    success: bool
    audio_data: str | None = None
    format: str
    sample_rate: int
    duration_seconds: float
    duration: float
    generation_time_ms: float
    processing_time: float
    cached: bool
    cache_hit: bool
    text_length: int
    model_used: str
    optimizations_applied: list[str]
    memory_usage_mb: float
    engine: str
    voice_id: str
    language: str
    ttfa_ms: float | None
    fallback: list[dict[str, str]]
    warnings: list[str]
    streamed: bool
    shape_rule: str
    request_id: str


class Results(BaseModel):
    """Each an envelope or an error, in the order of the texts."""

    results: list[dict[str, Any]]
    total: int
    failed: int


def refusals(*statuses: int, shape: str = "Error") -> Responses:
    """What can go wrong on a route behind the gate, by status; what the gate itself answers is always among it."""
    content = {"application/json": {"schema": {"$ref": f"#/components/schemas/{shape}"}}}
    found: Responses = {}
    for status in sorted({*GATE, *statuses}):
        headers = {**REQUEST_ID, **(RETRY if status in (429, 503) else {})}
        found[status] = {"description": WORDS[status], "content": content, "headers": headers}
    return found


def body(model: str, **examples: Mapping[str, Any]) -> Document:
    """``examples`` by name: bodies that run as they are."""
    shown = {name.replace("_", " "): {"value": value} for name, value in examples.items()}
    content = {"schema": {"$ref": f"#/components/schemas/{model}"}, "examples": shown}
    return {"openapi_extra": {"requestBody": {"required": True, "content": {"application/json": content}}}}


def said(what: str, schema: Schema, example: Any) -> Responses:
    """A reply in JSON."""
    content = {"application/json": {"schema": schema, "example": example}}
    return {200: {"description": what, "content": content, "headers": REQUEST_ID}}


def an_object(**properties: str | Schema) -> Schema:
    """All required; ``properties``: their types."""
    kinds = {name: {"type": kind} if isinstance(kind, str) else kind for name, kind in properties.items()}
    return {"type": "object", "required": list(kinds), "properties": kinds}


def a_list(schema: Schema | str) -> Schema:
    return {"type": "array", "items": {"type": schema} if isinstance(schema, str) else schema}


HELLO = {"text": "Good morning, and welcome."}
SOUND = {kind: BINARY for kind in dict.fromkeys(MIMES.values())}
SPEECH_ERRORS = (404, 406, 408, 413, 422, 500, 501, 504)
SYNTHESIZE: Document = {
    "response_class": Response,
    "responses": {
        200: {"model": Envelope, "description": "The sound, or the envelope.", "content": SOUND, "headers": SOUND_HEADERS},
        **refusals(*SPEECH_ERRORS),
    },
    **body(
        "SpeechBody",
        only_a_text=HELLO,
        as_an_envelope={**HELLO, "response_format": "json"},
        an_MP3={**HELLO, "format": "mp3", "sample_rate": 44_100},
        with_options={**HELLO, "options": {"language": "en", "voice": "default", "speed": 1.1, "pitch": 1.0}},
        by_description={**HELLO, "voice_description": "a calm female voice"},
    ),
}
STREAM: Document = {
    "response_class": Response,
    "responses": {
        200: {"description": "The sound, while it is made.", "content": SOUND, "headers": SOUND_HEADERS},
        **refusals(*SPEECH_ERRORS),
    },
    **body("SpeechBody", a_stream={**HELLO, "format": "mp3"}),
}
ENVELOPE: Document = {
    "response_class": Response,
    "responses": {
        200: {"model": Envelope, "description": "The envelope.", "headers": SOUND_HEADERS},
        **refusals(*SPEECH_ERRORS),
    },
    **body("SpeechBody", by_model={**HELLO, "model_name": "default"}),
}
BATCH: Document = {
    "response_class": Response,
    "responses": {
        200: {"model": Results, "description": "An envelope or an error for each.", "headers": REQUEST_ID},
        **refusals(408, 413, 422),
    },
    **body("Batch", two_texts={"texts": ["One.", "Two."], "options": {"format": "mp3"}}),
}
MODEL_HEALTH: Document = {
    "responses": {
        **said(
            "Whether a model can speak.",
            an_object(status="string", available_models=a_list("string")),
            {"status": "healthy", "available_models": ["piper"]},
        ),
        **refusals(),
    }
}

V1 = "OpenAIError"
OPENAI_SPEECH: Document = {
    "response_class": Response,
    "responses": {
        200: {
            "description": "The sound, or server-sent events that carry it.",
            "content": {**{kind: BINARY for kind in (*SOUND, "audio/opus")}, "text/event-stream": {"schema": {}}},
            "headers": SOUND_HEADERS,
        },
        **refusals(400, 404, 408, 413, 500, 501, 504, shape=V1),
    },
    **body("SpeechRequest", an_MP3={"model": "tts-1", "voice": "alloy", "input": HELLO["text"]}),
}
_MODEL = an_object(id="string", object="string", created="integer", owned_by="string")
_A_MODEL = {"id": "tts-1", "object": "model", "created": 1767225600, "owned_by": "voicebooth"}
OPENAI_MODELS: Document = {
    "responses": {
        **said("Models.", an_object(object="string", data=a_list(_MODEL)), {"object": "list", "data": [_A_MODEL]}),
        **refusals(shape=V1),
    }
}
OPENAI_MODEL: Document = {"responses": {**said("A model.", _MODEL, _A_MODEL), **refusals(404, shape=V1)}}
OPENAI_VOICES: Document = {
    "responses": {
        **said(
            "Voices.",
            an_object(voices=a_list(an_object(id="string", name="string"))),
            {"voices": [{"id": "alloy", "name": "Alloy"}]},
        ),
        **refusals(shape=V1),
    }
}

_VOICE = an_object(
    voice_id="string",
    id="string",
    name="string",
    language="string",
    gender="string",
    description="string",
    supported_engines=a_list("string"),
    quality_tier="string",
    aliases=a_list("string"),
    engine_voices={"type": "object", "additionalProperties": {"type": "string"}},
    equivalents=a_list("string"),
    clone_capable="boolean",
    sample_rate="integer",
)
_A_VOICE = {
    "voice_id": "en_US-joe-medium",
    "id": "en_US-joe-medium",
    "name": "joe",
    "language": "en-US",
    "gender": "male",
    "description": "",
    "supported_engines": ["piper"],
    "quality_tier": "standard",
    "aliases": ["en-us-male-standard", "v2/en_speaker_6"],
    "engine_voices": {"piper": "en_US-joe-medium"},
    "equivalents": ["am_adam"],
    "clone_capable": False,
    "sample_rate": 22_050,
}
_VOICES = said("Voices.", an_object(voices=a_list(_VOICE)), {"voices": [_A_VOICE]})
VOICES: Document = {"responses": {**_VOICES, **refusals(422)}}
VOICES_OF: Document = {"responses": {**_VOICES, **refusals(422)}}
LANGUAGES: Document = {
    "responses": {
        **said(
            "Languages.",
            an_object(languages=a_list(an_object(code="string", name="string", engines=a_list("string"), voices="integer"))),
            {"languages": [{"code": "en", "name": "English", "engines": ["piper"], "voices": 1}]},
        ),
        **refusals(),
    }
}
_ENGINE = an_object(
    name="string",
    task="string",
    loaded="boolean",
    status="string",
    provider="string",
    source="string",
    model_id="string",
    size_mb={"type": ["number", "null"]},
    version="string",
)
_AN_ENGINE = {
    "name": "piper",
    "task": "text-to-speech",
    "loaded": True,
    "status": "loaded",
    "provider": "local",
    "source": "local",
    "model_id": "en_US-joe-medium",
    "size_mb": 63.2,
    "version": "piper-1",
}
MODELS: Document = {
    "responses": {
        **said("Engines.", {"anyOf": [an_object(models=a_list(_ENGINE)), a_list(_ENGINE)]}, {"models": [_AN_ENGINE]}),
        **refusals(422),
    }
}

_PROBE = an_object(reasons=a_list("string"))
HEALTH: Document = {
    "responses": said(
        "How the node is.",
        an_object(
            status={"type": "string", "enum": ["ok", "degraded", "error"]},
            healthy="boolean",
            model_loaded="boolean",
            uptime_seconds="number",
            device="string",
            cache_size="integer",
            memory_usage="object",
            checks="object",
            level={"type": "string", "enum": ["full", "reduced", "single", "captions"]},
            engines="object",
        ),
        {
            "status": "ok",
            "healthy": True,
            "model_loaded": True,
            "uptime_seconds": 61.5,
            "device": "cpu",
            "cache_size": 12,
            "memory_usage": {"rss_bytes": 350_000_000, "percent": 1.4, "gpu_bytes": 0},
            "checks": {"model": "ok", "gpu": "none", "system": "ok", "temp_dir": "ok"},
            "level": "full",
            "engines": {"piper": {"state": "ready", "reason": "", "voices": 1}},
        },
    )
}
READY: Document = {
    "response_class": Response,
    "responses": {
        **said("It can speak.", {**_PROBE}, {"ready": True, "reasons": []}),
        503: {
            "description": "It cannot, or should not be asked.",
            "content": {"application/json": {"schema": _PROBE, "example": {"ready": False, "reasons": ["canary: it has not spoken yet"]}}},
            "headers": RETRY,
        },
    },
}
LIVE: Document = {
    "response_class": Response,
    "responses": {
        **said("It runs.", {**_PROBE}, {"live": True, "reasons": []}),
        503: {"description": "Its loop was stuck.", "content": {"application/json": {"schema": _PROBE}}},
    },
}
METRICS: Document = {
    "response_class": Response,
    "responses": {200: {"description": "Counts and distributions.", "content": {"text/plain": {"schema": {"type": "string"}}}}},
}
_FIGURES: Schema = {"type": "object"}
STATS: Document = {"responses": {**said("Figures.", _FIGURES, {"uptime_seconds": 61.5}), **refusals()}}
CACHE_STATS: Document = {
    "responses": {
        **said(
            "The cache.",
            an_object(
                enabled="boolean",
                hit_rate="number",
                total_hits="integer",
                total_misses="integer",
                entries="integer",
                size_bytes="integer",
                max_bytes="integer",
                max_entries="integer",
                ttl_seconds="number",
                evictions="integer",
            ),
            {
                "enabled": True,
                "hit_rate": 0.45,
                "total_hits": 45,
                "total_misses": 55,
                "entries": 55,
                "size_bytes": 5_500_000,
                "max_bytes": 500_000_000,
                "max_entries": 1_000,
                "ttl_seconds": 86_400.0,
                "evictions": 0,
            },
        ),
        **refusals(),
    }
}
CONFIG: Document = {
    "responses": {
        **said(
            "Settings by key.",
            an_object(settings=_FIGURES),
            {"settings": {"node.languages": {"value": "en", "origin": "default"}}},
        ),
        **refusals(),
    }
}
CACHE_CLEAR: Document = {
    "status_code": 204,
    "response_class": Response,
    "responses": {204: {"description": "It is empty."}, **refusals()},
}
GC: Document = {
    **body("Nothing", nothing={}),
    "responses": {
        **said(
            "What was given back.",
            an_object(collected="integer", rss_before="integer", rss_after="integer"),
            {"collected": 120, "rss_before": 350_000_000, "rss_after": 349_000_000},
        ),
        **refusals(408, 413, 415, 422),
    },
}


def later(path: str) -> Document:
    """A route that is not built yet."""
    names = re.findall(r"{(\w+)}", path)
    parameters = [{"name": name, "in": "path", "required": True, "schema": {"type": "string"}} for name in names]
    return {
        "response_class": Response,
        "status_code": 501,
        "responses": refusals(501),
        "openapi_extra": {"parameters": parameters} if parameters else {},
    }
