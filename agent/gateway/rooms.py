"""Passes into LiveKit rooms, for the page and for whoever has no keys of its own."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request
from pydantic import ConfigDict

from agent.gateway import documents
from agent.gateway.errors import Refused
from agent.gateway.fields import Body
from agent.node import Node
from pipeline.protocol import Name

NO_ROOMS = "this node has no LiveKit server: start it with LIVEKIT_URL, or with `voicebooth run --dev`"
ENCRYPTED = "the rooms of this node are encrypted end to end, and a pass does not hold the key"
_ROOMS = documents.an_object(available="boolean", url={"type": ["string", "null"]}, why={"type": ["string", "null"]})
_SOME = {"available": True, "url": "wss://rooms.example.org", "why": None}
_PASS = documents.an_object(url="string", room="string", identity="string", token="string")
_ERRORS = documents.refusals(408, 413, 422, 501)
_ONE = {"url": "wss://rooms.example.org", "room": "lobby", "identity": "guest-0123456789ab", "token": "eyJ..."}


class PassRequest(Body):
    """Which room."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"room": "lobby"}]})

    room: Name
    name: Name | None = None
    """How the others see this person."""


def routes(node: Node) -> APIRouter:
    router = APIRouter(tags=["rooms"])
    livekit = node.settings.livekit
    url = livekit.public_url or livekit.url
    why = NO_ROOMS if not livekit.url else ENCRYPTED if livekit.encryption_key else None

    @router.get("/room", responses={**documents.said("Rooms.", _ROOMS, _SOME), **documents.refusals()})
    async def rooms() -> dict[str, Any]:
        """Whether this node gives passes into rooms, and where these are."""
        return {"available": why is None, "url": url or None, "why": why}

    @router.post("/room/token", responses={**documents.said("A pass.", _PASS, _ONE), **_ERRORS}, **documents.body("PassRequest"))
    async def token(request: Request) -> dict[str, Any]:
        """A pass for one person who listens in a room and sends text there. The node comes into the room by itself."""
        wanted = PassRequest.read(await request.body())
        if why is not None:
            raise Refused("not_supported", why, 501)
        from agent.guests import sign

        made = sign(livekit.api_key, livekit.api_secret, wanted.room, name=wanted.name or "", agent_name=livekit.agent_name)
        return {"url": url, "room": wanted.room, "identity": made.identity, "token": made.token}

    return router
