"""Kokoro as an engine: 54 voices and their mixtures, streamed inside the sentence."""

from __future__ import annotations

import threading
from collections.abc import Generator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from engines.base import Chunk, Engine, Pace, Request, Voice
from engines.kokoro.files import cache_folder, missing
from engines.turns import unbroken

if TYPE_CHECKING:
    from engines.kokoro.loaded import Loaded, Way
    from engines.windows import Floats

WARM_UP = "One, two, three, four, five, six, seven, eight, nine, ten."  # long enough for windows of every size
WHOLE = 60.0  # seconds: windows as large as they get
COMFORT = 48  # characters: its front takes 2 ms for each of them on two cores


@dataclass(frozen=True, slots=True)
class KokoroSettings:
    """Where Kokoro lies and how it runs."""

    voices: tuple[str, ...] = ()
    """Ids of the voices to offer, the default one first, mixtures such as ``af_heart:0.6+af_bella:0.4`` among them; empty for all."""
    folder: Path | None = None
    """Where the model, its voices and what was measured of them lie; None for ``~/.local/share/voicebooth/voices/kokoro``.
    Packages and the cache are looked through as well. A model of your own in it is taken as it is, with a line in the log."""
    cache: Path | None = None
    """Where the model's parts are kept; None for ``~/.cache/voicebooth/kokoro``."""
    precision: Literal["auto", "float32", "int8"] = "auto"
    """``int8`` is the model as it comes, ``float32`` twice its memory and, with bfloat16 or a card, the faster one; ``auto``: what is the
    fastest here. With a ``runtime`` that is named it is ``float32``."""
    runtime: Literal["auto", "onnxruntime", "openvino-f32", "openvino-bf16", "onnxruntime-cuda", "torch"] = "auto"
    """What the model runs on; ``auto`` tries what is here once and keeps the fastest. ``int8`` runs on ``onnxruntime`` alone. ``torch`` is
    the package ``kokoro`` with its author's weights, in whole pieces; ``auto`` takes it where the graph is missing and these are not."""
    statistics: Literal["auto", "frozen", "whole"] = "auto"
    """``frozen``: voices stream inside the sentence, by statistics that were measured beforehand. ``whole``: each part of a sentence is
    made in one pass that measures for itself, and is heard later. ``auto``: frozen, but for voices that were found worse by it."""
    english: Literal["auto", "espeak"] = "auto"
    """``auto``: English words are read by misaki's dictionaries, as the model was taught, where the extra ``kokoro-english`` is installed;
    names and whatever else they lack by espeak-ng. ``espeak``: by it alone."""
    threads: int = 0
    """Threads that one step may use; 0 for the number of cores, at most 4."""


class KokoroEngine(Engine):
    """Speaks with Kokoro-82M v1.0. A request always sounds the same.

    A voice of its own is ``af_heart``; ``af_heart:0.6+af_bella:0.4`` is a mixture, and any mixture may be asked for.
    Voices whose statistics are known stream inside the sentence, others are spoken in one step a piece.
    """

    name = "kokoro"
    comfort = COMFORT

    def __init__(self, settings: KokoroSettings | None = None) -> None:
        self._settings = settings or KokoroSettings()
        self._loading = threading.Lock()
        self._loaded: Loaded | None = None

    @property
    def build(self) -> str:
        return self._loaded.build if self._loaded is not None else "kokoro, not loaded"

    def missing(self) -> str:
        folder, cache = self._settings.folder, self._settings.cache or cache_folder()
        found = missing(folder, cache)
        if self._settings.runtime == "torch" or (found and self._settings.runtime == "auto"):
            from engines.kokoro import torched

            other = torched.missing(folder, cache)
            return other if self._settings.runtime == "torch" or not other else found
        return found

    def load(self) -> None:
        from engines.kokoro.loaded import Loaded

        with self._loading:
            if self._loaded is None:
                loaded = Loaded(self._settings)
                pace = Pace()
                for chunk in loaded.speak(Request(WARM_UP), loaded.voices[0], pace):
                    pace.window = WHOLE if len(chunk.samples) else 0.0  # they grow from the smallest
                self._loaded = loaded
                self.cores = loaded.threads

    def unload(self) -> None:
        with self._loading:
            self._loaded = None

    def voices(self) -> tuple[Voice, ...]:
        return self._loaded.voices if self._loaded is not None else ()

    def voice(self, id: str) -> Voice:
        if self._loaded is not None and any(sign in id for sign in "+:"):
            return self._loaded.mixture(id)
        return super().voice(id)

    def synthesize(self, request: Request, pace: Pace) -> Generator[Chunk, None, None]:
        voice, loaded = self.choose(request), self._loaded
        assert loaded is not None  # it has a voice
        yield from unbroken(loaded.speak(request, voice, pace), pace)

    def streams(self, voice: str = "") -> bool:
        """Whether this voice streams inside the sentence; otherwise it is spoken in whole pieces."""
        chosen, loaded = self.voice(voice), self._loaded
        assert loaded is not None  # it has a voice
        return loaded.streams(chosen)

    def raw(self, text: str, voice: str, way: Way) -> Floats:
        """One sentence as floats, neither cut into pieces nor trimmed, to compare ways of making it. Blocks.

        Raises what ``synthesize`` raises.
        """
        chosen, loaded = self.voice(voice), self._loaded
        assert loaded is not None  # it has a voice
        return loaded.raw(text, chosen, way)
