"""How many requests there are: now, and since the start."""

from __future__ import annotations

from collections.abc import Callable

from agent.gateway.bounds import Exchange


class Traffic:
    """Counts, and hands each exchange on to whoever counts more."""

    def __init__(self, *others: Callable[[Exchange], None]) -> None:
        self._others = others
        self.total = 0
        self.errors = 0
        """Answered with 500 or more, or failed after the answer had begun; who hangs up before it (499) is no error of the node."""
        self.active = 0

    def on_request(self) -> None:
        self.total += 1
        self.active += 1

    def on_exchange(self, exchange: Exchange) -> None:
        self.active -= 1
        self.errors += exchange.is_fault or exchange.status >= 500
        for other in self._others:
            other(exchange)
