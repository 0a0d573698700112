"""What XTTS keeps of a voice, remembered by the content it was taken from: in memory, and on disk for the next start."""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import tempfile
import threading
import zipfile
from collections import OrderedDict
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from engines.windows import Floats

FORMAT = 1  # of the files
IN_MEMORY = 64  # voices: 135 kB each
ON_DISK = 1_000  # voices: as many as two nodes full of speakers, 135 MB
KEY = 32  # hexadecimal digits of a voice's content: nobody finds two recordings that agree in them
_KEY = re.compile(rf"[0-9a-f]{{{KEY}}}")


@dataclass(frozen=True, slots=True)
class Latents:
    """A voice, as the model wants to be told of it."""

    prompt: Floats
    """What the transformer is to go on from, shape (1, positions, channels)."""
    speaker: Floats
    """What the decoder is to sound like, shape (1, dimensions, 1)."""

    @property
    def is_sound(self) -> bool:
        """Whether these can be a voice at all."""
        shapes = self.prompt.ndim == 3 and self.speaker.ndim == 3 and self.prompt.size and self.speaker.size
        return bool(shapes) and bool(np.isfinite(self.prompt).all()) and bool(np.isfinite(self.speaker).all())


def key(model: str, recordings: Iterable[bytes]) -> str:
    """Of the voice that this model (its digest) takes from these recordings; other recordings, another key."""
    total = hashlib.sha256(f"{FORMAT} {model}".encode())
    for recording in recordings:
        total.update(hashlib.sha256(recording).digest())
    return total.hexdigest()[:KEY]


class Kept:
    """Voices by key. In any thread. A disk that cannot be written, or holds garbage, costs only the work of taking a voice again."""

    def __init__(self, folder: Path | None) -> None:
        """``folder``: where voices are kept; None for in memory only."""
        self._folder = folder
        self._memory: OrderedDict[str, Latents] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, key: str) -> Latents | None:
        with self._lock:
            found = self._memory.get(key)
            if found is not None:
                self._memory.move_to_end(key)
                return found
        found = self._read(key)
        if found is not None:
            self._remember(key, found)
        return found

    def take(self, key: str, make: Callable[[], Latents]) -> Latents:
        """The voice of that key, made now if nobody has it. What ``make`` raises goes through."""
        found = self.get(key)
        if found is None:
            found = make()
            self._remember(key, found)
            self._write(key, found)
        return found

    def __len__(self) -> int:
        """Voices in memory."""
        return len(self._memory)

    def _remember(self, key: str, latents: Latents) -> None:
        with self._lock:
            self._memory[key] = latents
            self._memory.move_to_end(key)
            while len(self._memory) > IN_MEMORY:
                self._memory.popitem(last=False)

    def _path(self, key: str) -> Path | None:
        """Keys come from ids that strangers send: nothing but a key names a file."""
        return self._folder / f"{key}.npz" if self._folder is not None and _KEY.fullmatch(key) else None

    def _read(self, key: str) -> Latents | None:
        path = self._path(key)
        if path is None:
            return None
        with contextlib.suppress(OSError, ValueError, KeyError, IndexError, EOFError, zipfile.BadZipFile):
            with path.open("rb") as file:
                content = np.load(file, allow_pickle=False)
                found = Latents(np.asarray(content["prompt"], np.float32), np.asarray(content["speaker"], np.float32))
            if found.is_sound:
                os.utime(path)  # the ones used last are kept
                return found
        return None

    def _write(self, key: str, latents: Latents) -> None:
        path = self._path(key)
        if path is None:
            return
        with contextlib.suppress(OSError):
            path.parent.mkdir(parents=True, exist_ok=True)
            handle, draft = tempfile.mkstemp(prefix="keeping-", dir=path.parent)
            try:
                with os.fdopen(handle, "wb") as file:
                    np.savez(file, prompt=latents.prompt, speaker=latents.speaker)
                os.replace(draft, path)
            finally:
                Path(draft).unlink(missing_ok=True)
            self._forget_oldest(path.parent)

    def _forget_oldest(self, folder: Path) -> None:
        kept = sorted(folder.glob("*.npz"), key=lambda path: path.stat().st_mtime)
        for path in kept[: max(0, len(kept) - ON_DISK)]:
            path.unlink(missing_ok=True)
