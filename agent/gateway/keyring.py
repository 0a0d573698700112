"""The keys by which callers are known: each is shown once, and only its hash is kept."""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import re
import secrets
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from agent.config import Settings, settings_folder

SPEAK, ADMIN = "speak", "admin"
SCOPES = (SPEAK, ADMIN)
"""What a key may be good for: to have text spoken and to read lists; and to change the node, which includes the other."""
FILE = "keys.json"
PREFIX = "vb_"
SECRET_BYTES = 32  # random ones: no guess and no table finds them, so that a plain hash is as good at rest as a slow one
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
FILE_BYTES = 1 << 20  # a file of keys holds thousands; more than this is some other file


class KeyringError(Exception):
    """The file of keys cannot be used as it is, or not for that; ``str()`` says why and what mends it, in one line."""


@dataclass(frozen=True, slots=True)
class Key:
    """What is kept of a key."""

    name: str
    scopes: tuple[str, ...]
    hash: str
    """SHA-256, hexadecimal."""
    created: str = ""
    """The day, ISO 8601."""


def keys_path(settings: Settings) -> Path:
    """The file of keys."""
    return settings.security.keys_file or settings_folder() / FILE


class Keyring:
    """Keys that are known. Comparing takes the same time for every wrong one."""

    def __init__(self, keys: Iterable[Key] = ()) -> None:
        self.keys = tuple(keys)

    @classmethod
    def of_plain(cls, keys: Sequence[str], admin_keys: Sequence[str]) -> Keyring:
        """Those that the settings hold."""
        plain = [Key(f"settings-{number}", (SPEAK,), digest(key)) for number, key in enumerate(keys, 1)]
        return cls([*plain, *(Key(f"settings-admin-{number}", SCOPES, digest(key)) for number, key in enumerate(admin_keys, 1))])

    def find(self, presented: str) -> Key | None:
        wanted, found = digest(presented), None
        for key in self.keys:
            if hmac.compare_digest(key.hash, wanted):
                found = key
        return found

    def __add__(self, other: Keyring) -> Keyring:
        return Keyring([*self.keys, *other.keys])

    def __bool__(self) -> bool:
        return bool(self.keys)

    @property
    def has_admin(self) -> bool:
        return any(ADMIN in key.scopes for key in self.keys)


def digest(key: str) -> str:
    return hashlib.sha256(key.encode("utf-8", "surrogateescape")).hexdigest()


def read(path: Path) -> Keyring:
    """None are there where there is no such file. Blocks. Raises :exc:`KeyringError`."""
    try:
        if path.stat().st_size > FILE_BYTES:
            raise KeyringError(f"{path}: a file of keys holds at most {FILE_BYTES} bytes")
        found = json.loads(path.read_text(encoding="utf-8"))
        return Keyring([_key(row) for row in found["keys"]])
    except FileNotFoundError:
        return Keyring()
    except OSError as error:
        raise KeyringError(f"{path}: cannot be read: {error.strerror}") from error
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise KeyringError(f"{path}: this is no file of keys; move it away, and make new ones with `voicebooth keys add`") from error


def add(path: Path, name: str, scopes: Sequence[str]) -> str:
    """The new key, which is nowhere else. Blocks. Raises :exc:`KeyringError`."""
    if not NAME.fullmatch(name):
        raise KeyringError(f"{name!r} is no name for a key: letters, digits, dots, hyphens, at most 64")
    if unknown := [scope for scope in scopes if scope not in SCOPES]:
        raise KeyringError(f"there is no scope {unknown[0]!r}; there are: {', '.join(SCOPES)}")
    kept = read(path)
    if any(key.name == name for key in kept.keys):
        raise KeyringError(f"there is a key of the name {name} already; `voicebooth keys remove {name}` takes it away")
    fresh = PREFIX + secrets.token_urlsafe(SECRET_BYTES)
    given = tuple(scope for scope in SCOPES if scope in scopes or ADMIN in scopes)
    key = Key(name, given, digest(fresh), datetime.now(UTC).date().isoformat())
    _write(path, [*kept.keys, key])
    return fresh


def remove(path: Path, name: str) -> None:
    """Blocks. Raises :exc:`KeyringError`."""
    kept = read(path)
    left = [key for key in kept.keys if key.name != name]
    if len(left) == len(kept.keys):
        raise KeyringError(f"there is no key of the name {name!r}; there are: {', '.join(key.name for key in left) or 'none'}")
    _write(path, left)


def _key(row: Any) -> Key:
    key = Key(str(row["name"]), tuple(row["scopes"]), str(row["hash"]), str(row.get("created", "")))
    if not re.fullmatch(r"[0-9a-f]{64}", key.hash) or not set(key.scopes) <= set(SCOPES):
        raise ValueError(key.name)
    return key


def _write(path: Path, keys: Sequence[Key]) -> None:
    """As a whole or not at all, and for nobody else to read."""
    fresh = path.with_name(f"{path.name}.{secrets.token_hex(4)}")
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with open(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:
            json.dump({"keys": [asdict(key) for key in keys]}, file, indent=1)
            file.flush()
            os.fsync(file.fileno())
        fresh.replace(path)
    except OSError as error:
        fresh.unlink(missing_ok=True)
        raise KeyringError(f"{path}: cannot be written: {error.strerror}") from error
