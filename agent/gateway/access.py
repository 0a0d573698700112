"""Who gets in by HTTP, WebSocket and offers, what each may do, and how much of it."""

from __future__ import annotations

import asyncio
import base64
import binascii
import ipaddress
import logging
import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from itertools import pairwise
from pathlib import Path
from urllib.parse import urlsplit

from starlette.requests import HTTPConnection

from agent.config import Settings
from agent.gateway import keyring
from agent.gateway.errors import Refused
from agent.gateway.keyring import ADMIN, SPEAK, Key, Keyring, KeyringError, keys_path
from agent.gateway.quota import Account, Accounts, Quotas
from agent.gateway.tokens import SCOPE_ATTRIBUTE, BadToken, Signer, is_token
from agent.node import Node
from engines.base import EngineError

log = logging.getLogger(__name__)

LOOK = 2.0  # seconds between two looks at the file of keys: so long a key works on after it was taken away
LONGEST = 4096  # characters of a credential: a token takes a few hundred
MAKE_ONE = "`voicebooth keys add NAME` makes a key"
SUBPROTOCOLS = ("token", "bearer")  # behind these a browser puts its key, for it can set no header


@dataclass(frozen=True, slots=True)
class Caller:
    """Whoever was let in."""

    name: str
    """Of the key or token; empty where none was needed."""
    scopes: frozenset[str]
    address: str
    account: Account | None
    """None: nothing is counted."""
    until: float
    """When its session has to end: seconds of the loop's clock."""
    is_known: Callable[[], bool]
    """Whether it would be let in again."""
    loop: asyncio.AbstractEventLoop

    def spend(self, seconds: float) -> None:
        """So much sound was made for it."""
        if self.account is not None:
            self.account.on_audio(seconds, self.loop.time())

    def check(self) -> None:
        """Before more is said to it in a session. Raises :exc:`Refused`: while it has had what a minute may hold, and for good once
        its time is over or its key was taken away."""
        if self.loop.time() > self.until:
            raise Refused("session_over", "this session has lasted as long as it may (limits.session_s), or as its token", 401)
        if not self.is_known():
            raise Refused("unauthorized", "the key is not known here any more", 401)
        if self.account is not None:
            self.account.check_audio(self.loop.time())

    def on_request(self) -> None:
        """One more text, in a request for several. Raises :exc:`Refused` when it is one too many."""
        if self.account is not None:
            self.account.on_request(self.loop.time())

    @contextmanager
    def request(self) -> Iterator[None]:
        """One request over HTTP that is counted. Raises :exc:`Refused` when it is one too many."""
        if self.account is None:
            yield
            return
        self.account.begin()
        try:
            self.account.on_request(self.loop.time())
            yield
        finally:
            self.account.end()


