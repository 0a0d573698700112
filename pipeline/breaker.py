"""Keeps sentences away from a voice that fails, and finds out by itself when it can speak again."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Annotated

from pydantic import Field


@dataclass(frozen=True, slots=True)
class BreakerSettings:
    """When a voice is left alone, and for how long."""

    failures: Annotated[int, Field(ge=1, le=100)] = 5
    """Failures in a row after which it is left alone: one in three is borne for ever, for every sentence is saved by the next engine."""
    rest: Annotated[float, Field(ge=0.1, le=3600)] = 3.0
    """Seconds until it is asked for a sentence of our own; twice as long after each one that fails."""
    longest_rest: Annotated[float, Field(ge=0.1, le=86_400)] = 300.0
    """Seconds beyond which the rest does not grow."""


class State(Enum):
    CLOSED = "closed"  # it speaks
    OPEN = "open"  # it rests
    PROBING = "probing"  # it says a sentence of ours


class Breaker:
    """One voice of one engine. Users' sentences pass only while it is closed; :meth:`probe` says when to try it with one of ours. Pure."""

    def __init__(self, settings: BreakerSettings) -> None:
        self._settings = settings
        self._failures = 0
        self._rest = settings.rest
        self.state = State.CLOSED
        self.probe_at: float | None = None
        """When it wants to be tried; None when it does not."""

    @property
    def is_closed(self) -> bool:
        return self.state is State.CLOSED

    def on_failed(self, *, now: float, for_good: bool = False, rest: float = 0.0) -> bool:
        """A user's sentence failed. True when that opened it. ``for_good``: the engine said itself that it cannot be used, for at
        least ``rest`` seconds."""
        self._failures += 1
        if not self.is_closed or not (for_good or self._failures >= self._settings.failures):
            return False
        self._rest = min(max(self._rest, rest), self._settings.longest_rest)
        self._open(now)
        return True

    def on_spoken(self) -> None:
        """A user's sentence was said: as its last hope, where it was open."""
        self._failures = 0
        if self.state is State.OPEN:
            self._close()

    def probe(self, now: float) -> bool:
        """True when it is to be tried now; :meth:`on_probed` follows."""
        if self.state is not State.OPEN or self.probe_at is None or now < self.probe_at:
            return False
        self.state, self.probe_at = State.PROBING, None
        return True

    def on_probed(self, well: bool, *, now: float) -> None:
        if well:
            self._close()
        else:
            self._rest = min(2 * self._rest, self._settings.longest_rest)
            self._open(now)

    def _open(self, now: float) -> None:
        self.state, self.probe_at = State.OPEN, now + self._rest

    def _close(self) -> None:
        self.state, self.probe_at = State.CLOSED, None
        self._failures, self._rest = 0, self._settings.rest
