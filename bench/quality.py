"""How well engines speak: a hundred sentences, what Whisper understands of them, DNSMOS, and the time that they take."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from agent.dnsmos import score
from bench.engine import WINDOW, is_audible
from bench.journal import Journal
from bench.passages import passage
from bench.recognition import Misheard, misheard, transcribe
from bench.results import FOLDER, Figure, Result, Table, commit, machine, moment, quantile, versions
from bench.scene import milliseconds
from engines.base import Engine, Pace, Request, Samples, UnknownVoice
from engines.kokoro import KokoroEngine, KokoroSettings
from engines.piper import PiperEngine
from engines.windows import Floats
from pipeline.normalize import normalize

WORDS = 0.01  # more of all words misunderstood than of the whole
WORSE = 0.05  # of DNSMOS below the whole
KINDS = ("very short", "names", "numbers", "dates", "abbreviations", "questions", "plain", "long")
"""Of the set, in its order."""
ENGINES = ("kokoro", "piper")
LANGUAGE = "en-US"
BEGUN = "begun"  # in the journal: when and how busy


@dataclass(frozen=True, slots=True)
class Plan:
    engines: tuple[str, ...] = ENGINES
    voices: tuple[str, ...] = ()
    """English ones of these engines; empty for the default voice of each."""
    every: int = 1
    """Of the set, every how-manieth sentence."""
    seed: int = 1


QUICK = Plan(every=9)  # some of every kind


@dataclass(frozen=True, slots=True)
class Said:
    """One sentence by one voice."""

    kind: str
    words: int
    wrong: int
    """Words misunderstood of the streamed sound."""
    wrong_whole: int | None
    """None where there is no other way to make it."""
    letters: int
    misspelt: int
    """Characters misunderstood."""
    score: float
    """DNSMOS, overall."""
    score_whole: float | None
    first: float
    """Seconds to the step that held the first audible sample."""
    seconds: float
    """To the last sample."""
    audio: float
    """Seconds of sound."""


def sentences(every: int = 1) -> list[tuple[str, str]]:
    """Kind and sentence."""
    blocks = passage("hundred.en").paragraphs
    return [(kind, text) for kind, block in zip(KINDS, blocks, strict=True) for text in block][::every]


@dataclass(frozen=True, slots=True)
class Speaker:
    """One loaded engine and what it is held against."""

    engine: Engine
    whole: Callable[[str, str], Floats | None]
    """A text by a voice, made in one pass; None where the engine has no other way for it."""


def run(plan: Plan, folder: Path = FOLDER) -> Result:
    """Blocks: a quarter of an hour on two cores, nearly all of it Kokoro's. A run that was ended goes on where it was.

    Raises :exc:`UnknownVoice` for a voice that none of the engines has, and :exc:`EngineUnavailable`.
    """
    journal = Journal(folder, "quality", [asdict(plan), sentences(plan.every), commit()])
    if BEGUN not in journal.found:
        journal.keep(BEGUN, [moment(), os.getloadavg()[0]])
    when, busy = journal.found[BEGUN]
    found: dict[str, list[Said]] = {}
    builds = []
    for name in plan.engines:
        speaker = SPEAKERS[name]()
        builds.append(speaker.engine.build)
        for id in _voices(speaker.engine, plan.voices):
            found[f"{name} {id}"] = _hear(speaker, id, plan, journal)
            print(_line(f"{name} {id}", found[f"{name} {id}"]), file=sys.stderr, flush=True)
        speaker.engine.unload()
    if not found:
        raise UnknownVoice(f"none of {', '.join(plan.engines)} has {', '.join(plan.voices)}")
    load = f"{len(sentences(plan.every))} English sentences ({', '.join(KINDS)}), read as the node reads them; {'; '.join(builds)}"
    result = Result("quality", plan.seed, load, figures(found), (_table(found), _kinds(found)), machine(), versions(), when, busy)
    journal.close()
    return result


def _voices(engine: Engine, wanted: Sequence[str]) -> list[str]:
    return [voice.id for voice in engine.voices() if voice.id in wanted] if wanted else [engine.voice("").id]


def _kokoro() -> Speaker:
    engine, whole = KokoroEngine(), KokoroEngine(KokoroSettings(statistics="whole"))
    engine.load()
    whole.load()
    return Speaker(engine, lambda text, voice: _floats(_say(whole, text, voice)[0]))


def _piper() -> Speaker:
    engine = PiperEngine()
    engine.load()
    return Speaker(engine, lambda text, voice: engine.compare(text, WINDOW)[1] if voice == engine.voice("").id else None)


SPEAKERS: Mapping[str, Callable[[], Speaker]] = {"kokoro": _kokoro, "piper": _piper}


def _hear(speaker: Speaker, voice: str, plan: Plan, journal: Journal) -> list[Said]:
    rate = speaker.engine.voice(voice).sample_rate
    _say(speaker.engine, "One, two, three.", voice)  # what the first sentence of a voice has to prepare is not counted
    said = []
    for number, (kind, text) in enumerate(sentences(plan.every)):
        key = f"{speaker.engine.build}/{voice}/{number}"
        if key not in journal.found:
            journal.keep(key, asdict(_judge(speaker, voice, rate, kind, text)))
        said.append(Said(**journal.found[key]))
    return said


def _judge(speaker: Speaker, voice: str, rate: int, kind: str, text: str) -> Said:
    spoken = normalize(text, LANGUAGE).text
    samples, first, seconds = _say(speaker.engine, spoken, voice)
    whole = speaker.whole(spoken, voice)
    words, letters = _misheard(spoken, _floats(samples), rate)
    return Said(
        kind,
        words.of,
        words.wrong,
        _misheard(spoken, whole, rate)[0].wrong if whole is not None else None,
        letters.of,
        letters.wrong,
        score(_floats(samples), rate),
        score(whole, rate) if whole is not None else None,
        first,
        seconds,
        len(samples) / rate,
    )


def _misheard(spoken: str, sound: Floats, rate: int) -> tuple[Misheard, Misheard]:
    """Numbers and abbreviations count as words on both sides, however the recogniser writes them."""
    heard = transcribe((np.clip(sound, -1, 1) * 32767).astype(np.int16), rate)
    return misheard(spoken, normalize(heard, LANGUAGE).text)


def _say(engine: Engine, text: str, voice: str) -> tuple[Samples, float, float]:
    """As the node asks for it while nobody else waits; with the seconds to its first audible step and to its last one."""
    pace, rate, start = Pace(), engine.voice(voice).sample_rate, time.perf_counter()
    pieces: list[Samples] = []
    first = None
    for chunk in engine.synthesize(Request(text, voice), pace):
        pieces.append(chunk.samples)
        if first is None and is_audible(chunk.samples, rate):
            first = time.perf_counter() - start
        pace.window = min(sum(map(len, pieces)) / rate, WINDOW)
    seconds = time.perf_counter() - start
    return np.concatenate(pieces), first or seconds, seconds


def _floats(samples: Samples) -> Floats:
    return samples.astype(np.float32) / np.float32(32767)


def figures(found: Mapping[str, Sequence[Said]]) -> tuple[Figure, ...]:
    all = []
    for name, said in found.items():
        rates = _rates(said)
        beside = [one for one in said if one.score_whole is not None and one.wrong_whole is not None]
        all += [
            Figure(f"{name}, words misunderstood", rates[0], ""),
            Figure(f"{name}, characters misunderstood", rates[1], ""),
            Figure(f"{name}, DNSMOS", rates[2], ""),
            Figure(f"{name}, time to first audio, p50", milliseconds(quantile([one.first for one in said], 0.5)), "ms"),
            Figure(f"{name}, time to first audio, p95", milliseconds(quantile([one.first for one in said], 0.95)), "ms"),
            Figure(f"{name}, real-time factor", rates[3], ""),
        ]
        if beside:
            words = sum(one.words for one in beside)
            more = sum(one.wrong - (one.wrong_whole or 0) for one in beside) / words
            less = float(np.mean([(one.score_whole or 0.0) - one.score for one in beside]))
            all += [
                Figure(f"{name}, words misunderstood beyond those of the whole", more, "", most=WORDS),
                Figure(f"{name}, DNSMOS below the whole", less, "", most=WORSE),
            ]
    return tuple(all)


def _rates(said: Sequence[Said]) -> tuple[float, float, float, float]:
    """Words and characters misunderstood, DNSMOS, seconds for a second of sound."""
    return (
        sum(one.wrong for one in said) / sum(one.words for one in said),
        sum(one.misspelt for one in said) / sum(one.letters for one in said),
        float(np.mean([one.score for one in said])),
        sum(one.seconds for one in said) / sum(one.audio for one in said),
    )


def _line(name: str, said: Sequence[Said]) -> str:
    words, letters, mark, factor = _rates(said)
    return f"{name}: {words:.1%} of words and {letters:.1%} of characters wrong, DNSMOS {mark:.2f}, real-time factor {factor:.2f}"


def _table(found: Mapping[str, Sequence[Said]]) -> Table:
    rows = []
    for name, said in found.items():
        beside = [one for one in said if one.score_whole is not None and one.wrong_whole is not None]
        words, letters, mark, factor = _rates(said)
        whole = sum(one.wrong_whole or 0 for one in beside) / sum(one.words for one in beside) if beside else None
        mark_whole = float(np.mean([one.score_whole or 0.0 for one in beside])) if beside else None
        firsts = [milliseconds(quantile([one.first for one in said], q)) for q in (0.5, 0.95)]
        rows.append((name, words, whole, letters, mark, mark_whole, *firsts, factor))
    columns = ("voice", "word errors", "whole", "character errors", "DNSMOS", "whole", "first p50, ms", "first p95, ms", "real-time factor")
    return Table("A hundred sentences, streamed and whole", columns, tuple(rows))


def _kinds(found: Mapping[str, Sequence[Said]]) -> Table:
    rows: list[tuple[str | float | None, ...]] = []
    for kind in KINDS:
        mine = {name: [one for one in said if one.kind == kind] for name, said in found.items()}
        if all(mine.values()):
            rows.append((kind, *(sum(one.wrong for one in said) / sum(one.words for one in said) for said in mine.values())))
    return Table("Word errors by kind of sentence", ("kind", *found), tuple(rows))
