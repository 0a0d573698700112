"""One Piper voice in memory: text to phonemes, phonemes to frames, frames to sound, window by window."""

from __future__ import annotations

import functools
import hashlib
import importlib
import json
import logging
import os
import threading
import zlib
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from engines.base import NO_SAMPLES, Chunk, EngineUnavailable, Mark, Pace, Request, Samples, SynthesisFailed, Voice
from engines.catalog import Installed, damaged, known_voices
from engines.parts import stamp
from engines.tiers import tier_of
from engines.vits import FRONT, PLAN, Plan, bind, expand, find_parts
from engines.windows import Chain, Floats
from engines.words import align, words

log = logging.getLogger(__name__)

ENGINE = "piper"
SMALLEST = 12  # frames of a window, 0.14 s at the usual 86 frames a second; the first one has the voice's first silence besides
LARGEST = 128  # frames of the largest window, 1.5 s: seams cost a twentieth there; who wants shorter steps asks for smaller windows
MOST_THREADS = 4  # of the front: a sentence is too small to feed more
WINDOW_THREADS = 1  # of a stage: a second one makes a window no sooner, and costs an eighth more in all and five times the switches
LONGEST = 700  # phoneme ids spoken in one go, some 25 s: the encoder's attention grows with the square
KNEE = 0.85  # of full scale: above it samples are bent, not cut
PEAK = 0.75  # of full scale: where the loudest sample of the warm-up sentence is put; others are up to twice as loud
GAINS = (0.5, 8.0)  # of what a voice may be multiplied with: beyond that its warm-up was not speech
WARM_UP = "1 2 3 4 5"  # read as words in every language
WARM_UP_WINDOW = 0.5  # seconds: the memory that larger ones take would stay taken
REMEMBERED = 4096  # words whose sound alone is kept for the marks: a few hundred kB a voice
INSTALL = "pip install 'voicebooth[piper]'"


