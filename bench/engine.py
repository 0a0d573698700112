"""The Piper engine alone, beside ``piper-tts`` with the same voice in the same process: first sound, whole work, likeness.

Whole work is judged in core-seconds. piper-tts lets the threads of its ONNX session spin while they wait; that takes a core from whoever
else needs one and counts as its work here. The engine's threads do not spin. Seconds are shown beside it, for information.
"""

from __future__ import annotations

import os
import random
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from bench.passages import LENGTHS, of_length
from bench.processes import voice_model
from bench.results import Figure, Result, Table, machine, moment, quantile, ratio, versions
from engines.base import Engine, Pace, Request, Samples
from engines.piper import PiperEngine, PiperSettings
from engines.vits import decibels
from engines.windows import Floats

if TYPE_CHECKING:
    from piper import PiperVoice

MOST = {13: 0.90, 81: 0.40, 158: 0.30}  # of piper-tts's time to first audio, by characters
WORK = 1.10  # of piper-tts's core-seconds per second of audio
LIKE = 90.0  # decibels
WINDOW = 2.0  # seconds: the most that the node lets a step make when nobody else waits
AUDIBLE = 32767 * 10 ** (-50 / 20)  # RMS over 10 ms
REST = 0.05  # seconds between two measurements: threads of the one before have stopped spinning


@dataclass(frozen=True, slots=True)
class Plan:
    repeats: int = 20
    """Texts per length and system."""
    seed: int = 1


QUICK = Plan(repeats=6)


@dataclass(frozen=True, slots=True)
class Made:
    """One sentence made by one system."""

    system: str
    characters: int
    first: float
    """Seconds to the step that held the first audible sample."""
    whole: float
    """Seconds to the last sample."""
    cpu: float
    """Core-seconds, threads that only wait by spinning included."""
    audio: float
    """Seconds of sound."""


@dataclass(frozen=True, slots=True)
class Likeness:
    samples: int
    """Made in windows, without noise."""
    whole_samples: int
    """Made by the voice's own graph, without noise."""
    quiet: float
    """Decibels of windows against the voice's own graph, both without noise."""
    noisy: float
    """Decibels of windows against one pass through the same parts over the same noise."""


def run(plan: Plan) -> Result:
    """Blocks, about a minute."""
    from piper import PiperVoice

    busy, when, chosen = os.getloadavg()[0], moment(), random.Random(plan.seed)
    model = voice_model()
    engine = PiperEngine(PiperSettings(voices=(model.stem,)))
    engine.load()
    voice = PiperVoice.load(model)
    systems: dict[str, Callable[[str], Iterator[Samples]]] = {
        "engine": lambda text: windows(engine, text),
        "piper-tts": lambda text: (chunk.audio_int16_array for chunk in voice.synthesize(text)),
    }
    rate = engine.voice("").sample_rate
    for speak in systems.values():
        measure("", of_length(158)[0], speak, rate)
    made = []
    for number in range(plan.repeats):
        for length in chosen.sample(LENGTHS, len(LENGTHS)):
            text = of_length(length)[number % len(of_length(length))]
            for system, speak in systems.items():
                made.append(measure(system, text, speak, rate))
                time.sleep(REST)
    alike = [likeness(engine, voice, text) for length in (81, 158) for text in of_length(length)]
    load = f"No room: both systems in one process, {plan.repeats} sentences per length in turns"
    return Result("engine", plan.seed, load, _figures(made, alike), (_table(made),), machine(), versions(), when, busy)


def windows(engine: Engine, text: str, voice: str = "") -> Iterator[Samples]:
    """As the node asks for them while nobody else waits: each step may make as much as is in hand."""
    pace, rate, made = Pace(), engine.voice(voice).sample_rate, 0
    for chunk in engine.synthesize(Request(text, voice), pace):
        yield chunk.samples
        made += len(chunk.samples)
        pace.window = min(made / rate, WINDOW)


