"""Kokoro's model in memory and the voices beside it: requests turned into sound and marks."""

from __future__ import annotations

import functools
import logging
import os
import re
import threading
from collections.abc import Generator, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
import numpy.typing as npt

from engines.base import NO_SAMPLES, Chunk, EngineUnavailable, Pace, Request, Samples, SynthesisFailed, UnknownVoice, Voice
from engines.kokoro import asia, english
from engines.kokoro.cut import FORMAT
from engines.kokoro.files import MODEL_DIGEST, cache_folder, digest, find_model, find_parts, find_voices, has_model, model_folder
from engines.kokoro.harmonics import HOP, RATE
from engines.kokoro.marks import TICK, marks, starts
from engines.kokoro.model import Kokoro, Prepared, probe
from engines.kokoro.phonemes import MOST_TOKENS, Espeak, Piece, can_read, phonemize, pieces
from engines.kokoro.runtimes import NAMES, choose, make, version
from engines.kokoro.sound import QUIET, usual_windows, windows
from engines.kokoro.statistics import FILE, VERSION, Known, Measured
from engines.kokoro.torched import Torched, Whole, missing
from engines.kokoro.voices import LANGUAGES, Mixture, Styles, describe
from engines.windows import Floats

if TYPE_CHECKING:
    from engines.kokoro.engine import KokoroSettings

log = logging.getLogger(__name__)

MOST_THREADS = 4  # per step: windows are too small to feed more
REMEMBERED = 4096  # words whose sound alone is kept for the marks: a few hundred kB a voice's language
FALL = 0.100  # seconds of silence after which a piece has ended; as much is kept
PAUSE = 0.200  # seconds of silence between two pieces of a sentence: what the model makes at a comma
NO_SOUND: Floats = np.zeros(0, dtype=np.float32)
LIBRARIES = ("onnxruntime", "onnxruntime-gpu", "openvino", "espeakng-loader")  # whose versions are heard

Way = Literal["whole", "once", "windows"]
"""How a sentence is made: in one pass that takes its own statistics, as the model was meant; in one pass at the voice's; or at these in
windows, as it is streamed."""

_ALPHABETIC = re.compile(r"\S*\w\S*")


