"""The one error of the doors, and how it looks in each family of contracts."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

OPENAI = "/v1/"
KINDS = {401: "authentication_error", 403: "permission_error", 429: "rate_limit_error", 501: "invalid_request_error"}
"""What the OpenAI contract calls them; other refusals below 500 are ``invalid_request_error``, from 500 on ``server_error``. 501 is the
caller's, who asked for what is not built yet."""


class Refused(Exception):
    """Something that was asked for is not done. Every door tells it in the shape of its own contract."""

    def __init__(
        self,
        code: str,
        message: str,
        status: int,
        *,
        field: str | None = None,
        retry_after: float | None = None,
        details: Sequence[dict[str, Any]] = (),
    ) -> None:
        """``code``: a token for programs. ``message``: a sentence for people. ``field``: what of the request it is about.
        ``retry_after``: seconds. ``details``: when several fields are wrong, one object each."""
        super().__init__(message)
        self.code = code
        self.message = message
        self.status = status
        self.field = field
        self.retry_after = retry_after
        self.details = tuple(details)

    def renamed(self, names: Mapping[str, str]) -> Refused:
        """The same to a caller who calls the field otherwise. ``names``: his, by ours."""
        name = names.get(self.field or "", self.field)
        if name == self.field:
            return self
        words = self.message.removeprefix(f"{self.field}: ")
        message = self.message if words == self.message else f"{name}: {words}"
        return Refused(self.code, message, self.status, field=name, retry_after=self.retry_after, details=self.details)

    @property
    def is_for_good(self) -> bool:
        """Whether no waiting mends it: a key or a session's time is what is missing."""
        return self.status == 401

    @property
    def headers(self) -> dict[str, str]:
        """HTTP's own words for it."""
        headers = {} if self.retry_after is None else {"Retry-After": str(max(1, math.ceil(self.retry_after)))}
        return {**headers, "WWW-Authenticate": "Bearer"} if self.status == 401 else headers

    def body(self, request_id: str) -> dict[str, Any]:
        """Outside ``/v1``."""
        detail: Any = self.message
        if self.status == 422:
            detail = list(self.details) or [{"field": self.field, "message": self.message, "code": self.code}]
        named = {} if self.field is None else {"field": self.field}
        return {"success": False, "error": self.message, "detail": detail, "code": self.code, **named, "request_id": request_id}

    def openai_body(self) -> dict[str, Any]:
        """Under ``/v1``; what is 422 elsewhere is 400 there."""
        kind = KINDS.get(self.status, "server_error" if self.status >= 500 else "invalid_request_error")
        return {"error": {"message": self.message, "type": kind, "param": self.field, "code": self.code}}

    @property
    def openai_status(self) -> int:
        return 400 if self.status == 422 else self.status

    def told(self, path: str, request_id: str) -> tuple[dict[str, Any], int]:
        """Body and status, in the shape of the contract that the path belongs to."""
        if path.startswith(OPENAI):
            return self.openai_body(), self.openai_status
        return self.body(request_id), self.status


def fault() -> Refused:
    """What a fault of ours is told as: nothing of its insides."""
    return Refused("internal", "the node has failed at this; its log says how", 500)
