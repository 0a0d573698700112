"""The line that each request and each session leaves in the log: what was asked of whom, what came of it, and never what was said."""

from __future__ import annotations

import logging
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from agent import log as logs
from pipeline.journey import NOWHERE, Origin, trace_of

if TYPE_CHECKING:
    from agent.gateway.speech import Facts

log = logging.getLogger(__name__)


@dataclass(slots=True)
class Notes:
    """What is learnt of one request, or one session, on its way."""

    request_id: str
    door: str
    traceparent: str = ""
    """W3C Trace Context of whoever asked, or of the node's own span for it."""
    texts: int = 0
    """Told so far, or parts of them where they come in parts."""
    characters: int = 0
    facts: Facts | None = None
    """Of the latest text; complete when its sound has ended."""
    error: str = ""
    """The code of what was refused."""
    is_fault: bool = False
    """Whether that is a failure which no status tells: the answer had begun."""
    extra: dict[str, object] = field(default_factory=dict)

    @property
    def origin(self) -> Origin:
        """Of the texts that come with it."""
        return Origin(self.door, self.request_id, self.traceparent)

    def on_text(self, characters: int, facts: Facts) -> None:
        """So much is going to be said."""
        self.texts += 1
        self.characters += characters
        self.facts = facts

    def on_refused(self, code: str, *, is_fault: bool = False) -> None:
        """A fault stays: what else is refused after it follows from it, or weighs less."""
        if not self.is_fault:
            self.error, self.is_fault = code, is_fault

    def write(self, words: str, *, took: float, level: int = logging.INFO) -> None:
        """``took``: seconds."""
        line: dict[str, object] = {"request_id": self.request_id, "door": self.door}
        if self.traceparent:
            line["trace_id"] = trace_of(self.traceparent)
        if self.facts is not None:
            line |= {"texts": self.texts, "text_length": self.characters, **self.facts.line()}
        line |= {"took_ms": round(1000 * took, 1), **self.extra}
        if self.error:
            line["error"] = self.error
        log.log(level, "%s", words, extra=line)


_CURRENT: ContextVar[Notes | None] = ContextVar("notes", default=None)


def begin(notes: Notes) -> Notes:
    """From here on, in this task and those that it starts, they are the current ones, and lines of the log carry their name."""
    _CURRENT.set(notes)
    logs.REQUEST.set(notes.request_id)
    return notes


def current() -> Notes | None:
    """None for the node's own work."""
    return _CURRENT.get()


def origin() -> Origin:
    """Of what the current ones ask for."""
    notes = _CURRENT.get()
    return NOWHERE if notes is None else notes.origin


def on_text(characters: int, facts: Facts) -> None:
    """Into the current ones, if there are any: the node's own sentences belong to no request."""
    notes = _CURRENT.get()
    if notes is not None:
        notes.on_text(characters, facts)


def on_refused(code: str, *, is_fault: bool = False) -> None:
    """Likewise. ``is_fault``: as :class:`Notes` has it."""
    notes = _CURRENT.get()
    if notes is not None:
        notes.on_refused(code, is_fault=is_fault)
