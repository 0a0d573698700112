"""How the channels of a voice are spread: measured once, per voice and length of what is said, they let its norms work in windows."""

from __future__ import annotations

import contextlib
import functools
import logging
import os
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from engines.kokoro.cut import Part
from engines.kokoro.sound import Factors
from engines.kokoro.voices import DAMAGED, Mixture
from engines.parts import Stamp, stamp
from engines.windows import Floats

log = logging.getLogger(__name__)

VERSION = 4  # of the file's layout and of what is measured
EPSILON = 1e-5  # added to every variance, as the model does
BUCKETS = (160, 340)  # frames of 12.5 ms, 2.0 and 4.25 s: shorter ones are silence to a third, and their statistics show it
LENGTHS = (184.0, 235.0, 542.0)  # frames to which the buckets of a file without lengths belong: the mean of all voices
RANK = 56  # directions in which voices differ: what is left out is a quarter of what differs between a voice's own buckets
REMEMBERED = 32  # voices and mixtures whose moments are kept in memory, 430 kB each
FILE = Path(__file__).with_name("statistics.npz")


def bucket(frames: int) -> int:
    """Which bucket an utterance of this length belongs to."""
    return sum(frames > bound for bound in BUCKETS)


@dataclass(frozen=True, slots=True)
class Moments:
    """Mean and variance of each channel of all stages' norms, shape (channels,) each."""

    mean: Floats
    variance: Floats

    @classmethod
    def pool(cls, items: Sequence[Moments], weights: Sequence[float]) -> Moments:
        """Those of the union, the items weighing as given."""
        shares = np.array(weights, dtype=np.float64) / np.sum(weights)
        mean = np.sum([share * item.mean for share, item in zip(shares, items, strict=True)], axis=0)
        square = np.sum(
            [share * (item.variance + item.mean.astype(np.float64) ** 2) for share, item in zip(shares, items, strict=True)], axis=0
        )
        return cls(mean.astype(np.float32), np.maximum(square - mean**2, 0.0).astype(np.float32))

    @classmethod
    def mix(cls, items: Sequence[Moments], weights: Sequence[float]) -> Moments:
        """Those of a voice between these: styles are mixed in line, so are means and deviations."""
        shares = np.array(weights, dtype=np.float64) / np.sum(weights)
        mean = np.sum([share * item.mean for share, item in zip(shares, items, strict=True)], axis=0)
        deviation = np.sum([share * np.sqrt(item.variance) for share, item in zip(shares, items, strict=True)], axis=0)
        return cls(mean.astype(np.float32), (deviation**2).astype(np.float32))


@dataclass(frozen=True, slots=True)
class Measured:
    """What is known of one voice or mixture: an entry for each bucket of length."""

    lengths: tuple[float, ...]
    """Frames of the sentences that were measured, their mean; never falling."""
    moments: tuple[Moments, ...]
    gain: float = 0.0
    """Decibels that bring what is made with them to the level of the whole."""

    def at(self, frames: int) -> Moments:
        """For an utterance of this length: between two buckets what lies between them, as the level would jump from one to the next."""
        place = float(np.interp(np.log(max(frames, 1)), np.log(self.lengths), range(len(self.lengths))))
        low, share = int(place), place % 1.0
        return Moments.mix(self.moments[low : low + 2], (1.0 - share, share)) if share else self.moments[low]

    @classmethod
    def mix(cls, items: Sequence[Measured], weights: Sequence[float]) -> Measured:
        """That of a voice between these."""
        lengths, gain = (np.average([getattr(item, name) for item in items], axis=0, weights=weights) for name in ("lengths", "gain"))
        moments = zip(*(item.moments for item in items), strict=True)
        return cls(tuple(map(float, lengths)), tuple(Moments.mix(bucket, weights) for bucket in moments), float(gain))


def frozen(parts: Sequence[Part], moments: Moments, style: Sequence[Factors]) -> list[Factors]:
    """Scale and shift of each stage from its gamma and beta."""
    factors, start = [], 0
    for part, given in zip(parts, style, strict=True):
        edges = np.cumsum([start, *part.channels])
        places = np.concatenate([np.arange(edges[norm], edges[norm + 1]) for norm in part.spread])
        start = int(edges[-1])
        scale = given.first / np.sqrt(moments.variance[places] + EPSILON).reshape(1, -1, 1)
        shift = given.second - moments.mean[places].reshape(1, -1, 1) * scale
        factors.append(Factors(scale.astype(np.float32), shift.astype(np.float32)))
    return factors


