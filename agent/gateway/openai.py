"""The routes under ``/v1``: what clients of OpenAI's speech service send, unchanged."""

from __future__ import annotations

import base64
import json
import math
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from datetime import UTC, datetime
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Request
from fastapi.responses import Response
from pydantic import BeforeValidator, Field

from agent.gateway import documents, notes
from agent.gateway.deadline import LONGEST, timely
from agent.gateway.encoding import possible_rate
from agent.gateway.errors import Refused
from agent.gateway.fields import Body, Name, Tag, check_text
from agent.gateway.production import Medium, Workshop
from agent.gateway.replies import AudioStream, describe, mime, unless_gone
from agent.gateway.settings import LimitSettings
from agent.gateway.speech import Speech, make_plan
from agent.gateway.synthesis import begin, cache_word
from agent.gateway.wanted import Wanted
from engines.aliases import aliases
from pipeline.protocol import Strategy

LONGEST_INPUT = 4_096  # characters, of that contract
FORMAT = "mp3"
RATE = 24_000  # hertz, of that contract: PCM has no header that could say another
MODELS: Mapping[str, Strategy] = {"tts-1": "auto", "tts-1-hd": "quality_first", "gpt-4o-mini-tts": "auto"}
"""Models of that service, and the strategy that stands for each."""
TOKEN_CHARACTERS, TOKEN_SECONDS = 4, 0.05  # that a token is taken for: nothing here counts any
OWNER = "voicebooth"
NAMES = {"engine": "model", "voice_id": "voice", "voice_description": "instructions", "text": "input"}
"""Of fields in that contract, by ours."""


class VoiceId(Body):
    id: Name


def _id(voice: object) -> object:
    """Of either shape, so that what is wrong with it has one path."""
    return voice["id"] if isinstance(voice, dict) and "id" in voice else voice


class SpeechRequest(Body):
    """As that service has it."""

    model: Name
    """``tts-1``, ``tts-1-hd``, ``gpt-4o-mini-tts``, or an engine of this node."""
    input: Annotated[str, Field(min_length=1, max_length=LONGEST_INPUT)]
    """What is said."""
    voice: Annotated[Name, BeforeValidator(_id, json_schema_input_type=Name | VoiceId)]
    """One of that service's names, or a voice of this node."""
    instructions: str | None = None
    """Words for gender, language, accent and pace."""
    response_format: Literal["mp3", "opus", "aac", "flac", "wav", "pcm"] | None = None
    """``mp3`` where none is named."""
    speed: Annotated[float, Field(ge=0.25, le=4.0)] | None = None
    stream_format: Literal["audio", "sse"] | None = None
    language: Tag | None = None
    """BCP 47 tag, of ours: else that of the voice, or the node's first."""
    timeout: Annotated[float, Field(gt=0, le=LONGEST)] | None = None
    """Seconds in all, of ours."""


