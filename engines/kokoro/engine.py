"""Kokoro as an engine: 54 voices and their mixtures, streamed inside the sentence."""

from __future__ import annotations

import functools
import logging
import os
import re
import threading
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from engines.base import NO_SAMPLES, Chunk, Engine, EngineUnavailable, Pace, Request, Samples, SynthesisFailed, UnknownVoice, Voice
from engines.kokoro.cut import FORMAT
from engines.kokoro.files import cache_folder, digest, find_model, find_parts, find_voices, model_folder
from engines.kokoro.harmonics import HOP, RATE
from engines.kokoro.marks import TICK, marks, starts
from engines.kokoro.model import Kokoro, Prepared, probe
from engines.kokoro.phonemes import ESPEAK, Espeak, Piece, phonemize, pieces
from engines.kokoro.runtimes import choose, make, version
from engines.kokoro.sound import windows
from engines.kokoro.statistics import FILE, VERSION, Known, bucket
from engines.kokoro.voices import ENGINE, LANGUAGES, Mixture, Styles, describe
from engines.windows import Floats

log = logging.getLogger(__name__)

MOST_THREADS = 4  # per step: windows are too small to feed more
REMEMBERED = 4096  # words whose sound alone is kept for the marks: a few hundred kB a voice's language
ATTACK = 0.110  # seconds kept of the silence before the first phoneme: it sounds up to 0.1 s before its durations say
QUIET = 10 ** (-60 / 20)  # of full scale, RMS: the end of a piece is silence below it
FALL = 0.100  # seconds of silence after which a piece has ended; as much is kept
PAUSE = 0.200  # seconds of silence between two pieces of a sentence: what the model makes at a comma
NO_SOUND: Floats = np.zeros(0, dtype=np.float32)
WARM_UP = "One, two, three."

_ALPHABETIC = re.compile(r"\S*\w\S*")


@dataclass(frozen=True, slots=True)
class KokoroSettings:
    """Where Kokoro lies and how it runs."""

    voices: tuple[str, ...] = ()
    """Ids of the voices to offer, the default one first, mixtures such as ``af_heart:0.6+af_bella:0.4`` among them; empty for all."""
    folder: Path | None = None
    """Folder of voices; Kokoro's model and voices lie in ``kokoro`` inside it. None for ``~/.local/share/voicebooth/voices``."""
    cache: Path | None = None
    """Where the model's parts are kept; None for ``~/.cache/voicebooth/kokoro``."""
    precision: Literal["float32", "int8"] = "float32"
    """``float32`` takes 0.7 GB and is as fast as the processor allows; ``int8`` takes 0.3 GB and is slower on most."""
    runtime: Literal["auto", "onnxruntime", "openvino-f32", "openvino-bf16"] = "auto"
    """What the model runs on; ``auto`` tries what is here once and keeps the fastest."""
    threads: int = 0
    """Threads that one step may use; 0 for the number of cores, at most 4."""


class KokoroEngine(Engine):
    """Speaks with Kokoro-82M v1.0. A request always sounds the same.

    A voice of its own is ``af_heart``; ``af_heart:0.6+af_bella:0.4`` is a mixture, and any mixture may be asked for.
    Voices whose statistics are known stream inside the sentence, others are spoken in one step a piece.
    """

    name = ENGINE

    def __init__(self, settings: KokoroSettings | None = None) -> None:
        self._settings = settings or KokoroSettings()
        self._loading = threading.Lock()
        self._loaded: _Loaded | None = None

    @property
    def build(self) -> str:
        libraries = " ".join(f"{name}-{version(name)}" for name in ("onnxruntime", "openvino", "espeakng-loader"))
        made = self._loaded.build if self._loaded is not None else "not loaded"
        return f"kokoro-{FORMAT}.{VERSION} {made} {libraries}"

    def load(self) -> None:
        with self._loading:
            if self._loaded is None:
                loaded = _Loaded(self._settings)
                for _ in loaded.speak(Request(WARM_UP), loaded.voices[0], Pace()):
                    pass
                self._loaded = loaded

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
        voice, loaded = self._choose(request), self._loaded
        assert loaded is not None  # it has a voice
        return loaded.speak(request, voice, pace)

    def _choose(self, request: Request) -> Voice:
        if request.voice or not request.language:
            return self.voice(request.voice)
        wanted = request.language.lower()
        for match in (wanted, wanted.split("-")[0]):
            for voice in self.voices():
                if match in (voice.language.lower(), voice.language.lower().split("-")[0]):
                    return voice
        raise UnknownVoice(f"engine kokoro has no voice for {request.language!r}")