class LoadedVoice:
    """One voice file: its phonemizer, its sessions, and how loud it is."""

    def __init__(
        self, installed: Installed, cache: Path, threads: int, noise_scale: float | None = None, noise_w: float | None = None
    ) -> None:
        """``cache``: where cut graphs are kept. ``threads``: of a front; 0 for the number of cores, at most 4. ``noise_scale`` and
        ``noise_w``, 0 to 2, stand for the voice's own."""
        self.id = installed.id
        self._path = installed.model
        runtime, piper = _import("onnxruntime"), _import("piper")
        config = _read_config(installed)
        try:
            self._config = _import("piper.config").PiperConfig.from_dict(config)
        except (KeyError, TypeError, ValueError, AttributeError) as problem:
            raise damaged(installed.config, f"lacks what a voice needs ({type(problem).__name__}: {problem})") from problem
        if noise_scale is not None:
            self._config.noise_scale = noise_scale
        if noise_w is not None:
            self._config.noise_w_scale = noise_w
        self._rate = int(self._config.sample_rate)
        self._speakers = {str(name): int(number) for name, number in self._config.speaker_id_map.items()}
        if self._config.num_speakers > 1 and not self._speakers:
            self._speakers = {str(number): number for number in range(self._config.num_speakers)}
        self.voices = tuple(self._describe(config))
        # Only phonemes are asked of piper's own voice, so it gets no session and the weights are in memory once.
        self._piper = piper.PiperVoice(session=None, config=self._config)
        self._phonemizing = threading.Lock()  # piper guards espeak, not its other phonemizers
        self._alone = functools.lru_cache(maxsize=REMEMBERED)(self._groups_alone)
        self.digest = _digest(installed.model)
        self._errors = _library_errors(runtime)
        self._damage: tuple[type[Exception], ...] = (*self._errors, KeyError, TypeError)
        self._threads = threads or min(os.cpu_count() or 1, MOST_THREADS)
        self._load_sessions(runtime, cache)
        self._gain = 1.0
        self._gain = self._measure_gain()

    # What it says

    def speak(self, request: Request, speaker: str, pace: Pace) -> Generator[Chunk, None, None]:
        text = request.text.replace("[[", " [").replace("]]", "] ")  # piper takes what is between them for raw phonemes
        try:
            yield from self._speak(text, request, self._speakers.get(speaker, self._config.default_speaker_id), pace)
        except self._errors as problem:
            raise SynthesisFailed(f"voice {self.id} could not say {len(text)} characters: {problem}") from problem

    def _speak(self, text: str, request: Request, speaker: int, pace: Pace) -> Generator[Chunk, None, None]:
        sentences = self._phonemize(text)
        pieces = [piece for sentence in sentences for piece in _pieces(sentence)]
        if not pieces:
            raise SynthesisFailed(f"voice {self.id} finds nothing to say in {len(text)} characters")
        noise = _Noise(request, self._config, text)
        if self._whole is not None:
            yield from self._speak_whole(text, pieces, noise, speaker)
            return
        starts = list(_starts(text, pieces, self._alone))
        position = 0
        for number, piece in enumerate(pieces):
            sound = self._prepare(piece, noise, speaker)
            yield Chunk(NO_SAMPLES, tuple(sound.mark(start, position) for where, start in starts if where == number))
            for raw in sound.windows(pace, self._rate):
                yield Chunk(self._loud(raw))
            position += sound.chain.columns

    def compare(self, request: Request, window: float) -> tuple[Floats, Floats]:
        if self._plan is None:
            raise SynthesisFailed(f"voice {self.id} is spoken whole")
        piece = next(_pieces(self._phonemize(request.text)[0]))
        windowed, whole = (self._prepare(piece, _Noise(request, self._config, request.text), 0) for _ in range(2))
        return np.concatenate(list(windowed.windows(Pace(window), self._rate))), np.ravel(whole.chain.pull(0, whole.chain.columns))

    def _prepare(self, piece: Sequence[str], noise: _Noise, speaker: int) -> _Sound:
        """Runs the front: the part that needs the whole sentence."""
        assert self._plan is not None
        ids, offsets = self._ids(piece)
        feed = noise.feed(ids, speaker if self._plan.speakers else None)
        feed |= {name: noise.normal((1, channels, len(ids))) for name, channels in self._plan.noises}
        names = [item.name for item in self._front.get_outputs()]
        found: dict[str, Floats] = dict(zip(names, self._front.run(None, feed), strict=True))
        durations, means, deviations = (found[name] for name in names[:3])
        noisy = expand(durations, means)
        noisy += noise.normal(noisy.shape) * np.exp(expand(durations, deviations)) * noise.scale
        runs = [
            bind(run, {name: found[name] for name in stage.conditions}) for stage, run in zip(self._plan.stages, self._stages, strict=True)
        ]
        return _Sound(Chain(self._plan.stages, runs, noisy), self._plan.hop, durations.reshape(-1), offsets)

    def _speak_whole(self, text: str, pieces: list[list[str]], noise: _Noise, speaker: int) -> Generator[Chunk, None, None]:
        sounds = []
        for piece in pieces:
            ids, _ = self._ids(piece)
            feed = noise.feed(ids, speaker if self._config.num_speakers > 1 else None)
            sounds.append(self._loud(np.ravel(self._whole.run(None, feed)[0])))
        samples = np.concatenate(sounds)
        marks = [Mark(start, end, start * len(samples) // len(text), exact=False) for start, end in words(text)]
        yield Chunk(samples, tuple(marks))

    def _loud(self, raw: Floats) -> Samples:
        """A constant gain for every sentence: what piper-tts does, scaling each to its own loudest sample, needs the whole of it."""
        level = raw * self._gain
        size = np.abs(level)
        bent = KNEE + (1 - KNEE) * np.tanh((size - KNEE) / (1 - KNEE))
        return (np.where(size > KNEE, np.copysign(bent, level), level) * 32767).astype(np.int16)

    # Phonemes

    def _phonemize(self, text: str) -> list[list[str]]:
        with self._phonemizing:
            phonemes: list[list[str]] = self._piper.phonemize(text)
        return [sentence for sentence in phonemes if any(phoneme.strip() for phoneme in sentence)]

    def _groups_alone(self, word: str) -> tuple[str, ...]:
        return tuple(group for sentence in self._phonemize(word) for group in "".join(sentence).split())

    def _ids(self, phonemes: Sequence[str]) -> tuple[list[int], list[int] | None]:
        """Phoneme ids, and at which of them each phoneme begins (None when piper's own way for this language differs)."""
        ids: list[int] = self._piper.phonemes_to_ids(list(phonemes))
        known = self._config.phoneme_id_map
        pad = len(known.get("_", ()))
        position, offsets = len(known.get("^", ())) + pad, []
        for phoneme in phonemes:
            offsets.append(position)
            position += len(known[phoneme]) + pad if phoneme in known else 0
        return ids, offsets if position + len(known.get("$", ())) == len(ids) else None

    # How it is loaded

    def _describe(self, config: dict[str, Any]) -> Iterator[Voice]:
        language = config.get("language", {}).get("code") or self.id.split("-")[0]
        tag = language.replace("_", "-")
        name = config.get("dataset") or self.id
        tier = tier_of(ENGINE, self.id.rpartition("-")[2])
        known = known_voices().get(self.id)
        if not self._speakers:
            yield Voice(self.id, ENGINE, tag, self._rate, name, known.gender if known is not None else "", tier=tier)
        for speaker in sorted(self._speakers, key=lambda item: self._speakers[item]):
            yield Voice(f"{self.id}#{speaker}", ENGINE, tag, self._rate, f"{name} {speaker}", tier=tier)

    def _load_sessions(self, runtime: Any, cache: Path) -> None:
        self._plan: Plan | None = None
        self._whole: Any = None
        self._front: Any = None
        self._stages: list[Any] = []
        broken = None
        for _ in range(2):
            parts = find_parts(self._path, self.digest, cache, broken)
            if parts is None:
                break
            broken = stamp(parts)
            try:
                self._plan = Plan.read(parts / PLAN)
                self._front = self._session(runtime, parts / FRONT, self._threads)
                self._stages = [self._session(runtime, parts / stage.file, WINDOW_THREADS) for stage in self._plan.stages]
                return
            except self._damage as problem:
                log.warning("the parts of %s in %s cannot be opened: %s", self.id, parts, problem)
                self._plan = None
        try:
            self._whole = self._session(runtime, self._path, self._threads)
        except self._errors as problem:
            raise damaged(self._path, str(problem)) from problem

    def _session(self, runtime: Any, path: Path, threads: int) -> Any:
        options = runtime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.log_severity_level = 3  # errors only: the library warns of its own optimisations
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")  # waiting threads would take the cores of other lanes
        options.enable_mem_reuse = False  # planned, it takes 0.7 s of each start for the front, and saves no memory
        return runtime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])

    def _measure_gain(self) -> float:
        """Speaks once, which warms the sessions up as well. A graph that is no voice is found out here: it fails at each sentence."""
        pace = Pace(window=WARM_UP_WINDOW)
        request = Request(WARM_UP, options={"seed": 0.0})
        try:
            said = self._speak(WARM_UP, request, self._config.default_speaker_id, pace)
            loudest = max(int(np.abs(chunk.samples.astype(np.int32)).max(initial=0)) for chunk in said)
        except SynthesisFailed as problem:  # none of its phonemes is in these words
            log.warning("voice %s keeps its own loudness: %s", self.id, problem)
            return 1.0
        except self._damage as problem:
            raise damaged(self._path, f"cannot speak: {problem}") from problem
        if not loudest:
            raise damaged(self._path, "cannot speak: it gives no sound")
        return float(np.clip(PEAK * 32767 / max(loudest, 1), *GAINS))


