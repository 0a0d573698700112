"""Kokoro streamed against Kokoro whole, voice by voice: words that Whisper understands, DNSMOS, level and seams."""

from __future__ import annotations

import json
import math
import os
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from agent.dnsmos import score
from bench.journal import Journal
from bench.passages import TEXTS
from bench.recognition import plain, transcribe, word_errors
from bench.results import FOLDER, Figure, Result, Table, commit, machine, moment, quantile, ratio, versions
from engines.kokoro import KokoroEngine
from engines.kokoro.calibrate import distance, off
from engines.kokoro.harmonics import HOP
from engines.kokoro.sound import usual_windows
from engines.vits import decibels
from engines.windows import Floats

WORDS = 0.01  # more of all words misunderstood than of the whole
WORSE = 0.05  # of DNSMOS below the whole
LEVEL = 1.0  # decibels
DOUBT = 0.6  # of what is allowed: a voice further off after a few sentences is heard in more of them
SEAMS = 1.1  # times the steps that the whole has at the same places
USUAL = 0.95  # of all places of the whole have a smaller step than one that stands out
STANDING = 0.06  # of all seams may stand out: what chance gives, and two deviations of 1 900 seams
CHANCE = 0.001  # a voice more of whose seams stand out than that explains has seams that are heard
STEP = 3  # samples on each side of a seam that belong to it
AROUND = 240  # samples on each side, 10 ms, beside which a step is heard or not
SAME = 120.0  # decibels below the sound: no difference at all
SILENT = 1e-4  # of full scale: a step as small is not heard beside anything
BEGUN = "begun"  # in the journal: when and how busy


@dataclass(frozen=True, slots=True)
class Plan:
    voices: tuple[str, ...] = ()
    """Empty for all that the engine offers."""
    sentences: int = 3
    """Of each voice, in its own language, about 4 s each."""
    further: int = 6
    """Of a voice that may be worse after these: the mean of three marks lies within 0.06 of that of many."""
    seed: int = 1


QUICK = Plan(voices=("af_heart", "am_michael", "bf_emma"))


@dataclass(slots=True)
class Heard:
    """One voice, an entry a sentence."""

    voice: str
    streams: bool = True
    """False for a voice that the engine speaks in whole sentences, since statistics do it no good."""
    words: int = 0
    """In all; 0 for a language that the recogniser does not know."""
    wrong: float = 0.0
    """Words misunderstood of the streamed sound."""
    wrong_whole: float = 0.0
    scores: list[float] = field(default_factory=list)
    """DNSMOS, overall."""
    scores_whole: list[float] = field(default_factory=list)
    levels: list[float] = field(default_factory=list)
    """Decibels of the streamed above the whole."""
    distances: list[float] = field(default_factory=list)
    """Decibels between the spectra of both."""
    rounding: list[float] = field(default_factory=list)
    """Decibels below the sound at which windows differ from one pass at the same statistics: quantised ones round each by itself."""
    seams: list[float] = field(default_factory=list)
    """At each of them, see :func:`steps`."""
    seams_whole: list[float] = field(default_factory=list)
    """At the same places of the whole, which has none there."""
    standing: int = 0
    """Seams with a larger step than nearly all places of the whole."""
    sound: float = 0.0
    """Seconds."""
    work: float = 0.0
    """Core-seconds for the streamed sound."""
    work_whole: float = 0.0

    @property
    def loss(self) -> float:
        """Of DNSMOS, against the whole; the mean."""
        return float(np.mean(self.scores_whole) - np.mean(self.scores))

    @property
    def level(self) -> float:
        """Decibels above the whole; the mean."""
        return float(np.mean(self.levels))

    @property
    def may_be_worse(self) -> bool:
        return self.loss > DOUBT * WORSE or abs(self.level) > DOUBT * LEVEL


def texts() -> Mapping[str, Sequence[str]]:
    """By language; none of them is among those on which statistics are measured or judged."""
    found: dict[str, list[str]] = json.loads((TEXTS / "voices.json").read_text(encoding="utf-8"))
    return found


