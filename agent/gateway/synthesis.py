"""``/synthesize`` and its family: four services' contracts behind one rule."""

from __future__ import annotations

import asyncio
import json
import logging
import math
from collections.abc import AsyncGenerator, Mapping
from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from fastapi.responses import JSONResponse, Response

from agent.gateway import documents, notes
from agent.gateway.batch import Batch
from agent.gateway.clone import take_voice
from agent.gateway.deadline import timely
from agent.gateway.errors import Refused, fault
from agent.gateway.fields import ReplyFormat, SpeechBody, parse_object
from agent.gateway.production import Medium, Product, Workshop
from agent.gateway.replies import AudioStream, describe, envelope, mime, unless_gone
from agent.gateway.shape import Reply, decide, decide_format, parse_accept
from agent.gateway.speech import Facts, Plan, Speech, make_plan
from agent.gateway.wanted import Wanted, as_sent, read

AHEAD = 2  # items of a batch that are made while an earlier one is sent: as many as the lanes of a small machine
TORCH_WAIT = 30.0  # seconds that `/tts/generate` takes where nobody says
ALWAYS_JSON = Reply("json", "route", "")

log = logging.getLogger(__name__)

ResponseFormat = Annotated[ReplyFormat | None, Query(description="As in the body.")]
Enhance = Annotated[bool | None, Query(description="As in the body.")]


@dataclass(frozen=True, slots=True)
class Asked:
    """A request that has been understood."""

    body: SpeechBody
    wanted: Wanted
    plan: Plan
    reply: Reply
    medium: Medium
    request_id: str


def routes(workshop: Workshop) -> APIRouter:
    router = APIRouter(tags=["speech"])
    node, settings = workshop.node, workshop.node.settings
    desk = Desk(workshop)

    @router.post("/synthesize", **documents.SYNTHESIZE)
    async def synthesize(request: Request, response_format: ResponseFormat = None, enhance_audio: Enhance = None) -> Response:
        """Say a text: the sound's bytes or a JSON envelope, whichever the request asks for.

        The first of these that decides wins: `response_format`, `Accept`, a field that only services which answer with bytes take
        (`options`, `voice_description`), a field that only services which answer with JSON take (`voice_id`, `engine`, `speed`, ...),
        the setting `server.default_shape`. `X-Shape` says which it was.
        """
        body = await _read(request, response_format=response_format, enhance_audio=enhance_audio)
        asked = await desk.ask(request, body)
        return await desk.answer(request, asked)

    @router.post("/synthesize/stream", **documents.STREAM)
    async def synthesize_stream(request: Request, response_format: ResponseFormat = None, enhance_audio: Enhance = None) -> Response:
        """Say a text, the sound sent while it is made. A failure after the first byte cuts the connection before its last chunk."""
        return await desk.stream(request, await _read(request, response_format=response_format, enhance_audio=enhance_audio))

    @router.post("/synthesize-stream", **documents.STREAM)
    async def synthesize_stream_too(request: Request, response_format: ResponseFormat = None, enhance_audio: Enhance = None) -> Response:
        """The same as `/synthesize/stream`."""
        return await desk.stream(request, await _read(request, response_format=response_format, enhance_audio=enhance_audio))

    @router.post("/batch_synthesize", **documents.BATCH)
    async def batch_synthesize(request: Request) -> Response:
        """Say several texts, in order; each is an envelope or an error. The answer is written while they are made."""
        batch = Batch.check(await _object(request))
        bodies = batch.bodies(settings.limits.batch_items)
        return AudioStream(b'{"results": [', desk.batch(request, bodies, batch.is_parallel), "application/json", {})

    @router.post("/tts/synthesize", **documents.ENVELOPE)
    async def tts_synthesize(request: Request) -> Response:
        """Say a text by a model's name; always the JSON envelope."""
        body = _with_model(await _read(request))
        return await desk.answer(request, await desk.ask(request, body, reply=ALWAYS_JSON, unknown_engine=404))

    @router.post("/tts/generate", **documents.ENVELOPE)
    async def tts_generate(request: Request) -> Response:
        """The same, with a time in which it has to be ready: `timeout`, by default 30 s."""
        body = _with_model(await _read(request))
        if body.timeout is None:
            body = body.model_copy(update={"timeout": TORCH_WAIT})
        return await desk.answer(request, await desk.ask(request, body, reply=ALWAYS_JSON, unknown_engine=404))

    @router.get("/tts/health", **documents.MODEL_HEALTH)
    async def tts_health() -> dict[str, Any]:
        """Whether a model can speak, and which."""
        return {"status": "healthy" if node.studio.offers else "unhealthy", "available_models": list(node.studio.offers)}

    return router


