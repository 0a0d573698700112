"""Kokoro's voices: a table of style vectors each, found in a folder, and mixtures of them (``af_heart:0.6+af_bella:0.4``)."""

from __future__ import annotations

import functools
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from engines.base import BadModel, UnknownVoice, Voice
from engines.catalog import KOKORO_VOICES, known_kokoro
from engines.kokoro.harmonics import RATE
from engines.tiers import tier_of
from engines.windows import Floats

ENGINE = "kokoro"
ROWS, WIDTH = 510, 256  # a style for each count of tokens
LANGUAGES = {
    "a": "en-US",
    "b": "en-GB",
    "e": "es-ES",
    "f": "fr-FR",
    "h": "hi-IN",
    "i": "it-IT",
    "j": "ja-JP",
    "p": "pt-BR",
    "z": "zh-CN",
}
"""By the first letter of a voice's id."""
GENDERS = {"f": "female", "m": "male"}
"""By the second."""
DEFAULT = "af_heart"  # graded best by the model's author
MOST_MIXED = 8  # voices in one mixture: more are a murmur, and a request may be a stranger's
DAMAGED = (OSError, ValueError, TypeError, LookupError, EOFError, RuntimeError, zlib.error, zipfile.BadZipFile)
"""What reading a damaged file of arrays may raise."""
MIXTURES = 64  # styles kept in memory, half a MB each


@dataclass(frozen=True, slots=True)
class Mixture:
    """Voices and their shares, which sum to 1; the largest share first."""

    shares: tuple[tuple[str, float], ...]

    @classmethod
    def parse(cls, id: str) -> Mixture:
        """``af_heart`` or ``af_heart:0.6+af_bella:0.4``; a voice without a share has 1. Raises :exc:`UnknownVoice`."""
        shares: dict[str, float] = {}
        for item in id.split("+"):
            name, _, number = item.strip().partition(":")
            try:
                share = float(number) if number else 1.0
            except ValueError:
                share = -1.0
            if not name or not 0 < share < float("inf"):
                raise UnknownVoice(f"{id!r} is no mixture of voices", remedy="write af_heart:0.6+af_bella:0.4")
            shares[name] = shares.get(name, 0.0) + share
        if len(shares) > MOST_MIXED:
            raise UnknownVoice(f"{id[:40]!r} mixes {len(shares)} voices, at most {MOST_MIXED} can be mixed", remedy="name fewer")
        total = sum(shares.values())
        return cls(tuple(sorted(((name, share / total) for name, share in shares.items()), key=lambda item: -item[1])))

    @property
    def id(self) -> str:
        """The same for the same mixture, however it was written."""
        return "+".join(f"{name}:{share:.4g}" for name, share in self.shares) if len(self.shares) > 1 else self.shares[0][0]

    @property
    def letter(self) -> str:
        """Of the language: the one of the largest share."""
        return self.shares[0][0][0]


def describe(id: str) -> Voice:
    """A voice or mixture; language and gender are those of its largest share."""
    leader = Mixture.parse(id).shares[0][0]
    name = leader.partition("_")[2].capitalize() if leader == id else id
    return Voice(id, ENGINE, LANGUAGES[leader[0]], RATE, name, GENDERS.get(leader[1:2], ""), tier=tier_of(ENGINE))


class Styles:
    """The voices of folders, of which earlier ones go first.

    Files ``<id>.bin`` of float32, or one archive ``voices*.bin`` or ``*.npz`` with an array each.
    """

    def __init__(self, *folders: Path) -> None:
        """Raises :exc:`BadModel` when an archive there is damaged."""
        self._places: dict[str, Path] = {}
        for path in (path for folder in folders for ending in ("bin", "npz") for path in sorted(folder.glob(f"*.{ending}"))):
            names = _names(path) if zipfile.is_zipfile(path) else [path.stem]
            for name in names:
                if name[:1] in LANGUAGES and name[2:3] == "_":
                    self._places.setdefault(name, path)
        self.style = functools.lru_cache(maxsize=MIXTURES)(self._mix)
        """The table of a mixture, shape (510, 256), float32. Raises :exc:`UnknownVoice` or :exc:`BadModel`."""

    @property
    def ids(self) -> tuple[str, ...]:
        """The default first, then by name."""
        return tuple(sorted(self._places, key=lambda id: (id != DEFAULT, id)))

    def _mix(self, mixture: Mixture) -> Floats:
        table = sum((np.float32(share) * self._table(name) for name, share in mixture.shares), np.zeros((ROWS, WIDTH), np.float32))
        return np.asarray(table, dtype=np.float32)

    def _table(self, name: str) -> Floats:
        path = self._places.get(name)
        if path is None:
            raise UnknownVoice(
                f"engine kokoro has no voice {name!r}; it has: {', '.join(self.ids)}", remedy="voicebooth models list --engine kokoro"
            )
        try:
            found = np.load(path)[name] if zipfile.is_zipfile(path) else np.fromfile(path, dtype="<f4")
            values = np.asarray(found, dtype=np.float32)
        except DAMAGED as problem:
            raise _damaged(path, f"cannot be read: {problem}") from problem
        if values.size < ROWS * WIDTH or values.size % WIDTH or not np.isfinite(values).all():
            raise _damaged(path, f"is not a table of {ROWS} styles for {name}")
        table: Floats = values.reshape(-1, WIDTH)[:ROWS]
        return table


def _names(path: Path) -> list[str]:
    try:
        with zipfile.ZipFile(path) as archive:
            return [name.removesuffix(".npy") for name in archive.namelist()]
    except DAMAGED as problem:
        raise _damaged(path, f"cannot be read: {problem}") from problem


def _damaged(path: Path, why: str) -> BadModel:
    """A file with voices that cannot be used; one that the catalog does not know is somebody's own."""
    id = path.stem if path.stem in known_kokoro() else KOKORO_VOICES
    return BadModel(f"{path} {why}", remedy=f"remove it, then: voicebooth models install {id}")