class _Noise:
    """The random part of one request, and its scales."""

    def __init__(self, request: Request, config: Any, text: str) -> None:
        options = request.options
        self._random = np.random.default_rng(int(options.get("seed", zlib.crc32(text.encode(errors="replace")))) & 0xFFFFFFFF)
        self.scale = float(np.clip(options.get("noise_scale", config.noise_scale), 0, 2))
        self._scales = np.array(
            [self.scale, config.length_scale / request.speed, float(np.clip(options.get("noise_w", config.noise_w_scale), 0, 2))],
            dtype=np.float32,
        )

    def normal(self, shape: tuple[int, ...]) -> Floats:
        return self._random.standard_normal(shape, dtype=np.float32)

    def feed(self, ids: list[int], speaker: int | None) -> dict[str, npt.NDArray[Any]]:
        feed: dict[str, npt.NDArray[Any]] = {
            "input": np.array([ids], dtype=np.int64),
            "input_lengths": np.array([len(ids)], dtype=np.int64),
            "scales": self._scales,
        }
        return feed if speaker is None else feed | {"sid": np.array([speaker], dtype=np.int64)}


@dataclass(slots=True)
class _Sound:
    """What the front made of a sentence, turned into sound window by window."""

    chain: Chain
    hop: int
    durations: Floats
    """Frames of each phoneme id."""
    offsets: list[int] | None

    def mark(self, start: _Start, position: int) -> Mark:
        frames = np.concatenate(([0.0], np.cumsum(self.durations)))
        if self.offsets is None:
            at, exact = start.phoneme / start.phonemes * frames[-1], False
        else:
            first, last = self.offsets[start.phoneme], self.offsets[start.next_phoneme] if start.next_phoneme < start.phonemes else -1
            at, exact = frames[first] + start.share * (frames[last] - frames[first]), start.exact
        return Mark(start.start, start.end, position + int(at) * self.hop, exact)

    def windows(self, pace: Pace, rate: int) -> Iterator[Floats]:
        """Raw sound, shape (n,), float32: in all exactly what one pass over the whole would give."""
        count = self.chain.columns // self.hop
        start, lead = 0, min(self.lead, count - 1)
        while start < count:
            size = max(int(min(pace.window * rate / self.hop, LARGEST)), SMALLEST)
            left = count - start - lead
            size = -(-left // -(-left // size))  # what is left in equal windows: a crumb at the end would cost almost what a window costs
            yield np.ravel(self.chain.pull(start * self.hop, (start + lead + size) * self.hop))
            start, lead = start + lead + size, 0

    @property
    def lead(self) -> int:
        """Frames of silence before its first phoneme: nobody hears them, so they count for nothing in what is in hand."""
        return int(self.durations[: self.offsets[0]].sum()) if self.offsets else 0


@dataclass(frozen=True, slots=True)
class _Start:
    """Where a word begins: among the phonemes of one piece."""

    start: int
    end: int
    phoneme: int
    next_phoneme: int
    phonemes: int
    share: float
    exact: bool


def _starts(text: str, pieces: list[list[str]], alone: Callable[[str], Sequence[str]]) -> Iterator[tuple[int, _Start]]:
    """Each word's piece, and where in it the word begins."""
    groups: list[tuple[int, int, int]] = []
    for number, piece in enumerate(pieces):
        inside = [index for index, phoneme in enumerate(piece) if phoneme.strip()]
        firsts = [index for index in inside if index == 0 or not piece[index - 1].strip()]
        groups += [(number, first, following) for first, following in zip(firsts, [*firsts[1:], len(piece)], strict=True)]
    said = ["".join(pieces[number][first:following]).strip() for number, first, following in groups]
    for place in align(text, said, alone):
        number, first, following = groups[place.group]
        yield number, _Start(place.start, place.end, first, following, len(pieces[number]), place.share, place.exact)


def _pieces(phonemes: list[str]) -> Iterator[list[str]]:
    """A sentence too long for one go, cut between words."""
    most = LONGEST // 2  # each phoneme is followed by a pad
    while len(phonemes) > most:
        spaces = [index for index in range(1, most) if not phonemes[index].strip()]
        at = spaces[-1] if spaces else most
        yield phonemes[:at]
        phonemes = phonemes[at:]
    if any(phoneme.strip() for phoneme in phonemes):
        yield phonemes


def _read_config(installed: Installed) -> dict[str, Any]:
    try:
        config = json.loads(installed.config.read_text(encoding="utf-8"))
    except FileNotFoundError as problem:
        raise damaged(installed.config, "is missing") from problem
    except (OSError, ValueError) as problem:
        raise damaged(installed.config, f"cannot be read: {problem}") from problem
    if not isinstance(config, dict):
        raise damaged(installed.config, "is not the settings of a voice")
    return config


def _digest(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as problem:
        raise damaged(path, str(problem)) from problem


def _import(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError as problem:
        raise EngineUnavailable(f"engine piper needs {name}: {problem}", remedy=INSTALL) from problem


def _library_errors(runtime: Any) -> tuple[type[Exception], ...]:
    """What ONNX Runtime raises: a family without a common base, and what its bindings raise themselves."""
    state = vars(_import(f"{runtime.__name__}.capi.onnxruntime_pybind11_state"))
    own = [item for item in state.values() if isinstance(item, type) and issubclass(item, Exception)]
    return (*own, RuntimeError, ValueError, OSError)