class Access:
    """Asked by every door before anything else. On the node's loop; the file of keys is read in the lane for disks.

    Nobody needs a key where only this machine can call and none has been made; everywhere else everybody does, unless the settings open
    the doors. Nobody's page may call from a browser but those of the origins that the settings name, and our own.
    """

    def __init__(self, node: Node) -> None:
        self._node = node
        self._settings = settings = node.settings
        limits = settings.limits
        self._accounts = Accounts(Quotas(limits.requests_per_minute, limits.concurrent_per_caller, limits.audio_seconds_per_minute))
        self._fixed = Keyring.of_plain(settings.security.keys, settings.security.admin_keys)
        self._signer = Signer(settings.livekit.api_key, settings.livekit.api_secret)
        self._kept: Keyring | None = None
        self._reading: asyncio.Task[None] | None = None
        self._looked = -LOOK
        self._seen: tuple[int, int] | None = None

    async def admit(self, connection: HTTPConnection, scope: str = SPEAK) -> Caller:
        """Raises :exc:`Refused`: 401 without a key that is known, 403 with one that is not good for it, 429, 503."""
        await self._look()
        address = self._address(connection)
        self._check_origin(connection)
        caller = self._identify(_credential(connection), address)
        if scope == ADMIN and not self._is_admin(caller):
            raise Refused("forbidden", "this is for admin keys: `voicebooth keys add NAME --admin` makes one", 403)
        if SPEAK not in caller.scopes:
            raise Refused("forbidden", f"this token is not for speaking here (canPublishData, {SCOPE_ATTRIBUTE})", 403)
        return caller

    async def socket(self, connection: HTTPConnection) -> Caller:
        """The same for a session, whose sound is counted in place of its requests."""
        caller = await self.admit(connection)
        caller.check()
        return caller

    @property
    def _keyring(self) -> Keyring:
        return self._fixed + (self._kept or Keyring())

    @property
    def is_needed(self) -> bool:
        """Whether everybody has to show a key or a token."""
        return not self._settings.security.open and (bool(self._keyring) or not is_loopback(self._settings.server.host))

    def _identify(self, credential: str | None, address: str) -> Caller:
        key = self._keyring.find(credential) if credential and not is_token(credential) else None
        why = "the key is not known here"
        if key is not None:
            return self._caller(key.name, key.scopes, address, f"key {key.name}", is_known=partial(self._knows, key))
        if credential and is_token(credential):
            try:
                bearer = self._signer.read(credential)
                left = bearer.until - datetime.now(UTC).timestamp()
                return self._caller(bearer.identity, bearer.scopes, address, f"token {bearer.identity}", left=left)
            except BadToken as error:
                why = str(error)
        if not self.is_needed:
            is_counted = not is_loopback(address)
            account = _net_of(address) if is_counted else None
            return self._caller("", (SPEAK,), address, account, is_known=lambda: not self.is_needed)
        if not is_loopback(address):
            self._accounts.of(_net_of(address)).on_request(self._now)  # whoever tries keys out is told 429 before long
        words = why if credential else "a key is needed: send it as `Authorization: Bearer <key>`"
        raise Refused("unauthorized", words, 401)

    def _caller(
        self,
        name: str,
        scopes: Sequence[str],
        address: str,
        account: str | None,
        *,
        left: float = math.inf,
        is_known: Callable[[], bool] = lambda: True,
    ) -> Caller:
        """``left``: seconds for which it may stay, whatever the settings say."""
        found = None if account is None else self._accounts.of(account)
        longest = self._settings.limits.session_s or math.inf
        return Caller(name, frozenset(scopes), address, found, self._now + min(longest, left), is_known, self._node.loop)

    def _knows(self, key: Key) -> bool:
        """Whether it has not been taken away, as far as was looked last."""
        self._begin_look()
        return any(known.hash == key.hash for known in self._keyring.keys)

    def _is_admin(self, caller: Caller) -> bool:
        if ADMIN in caller.scopes:
            return True
        return not self._keyring.has_admin and _is_in(caller.address, self._settings.security.admin_from)

    # Where a call comes from

    def _address(self, connection: HTTPConnection) -> str:
        """The nearest address that is no proxy of ours; empty for what comes over no network."""
        client = connection.client
        address = client.host if client is not None else ""
        trusted = self._settings.security.trusted_proxies
        passed = [part.strip() for part in connection.headers.get("x-forwarded-for", "").split(",") if part.strip()]
        while passed and trusted and _is_in(address, trusted):
            address = passed.pop()
        return address if _parse(address) is not None else ""

    def _check_origin(self, connection: HTTPConnection) -> None:
        """A page elsewhere must not use the key, or the nearness, of whoever looks at it."""
        origin, allowed = connection.headers.get("origin"), self._settings.security.cors_origins
        if origin is None or origin in allowed or "*" in allowed:
            return
        name, port = _place(connection.headers.get("host", ""))
        is_ours = bool(name) and _place(origin.partition("//")[2]) == (name, port)
        if is_ours and not self.is_needed and is_loopback(self._settings.server.host):
            is_ours = is_loopback(name)  # not a name that somebody else has pointed at this machine
        if not is_ours:
            raise Refused("origin_not_allowed", "pages of that origin may not call this node (security.cors_origins)", 403)

    # The file of keys

    @property
    def _now(self) -> float:
        return self._node.loop.time()

    async def _look(self) -> None:
        """Now and then, and waited for the first time only."""
        self._begin_look()
        if self._kept is None and self._reading is not None:
            await asyncio.wait((self._reading,))
        if self._kept is None:
            raise Refused("unavailable", "the file of keys cannot be read; the node's log says why", 503, retry_after=LOOK)

    def _begin_look(self) -> None:
        if self._reading is None and self._now - self._looked >= LOOK:
            self._looked = self._now
            self._reading = asyncio.create_task(self._read(), name="keys")

    async def _read(self) -> None:
        path = keys_path(self._settings)
        try:
            seen, found = await self._node.studio.lanes.run(lambda: _read_if_changed(path, self._seen), due=0.0, disk=True)
            self._seen, self._kept = seen, found if found is not None else self._kept
        except (KeyringError, EngineError) as error:
            log.error("keys: %s", error)  # those that were known before go on to work
        finally:
            self._reading = None


