"""Piper voices, streamed inside the sentence: windows of the voice's own graph that give the very samples of the whole."""

from __future__ import annotations

import importlib
import importlib.metadata
import importlib.util
import logging
import threading
from collections.abc import Generator
from dataclasses import dataclass
from pathlib import Path

from engines.base import (
    BadModel,
    Chunk,
    Engine,
    EngineUnavailable,
    Pace,
    Request,
    Voice,
)
from engines.catalog import Installed, find_installed
from engines.piper_voice import INSTALL, LoadedVoice
from engines.turns import unbroken
from engines.vits import FORMAT
from engines.windows import Floats

log = logging.getLogger(__name__)

LIBRARIES = ("piper", "onnxruntime")  # without these nothing can be spoken
VOICES = "pip install 'voicebooth[voices]', or voicebooth models install en_US-lessac-medium"


@dataclass(frozen=True, slots=True)
class PiperSettings:
    """Where Piper finds its voices and how it runs them."""

    voices: tuple[str, ...] = ()
    """Ids of the voices to load, the default one first; empty for all that are installed."""
    folder: Path | None = None
    """Where voices lie; None for ``~/.local/share/voicebooth/voices``. Voices from installed packages are found as well."""
    cache: Path | None = None
    """Where cut graphs are kept; None for ``~/.cache/voicebooth/piper``."""
    noise_scale: float | None = None
    """How lively the voices are, 0 to 2; None for what each voice's own settings say."""
    noise_w: float | None = None
    """How much the lengths of their sounds vary, 0 to 2; None likewise."""
    threads: int = 0
    """Threads that may work on what comes before a sentence's first sound; 0 for the number of cores, at most 4. Later steps take one."""


class PiperEngine(Engine):
    """Speaks with any Piper voice. Multi-speaker voices appear once a speaker, as ``voice#speaker``.

    A request sounds the same whenever it is made: its noise comes from a hash of its text, or from the option ``seed``.
    Other options are ``noise_scale`` and ``noise_w``, both 0 to 2.
    """

    name = "piper"

    def __init__(self, settings: PiperSettings | None = None) -> None:
        self._settings = settings or PiperSettings()
        self._loaded: dict[str, LoadedVoice] = {}
        self._voices: tuple[Voice, ...] = ()
        self._loading = threading.Lock()

    @property
    def build(self) -> str:
        models = ",".join(sorted(f"{id}:{model.digest[:16]}" for id, model in self._loaded.items()))
        noise = f"{self._settings.noise_scale} {self._settings.noise_w}"
        return f"piper-{FORMAT} piper-tts-{_version('piper-tts')} onnxruntime-{_version('onnxruntime')} {noise} {models}"

    def missing(self) -> str:
        if not all(importlib.util.find_spec(name) for name in LIBRARIES):
            return INSTALL
        return "" if find_installed(self._settings.folder) else VOICES

    def load(self) -> None:
        """A voice that is damaged is left out with a warning, as long as another one can be loaded."""
        with self._loading:
            if self._loaded:
                return
            cache = self._settings.cache or Path.home() / ".cache" / "voicebooth" / "piper"
            problems: list[EngineUnavailable] = []
            loaded: dict[str, LoadedVoice] = {}
            for installed in self._wanted():
                try:
                    settings = self._settings
                    loaded[installed.id] = LoadedVoice(installed, cache, settings.threads, settings.noise_scale, settings.noise_w)
                except BadModel as problem:
                    problems.append(problem)
            if not loaded:
                raise problems[0] if problems else EngineUnavailable("no Piper voice is installed", remedy=VOICES)
            for damaged in problems:
                log.warning("left out: %s", damaged)
            self._loaded = loaded
            self._voices = tuple(voice for model in loaded.values() for voice in model.voices)

    def unload(self) -> None:
        with self._loading:
            self._loaded, self._voices = {}, ()

    def voices(self) -> tuple[Voice, ...]:
        return self._voices

    def synthesize(self, request: Request, pace: Pace) -> Generator[Chunk, None, None]:
        voice = self.choose(request)
        id, _, speaker = voice.id.partition("#")
        yield from unbroken(self._loaded[id].speak(request, speaker, pace), pace)

    def compare(self, text: str, window: float, **options: float) -> tuple[Floats, Floats]:
        """The default voice's raw sound of one sentence, in windows and in one pass over the same noise: shape (n,), before any gain.

        16-bit samples are too coarse to tell how alike the two are; ``options`` are those of a request.
        Raises :exc:`SynthesisFailed` when the voice is spoken whole.
        """
        return self._loaded[self.voice("").id.partition("#")[0]].compare(Request(text, options=options), window)

    def _wanted(self) -> list[Installed]:
        installed = {item.id: item for item in find_installed(self._settings.folder)}
        if not self._settings.voices:
            return list(installed.values())
        for id in self._settings.voices:
            if id not in installed:
                raise EngineUnavailable(f"Piper voice {id} is not installed", remedy=f"voicebooth models install {id}")
        return [installed[id] for id in self._settings.voices]


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "none"