class Loaded:
    """The model in memory and the voices beside it."""

    def __init__(self, settings: KokoroSettings) -> None:
        """Raises :exc:`EngineUnavailable`."""
        self._cache = settings.cache or cache_folder()
        self._statistics = settings.statistics
        self.threads = settings.threads or min(os.cpu_count() or 1, MOST_THREADS)
        self._alone = functools.lru_cache(maxsize=REMEMBERED)(self._groups_alone)
        self._torched = self._on_torch(settings)
        if self._torched is None:
            self._open(settings)
        Espeak.load()
        self._styles = Styles(*find_voices(settings.folder, self._cache))
        self.voices = tuple(self._offered(settings.voices))
        letters = {mixture.letter for mixture in (Mixture.parse(voice.id) for voice in self.voices)} if settings.english == "auto" else ()
        self._lexicons = {letter: english.load(letter) for letter in letters}
        self.build += f" english-{version('misaki') if self._lexicons else 'espeak'}"

    def _open(self, settings: KokoroSettings) -> None:
        """The graph, cut into parts."""
        self._model = find_model(settings.folder, self._cache)
        self._digest = digest(self._model)
        if self._digest != MODEL_DIGEST:
            log.warning("%s is not Kokoro v1.0 as the catalog has it: it is taken as your own", self._model)
        precision, name, folder = self._choose(settings)
        runtime = make(name, self.threads)
        # The front takes whole sentences, and OpenVINO prepares each new length anew, which costs 25 ms: ONNX Runtime does not. There
        # integers, in which the model comes, are twice as fast as float32, and as fast as bfloat16 is.
        front = make("onnxruntime", self.threads) if name.startswith("openvino") else runtime
        self._fronts = self._parts("int8", "frozen") if name == "openvino-bf16" else None
        # Two threads make a window sooner, and at a fifth more work: on one each, two sentences get further.
        beside = make(name, 1) if name == "onnxruntime" and self.threads > 1 else None
        self._kokoro = Kokoro(folder, front, runtime, fronts=self._fronts, beside=beside)
        # Whole pieces are of any length, too, which only bfloat16's speed makes good.
        self._precision, self._runtimes = precision, (front, runtime if name == "openvino-bf16" else front)
        self._whole: Kokoro | None = None
        self._whole_lock = threading.Lock()
        self._known = Known.read(FILE, model_folder(settings.folder) / "statistics")
        libraries = " ".join(f"{library}-{version(library)}" for library in LIBRARIES)
        self.build = f"kokoro-{FORMAT}.{VERSION} {precision} {name} {self._digest[:16]} {libraries}"

    def _choose(self, settings: KokoroSettings) -> tuple[str, str, Path]:
        """Precision, runtime and the folder of the parts: those named, or the fastest here."""
        precisions = tuple(NAMES) if settings.precision == "auto" else (settings.precision,)
        if settings.runtime != "auto":
            precisions = precisions[:1]
        folders = {precision: self._parts(precision, "frozen") for precision in precisions}
        if len(precisions) == 1 and settings.runtime in NAMES[precisions[0]]:
            return precisions[0], str(settings.runtime), folders[precisions[0]]
        probes = {precision: probe(folder) for precision, folder in folders.items()}
        precision, name = choose(self._cache, probes, self.threads)
        return precision, name, folders[precision]

    def _parts(self, precision: str, kind: str) -> Path:
        return find_parts(self._model, self._digest, precision, kind, self._cache)

    def _on_torch(self, settings: KokoroSettings) -> Torched | None:
        """Where it is asked for; and where the graph is missing, but nothing that torch needs."""
        if settings.runtime != "torch":
            if settings.runtime != "auto" or has_model(settings.folder, self._cache) or missing(settings.folder, self._cache):
                return None
        torched = Torched(model_folder(settings.folder), self.threads)
        self.build = f"kokoro-torch {torched.device} {torched.build}"
        return torched

    def _offered(self, wanted: Sequence[str]) -> Iterator[Voice]:
        readable = [id for id in self._styles.ids if can_read(id[0])]
        if not readable:
            raise EngineUnavailable("none of Kokoro's voices here speaks a language that can be read", remedy=asia.INSTALL)
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
        if not can_read(mixture.letter):
            raise UnknownVoice(f"engine kokoro cannot read {LANGUAGES[mixture.letter]}, the language of {id}", remedy=asia.INSTALL)
        return describe(id)

    def speak(self, request: Request, voice: Voice, pace: Pace) -> Generator[Chunk, None, None]:
        mixture = Mixture.parse(voice.id)
        phonemes = self._read(request.text, mixture.letter)
        if not phonemes:
            raise SynthesisFailed(f"voice {voice.id} finds nothing to say in {request.text[:40]!r}")
        words = starts(request.text, phonemes, functools.partial(self._alone, mixture.letter))
        position, cut = 0, list(pieces(phonemes))
        for number, piece in enumerate(cut):
            prepared = (self._torched or self._kokoro).prepare(piece.phonemes, self._styles.style(mixture), request.speed)
            skipped = prepared.lead * HOP
            yield Chunk(NO_SAMPLES, tuple(marks(words, piece, prepared.durations, position - skipped)))
            ending = Ending(_last_sound(piece, prepared.durations) - skipped, FALL if number == len(cut) - 1 else PAUSE)
            for sound in self._sound(piece, prepared, mixture, request.speed, pace):
                samples = _pcm(ending.trim(sound), voice.id)
                position += len(samples)
                yield Chunk(samples)
                if ending.is_reached:
                    break

    def _read(self, text: str, letter: str) -> str:
        return phonemize(text, letter, self._lexicons.get(letter))

    def _groups_alone(self, letter: str, word: str) -> tuple[str, ...]:
        return tuple(_ALPHABETIC.findall(self._read(word, letter)))

    def _sound(self, piece: Piece, prepared: Prepared | Whole, mixture: Mixture, speed: float, pace: Pace) -> Iterator[Floats]:
        """Windows, and nothing between the stages of one: there, too, somebody else may have a turn."""
        if isinstance(prepared, Whole):
            yield prepared.sound[prepared.lead * HOP :]
            return
        measured = self._measured(mixture)
        if measured is None:
            yield self._speak_whole(piece, mixture, speed)[prepared.lead * HOP :]
            return
        flow = self._kokoro.flow(prepared, measured, pace)
        flow.skip(prepared.lead * HOP)
        for first, last in windows(prepared.lead, flow.frames, pace):
            for _ in flow.advance(last * HOP):
                yield NO_SOUND
            yield flow.pull(first * HOP, last * HOP).ravel()

    def _measured(self, mixture: Mixture) -> Measured | None:
        """What to speak it with; None when it is to be spoken whole."""
        if self._statistics == "whole" or (self._statistics == "auto" and not self._known.is_good(mixture)):
            return None
        return self._known.of(mixture)

    def streams(self, voice: Voice) -> bool:
        return self._torched is None and self._measured(Mixture.parse(voice.id)) is not None

    def raw(self, text: str, voice: Voice, way: Way) -> Floats:
        """Of the text's first piece, neither cut at clauses nor trimmed, shape (samples,)."""
        mixture = Mixture.parse(voice.id)
        piece = Piece(self._read(text, mixture.letter)[:MOST_TOKENS], 0)
        if self._torched is not None:
            if way == "whole":
                return self._torched.prepare(piece.phonemes, self._styles.style(mixture), 1.0).sound
            raise SynthesisFailed("Kokoro on torch is not streamed")
        if way == "whole":
            return self._speak_whole(piece, mixture, 1.0)
        prepared = self._kokoro.prepare(piece.phonemes, self._styles.style(mixture), 1.0)
        measured = self._known.of(mixture)
        if measured is None:
            raise SynthesisFailed(f"nothing is known of {mixture.shares[0][0]}: it is not streamed")
        flow = self._kokoro.flow(prepared, measured, Pace())
        spans = usual_windows(flow.frames) if way == "windows" else [(0, flow.frames)]
        return np.concatenate([flow.pull(start * HOP, end * HOP).ravel() for start, end in spans])

    def _speak_whole(self, piece: Piece, mixture: Mixture, speed: float) -> Floats:
        """By parts whose norms measure for themselves; loaded when the first voice needs them."""
        with self._whole_lock:
            if self._whole is None:
                log.info("voice %s is spoken in whole pieces", mixture.shares[0][0])
                self._whole = Kokoro(self._parts(self._precision, "measuring"), *self._runtimes, fronts=self._fronts)
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


def _last_sound(piece: Piece, durations: npt.NDArray[np.int64]) -> int:
    """The sample at which the last phoneme that is not punctuation begins."""
    last = max(index for index, sign in enumerate(piece.phonemes) if sign.isalpha()) + 1  # silence comes first
    return int(durations[:last].sum()) * TICK


def _pcm(sound: Floats, id: str) -> Samples:
    if not np.isfinite(sound).all():
        raise SynthesisFailed(f"voice {id} made samples that are no numbers")
    return (np.clip(sound, -1.0, 1.0) * 32767).astype(np.int16)