def measure(system: str, text: str, speak: Callable[[str], Iterator[Samples]], rate: int) -> Made:
    """Says it once; ``rate`` of its samples in hertz."""
    cpu, start = time.process_time(), time.perf_counter()
    first, count = None, 0
    for samples in speak(text):
        now = time.perf_counter() - start
        count += len(samples)
        if first is None and is_audible(samples, rate):
            first = now
    whole = time.perf_counter() - start
    return Made(system, len(text), first or whole, whole, time.process_time() - cpu, count / rate)


def is_audible(samples: Samples, rate: int) -> bool:
    """Whether any 10 ms of it are above -50 dBFS."""
    window = rate // 100
    whole = len(samples) // window
    frames = samples[: whole * window].reshape(whole, window).astype(np.float64)
    return bool(whole) and bool(np.sqrt(np.mean(frames**2, axis=1)).max() > AUDIBLE)


def likeness(engine: PiperEngine, voice: PiperVoice, text: str) -> Likeness:
    """Without noise the durations are the same, so windows and the voice's own graph must agree, and in length to the sample."""
    windowed = engine.compare(text, 0.0, noise_scale=0.0, noise_w=0.0)[0]
    ids = voice.phonemes_to_ids(voice.phonemize(text)[0])
    feed: dict[str, Any] = {
        "input": np.array([ids], dtype=np.int64),
        "input_lengths": np.array([len(ids)], dtype=np.int64),
        "scales": np.array([0.0, voice.config.length_scale, 0.0], dtype=np.float32),
    }
    graph = np.ravel(voice.session.run(None, feed)[0])
    noisy, whole = engine.compare(text, 0.0)
    return Likeness(len(windowed), len(graph), _alike(graph, windowed), _alike(whole, noisy))


def _alike(whole: Floats, windowed: Floats) -> float:
    """Decibels; of other lengths, as unlike as can be."""
    return decibels(whole, windowed) if len(windowed) == len(whole) else -np.inf


def _figures(made: Sequence[Made], alike: Sequence[Likeness]) -> tuple[Figure, ...]:
    figures = [
        Figure(
            f"engine alone, {length} characters, time to first audio against piper-tts, p50",
            ratio(*(quantile([one.first for one in _of(made, system, length)], 0.5) for system in ("engine", "piper-tts"))),
            "",
            most=MOST.get(length),
        )
        for length in LENGTHS
    ]
    for name, cost, most in (("core-seconds", "cpu", WORK), ("seconds", "whole", None)):
        totals = [
            sum(getattr(one, cost) for one in made if one.system == s) / sum(one.audio for one in made if one.system == s)
            for s in ("engine", "piper-tts")
        ]
        figures.append(Figure(f"engine alone, whole work in {name} per second of audio, against piper-tts", ratio(*totals), "", most=most))
    off = max(abs(one.samples - one.whole_samples) for one in alike)
    figures.append(Figure("streamed against the voice's own graph: samples more or less", float(off), "", most=0.0))
    figures.append(Figure("streamed against the voice's own graph, no noise, worst", min(one.quiet for one in alike), "dB", least=LIKE))
    figures.append(Figure("streamed against one pass through its parts, same noise, worst", min(one.noisy for one in alike), "dB"))
    return tuple(figures)


def _table(made: Sequence[Made]) -> Table:
    rows = []
    for length in LENGTHS:
        for system in ("engine", "piper-tts"):
            mine = _of(made, system, length)
            rows.append(
                (
                    f"{length}",
                    system,
                    *(1000 * (quantile([one.first for one in mine], q) or 0.0) for q in (0.5, 0.95)),
                    1000 * (quantile([one.whole for one in mine], 0.5) or 0.0),
                    quantile([one.whole / one.audio for one in mine], 0.5),
                    quantile([one.cpu / one.audio for one in mine], 0.5),
                )
            )
    columns = ("characters", "system", "first p50", "first p95", "whole p50", "real-time factor", "core-seconds per second of audio")
    return Table("Milliseconds to the first audible sample and to the last one", columns, tuple(rows))


def _of(made: Sequence[Made], system: str, length: int) -> list[Made]:
    return [one for one in made if (one.system, one.characters) == (system, length)]
