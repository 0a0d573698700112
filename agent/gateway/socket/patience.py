"""How long a connection may be silent, in either direction. Pure."""

from __future__ import annotations

from typing import Literal

from agent.gateway.settings import WsSettings

Due = Literal["keepalive", "first_message", "idle"]


class Patience:
    """Whoever keeps the time calls :meth:`on_timer` at :meth:`timer`."""

    def __init__(self, settings: WsSettings, now: float) -> None:
        self._settings = settings
        self._opened = self._heard = self._sent_sign = now
        self._has_spoken = False
        self.sends_signs = False
        """Whether messages of its own tell the client that we live."""

    def on_message(self, now: float) -> None:
        """The client said something, if only that it lives."""
        if not self._has_spoken:
            self._has_spoken, self._heard = True, now

    def on_text(self, now: float) -> None:
        """The client wants something said, or said otherwise."""
        self._heard = now

    def on_busy(self, now: float) -> None:
        """Something is being said to it: it has no reason to speak."""
        self._heard = now

    def timer(self) -> float:
        """Seconds of the clock at which something is due."""
        if not self._has_spoken:
            return self._opened + self._settings.first_message_s
        idle = self._heard + self._settings.idle_s
        return min(idle, self._sent_sign + self._settings.keepalive_s) if self.sends_signs else idle

    def on_timer(self, now: float) -> Due | None:
        if not self._has_spoken:
            return "first_message" if now >= self._opened + self._settings.first_message_s else None
        if now >= self._heard + self._settings.idle_s:
            return "idle"
        if self.sends_signs and now >= self._sent_sign + self._settings.keepalive_s:
            self._sent_sign = now
            return "keepalive"
        return None