class Desk:
    """Understands requests, and answers them."""

    def __init__(self, workshop: Workshop) -> None:
        self._workshop = workshop
        self._node = workshop.node
        self._settings = workshop.node.settings

    async def ask(self, request: Request, body: SpeechBody, *, reply: Reply | None = None, unknown_engine: int = 422) -> Asked:
        """``reply``: where the route has only one shape. Raises :exc:`Refused`."""
        limits, server = self._settings.limits, self._settings.server
        wanted = read(body, characters=limits.text_chars, description=limits.description_chars)
        if reply is None:
            accept = parse_accept(request.headers.get("accept"))
            reply = decide(
                body.model_fields_set,
                named=wanted.format,
                response_format=body.response_format or "",
                accept=accept,
                default=server.default_shape,
            )
        medium = Medium.of(wanted, reply.format or wanted.format, self._settings.audio)
        plan = await self._plan(body, wanted, unknown_engine)
        return Asked(body, wanted, plan, reply, medium, request.state.request_id)

    async def _plan(self, body: SpeechBody, wanted: Wanted, unknown_engine: int = 422) -> Plan:
        """Raises :exc:`Refused`."""
        with as_sent(body):
            plan = make_plan(self._node, wanted, unknown_engine=unknown_engine)
        return await take_voice(self._node, self._workshop.slots, wanted, plan)

    async def answer(self, request: Request, asked: Asked) -> Response:
        """Whole, in the shape that was decided."""
        with as_sent(asked.body):
            product = await unless_gone(request.receive, self._workshop.whole(asked.wanted, asked.plan, asked.medium))
        if asked.reply.shape == "json":
            return JSONResponse(self._envelope(product, asked), headers=self._headers(product.facts, asked, product.took))
        return Response(product.data, media_type=mime(asked.medium), headers=self._headers(product.facts, asked, product.took))

    async def stream(self, request: Request, body: SpeechBody) -> Response:
        """While it is made."""
        if body.response_format == "json":
            words = "response_format: a stream holds sound alone; /synthesize has a JSON envelope"
            raise Refused("stream_is_bytes", words, 422, field="response_format")
        limits = self._settings.limits
        wanted = read(body, characters=limits.text_chars, description=limits.description_chars)
        accept = parse_accept(request.headers.get("accept"))
        format = decide_format(wanted.format, accept, response_format=body.response_format or "")
        medium = Medium.of(wanted, format, self._settings.audio)
        plan = await self._plan(body, wanted)
        speech = Speech(self._node, plan)
        asked = Asked(body, wanted, plan, Reply("bytes", "route", format), medium, request.state.request_id)
        pieces = timely(self._workshop.stream(speech, plan, medium), wanted.timeout)
        with as_sent(body):
            first = await unless_gone(request.receive, begin(pieces))
        headers = self._headers(speech.facts, asked, speech.facts.ttft or speech.seconds, is_known=speech.is_known)
        return AudioStream(first, pieces, mime(medium), headers)

    async def batch(self, request: Request, bodies: list[dict[str, Any]], is_parallel: bool) -> AsyncGenerator[bytes, None]:
        """JSON, an item at a time: no more than a few are kept at once."""
        ahead = AHEAD if is_parallel else 1
        tasks: list[asyncio.Task[dict[str, Any]]] = []
        failed = 0
        try:
            for index in range(len(bodies)):
                while len(tasks) < ahead and index + len(tasks) < len(bodies):
                    number = index + len(tasks)
                    tasks.append(asyncio.create_task(self._item(request, bodies[number], is_first=number == 0)))
                result = await tasks.pop(0)
                failed += not result["success"]
                yield (b", " if index else b"") + json.dumps(result).encode()
            yield b'], "total": %d, "failed": %d}' % (len(bodies), failed)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _item(self, request: Request, found: Mapping[str, Any], *, is_first: bool) -> dict[str, Any]:
        try:
            if not is_first:
                request.state.caller.on_request()  # each text is one; the batch itself was counted as the first
            asked = await self.ask(request, SpeechBody.check(found), reply=ALWAYS_JSON)
            wait = asked.wanted.timeout or self._settings.limits.body_wait_s
            with as_sent(asked.body):
                product = await self._workshop.whole(asked.wanted, asked.plan, asked.medium, wait=wait)
            return self._envelope(product, asked)
        except Refused as told:
            refused = told
        except Exception:  # the answer has begun, and the other texts are in it
            log.exception("a text of a batch failed by a fault of ours")
            refused = fault()
        notes.on_refused(refused.code, is_fault=refused.status >= 500)
        again = {} if refused.retry_after is None else {"retry_after": math.ceil(refused.retry_after)}
        return {**refused.body(request.state.request_id), "status": refused.status, **again}

    def _envelope(self, product: Product, asked: Asked) -> dict[str, Any]:
        return envelope(product, asked.wanted, rule=asked.reply.rule, request_id=asked.request_id)

    def _headers(self, facts: Facts, asked: Asked, took: float, *, is_known: bool = True) -> dict[str, str]:
        shape = f"{asked.reply.shape}; by={asked.reply.rule}"
        cache = cache_word(asked.wanted, facts, is_on=self._settings.cache.enabled, is_known=is_known)
        return describe(facts, asked.medium, took=took, cache=cache, shape=shape)


async def begin(pieces: AsyncGenerator[bytes, None]) -> bytes:
    """The first bytes of a stream. Raises :exc:`Refused`; then the stream is closed."""
    return await anext(pieces)


def cache_word(wanted: Wanted, facts: Facts, *, is_on: bool, is_known: bool) -> str:
    """``is_on``: whether the node keeps anything. ``is_known``: whether the facts are those of the whole text."""
    if not (is_on and wanted.use_cache):
        return "off"
    return "hit" if is_known and facts.is_cached else "miss"


async def _object(request: Request) -> dict[str, Any]:
    return parse_object(await request.body())


async def _read(request: Request, **query: Any) -> SpeechBody:
    """The body, and what the query adds to it. Raises :exc:`Refused`."""
    found = await _object(request)
    added = {name: value for name, value in query.items() if value is not None and found.get(name) is None}
    for name, value in query.items():
        if value is not None and name not in added and found[name] != value:
            raise Refused("conflicting_fields", f"{name}: the query and the body say different things", 422, field=name)
    body = SpeechBody.check(found | added)
    body.model_fields_set.difference_update(added)  # which fields the body has tells what its sender takes for an answer
    return body


def _with_model(body: SpeechBody) -> SpeechBody:
    if body.model_name is None:
        raise Refused("field_required", "model_name: is required here; `default` is one", 422, field="model_name")
    return body
