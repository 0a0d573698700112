"""What a dialect decides: small frozen orders, carried out by a connection one after the other."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from agent.gateway.speech import Plan
from agent.gateway.wanted import Wanted
from pipeline.protocol import AnyMessage, ProtocolError

NORMAL, LEAVING, BINARY, NOT_TEXT, REFUSED, TOO_BIG, BROKEN = 1000, 1001, 1003, 1007, 1008, 1009, 1011
"""Why a WebSocket ends: RFC 6455, section 7.4.1."""


@dataclass(frozen=True, slots=True)
class Send:
    """Hand this to the client: an object as JSON text, bytes as they are."""

    message: dict[str, Any] | bytes
    is_counted: bool = True
    """False for what belongs to this connection alone, and is not sent again in the next one."""


@dataclass(frozen=True, slots=True)
class Open:
    """A stage for what follows; the one before it ends, with everything that it still had to say."""


@dataclass(frozen=True, slots=True)
class TakeVoice:
    """Take the voice of the recording that came along, and tell the dialect by ``on_voice``; the next stage's opening breaks it off."""

    wanted: Wanted
    plan: Plan


@dataclass(frozen=True, slots=True)
class Tell:
    """Say this to the stage."""

    message: AnyMessage


@dataclass(frozen=True, slots=True)
class Refuse:
    """Tell the stage that a message could not be taken: it answers, and its number leaves no gap."""

    error: ProtocolError


@dataclass(frozen=True, slots=True)
class Hush:
    """The client has thrown away what it had not heard; so does whoever counts what it has in hand."""


@dataclass(frozen=True, slots=True)
class Resume:
    """Go on in the session that an earlier connection of this client has lost, or remember this one under that name."""

    session: str
    received: int
    """Messages of it that the client has."""


@dataclass(frozen=True, slots=True)
class Close:
    """End the connection, after everything that was sent."""

    code: int
    reason: str = ""


Order = Send | Open | TakeVoice | Tell | Refuse | Hush | Resume | Close
