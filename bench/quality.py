"""Kokoro streamed against Kokoro whole: words that Whisper understands, DNSMOS, level and seams, voice by voice."""

from __future__ import annotations

import functools
import importlib.util
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import soxr

from bench.recognition import INSTALL, RATE, plain, transcribe
from bench.results import Figure, Result, Table, machine, moment, versions
from engines.kokoro import KokoroEngine
from engines.kokoro.calibrate import CHECKS, level
from engines.vits import decibels

Sound = npt.NDArray[np.float32]

SENTENCES = (
    "Hello there, how are you?",
    "The weather is nice today, so we are going for a walk.",
    "My brother bought a small green car from a dealer in Manchester last Tuesday.",
    "If you turn left at the second traffic light, you will see the library on your right.",
    "No! I told you already that the meeting was moved to Thursday.",
    "In the middle of difficulty lies opportunity, and those who are patient enough to look for it will find more than they expect.",
)
"""None of them is among those on which the statistics were measured."""
HEARD = 9.01  # seconds that DNSMOS hears at once
OVERALL = (-0.06766283, 1.11546468, 0.04602535)  # the polynomial by which DNSMOS maps its third output to a listener's scale
WORDS = 0.01  # more of all words misunderstood than of the whole
WORSE = 0.05  # of DNSMOS below the whole
LEVEL = 1.0  # decibels
SEAMS = 40.0  # decibels of the sound above what windows change of it: far below hearing beside it


@dataclass(frozen=True, slots=True)
class Plan:
    voices: tuple[str, ...] = ()
    """Empty for all that the engine offers."""
    sentences: int = len(SENTENCES)
    """Of each voice; those of languages other than English have two."""
    seed: int = 1


QUICK = Plan(voices=("af_heart", "am_michael", "bf_emma"), sentences=3)


@dataclass(slots=True)
class Heard:
    """One voice, summed over sentences."""

    voice: str
    streams: bool = True
    """False for a voice that the engine speaks in whole sentences, since statistics do it no good."""
    words: int = 0
    wrong: float = 0.0
    """Words misunderstood of the streamed sound."""
    wrong_whole: float = 0.0
    scores: list[float] = field(default_factory=list)
    """DNSMOS, overall."""
    scores_whole: list[float] = field(default_factory=list)
    levels: list[float] = field(default_factory=list)
    """Decibels of the streamed above the whole."""
    seams: list[float] = field(default_factory=list)
    """Decibels of windows against one pass at the same statistics."""


def run(plan: Plan) -> Result:
    """Blocks: a minute an English voice on two cores, half of it another."""
    busy, when = os.getloadavg()[0], moment()
    engine = KokoroEngine()
    engine.load()
    rate = engine.voice("").sample_rate
    voices = plan.voices or tuple(voice.id for voice in engine.voices())
    heard = [_hear(engine, voice, _sentences(engine.voice(voice).language)[: plan.sentences], rate) for voice in voices]
    load = f"{len(voices)} voices, on sentences that the statistics do not know: {min(plan.sentences, len(SENTENCES))} for English voices"
    return Result("quality", plan.seed, load, figures(heard), (_table(heard),), machine(), versions(), when, busy)


def _sentences(language: str) -> tuple[str, ...]:
    return SENTENCES if language.startswith("en") else CHECKS[language.split("-")[0]]


def _hear(engine: KokoroEngine, voice: str, sentences: Sequence[str], rate: int) -> Heard:
    heard = Heard(voice, streams=engine.streams(voice))
    english = engine.voice(voice).language.startswith("en")
    for text in sentences:
        made = engine.compare(text, voice)
        heard.levels.append(level(made.windowed) - level(made.whole))
        heard.seams.append(decibels(made.once, made.windowed))
        heard.scores.append(score(made.windowed, rate))
        heard.scores_whole.append(score(made.whole, rate))
        if english:
            count = len(plain(text).split())
            heard.words += count
            heard.wrong += count * _errors(text, made.windowed, rate)
            heard.wrong_whole += count * _errors(text, made.whole, rate)
    return heard


def _errors(text: str, sound: Sound, rate: int) -> float:
    from bench.recognition import word_errors

    return word_errors(text, transcribe((np.clip(sound, -1, 1) * 32767).astype(np.int16), rate))


@functools.cache
def _judge() -> Any:
    """DNSMOS's network, as the package ``speechmos`` carries it."""
    found = importlib.util.find_spec("speechmos")
    if found is None or not found.submodule_search_locations:
        raise ModuleNotFoundError(f"DNSMOS is missing: {INSTALL}")
    import onnxruntime

    runtime: Any = onnxruntime
    path = Path(found.submodule_search_locations[0], "dnsmos_models", "sig_bak_ovr.onnx")
    return runtime.InferenceSession(str(path), providers=["CPUExecutionProvider"])


def score(sound: Sound, rate: int) -> float:
    """DNSMOS overall, 1 to 5: of each nine seconds, a second apart; a shorter sound is repeated, as its authors do."""
    heard = soxr.resample(sound, rate, RATE)
    size = int(HEARD * RATE)
    while len(heard) < size:
        heard = np.concatenate([heard, heard])
    raw = []
    for start in range(0, len(heard) - size + 1, RATE):
        (outputs,) = _judge().run(None, {"input_1": np.clip(heard[start : start + size], -1, 1).astype(np.float32)[None]})
        raw.append(float(outputs[0][2]))
    return float(np.mean(np.polyval(OVERALL, raw)))


def figures(all: Sequence[Heard]) -> tuple[Figure, ...]:
    heard = [one for one in all if one.streams] or all
    words = sum(one.words for one in heard)
    more = (sum(one.wrong for one in heard) - sum(one.wrong_whole for one in heard)) / words if words else None
    lost = [float(np.mean(one.scores_whole) - np.mean(one.scores)) for one in heard]
    louder = [abs(float(np.mean(one.levels))) for one in heard]
    return (
        Figure("Kokoro, voices that stream inside the sentence", float(sum(one.streams for one in all)), f"of {len(all)}"),
        Figure("Kokoro streamed, words misunderstood beyond those of the whole", more, "", most=WORDS),
        Figure("Kokoro streamed, DNSMOS below the whole, mean of voices", float(np.mean(lost)), "", most=WORSE),
        Figure("Kokoro streamed, DNSMOS below the whole, worst voice", max(lost), "", most=WORSE),
        Figure("Kokoro streamed, level off the whole's, worst voice", max(louder), "dB", most=LEVEL),
        Figure(
            "Kokoro in windows against one pass at the same statistics, worst sentence",
            min(min(one.seams) for one in heard),
            "dB",
            least=SEAMS,
        ),
    )


def _table(heard: Sequence[Heard]) -> Table:
    rows = []
    for one in heard:
        rates: tuple[float | None, float | None] = (one.wrong / one.words, one.wrong_whole / one.words) if one.words else (None, None)
        scores = (float(np.mean(one.scores)), float(np.mean(one.scores_whole)))
        rows.append(
            (
                one.voice,
                "" if one.streams else "spoken whole",
                *rates,
                *scores,
                float(np.mean(one.levels)),
                float(max(map(abs, one.levels))),
                float(min(one.seams)),
            )
        )
    columns = ("voice", "", "word errors", "whole", "DNSMOS", "whole", "level, mean dB", "level, worst dB", "seams, worst dB")
    return Table("Kokoro streamed and whole", columns, tuple(rows))
