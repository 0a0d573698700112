"""XTTS-v2 on the hub and on this disk: which files it is made of, under which licence, and whether that was accepted here."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Iterator
from pathlib import Path

from engines.base import BadModel, EngineUnavailable
from engines.catalog import Catalog, default_folder, known_models

ID = "xtts"
"""How `voicebooth models` calls it."""
LICENCE_SUMMARY = "non-commercial use only, of the model and of what it says; whoever gets either must be given these terms"
INSTALL = f"voicebooth models install {ID}"  # which shows its terms first, where they have not been accepted
ACCEPT = f"{INSTALL} --accept-licence"

MODEL, CONFIG, VOCABULARY, SPEAKERS = "model.pth", "config.json", "vocab.json", "speakers_xtts.pth"
RECORDINGS = "speakers"
"""Folder beside the model: a recording, or a folder of recordings, for each further speaker."""
CONFIG_BYTES = 1 << 20  # a configuration is 4 kB


def model_folder(folder: Path | None) -> Path:
    """``xtts`` in the folder of voices."""
    return (folder or default_folder()) / ID


def cache_folder() -> Path:
    return Path.home() / ".cache" / "voicebooth" / ID


def find_model(folder: Path | None) -> Path:
    """The folder that holds the model. Raises :exc:`EngineUnavailable`."""
    place = model_folder(folder)
    if not (place / MODEL).is_file():
        raise EngineUnavailable("the XTTS model is not here", remedy=INSTALL)
    for name in (CONFIG, VOCABULARY):
        if not (place / name).is_file():
            raise BadModel(f"{place} lacks {name}", remedy=INSTALL)
    return place


def is_accepted(place: Path) -> bool:
    """Whether its licence was accepted for the model in this folder."""
    return Catalog(place.parent).is_accepted(known_models()[ID])


def check_licence(place: Path) -> None:
    """Raises :exc:`EngineUnavailable` where it was not accepted."""
    if not is_accepted(place):
        entry = known_models()[ID]
        raise EngineUnavailable(f"the XTTS model is under the {entry.licence} ({entry.terms}): {LICENCE_SUMMARY}", remedy=ACCEPT)


def digest(place: Path) -> str:
    """Of the model's weights and vocabulary, sha256. Raises :exc:`BadModel`."""
    total = hashlib.sha256()
    for name in (MODEL, VOCABULARY):
        try:
            with (place / name).open("rb") as file:
                total.update(hashlib.file_digest(file, "sha256").digest())
        except OSError as problem:
            raise BadModel(f"{place / name} cannot be read: {problem}", remedy=INSTALL) from problem
    return total.hexdigest()


def recordings(place: Path) -> Iterator[tuple[str, tuple[Path, ...]]]:
    """The name of each further speaker, and the files that he or she is to be heard in, by name."""
    with contextlib.suppress(FileNotFoundError, NotADirectoryError):
        for path in sorted((place / RECORDINGS).iterdir()):
            if path.name.startswith("."):
                continue
            if path.is_dir():
                yield path.name, tuple(sorted(item for item in path.iterdir() if item.is_file() and not item.name.startswith(".")))
            else:
                yield path.stem, (path,)
