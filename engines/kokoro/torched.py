"""Kokoro on torch: the package ``kokoro`` with the weights as its author published them. It makes a piece as a whole.

Its phonemes, tokens, styles and marks are those of every other runtime; only the network is the package's.
"""

from __future__ import annotations

import importlib
import importlib.util
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from engines.base import BadModel, EngineUnavailable, SynthesisFailed
from engines.kokoro.files import digest, find_voices, model_folder
from engines.kokoro.harmonics import HOP
from engines.kokoro.model import PADDING
from engines.kokoro.phonemes import tokens
from engines.kokoro.runtimes import version
from engines.kokoro.sound import QUIET
from engines.weights import FAILURES
from engines.windows import Floats

INSTALL = "pip install 'voicebooth[kokoro,kokoro-torch]'"
REPOSITORY = "hexgrad/Kokoro-82M"  # on the Hugging Face Hub
WEIGHTS, CONFIG = "kokoro-v1_0.pth", "config.json"
LIBRARIES = ("espeakng_loader", "kokoro", "torch")


@dataclass(frozen=True, slots=True)
class Whole:
    """What the network made of a piece."""

    durations: npt.NDArray[np.int64]
    """Frames of 25 ms for each token, the silences before and after included."""
    sound: Floats
    """Shape (samples,)."""

    @property
    def lead(self) -> int:
        """Frames of 12.5 ms of silence before the first sound."""
        blocks = np.square(self.sound[: len(self.sound) // HOP * HOP]).reshape(-1, HOP).mean(axis=1)
        return int(np.argmax(blocks > QUIET**2))


def missing(folder: Path | None, cache: Path) -> str:
    """What brings what is not here yet; empty when everything is. Neither torch nor the package is imported."""
    if any(importlib.util.find_spec(library) is None for library in LIBRARIES):
        return INSTALL
    if find_weights(model_folder(folder)) is None:
        return f"put {WEIGHTS} and {CONFIG} of {REPOSITORY} into {model_folder(folder)}"
    try:
        find_voices(folder, cache)
    except EngineUnavailable as problem:
        return problem.remedy
    return ""


def find_weights(folder: Path) -> tuple[Path, Path] | None:
    """Settings and weights: in the folder, or where the package has fetched them before. Nothing is downloaded."""
    if (folder / WEIGHTS).is_file() and (folder / CONFIG).is_file():
        return folder / CONFIG, folder / WEIGHTS
    try:
        hub: Any = importlib.import_module("huggingface_hub")
    except ImportError:
        return None
    found = [hub.try_to_load_from_cache(REPOSITORY, name) for name in (CONFIG, WEIGHTS)]
    return (Path(found[0]), Path(found[1])) if all(isinstance(path, str) for path in found) else None


class Torched:
    """The network in memory, on a card where torch finds one. In any thread; pieces take turns."""

    def __init__(self, folder: Path, threads: int) -> None:
        """Raises :exc:`EngineUnavailable`, as :exc:`BadModel` where a file is to blame."""
        found = find_weights(folder)
        if found is None:
            raise EngineUnavailable("Kokoro's weights for torch are not here", remedy=f"put {WEIGHTS} and {CONFIG} into {folder}")
        config, weights = found
        remedy = f"fetch {WEIGHTS} and {CONFIG} anew from {REPOSITORY}"
        try:
            torch: Any = importlib.import_module("torch")
            library: Any = importlib.import_module("kokoro")
        except ImportError as problem:
            raise EngineUnavailable(f"Kokoro on torch needs its package: {problem}", remedy=INSTALL) from problem
        self._torch, self._threads, self._lock = torch, threads, threading.Lock()
        self.build = f"{digest(weights)[:16]} kokoro-{version('kokoro')} torch-{version('torch')}"
        self.device = "cuda" if torch.cuda.is_available() else "cpu"
        try:
            with torch.random.fork_rng(devices=[]):
                model = library.KModel(repo_id=REPOSITORY, config=str(config), model=str(weights))
            wrong = _missing(torch, model, weights)
            self._model = model.to(self.device).eval()
        except FAILURES as problem:
            raise BadModel(f"{weights} cannot be loaded: {_line(problem)}", remedy=remedy) from problem
        if wrong:
            raise BadModel(f"{weights} holds other weights than {config} wants: {wrong} are missing", remedy=remedy)

    def prepare(self, phonemes: str, table: Floats, speed: float) -> Whole:
        """``table``: of the voice, shape (510, 256). Blocks for the whole piece. Raises :exc:`SynthesisFailed`."""
        torch, numbers = self._torch, tokens(phonemes)
        row = np.ascontiguousarray(table[min(len(numbers), len(table)) - 1][None])
        try:
            with self._lock:
                torch.set_num_threads(self._threads)
                given = torch.tensor([[PADDING, *numbers, PADDING]], dtype=torch.long, device=self.device)
                sound, durations = self._model.forward_with_tokens(given, torch.from_numpy(row).to(self.device), speed)
                return Whole(durations.cpu().numpy().astype(np.int64).ravel(), sound.cpu().numpy().astype(np.float32).ravel())
        except FAILURES as problem:
            raise SynthesisFailed(f"Kokoro on torch: {_line(problem)}") from problem


def _missing(torch: Any, model: Any, weights: Path) -> int:
    """Parameters that did not come from the file: the package goes on with random ones. Names may differ, so they are told by value."""
    held: Any = torch.load(str(weights), map_location="cpu", weights_only=True)
    known = {_print(tensor) for part in held.values() for tensor in part.values()}
    return sum(_print(parameter.detach()) not in known for parameter in model.parameters())


def _print(tensor: Any) -> tuple[tuple[int, ...], float]:
    return tuple(tensor.shape), float(tensor.double().sum())


def _line(problem: Exception) -> str:
    return (str(problem).strip().splitlines() or [type(problem).__name__])[0][:200]
