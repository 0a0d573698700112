"""How much one caller may ask: requests a minute, requests at once, seconds of sound a minute. Pure."""

from __future__ import annotations

import math
from collections import OrderedDict
from dataclasses import dataclass
from typing import cast

from pyrate_limiter import Duration, InMemoryBucket, Rate, RateItem

from agent.gateway.errors import Refused

ACCOUNTS = 10_000  # callers that are remembered, 20 KB each at the most; of those that wait for nothing the quietest is forgotten first
SOON = 1.0  # seconds after which one who has too many requests going on may come again


@dataclass(frozen=True, slots=True)
class Quotas:
    """0 is no limit."""

    requests: int
    """A minute."""
    at_once: int
    audio: int
    """Seconds of sound a minute."""


class Allowance:
    """So many units in any minute."""

    def __init__(self, most: int) -> None:
        self._bucket = InMemoryBucket([Rate(most, Duration.MINUTE)])

    def take(self, now: float) -> float:
        """Takes one; or gives the seconds until there will be one."""
        at = int(now * 1000)
        self._bucket.leak(at)
        item = RateItem("", at)
        return 0.0 if self._bucket.put(item) else max(1, cast(int, self._bucket.waiting(item))) / 1000

    @property
    def is_fresh(self) -> bool:
        """Whether nothing of it is taken, as far as was looked last."""
        return not self._bucket.count()

    def look(self, now: float) -> None:
        self._bucket.leak(int(now * 1000))


class Account:
    """What one caller has asked lately."""

    def __init__(self, quotas: Quotas) -> None:
        self._quotas = quotas
        self._requests = Allowance(quotas.requests) if quotas.requests else None
        self._audio = Allowance(quotas.audio) if quotas.audio else None
        self._owed = 0.0  # seconds of sound that were made and did not fit into the minute yet
        self.running = 0

    def on_request(self, now: float) -> None:
        """Raises :exc:`Refused`."""
        if self._requests is not None and (wait := self._requests.take(now)):
            words = f"{self._quotas.requests} requests a minute are allowed here (limits.requests_per_minute)"
            raise Refused("rate_limited", words, 429, retry_after=wait)

    def begin(self) -> None:
        """A request is being answered; :meth:`end` follows. Raises :exc:`Refused`."""
        if self._quotas.at_once and self.running >= self._quotas.at_once:
            words = f"{self.running} requests of yours are being answered (limits.concurrent_per_caller); wait for one of them"
            raise Refused("too_many_requests", words, 429, retry_after=SOON)
        self.running += 1

    def end(self) -> None:
        self.running -= 1

    def on_audio(self, seconds: float, now: float) -> None:
        """So much sound was made for it."""
        if self._audio is not None:
            self._owed += seconds
            self._settle(now)

    def check_audio(self, now: float) -> None:
        """Raises :exc:`Refused` while more was made than a minute may hold."""
        if self._audio is not None and (wait := self._settle(now)):
            most = f"{self._quotas.audio} seconds of speech a minute are allowed here (limits.audio_seconds_per_minute)"
            words = f"{most}; there is room again in {math.ceil(wait)} s"
            raise Refused("rate_limited", words, 429, retry_after=wait)

    def _settle(self, now: float) -> float:
        """Seconds until all that is owed may have fitted."""
        assert self._audio is not None
        while self._owed >= 1.0:
            if wait := self._audio.take(now):
                return wait
            self._owed -= 1.0
        return 0.0

    def is_idle(self, now: float) -> bool:
        """Whether it may be forgotten: nothing of it counts any more."""
        for allowance in (self._requests, self._audio):
            if allowance is not None:
                allowance.look(now)
                if not allowance.is_fresh:
                    return False
        return not self.running and self._owed < 1.0


class Accounts:
    """Of all callers; by name of key, or by address."""

    def __init__(self, quotas: Quotas) -> None:
        self._quotas = quotas
        self._accounts: OrderedDict[str, Account] = OrderedDict()

    def __len__(self) -> int:
        return len(self._accounts)

    def of(self, name: str) -> Account:
        account = self._accounts.get(name)
        if account is None:
            if len(self._accounts) >= ACCOUNTS:
                self._forget_one()
            account = self._accounts[name] = Account(self._quotas)
        self._accounts.move_to_end(name)
        return account

    def _forget_one(self) -> None:
        quiet = next((name for name, account in self._accounts.items() if not account.running), None)
        if quiet is None:
            raise Refused("at_capacity", f"{ACCOUNTS} callers are being answered", 503, retry_after=SOON)
        del self._accounts[quiet]
