"""XTTS-v2 on the hub and on this disk: which files it is made of, under which licence, and whether that was accepted here."""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from engines.base import BadModel, EngineUnavailable
from engines.catalog import default_folder

ID = "xtts"
"""How `voicebooth models` calls it."""
REPOSITORY = "coqui/XTTS-v2"
"""On the hub."""
REVISION = "6c2b0d75eae4b7047358e3b6bd9325f857d43f77"
LICENCE = "Coqui Public Model License 1.0.0"
LICENCE_URL = "https://coqui.ai/cpml"
LICENCE_SUMMARY = "non-commercial use only, of the model and of what it says; whoever gets either must be given these terms"
INSTALL = f"voicebooth models install {ID} --accept-licence"

MODEL, CONFIG, VOCABULARY, SPEAKERS = "model.pth", "config.json", "vocab.json", "speakers_xtts.pth"
RECORDINGS = "speakers"
"""Folder beside the model: a recording, or a folder of recordings, for each further speaker."""
ACCEPTED = "licence.json"
"""File beside the model that says who accepted which licence; `voicebooth models install` writes it."""
CONFIG_BYTES = 1 << 20  # a configuration is 4 kB


@dataclass(frozen=True, slots=True)
class File:
    """One file of the model on the hub."""

    name: str
    size: int
    """Bytes."""
    sha256: str


FILES = (
    File(MODEL, 1_867_929_118, "c7ea20001c6a0a841c77e252d8409f6a74fb423e79b3206a0771ba5989776187"),
    File(CONFIG, 4_368, "ef262b1454dd2a77e1461b0b2cd53e19b8a7624cc131b837d36df67356bc75e8"),
    File(VOCABULARY, 361_219, "928260878a59da8a72a2a5b7687fea29d5106137669d90945430fe17e415304a"),
    File(SPEAKERS, 7_754_818, "f0f6137c19a4eab0cbbe4c99b5babacf68b1746e50da90807708c10e645b943b"),
)
"""What is to be fetched. A model trained further by its user has the same names and other contents."""


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


def accept_licence(place: Path) -> None:
    """Keeps that the licence was shown and accepted, in the model's folder. Raises :exc:`OSError`."""
    place.mkdir(parents=True, exist_ok=True)
    (place / ACCEPTED).write_text(json.dumps({"licence": LICENCE, "url": LICENCE_URL, "accepted": True}) + "\n", encoding="utf-8")


def is_accepted(place: Path) -> bool:
    """Whether this licence was accepted for the model in this folder."""
    try:
        kept = json.loads((place / ACCEPTED).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return isinstance(kept, dict) and kept.get("licence") == LICENCE and kept.get("accepted") is True


def check_licence(place: Path) -> None:
    """Raises :exc:`EngineUnavailable` where it was not accepted."""
    if not is_accepted(place):
        raise EngineUnavailable(f"the XTTS model is under the {LICENCE} ({LICENCE_URL}): {LICENCE_SUMMARY}", remedy=INSTALL)


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
