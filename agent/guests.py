"""Lets people of the page into LiveKit rooms: passes signed with the node's own keys."""

from __future__ import annotations

import secrets
import warnings
from dataclasses import dataclass
from datetime import timedelta

from jwt.warnings import InsecureKeyLengthWarning
from livekit import api

from agent.gateway.tokens import ROOM, SCOPE_ATTRIBUTE

LASTS = timedelta(hours=6)  # a long conference day's half; who is inside stays, only joining anew needs another pass


@dataclass(frozen=True, slots=True)
class Pass:
    identity: str
    token: str


def sign(api_key: str, api_secret: str, room: str, *, name: str = "", agent_name: str = "") -> Pass:
    """For one person who listens and sends text, and publishes no sound; it opens no other door of the node, where it would be a way
    around limits and keys. ``agent_name``: the node that such a room asks for."""
    identity = f"guest-{secrets.token_hex(6)}"
    grants = api.VideoGrants(room_join=True, room=room, can_subscribe=True, can_publish=False, can_publish_data=True)
    unsigned = api.AccessToken(api_key, api_secret).with_identity(identity).with_grants(grants).with_ttl(LASTS)
    unsigned = unsigned.with_name(name or "guest").with_attributes({SCOPE_ATTRIBUTE: ROOM})
    if agent_name:
        unsigned = unsigned.with_room_config(api.RoomConfiguration(agents=[api.RoomAgentDispatch(agent_name=agent_name)]))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", InsecureKeyLengthWarning)  # the development server's secret is LiveKit's to choose
        return Pass(identity, unsigned.to_jwt())
