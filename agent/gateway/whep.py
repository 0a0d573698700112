"""Offers of browsers, answered in the shape of WHEP: ``POST`` an offer, ``PATCH`` more addresses, ``DELETE`` to leave."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request, Response

from agent.gateway import documents
from agent.gateway.errors import Refused
from agent.gateway.seats import Guest, Seats
from agent.node import Node

OFFER, FRAGMENT = "application/sdp", "application/trickle-ice-sdpfrag"
ETAG = '"1"'  # each peer has one ICE session for all its life
STATUS = {"bad_offer": 400, "too_large": 413, "too_many_peers": 503, "unavailable": 503, "draining": 503}
AGAIN = 5.0  # seconds after which a node that has no room may be asked again
MISSING = "direct WebRTC needs aiortc: pip install 'voicebooth[peer]'"
_ANSWER: documents.Responses = {
    201: {"description": "The answer; `Location` names the peer.", "content": {OFFER: {"schema": {"type": "string"}}}}
}
_SERVERS = documents.an_object(iceServers={"type": "array", "items": {"type": "object"}})


def routes(node: Node, seats: Seats) -> APIRouter:
    """Without aiortc every request is told what would mend that."""
    router = APIRouter(tags=["direct WebRTC"])
    try:
        from agent.offer import OfferRefused, read_fragment
        from agent.peer import Peers, ice_servers, links
    except ModuleNotFoundError as error:
        if error.name not in ("aiortc", "av"):
            raise
        router.add_api_route("/whep", _missing, methods=["POST"], include_in_schema=False)
        router.add_api_route("/ice", _missing, methods=["GET"], include_in_schema=False)
        return router

    settings = node.settings
    peers = Peers(node, settings.peer, seats, characters=settings.limits.text_chars)
    node.before_end(peers.aclose)
    servers = ice_servers(settings.peer)
    link = {"Link": links(servers)} if servers else {}

    def refused(error: OfferRefused, body: str) -> Refused:
        """``body``: what was sent, which is named where it is to blame."""
        status = STATUS[error.code]
        is_ours = status == 503
        return Refused(error.code, str(error), status, field=None if is_ours else body, retry_after=AGAIN if is_ours else None)

    @router.get(
        "/ice",
        responses={**documents.said("As `RTCPeerConnection` takes it.", _SERVERS, {"iceServers": []}), **documents.refusals()},
    )
    async def ice() -> dict[str, Any]:
        """The STUN and TURN servers that a browser may need on its way to this node."""
        named = [{"urls": one.urls, "username": one.username, "credential": one.credential} for one in servers]
        return {"iceServers": [{name: value for name, value in one.items() if value} for one in named]}

    @router.post(
        "/whep",
        status_code=201,
        response_class=Response,
        openapi_extra=_body(OFFER),
        responses={**_ANSWER, **documents.refusals(400, 408, 413, 415)},
    )
    async def offer(request: Request) -> Response:
        """Connects a browser: SDP offer in, SDP answer out. The offer wants one audio track and may bring a data channel, on
        which the protocol is spoken, one message each."""
        _expect(request, OFFER)
        caller: Guest = request.state.caller
        caller.check()
        try:
            admitted = await peers.admit(await request.body(), caller)
        except OfferRefused as error:
            raise refused(error, "offer") from error
        headers = {"Location": f"/whep/{admitted.id}", "ETag": ETAG, "Accept-Patch": FRAGMENT, **link}
        return Response(admitted.answer, 201, headers, media_type=OFFER)

    @router.options("/whep", status_code=204, response_class=Response, responses={204: {"description": "`Accept-Post` says it."}})
    async def options() -> Response:
        """What may be done here."""
        return Response(status_code=204, headers={"Accept-Post": OFFER, "Allow": "OPTIONS, POST"})

    @router.patch(
        "/whep/{peer}",
        status_code=204,
        response_class=Response,
        openapi_extra=_body(FRAGMENT),
        responses=documents.refusals(400, 404, 408, 412, 413, 415, 422),
    )
    async def trickle(request: Request, peer: str) -> Response:
        """More addresses of a browser that was answered (RFC 8840). ICE is not restarted: offer anew instead."""
        _expect(request, FRAGMENT)
        found = peers.find(peer)
        if found is None:
            raise Refused("not_found", "there is no such peer any more", 404)
        if request.headers.get("if-match", ETAG) not in (ETAG, "*"):
            raise Refused("wrong_session", "If-Match names another ICE session", 412)
        try:
            fragment = read_fragment(await request.body())
        except OfferRefused as error:
            raise refused(error, "fragment") from error
        if fragment.username not in ("", found.username):
            raise Refused("not_supported", "ICE is not restarted here: send a new offer", 422, field="ice-ufrag")
        await found.add(fragment)
        return Response(status_code=204)

    @router.delete("/whep/{peer}", response_class=Response, responses=documents.refusals(404))
    async def leave(peer: str) -> Response:
        """Ends a peer: silence, then goodbye."""
        if not await peers.end(peer):
            raise Refused("not_found", "there is no such peer any more", 404)
        return Response()

    return router


async def _missing() -> Response:
    raise Refused("not_supported", MISSING, 501)


def _expect(request: Request, kind: str) -> None:
    given = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if given != kind:
        raise Refused("bad_type", f"the body is {given[:100] or 'of no type'}: send {kind}", 415, field="content-type")


def _body(kind: str) -> dict[str, Any]:
    return {"requestBody": {"required": True, "content": {kind: {"schema": {"type": "string"}}}}}
