"""Tokens that LiveKit's key has signed, as another way in: whoever may send text in a room may send it here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import jwt

from agent.gateway.keyring import ADMIN, SCOPES, SPEAK

KNOWN = "secret"  # what everybody knows of a development server: no token of it opens a door
LEEWAY = 10.0  # seconds by which clocks may differ
SCOPE_ATTRIBUTE = "voicebooth.scopes"
"""Attribute of a token that names what it is good for, ``speak,admin``; without it, it is good for speaking."""
ROOM = "room"
"""The word in it of a pass that is good for a room alone."""


class BadToken(Exception):
    """It lets nobody in; ``str()`` says why."""


@dataclass(frozen=True, slots=True)
class Bearer:
    """Whom a token speaks for."""

    identity: str
    scopes: tuple[str, ...]
    until: float
    """When it ends, in seconds since 1970."""


def is_token(credential: str) -> bool:
    """Whether it looks like one, rather than like a key."""
    return credential.startswith("ey") and credential.count(".") == 2


class Signer:
    """Knows the tokens of one LiveKit key."""

    def __init__(self, api_key: str, api_secret: str) -> None:
        self._key, self._secret = api_key, api_secret

    @property
    def is_usable(self) -> bool:
        """Whether its secret is one."""
        return self._secret not in ("", KNOWN)

    def read(self, token: str) -> Bearer:
        """Raises :exc:`BadToken`."""
        if not self.is_usable:
            raise BadToken("tokens open nothing here: this node has no LiveKit secret of its own")
        try:
            claims = jwt.decode(
                token, self._secret, algorithms=["HS256"], issuer=self._key, leeway=LEEWAY, options={"require": ["exp", "iss"]}
            )
        except jwt.ExpiredSignatureError as error:
            raise BadToken("the token has expired") from error
        except jwt.InvalidTokenError as error:
            raise BadToken("the token is not signed by this node's LiveKit key") from error
        return Bearer(str(claims.get("sub") or "token"), _scopes(claims), float(claims["exp"]))


def _scopes(claims: Mapping[str, Any]) -> tuple[str, ...]:
    video, attributes = claims.get("video"), claims.get("attributes")
    grants = video if isinstance(video, Mapping) else {}
    may_send = grants.get("canPublishData") is not False
    named = attributes.get(SCOPE_ATTRIBUTE, SPEAK) if isinstance(attributes, Mapping) else SPEAK
    asked = {part.strip() for part in named.split(",")} if isinstance(named, str) else {SPEAK}
    if ADMIN in asked:
        asked.add(SPEAK)
    if grants.get("canUpdateOwnMetadata"):
        asked.discard(ADMIN)  # LiveKit signs a participant's token anew with the attributes that he gave himself
    return tuple(scope for scope in SCOPES if scope in asked and (scope != SPEAK or may_send))