class _Loaded:
    """The model in memory and the voices beside it."""

    def __init__(self, settings: KokoroSettings) -> None:
        """Raises :exc:`EngineUnavailable`."""
        self._cache = settings.cache or cache_folder()
        self._threads = settings.threads or min(os.cpu_count() or 1, MOST_THREADS)
        self._model = find_model(settings.folder, self._cache)
        self._digest = digest(self._model)
        parts = find_parts(self._model, self._digest, settings.precision, "frozen", self._cache)
        Espeak.load()
        self._styles = Styles(find_voices(settings.folder, self._cache))
        self.voices = tuple(self._offered(settings.voices))
        name: str = settings.runtime
        if name == "auto":
            name = choose(self._cache, *probe(parts), self._threads) if settings.precision == "float32" else "onnxruntime"
        runtime = make(name, self._threads)
        # Whole sentences of any length: OpenVINO prepares each new length anew, which only bfloat16's speed makes good.
        front = runtime if name == "openvino-bf16" else make("onnxruntime", self._threads)
        self._kokoro = Kokoro(parts, front, runtime)
        self._front = front
        self._whole: Kokoro | None = None
        self._whole_lock = threading.Lock()
        self._known = Known.read(FILE, model_folder(settings.folder) / "statistics")
        self._alone = functools.lru_cache(maxsize=REMEMBERED)(_groups_alone)
        self.build = f"{settings.precision} {name} {self._digest[:16]}"

    def _offered(self, wanted: Sequence[str]) -> Iterator[Voice]:
        readable = [id for id in self._styles.ids if id[0] in ESPEAK]
        if not readable:
            raise EngineUnavailable("none of Kokoro's voices here speaks a language that espeak-ng reads")
        for id in wanted or readable:
            try:
                yield self.mixture(id)
            except UnknownVoice as problem:
                raise EngineUnavailable(str(problem)) from problem

    def mixture(self, id: str) -> Voice:
        """Raises :exc:`UnknownVoice`."""
        mixture = Mixture.parse(id)
        for name, _ in mixture.shares:
            if name not in self._styles.ids:
                raise UnknownVoice(f"engine kokoro has no voice {name!r}; it has: {', '.join(self._styles.ids)}")
        if mixture.letter not in ESPEAK:
            raise UnknownVoice(f"engine kokoro cannot read {LANGUAGES[mixture.letter]}, the language of {id}")
        return describe(id)

    def speak(self, request: Request, voice: Voice, pace: Pace) -> Generator[Chunk, None, None]:
        mixture = Mixture.parse(voice.id)
        phonemes = phonemize(request.text, mixture.letter)
        if not phonemes:
            raise SynthesisFailed(f"voice {voice.id} finds nothing to say in {len(request.text)} characters")
        words = starts(request.text, phonemes, functools.partial(self._alone, mixture.letter))
        position, cut = 0, list(pieces(phonemes))
        for number, piece in enumerate(cut):
            prepared = self._kokoro.prepare(piece.phonemes, self._styles.style(mixture), request.speed)
            lead = max(0, int(prepared.durations[0]) * TICK - round(ATTACK * RATE)) // HOP  # frames of silence that nobody needs
            yield Chunk(NO_SAMPLES, tuple(marks(words, piece, prepared.durations, position - lead * HOP)))
            ending = Ending(_last_sound(piece, prepared) - lead * HOP, FALL if number == len(cut) - 1 else PAUSE)
            for sound in self._sound(piece, prepared, mixture, request.speed, lead, pace):
                samples = _pcm(ending.trim(sound), voice.id)
                position += len(samples)
                yield Chunk(samples)
                if ending.is_reached:
                    break

    def _sound(self, piece: Piece, prepared: Prepared, mixture: Mixture, speed: float, lead: int, pace: Pace) -> Iterator[Floats]:
        """Windows, and nothing between the stages of one: there, too, somebody else may have a turn."""
        moments = self._known.moments(mixture, bucket(prepared.frames))
        if moments is None:
            yield self._speak_whole(piece, mixture, speed)[lead * HOP :]
            return
        flow = self._kokoro.flow(prepared, moments)
        flow.skip(lead * HOP)
        for first, last in windows(lead, flow.frames, pace):
            for _ in flow.advance(last * HOP):
                yield NO_SOUND
            yield flow.pull(first * HOP, last * HOP).ravel()

    def _speak_whole(self, piece: Piece, mixture: Mixture, speed: float) -> Floats:
        """By parts whose norms measure for themselves; loaded when the first voice needs them."""
        with self._whole_lock:
            if self._whole is None:
                log.info("voice %s has no statistics: it is spoken in whole pieces", mixture.shares[0][0])
                parts = find_parts(self._model, self._digest, "float32", "measuring", self._cache)
                self._whole = Kokoro(parts, self._front, self._front)
        prepared = self._whole.prepare(piece.phonemes, self._styles.style(mixture), speed)
        return self._whole.measure(prepared)[0]


class Ending:
    """Where a piece has ended: the model makes half a second of silence after the last phoneme, which need not be made at all."""

    def __init__(self, last: int, keep: float) -> None:
        """``last``: the sample before which it has not ended. ``keep``: seconds of silence after which it has."""
        self._last, self._keep = last, round(keep * RATE)
        self._position = self._silent = 0
        self.is_reached = False

    def trim(self, sound: Floats) -> Floats:
        """What is to be heard of the next samples."""
        blocks = sound[: len(sound) // HOP * HOP].reshape(-1, HOP)
        for number, level in enumerate(np.sqrt(np.mean(np.square(blocks), axis=1))):
            self._silent = self._silent + HOP if level < QUIET else 0
            if self._silent >= self._keep and self._position + (number + 1) * HOP > self._last:
                self.is_reached = True
                return sound[: (number + 1) * HOP]
        self._position += len(sound)
        return sound


def _last_sound(piece: Piece, prepared: Prepared) -> int:
    """The sample at which the last phoneme that is not punctuation begins."""
    last = max(index for index, sign in enumerate(piece.phonemes) if sign.isalpha()) + 1  # silence comes first
    return int(prepared.durations[:last].sum()) * TICK


def _pcm(sound: Floats, id: str) -> Samples:
    if not np.isfinite(sound).all():
        raise SynthesisFailed(f"voice {id} made samples that are no numbers")
    return (np.clip(sound, -1.0, 1.0) * 32767).astype(np.int16)


def _groups_alone(letter: str, word: str) -> tuple[str, ...]:
    return tuple(_ALPHABETIC.findall(phonemize(word, letter)))