def run(plan: Plan, folder: Path = FOLDER) -> Result:
    """Blocks: half a minute a voice on two cores. Each voice is kept when it is done, and a run that was ended goes on behind it."""
    engine = KokoroEngine()
    engine.load()
    journal = Journal(folder, "voices", [asdict(plan), texts(), engine.build, commit()])
    if BEGUN not in journal.found:
        journal.keep(BEGUN, [moment(), os.getloadavg()[0]])
    when, busy = journal.found[BEGUN]
    voices = plan.voices or tuple(voice.id for voice in engine.voices())
    heard = []
    for number, voice in enumerate(voices, 1):
        if voice not in journal.found:
            one = hear(engine, voice, plan)
            journal.keep(voice, asdict(one))
            print(_line(one), f"({number} of {len(voices)})", file=sys.stderr, flush=True)
        heard.append(Heard(**journal.found[voice]))
    load = (
        f"{len(voices)} voices, {plan.sentences} sentences each in the voice's own language that its statistics do not know "
        f"({plan.further} more where it might be worse), streamed and whole; {engine.build}"
    )
    result = Result("voices", plan.seed, load, figures(heard), (_table(heard),), machine(), versions(), when, busy)
    journal.close()
    return result


def hear(engine: KokoroEngine, id: str, plan: Plan) -> Heard:
    voice = engine.voice(id)
    language, rate = voice.language.split("-")[0], voice.sample_rate
    heard = Heard(id, streams=engine.streams(id))
    for number, text in enumerate(texts()[language][: plan.sentences + plan.further]):
        if number == plan.sentences and not (heard.streams and heard.may_be_worse):
            break
        whole, work_whole = _made(lambda text=text: engine.raw(text, id, "whole"))  # type: ignore[misc]
        streamed, work = _made(lambda text=text: engine.raw(text, id, "windows"))  # type: ignore[misc]
        heard.levels.append(off(whole, streamed))
        heard.distances.append(distance(whole, streamed))
        heard.rounding.append(min(decibels(engine.raw(text, id, "once"), streamed), SAME))
        places = seams(len(whole))
        heard.seams += steps(streamed, places)
        heard.seams_whole += steps(whole, places)
        large = float(np.quantile(steps(whole, range(HOP, len(whole) - HOP, HOP)), USUAL))
        heard.standing += sum(step > large for step in steps(streamed, places))
        heard.scores.append(score(streamed, rate))
        heard.scores_whole.append(score(whole, rate))
        heard.sound += len(whole) / rate
        heard.work += work
        heard.work_whole += work_whole
        if language == "en":
            count = len(plain(text).split())
            heard.words += count
            heard.wrong += count * _errors(text, streamed, rate)
            heard.wrong_whole += count * _errors(text, whole, rate)
    return heard