class Known:
    """The statistics of voices: those of the package's file, and those that were measured here."""

    def __init__(self, pressed: Pressed | None, folder: Path) -> None:
        self._pressed, self._folder = pressed, folder
        self._read_once = functools.lru_cache(maxsize=REMEMBERED)(self._read_own)  # asked for with each sentence
        self.of = functools.lru_cache(maxsize=REMEMBERED)(self._find)
        """What is known of a mixture; None when one of its voices was never measured."""

    @classmethod
    def read(cls, file: Path, folder: Path) -> Known:
        """A file that is missing or of another version knows nobody."""
        try:
            return cls(Pressed.read(file), folder)
        except DAMAGED as problem:
            log.warning("Kokoro's statistics cannot be read, voices are spoken in whole sentences: %s: %s", file, problem)
            return cls(None, folder)

    def is_good(self, mixture: Mixture) -> bool:
        """Whether none of its voices was found to be worse with these statistics than with those of what is said."""
        if len(mixture.shares) > 1 and (found := self._verdict(mixture.id)) is not None:
            return found
        return all(self._is_good(name) for name, _ in mixture.shares)

    def _is_good(self, name: str) -> bool:
        found = self._verdict(name)
        return found if found is not None else self._pressed is None or name not in self._pressed.worse

    def _verdict(self, name: str) -> bool | None:
        """Of what was measured here; None when nothing was."""
        own = self._own(name)
        return own[1] if own is not None else None

    def _find(self, mixture: Mixture) -> Measured | None:
        if len(mixture.shares) > 1 and (own := self._measured(mixture.id)) is not None:
            return own
        found = [self._measured(name) for name, _ in mixture.shares]
        items = [item for item in found if item is not None]
        if len(items) < len(found):
            return None
        return items[0] if len(items) == 1 else Measured.mix(items, [share for _, share in mixture.shares])

    def _measured(self, name: str) -> Measured | None:
        if (own := self._own(name)) is not None:
            return own[0]
        return self._pressed.measured(name) if self._pressed is not None and name in self._pressed.ids else None

    def _own(self, name: str) -> tuple[Measured, bool | None] | None:
        """What was measured here of a voice, and its verdict; None when nothing was, or when its file is damaged, which is told once."""
        with contextlib.suppress(OSError):  # a folder that may not be looked into
            found = stamp(self._folder / f"{name}.npz")
            return None if found is None else self._read_once(name, found)
        return None

    def _read_own(self, name: str, stamp: Stamp) -> tuple[Measured, bool | None] | None:
        path = self._folder / f"{name}.npz"
        try:
            return read(path), _verdict(path)  # the one never counts without the other
        except DAMAGED as problem:
            log.warning(
                "%s is damaged and left out: %r (voicebooth models calibrate kokoro %s --again measures it anew)", path, problem, name
            )
            return None


def _verdict(path: Path) -> bool | None:
    with path.open("rb") as content, np.load(content) as kept:  # numpy leaves a damaged file open that it opens itself
        return bool(kept["good"]) if "good" in kept else None


def read(path: Path) -> Measured:
    """What :func:`write` kept. Raises one of :data:`DAMAGED`."""
    with path.open("rb") as content, np.load(content) as kept:
        lengths = kept["lengths"] if "lengths" in kept else LENGTHS
        moments = tuple(Moments(mean, variance) for mean, variance in zip(kept["mean"], kept["variance"], strict=True))
        return Measured(tuple(map(float, lengths)), moments, float(kept.get("gain", 0.0)))


