"""A tone per word: deterministic, exact, needing nothing. What tests, the bench and ``doctor`` listen to."""

from __future__ import annotations

import re
import zlib
from collections.abc import Generator
from dataclasses import dataclass

import numpy as np

from engines.base import Chunk, Engine, Mark, Pace, Request, Samples, SynthesisFailed, Voice

SAMPLE_RATE = 24_000  # hertz: what most neural voices speak at, so the pipeline resamples as it will for them
CHARACTER = 0.060  # seconds of tone for each character of a word: about as long as a voice takes
SHORTEST, LONGEST = 0.080, 0.600  # seconds of a word: long enough to be heard, short enough that no word is a siren
GAP = 0.040  # seconds of silence after each word
EDGE = 0.005  # seconds of rise and fall: no click, and audible within the first 10 ms
LEVEL = 0.30  # of full scale, -10 dBFS: far above any threshold of silence
SMALLEST = 0.020  # seconds of the smallest step: one frame of most tracks
LOWEST = {"female": 330.0, "male": 165.0}  # hertz of the lowest of a voice's tones
OCTAVES = 2.0  # above the lowest, through which a hash spreads the words

_UNSPACED = "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff"  # scripts that do not put spaces between words
_WORD = re.compile(rf"[{_UNSPACED}]|[^\s{_UNSPACED}]+")


@dataclass(frozen=True, slots=True)
class ToneSettings:
    """What the tones can pretend to speak."""

    languages: tuple[str, ...] = ("en", "de", "fr", "es", "it", "pt", "nl", "pl", "ru", "ar", "hi", "ja", "zh")
    """BCP 47 tags; each gets a high voice and a low one. The first is the default."""


class ToneEngine(Engine):
    """Says each word as one tone whose pitch is a hash of the word; the same text always gives the same samples.

    Its voices are ``tone-<language>`` (high) and ``tone-<language>-low``.
    """

    name = "tone"

    def __init__(self, settings: ToneSettings | None = None) -> None:
        settings = settings or ToneSettings()
        self._known = tuple(_voice(language, gender) for language in settings.languages for gender in LOWEST)
        self._voices: tuple[Voice, ...] = ()

    @property
    def build(self) -> str:
        return "tone-1"

    def load(self) -> None:
        self._voices = self._known

    def unload(self) -> None:
        self._voices = ()

    def voices(self) -> tuple[Voice, ...]:
        return self._voices

    def synthesize(self, request: Request, pace: Pace) -> Generator[Chunk, None, None]:
        """Raises :exc:`SynthesisFailed` when the text holds no letter and no digit."""
        voice = self.choose(request)
        words = [match for match in _WORD.finditer(request.text) if any(map(str.isalnum, match.group()))]
        if not words:
            raise SynthesisFailed(f"engine tone finds no word in {len(request.text)} characters")
        position = 0
        waiting: list[Samples] = []
        marks: list[Mark] = []
        held = 0
        for word in words:
            marks.append(Mark(word.start(), word.end(), position + held, exact=True))
            waiting.append(_word(word.group(), LOWEST[voice.gender], request.speed))
            held += len(waiting[-1])
            while held >= (step := _step_samples(pace)):
                sound = np.concatenate(waiting)
                yield Chunk(sound[:step], tuple(marks))
                waiting, marks, held, position = [sound[step:]], [], held - step, position + step
        if held:
            yield Chunk(np.concatenate(waiting), tuple(marks))


def _voice(language: str, gender: str) -> Voice:
    pitch = "low" if gender == "male" else "high"
    suffix = "-low" if gender == "male" else ""
    return Voice(f"tone-{language}{suffix}", "tone", language, SAMPLE_RATE, f"Tone {language} ({pitch})", gender, "One tone per word")


def _step_samples(pace: Pace) -> int:
    return int(max(pace.window, SMALLEST) * SAMPLE_RATE)


def _word(word: str, lowest: float, speed: float) -> Samples:
    return tone(word, min(max(CHARACTER * len(word), SHORTEST), LONGEST) / speed, GAP / speed, lowest=lowest)


def pitch_of(word: str, lowest: float = LOWEST["female"]) -> float:
    """Hertz of the tone that stands for a word, its punctuation included."""
    return lowest * 2 ** (OCTAVES * zlib.crc32(word.casefold().encode(errors="replace")) / 2**32)


def tone(word: str, seconds: float, gap: float, *, lowest: float = LOWEST["female"]) -> Samples:
    """One word and the silence after it, shape (n,), int16; ``lowest``: hertz."""
    length = int(seconds * SAMPLE_RATE)
    pitch = pitch_of(word, lowest)
    edge = int(EDGE * SAMPLE_RATE)
    envelope = np.minimum(1.0, np.minimum(np.arange(length), np.arange(length)[::-1]) / edge)
    wave = LEVEL * envelope * np.sin(2 * np.pi * pitch / SAMPLE_RATE * np.arange(length))
    return np.concatenate([(wave * 32767).astype(np.int16), np.zeros(int(gap * SAMPLE_RATE), dtype=np.int16)])