def seams(count: int) -> list[int]:
    """Samples at which the engine's windows begin, but for the first, of so many."""
    return [first * HOP for first, _ in usual_windows(count // HOP)][1:]


def steps(sound: Floats, places: Iterable[int]) -> list[float]:
    """How far the sound's slope jumps at these samples, against nearly the largest jump within 10 ms of each."""
    jumps = np.abs(np.diff(sound, 2))
    found = []
    for edge in places:
        here, before, after = (jumps[edge + low : edge + high] for low, high in ((-STEP, STEP), (-AROUND, -STEP), (STEP, AROUND)))
        found.append(float(here.max() / (np.quantile(np.concatenate([before, after]), 0.99) + SILENT)))
    return found


def _made(make: Callable[[], Floats]) -> tuple[Floats, float]:
    """The sound and the core-seconds that it took."""
    start = time.process_time()
    return make(), time.process_time() - start


def _errors(text: str, sound: Floats, rate: int) -> float:
    return word_errors(text, transcribe((np.clip(sound, -1, 1) * 32767).astype(np.int16), rate))


def _line(one: Heard) -> str:
    marks = f"DNSMOS {np.mean(one.scores):.2f} of {np.mean(one.scores_whole):.2f}, level {one.level:+.1f} dB"
    return f"{one.voice}: {marks}" + (f", {one.wrong:.0f} and {one.wrong_whole:.0f} of {one.words} words wrong" if one.words else "")


def figures(all: Sequence[Heard]) -> tuple[Figure, ...]:
    heard = [one for one in all if one.streams] or all
    words = sum(one.words for one in heard)
    more = (sum(one.wrong for one in heard) - sum(one.wrong_whole for one in heard)) / words if words else None
    lost = [one.loss for one in heard]
    louder = [abs(one.level) for one in heard]
    rounding = [float(np.mean(one.rounding)) for one in heard]
    largest = [quantile([step for one in heard for step in getattr(one, name)], 0.95) for name in ("seams", "seams_whole")]
    standing = ratio(float(sum(one.standing for one in heard)), float(sum(len(one.seams) for one in heard)))
    return (
        Figure("Kokoro, voices that stream inside the sentence", float(sum(one.streams for one in all)), f"of {len(all)}"),
        Figure("Kokoro streamed, words misunderstood beyond those of the whole", more, "", most=WORDS),
        Figure("Kokoro streamed, DNSMOS below the whole, mean of voices", float(np.mean(lost)), "", most=WORSE),
        Figure("Kokoro streamed, DNSMOS below the whole, worst voice", max(lost), "", most=WORSE),
        Figure("Kokoro streamed, voices whose DNSMOS is below the whole by more", float(sum(loss > WORSE for loss in lost)), ""),
        Figure("Kokoro streamed, level off the whole's, mean of voices", float(np.mean(louder)), "dB", most=LEVEL),
        Figure("Kokoro streamed, level off the whole's, worst voice", max(louder), "dB", most=LEVEL),
        Figure("Kokoro streamed, voices whose level is off by more", float(sum(off > LEVEL for off in louder)), ""),
        Figure("Kokoro streamed, steps at seams against those of the whole at the same places, p95", ratio(*largest), "", most=SEAMS),
        Figure("Kokoro streamed, seams that stand out as one of twenty places of the whole does", standing, "", most=STANDING),
        Figure("Kokoro streamed, voices in which more seams stand out than by chance", float(sum(map(_clicks, heard))), "", most=0.0),
        Figure("Kokoro streamed, in windows below one pass at the same statistics, mean of voices", float(np.mean(rounding)), "dB"),
    )


def _clicks(one: Heard) -> bool:
    """Whether chance would let as many of its seams stand out in fewer than one of a thousand voices."""
    count, share = len(one.seams), 1 - USUAL
    below = sum(math.comb(count, few) * share**few * USUAL ** (count - few) for few in range(one.standing))
    return 1 - below < CHANCE


def _table(heard: Sequence[Heard]) -> Table:
    rows = []
    for one in heard:
        rates: tuple[float | None, float | None] = (one.wrong / one.words, one.wrong_whole / one.words) if one.words else (None, None)
        marks: list[Any] = [len(one.scores), float(np.mean(one.scores)), float(np.mean(one.scores_whole)), one.level]
        farthest = float(max(map(abs, one.levels)))
        costs = (one.work / one.sound, one.work_whole / one.sound)
        way = "" if one.streams else "spoken whole"
        rows.append(
            (
                one.voice,
                way,
                *rates,
                *marks,
                farthest,
                float(np.mean(one.distances)),
                *(quantile(steps, 0.95) for steps in (one.seams, one.seams_whole)),
                ratio(float(one.standing), float(len(one.seams))),
                float(np.mean(one.rounding)),
                *costs,
            )
        )
    columns = (
        "voice",
        "",
        "word errors",
        "whole",
        "sentences",
        "DNSMOS",
        "whole",
        "level, mean dB",
        "level, worst dB",
        "spectra apart, dB",
        "steps at seams, p95",
        "whole",
        "seams that stand out",
        "below one pass, dB",
        "core-seconds per second of audio",
        "whole",
    )
    return Table("Kokoro streamed and whole", columns, tuple(rows))