def routes(workshop: Workshop) -> APIRouter:
    router = APIRouter(prefix="/v1", tags=["openai"])
    node, settings = workshop.node, workshop.node.settings
    created = int(datetime.now(UTC).timestamp())

    @router.post("/audio/speech", **documents.OPENAI_SPEECH)
    async def speech(request: Request) -> Response:
        """Say a text, the sound sent while it is made: as bytes, or base64 in server-sent events."""
        asked = SpeechRequest.read(await request.body())
        try:
            return await say(request, asked)
        except Refused as refused:
            raise refused.renamed(NAMES) from refused

    async def say(request: Request, asked: SpeechRequest) -> Response:
        wanted = _wanted(asked, settings.limits)
        plan = make_plan(node, wanted, unknown_engine=404)
        format = asked.response_format or FORMAT
        medium = Medium(format, possible_rate(format, RATE))
        spoken = Speech(node, plan)
        pieces = timely(workshop.stream(spoken, plan, medium), asked.timeout)
        first = await unless_gone(request.receive, begin(pieces))
        took = spoken.facts.ttft or spoken.seconds
        cache = cache_word(wanted, spoken.facts, is_on=settings.cache.enabled, is_known=spoken.is_known)
        headers = describe(spoken.facts, medium, took=took, cache=cache, shape="bytes; by=route")
        if asked.stream_format != "sse":
            kind = "audio/opus" if format == "opus" else mime(medium)
            return AudioStream(first, pieces, kind, headers)
        events = _events(first, pieces, spoken, len(asked.input), node.studio.rate)
        return AudioStream(await anext(events), events, "text/event-stream", {**headers, "Cache-Control": "no-store"})

    @router.get("/models", **documents.OPENAI_MODELS)
    async def models() -> dict[str, Any]:
        """That service's names, and the engines that are here."""
        return {"object": "list", "data": [_model(name, created) for name in (*MODELS, *node.studio.offers)]}

    @router.get("/models/{id}", **documents.OPENAI_MODEL)
    async def model(id: str) -> dict[str, Any]:
        if strategy_of(id) is None and id not in node.studio.offers:
            raise Refused("model_not_found", "there is no such model", 404, field="model")
        return _model(id, created)

    @router.get("/audio/voices", **documents.OPENAI_VOICES)
    async def voices() -> dict[str, Any]:
        """That service's names, and the voices that are here."""
        here = [{"id": voice.id, "name": voice.name or voice.id} for offered in node.studio.offers.values() for voice in offered]
        return {"voices": [{"id": alias.id, "name": alias.name} for alias in aliases() if not alias.language] + here}

    return router


def strategy_of(model: str) -> Strategy | None:
    """Of that service's models, and of what it calls a certain day's: ``tts-1-1106``, ``gpt-4o-mini-tts-2025-12-15``."""
    named = [name for name in MODELS if model == name or model.startswith(name + "-")]
    return MODELS[max(named, key=len)] if named else None


def _model(id: str, created: int) -> dict[str, Any]:
    return {"id": id, "object": "model", "created": created, "owned_by": OWNER}


def _wanted(asked: SpeechRequest, limits: LimitSettings) -> Wanted:
    """Raises :exc:`Refused`."""
    description, most = asked.instructions or "", limits.description_chars
    if len(description) > most:
        raise Refused("too_long", f"instructions: at most {most} characters, these are {len(description)}", 422, field="instructions")
    strategy = strategy_of(asked.model)
    return Wanted(
        text=check_text(asked.input, min(LONGEST_INPUT, limits.text_chars), field="input"),
        voice=asked.voice,
        description=description,
        language=(asked.language or "").replace("_", "-"),
        engine="" if strategy else asked.model,
        strategy=strategy,
        speed=asked.speed or 1.0,
    )


async def _events(
    first: bytes, rest: AsyncGenerator[bytes, None], spoken: Speech, characters: int, rate: int
) -> AsyncGenerator[bytes, None]:
    """The sound as server-sent events; a failure is the last of them."""
    async with aclosing(rest):
        yield _delta(first)
        try:
            async for piece in rest:
                yield _delta(piece)
        except Refused as refused:
            notes.on_refused(refused.code, is_fault=refused.status >= 500)
            yield _event({"type": "error", **refused.renamed(NAMES).openai_body()})
            return
    taken = math.ceil(characters / TOKEN_CHARACTERS)
    given = math.ceil(spoken.facts.samples / rate / TOKEN_SECONDS)
    usage = {"input_tokens": taken, "output_tokens": given, "total_tokens": taken + given}
    yield _event({"type": "speech.audio.done", "usage": usage})


def _delta(piece: bytes) -> bytes:
    return _event({"type": "speech.audio.delta", "audio": base64.b64encode(piece).decode()})


def _event(what: dict[str, Any]) -> bytes:
    return f"data: {json.dumps(what)}\n\n".encode()
