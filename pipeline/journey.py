"""What one sentence went through from its first character to a listener's ear, in times, for whoever follows it. None of its words."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

_TRACEPARENT = re.compile(r"(?!ff)[0-9a-f]{2}-(?!0{32})([0-9a-f]{32})-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}(-.*)?")
LONGEST = 512  # characters of one: today's version has 55, a later one may have more


def read_traceparent(value: object) -> str:
    """A W3C Trace Context, if that is one; else empty, for what is malformed is to be ignored (section 3.2.2.3)."""
    found = _TRACEPARENT.fullmatch(value) if isinstance(value, str) and len(value) <= LONGEST else None
    return "" if found is None or (found[2] and found[0].startswith("00")) else found[0]


def trace_of(value: str) -> str:
    """The id of the trace; empty where it names none."""
    return read_traceparent(value)[3:35]


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a text came in, and what it is part of elsewhere. Nothing in here changes how it is spoken."""

    door: str = ""
    """The family of the place."""
    request: str = ""
    """Name of the request, or of the session."""
    traceparent: str = ""
    """W3C Trace Context of whoever sent it; empty for none."""


NOWHERE = Origin()

How = Literal["spoke", "late", "lost", "failed", "left", "cached", "followed"]
"""``lost``: another engine, that ran beside it, was heard first · ``left``: nobody wanted it any more · ``cached``: it was said from what
is kept · ``followed``: from what was just being made for somebody else."""


@dataclass(frozen=True, slots=True)
class Leg:
    """One engine's part in it. Times are seconds of the loop's clock, here and below."""

    engine: str
    begin: float
    """When its first step got a lane."""
    end: float
    how: How
    error: str = ""
    """The class of what it failed with."""


@dataclass(frozen=True, slots=True)
class Journey:
    """A sentence that is over."""

    origin: Origin
    language: str
    """Without its region."""
    characters: int
    received: float
    """When its first character came."""
    held: float
    """When its last one did."""
    released: float
    """When it was certain that it ends there."""
    end: float
    outcome: str
    """``heard``, ``interrupted``, or ``dropped:<why>``."""
    legs: tuple[Leg, ...] = ()
    audible: float | None = None
    """When its first audible sample went out."""
    engine: str = ""
    """Who spoke it, as far as is known."""
    is_cached: bool = False
    ttft: float | None = None
    """Seconds, as :class:`pipeline.events.SpeechStarted` has them."""
    lag: float | None = None
    encoded: tuple[float, float] | None = None
    """From when to when its sound was encoded, where its door tells."""