def check_start(settings: Settings) -> None:
    """Before a node opens its doors; blocks. Raises :exc:`KeyringError` when everybody could come in and the settings do not say so."""
    security = settings.security
    has_keys = bool(Keyring.of_plain(security.keys, security.admin_keys) + keyring.read(keys_path(settings)))
    host, signer = settings.server.host, Signer(settings.livekit.api_key, settings.livekit.api_secret)
    if settings.server.ports and not (has_keys or security.open or is_loopback(host) or signer.is_usable):
        raise KeyringError(
            f"server.host {host} is heard by other machines, and there is no key: {MAKE_ONE}; security.open=true lets everybody in"
        )


def _read_if_changed(path: Path, seen: tuple[int, int] | None) -> tuple[tuple[int, int], Keyring | None]:
    try:
        status = path.stat()
        now = status.st_mtime_ns, status.st_size
    except FileNotFoundError:
        now = 0, 0
    except OSError as error:
        raise KeyringError(f"{path}: cannot be read: {error.strerror}") from error
    return now, None if now == seen else keyring.read(path)


def _credential(connection: HTTPConnection) -> str | None:
    """The key or token that came with it, of whatever use."""
    kind, _, value = connection.headers.get("authorization", "").partition(" ")
    value = value.strip()
    if len(value) > LONGEST:
        raise Refused("unauthorized", f"a key or token has at most {LONGEST} characters", 401)
    if kind.lower() in ("bearer", "token") and value:
        return value
    if kind.lower() == "basic":
        try:
            return base64.b64decode(value, validate=True).decode().partition(":")[2]
        except (binascii.Error, UnicodeDecodeError):
            raise Refused("unauthorized", "Authorization: not base64 of user:key", 401) from None
    offered = connection.scope.get("subprotocols") or ()
    return next((key for name, key in pairwise(offered) if name in SUBPROTOCOLS and len(key) <= LONGEST), None)


def is_loopback(address: str) -> bool:
    """Whether only this machine is there; so it is where there is no network at all."""
    parsed = _parse(address)
    return address in ("", "localhost") or (parsed is not None and parsed.is_loopback)


def _parse(address: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        parsed = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return None
    return parsed.ipv4_mapped or parsed if isinstance(parsed, ipaddress.IPv6Address) else parsed


def _is_in(address: str, nets: Sequence[str]) -> bool:
    parsed = _parse(address or "127.0.0.1")
    return parsed is not None and any(parsed in ipaddress.ip_network(net) for net in nets)


def _net_of(address: str) -> str:
    """What one caller has: an address, or with IPv6 the 64 bits of a network."""
    parsed = _parse(address)
    return str(ipaddress.ip_network((parsed, 64), strict=False)) if isinstance(parsed, ipaddress.IPv6Address) else address


def _place(netloc: str) -> tuple[str, int | None]:
    """Host and port, those of HTTP and HTTPS left out: a proxy in front may speak either."""
    try:
        parts = urlsplit(f"//{netloc}")
        return (parts.hostname or "").lower(), None if parts.port in (80, 443) else parts.port
    except ValueError:
        return "", None
