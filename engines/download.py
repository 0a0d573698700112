"""Brings files from where they are published: each whole and checked, or not at all; what broke off goes on where it stopped.

Errors, all :exc:`engines.base.EngineError`:

* :exc:`CatalogError`: a voice or model cannot be had
    * :exc:`NoNetwork`: its source cannot be reached, or this is offline
    * :exc:`NotOnHub`: its source does not have the file
    * :exc:`WrongHash`: the file is not the one that the catalog means
    * :exc:`DiskFull`: there is no room for it
    * :exc:`Busy`: another process has been installing the same for too long
    * :exc:`NotAccepted`: its licence has to be accepted first
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import http.client
import os
import shutil
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from engines.base import EngineError

SILENCE = 20.0  # seconds without a byte after which a connection is given up
ATTEMPTS = 5  # connections without any progress; one that brought something starts the count anew
BLOCK = 1 << 18  # bytes read at once: small enough for a smooth bar, large enough to cost nothing
LOCKED = 900.0  # seconds to wait for another process that installs the same: 100 MB on a slow line
POLL = 0.2  # seconds between two looks at its lock
MD5_DIGITS = 32


class CatalogError(EngineError):
    """A voice or model cannot be had."""


class NoNetwork(CatalogError):
    """Its source cannot be reached, or this is offline."""


class NotOnHub(CatalogError):
    """Its source does not have the file."""


class WrongHash(CatalogError):
    """A file is not the one that the catalog means."""


class DiskFull(CatalogError):
    """There is no room for the file."""


class Busy(CatalogError):
    """Another process has been installing the same for too long."""


class NotAccepted(CatalogError):
    """Its licence has to be accepted first."""


@dataclass(frozen=True, slots=True)
class File:
    """One file of a voice or model."""

    path: str
    """Below the URL of its source."""
    size: int
    """Bytes."""
    digest: str
    """sha256, or md5 where its source gives no other: that finds damage; against forgery stands the encrypted connection."""

    @property
    def name(self) -> str:
        return self.path.rsplit("/", 1)[-1]

    @property
    def algorithm(self) -> str:
        return "md5" if len(self.digest) == MD5_DIGITS else "sha256"

    def is_at(self, path: Path) -> bool:
        """Whether it lies there, whole and undamaged. Reads all of it."""
        if size_of(path) != self.size:
            return False
        with path.open("rb") as content:
            return hashlib.file_digest(content, lambda: hashlib.new(self.algorithm, usedforsecurity=False)).hexdigest() == self.digest


class Source:
    """One place from which files come. Blocks."""

    def __init__(self, url: str, *, offline: bool = False, pause: float = 1.0) -> None:
        """``pause``: seconds before a broken connection is tried again, doubled each time."""
        self.url = url.rstrip("/")
        self._offline = offline
        self._pause = pause

    def bring(self, file: File, target: Path, tell: Callable[[int], None]) -> None:
        """It appears under its name when it is whole and its hash is right. Raises :exc:`CatalogError` and :exc:`OSError` of the disk.

        ``tell`` is told the bytes that are here.
        """
        if file.is_at(target):
            tell(file.size)
            return
        if self._offline:
            raise NoNetwork(f"{file.name} is not here, and this is offline", remedy=f"put it into {target.parent}, or leave out offline")
        part = part_of(target)
        check_room(target.parent, file.size - min(size_of(part), file.size))
        self._bring_part(file, part, tell)
        if not file.is_at(part):
            part.unlink(missing_ok=True)
            raise self._wrong(file)
        os.replace(part, target)

    def _bring_part(self, file: File, part: Path, tell: Callable[[int], None]) -> None:
        failures, pause, best = 0, self._pause, size_of(part)
        while size_of(part) != file.size:
            try:
                self._fetch(file, part, tell)
            except urllib.error.HTTPError as problem:
                problem.close()
                if problem.code == 416:  # what is here does not fit what is there
                    part.unlink(missing_ok=True)
                elif problem.code < 500 and problem.code != 429:
                    raise NotOnHub(f"{problem.url} answers {problem.code}", remedy="voicebooth models list") from problem
                failure: Exception = problem
            except (urllib.error.URLError, http.client.HTTPException, ConnectionError, TimeoutError) as problem:
                failure = problem
            else:
                failure = ConnectionError("the connection ended early")
            if size_of(part) == file.size:
                break
            failures, pause = (0, self._pause) if size_of(part) > best else (failures + 1, pause * 2)
            best = max(best, size_of(part))
            if failures == ATTEMPTS:
                raise NoNetwork(f"{self.url} cannot be reached for {file.name}: {failure}", remedy="try again, it goes on from here")
            time.sleep(pause)

    def _fetch(self, file: File, part: Path, tell: Callable[[int], None]) -> None:
        """One connection: what it brings goes behind what is there."""
        start = size_of(part) if size_of(part) < file.size else 0
        request = urllib.request.Request(f"{self.url}/{urllib.parse.quote(file.path)}")
        if start:
            request.add_header("Range", f"bytes={start}-")
        with urllib.request.urlopen(request, timeout=SILENCE) as answer:
            if start and (answer.status != 206 or not answer.headers.get("Content-Range", "").startswith(f"bytes {start}-")):
                start = 0  # it does not know ranges and begins again
            if answer.length is not None and start + answer.length != file.size:
                raise self._wrong(file)
            with part.open("r+b" if start else "wb") as out:
                out.seek(start)
                _pour(answer, out, file.size - start, lambda count: tell(start + count))
                out.flush()
                os.fsync(out.fileno())  # a name must not outlive what it stands for, should the power go

    def _wrong(self, file: File) -> WrongHash:
        return WrongHash(f"{file.name} from {self.url} is not the file that the catalog means", remedy="try again, or a newer voicebooth")


def _pour(answer: IO[bytes], out: IO[bytes], most: int, tell: Callable[[int], None]) -> None:
    """Never more than ``most`` bytes, whatever the other side sends."""
    count = 0
    while count < most:
        try:
            block = answer.read(min(BLOCK, most - count))
        except OSError as problem:  # of the network; those of the disk come from writing
            raise ConnectionError(str(problem)) from problem
        if not block:
            break
        out.write(block)
        count += len(block)
        tell(count)


@contextlib.contextmanager
def locked(folder: Path, id: str) -> Iterator[None]:
    """One process at a time; the lock goes with its holder, however that ends. Raises :exc:`Busy`."""
    with (folder / f".{id}.lock").open("w") as file:
        until = time.monotonic() + LOCKED
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > until:
                    raise Busy(
                        f"another process has been installing {id} for {LOCKED:.0f} s", remedy="wait for it, or end it, and try again"
                    ) from None
                time.sleep(POLL)
        yield


def check_room(folder: Path, needed: int) -> None:
    """Raises :exc:`DiskFull` when so many bytes do not fit: before an hour of downloading, not after it."""
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise DiskFull(
            f"no room left in {folder}: {needed / 1e6:.0f} MB are needed, {free / 1e6:.0f} are free",
            remedy="make room and try again, it goes on from here",
        )


def of_disk(problem: OSError, folder: Path) -> CatalogError:
    """Our error for one of the disk's."""
    if problem.errno in (errno.ENOSPC, errno.EDQUOT):
        return DiskFull(f"no room left in {folder}", remedy="make room and try again, it goes on from here")
    return CatalogError(f"cannot write to {folder}: {problem}", remedy="make it a folder that this user may write to")


def part_of(target: Path) -> Path:
    return target.with_name(target.name + ".part")


def size_of(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0
