"""Japanese and Chinese text as the phonemes that Kokoro was trained on, by misaki and its dictionaries, which are optional.

espeak-ng reads neither well enough: it knows few Chinese characters' Japanese readings, and no tone signs of Kokoro's alphabet.
"""

from __future__ import annotations

import functools
import importlib
import importlib.util
import logging
import re
import threading
import warnings
from collections.abc import Callable, Iterator
from typing import Any

from engines.base import EngineUnavailable, SynthesisFailed
from engines.kokoro.files import cache_folder

Reader = Callable[[str], tuple[str, object]]
"""misaki's own form: phonemes first."""

INSTALL = "pip install 'voicebooth[kokoro-asia]', with Python 3.11 or 3.12"
NEEDS = {
    "j": ("misaki", "fugashi", "jaconv", "mojimoji", "unidic_lite"),
    "z": ("misaki", "cn2an", "jieba", "ordered_set", "pypinyin"),
}
"""Packages by the first letter of a voice."""

_LATIN = re.compile(r"[A-Za-zÀ-ÖØ-öø-ÿ][A-Za-zÀ-ÖØ-öø-ÿ' -]*")
_PUNCTUATION = {"。": ". ", "、": ", ", "，": ", ", "！": "! ", "？": "? ", "：": ": ", "；": "; "}
"""What stands alone between two runs of Latin letters; inside its own language misaki does the same."""
_LOOSE = re.compile(r"\s+([,.!?:;])")

_turns = threading.Lock()  # the dictionaries' readers have one state each


@functools.cache
def can_read(letter: str) -> bool:
    """Whether the packages for this language are here; none of them is imported."""
    return letter in NEEDS and all(importlib.util.find_spec(package) is not None for package in NEEDS[letter])


def read(text: str, letter: str, foreign: Callable[[str], str]) -> str:
    """Phonemes and punctuation. ``foreign`` reads runs of Latin letters. The first call takes a second, for the dictionary.

    Raises :exc:`EngineUnavailable` or :exc:`SynthesisFailed`.
    """
    with _turns:
        reader = _reader(letter)
        pieces = []
        for run, is_latin in _runs(text):
            if is_latin:
                pieces.append(f" {foreign(run)} ")
            elif any(map(str.isalnum, run)):
                pieces.append(_ask(reader, run))
            else:
                pieces.append(_PUNCTUATION.get(run.strip(), run))
    return _LOOSE.sub(r"\1", " ".join("".join(pieces).split()))


def _runs(text: str) -> Iterator[tuple[str, bool]]:
    position = 0
    for match in _LATIN.finditer(text):
        if position < match.start():
            yield text[position : match.start()], False
        yield match.group(), True
        position = match.end()
    if position < len(text):
        yield text[position:], False


def _ask(reader: Reader, text: str) -> str:
    try:
        return reader(text)[0]
    except (AssertionError, IndexError, KeyError, TypeError, ValueError) as problem:  # for characters that its tables lack
        raise SynthesisFailed(f"misaki does not read {text[:40]!r}: {problem!r}") from problem


@functools.cache
def _reader(letter: str) -> Reader:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of packages that are older than this Python
            return _japanese() if letter == "j" else _chinese()
    except (ImportError, OSError, RuntimeError) as problem:
        raise EngineUnavailable(f"engine kokoro cannot read this language: {problem}", remedy=INSTALL) from problem


def _japanese() -> Reader:
    module: Any = importlib.import_module("misaki.cutlet")
    reader: Reader = module.Cutlet()
    return reader


def _chinese() -> Reader:
    jieba: Any = importlib.import_module("jieba")
    jieba.setLogLevel(logging.WARNING)  # it tells how long its dictionary took
    jieba.dt.tmp_dir = str(cache_folder())  # where it keeps the dictionary it has read; otherwise where anybody may write
    cache_folder().mkdir(parents=True, exist_ok=True)
    module: Any = importlib.import_module("misaki.zh")
    reader: Reader = module.ZHG2P()
    return reader