def write(folder: Path, name: str, measured: Measured, *, good: bool = True) -> Path:
    """Keeps what was measured of a voice, for :class:`Known` to find. ``good``: whether it sounds right with it. Raises :exc:`OSError`."""
    folder.mkdir(parents=True, exist_ok=True)
    handle, draft = tempfile.mkstemp(dir=folder, suffix=".draft")
    path = folder / f"{name}.npz"
    try:
        with os.fdopen(handle, "wb") as file:
            means, variances = ([getattr(item, name) for item in measured.moments] for name in ("mean", "variance"))
            np.savez(file, mean=means, variance=variances, lengths=measured.lengths, gain=measured.gain, good=good)
        os.replace(draft, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(draft)
        raise
    return path


@dataclass(frozen=True, slots=True)
class Pressed:
    """Statistics of many voices in little room.

    What differs between voices and lengths lies in few directions: each voice and bucket is a centre plus a sum of :data:`RANK`
    common directions. Means are counted in deviations of the centre, deviations as logarithms.
    """

    ids: tuple[str, ...]
    weights: Floats
    """Shape (voices, buckets, directions)."""
    directions: npt.NDArray[np.int8]
    """Shape (directions, 2 * channels): of the means, then of the deviations; the largest of each is 127, which its weights allow for."""
    centre: npt.NDArray[np.float16]
    """Shape (2 * channels,)."""
    lengths: Floats
    """Frames to which each bucket belongs, shape (voices, buckets)."""
    gains: Floats
    """Decibels, shape (voices,)."""
    worse: tuple[str, ...] = ()
    """Voices that were found to sound worse with them."""

    @classmethod
    def of(cls, measured: Mapping[str, Measured], worse: Sequence[str] = ()) -> Pressed:
        ids = tuple(sorted(measured))
        deviations = np.array([[np.sqrt(item.variance + EPSILON) for item in measured[id].moments] for id in ids], dtype=np.float64)
        means = np.array([[item.mean for item in measured[id].moments] for id in ids], dtype=np.float64)
        middle = np.log(deviations).mean(axis=(0, 1)).astype(np.float16)
        values = np.concatenate([means / np.exp(middle.astype(np.float64)), np.log(deviations)], axis=-1)
        centre = np.concatenate([values.mean(axis=(0, 1))[: len(middle)].astype(np.float16), middle])
        rows = (values - centre.astype(np.float64)).reshape(-1, len(centre))
        left, sizes, directions = np.linalg.svd(rows, full_matrices=False)
        largest = np.abs(directions[:RANK]).max(axis=1)
        weights = (left * sizes)[:, :RANK] * (largest / 127)
        steps = np.round(directions[:RANK] / largest[:, None] * 127).astype(np.int8)
        lengths = np.array([measured[id].lengths for id in ids], dtype=np.float32)
        gains = np.array([measured[id].gain for id in ids], dtype=np.float32)
        return cls(ids, weights.reshape(len(ids), -1, len(largest)).astype(np.float32), steps, centre, lengths, gains, tuple(worse))

    @classmethod
    def read(cls, file: Path) -> Pressed:
        """Raises one of :data:`DAMAGED`."""
        with file.open("rb") as content, np.load(content) as kept:
            if int(kept["version"]) != VERSION:
                raise ValueError(f"is of version {int(kept['version'])}, not {VERSION}")
            ids, worse = (tuple(str(id) for id in kept[name]) for name in ("ids", "worse"))
            return cls(ids, kept["weights"], kept["directions"], kept["centre"], kept["lengths"], kept["gains"], worse)

    def write(self, file: Path) -> None:
        with file.open("wb") as out:
            np.savez_compressed(
                out,
                version=VERSION,
                ids=self.ids,
                worse=np.array(self.worse, dtype=np.str_),
                weights=self.weights,
                directions=self.directions,
                centre=self.centre,
                lengths=self.lengths,
                gains=self.gains,
            )

    def measured(self, id: str) -> Measured:
        number = self.ids.index(id)
        moments = tuple(self._moments(row) for row in self.weights[number])
        return Measured(tuple(map(float, self.lengths[number])), moments, float(self.gains[number]))

    def _moments(self, weights: Floats) -> Moments:
        centre = self.centre.astype(np.float32)
        values = centre + weights @ self.directions.astype(np.float32)
        channels = len(centre) // 2
        mean = values[:channels] * np.exp(centre[channels:])
        return Moments(mean, np.maximum(np.exp(2 * values[channels:]) - EPSILON, 0.0))
