"""English words as Kokoro learned to read them: by misaki's dictionaries, where that package is installed. As a program,
``python -m engines.kokoro.english FOLDER DIALECT``, it packs one dialect's.

Words that they lack are left to espeak-ng, and so is the choice among the readings of a word that has several (*read*, *close*):
misaki asks a tagger for it; here the reading is taken that is nearest to what espeak-ng makes of the word where it stands.
"""

from __future__ import annotations

import difflib
import importlib.util
import json
import re
import subprocess
import sys
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import lru_cache, partial
from pathlib import Path

import numpy as np

from engines.base import BadModel, EngineUnavailable

INSTALL = "pip install 'voicebooth[kokoro-english]'"
DIALECTS = {"a": "us", "b": "gb"}  # by the first letter of a voice's id
GRADES = ("silver", "gold")  # the better one last: it wins
PACKING = 60.0  # seconds that this may take: it takes one
REMEMBERED = 4096  # words whose entry is kept at hand: a megabyte
CONTEXT = 3  # words before one with several readings from which espeak tells which of them is meant

Entry = str | Mapping[str, str | None]
"""One reading, or several by part of speech; ``DEFAULT`` is among them, and ``None`` is for the end of a clause."""

_PRIMARY, _SECONDARY = "ˈ", "ˌ"
_VOWELS = frozenset("AIOQWYaiuæɑɒɔəɛɜɪʊʌᵻɐ")
_FLAPPING = frozenset("AIOWYiuæɑəɛɪɹʊʌ")  # after these an American t before a vowel is a tap
_CONSONANTS = frozenset("bdfhjklmnpstvwzðŋɡɹɾʃʒʤʧθ")
_WORD = re.compile(r"[A-Za-z]+(?:'[A-Za-z]+)*")
_DOUBLED = re.compile(r"([bdgklmnprtvz])\1ing$|cking$")
_LAST = str.maketrans({"ɾ": "T", "ʔ": "t"})  # as the model's version 1 was taught


def pack(entries: Iterable[tuple[str, Entry]]) -> bytes:
    """A line for each word, in order of its bytes: itself, a tabulator, its reading, or its readings as JSON."""
    lines = sorted(f"{word}\t{entry if isinstance(entry, str) else json.dumps(entry)}".encode() for word, entry in entries)
    return b"".join(line + b"\n" for line in lines)


class Packed(Mapping[str, Entry]):
    """A dictionary that never changes, in a sixth of the memory: lines in order, found by halving."""

    def __init__(self, lines: bytes) -> None:
        """``lines``: as :func:`pack` makes them."""
        self._lines = lines
        self._ends = (np.flatnonzero(np.frombuffer(lines, dtype=np.uint8) == ord("\n")) + 1).astype(np.int32)

    def __getitem__(self, word: str) -> Entry:
        wanted = word.encode() + b"\t"
        index = bisect_left(range(len(self)), wanted, key=self._line)
        line = self._line(index) if index < len(self) else b""
        if not line.startswith(wanted):
            raise KeyError(word)
        found = line[len(wanted) :].decode()
        several: Entry = json.loads(found) if found.startswith("{") else found
        return several

    def __len__(self) -> int:
        return len(self._ends)

    def __iter__(self) -> Iterator[str]:
        return (self._line(index).split(b"\t")[0].decode() for index in range(len(self)))

    def _line(self, index: int) -> bytes:
        return self._lines[self._ends[index - 1] if index else 0 : self._ends[index] - 1]


class Lexicon:
    """One dialect's words."""

    def __init__(self, entries: Mapping[str, Entry], *, british: bool) -> None:
        self._entries = entries
        self._british = british
        self._entry = lru_cache(maxsize=REMEMBERED)(self._find)
        self._reduced = "ɪ" if british else "ᵻ"

    def read(self, words: str, espeak: Callable[[str], str]) -> str:
        """Phonemes of what stands between two marks of punctuation, word by word. ``espeak`` reads what it is given."""
        chunks = words.split()
        said: list[str] = []
        before_vowel: bool | None = None  # of the word that follows; None at the end
        for index in range(len(chunks) - 1, -1, -1):
            chunk, entry = chunks[index], self._entry(chunks[index])
            following = chunks[index + 1].lower() if index + 1 < len(chunks) else ""
            reading = self._special(chunk, before_vowel, following)
            if not reading and entry is not None:
                before = " ".join(chunks[max(0, index - CONTEXT) : index + 1])
                reading = _stressed(chunk, _choose(entry, partial(espeak, before), ends=before_vowel is None))
            reading = reading or espeak(chunk)
            said.append(reading.translate(_LAST))
            before_vowel = next((sign in _VOWELS for sign in reading if sign in _VOWELS or sign in _CONSONANTS), before_vowel)
        return " ".join(reversed(said))

    def _special(self, word: str, before_vowel: bool | None, following: str) -> str:
        """Words that change with what follows; empty for all others."""
        small = word.lower() if word != "I" else word
        if word.isupper() and len(word) > 1:
            return ""
        match small, before_vowel:
            case "a", None:
                return "ˈA"
            case "a", _:
                return "ɐ"
            case "an", _:
                return "ɐn"
            case "I", _:
                return "ˌI"
            case "am", bool():
                return "ɐm"
            case "in", _:
                return "ɪn" if before_vowel is not None else "ˈɪn"
            case "to", bool():
                return "tʊ" if before_vowel else "tə"
            case "the", _:
                return "ði" if before_vowel else "ðə"
            case "used", _:
                entry = self._entries.get("used")
                if following == "to" and isinstance(entry, Mapping):
                    return entry.get("VBD") or ""
        return ""

    def _find(self, chunk: str) -> Entry | None:
        """None for what is left to espeak: numbers, names with accents, abbreviations, words that nobody has written down."""
        word = chunk.strip("'")
        if not _WORD.fullmatch(word) or (len(word) > 1 and word.isupper() and word not in self._entries):
            return None
        if len(word) == 1 and word not in "aAI":
            return None
        return self._known(chunk) or self._known(word) or self._inflected(word)

    def _known(self, word: str) -> Entry | None:
        other = word.lower() if word[:1].isupper() else word.capitalize()
        return self._entries.get(word) or self._entries.get(other)

    def _inflected(self, word: str) -> Entry | None:
        """What the dictionaries have without its ending."""
        for ending, rule, stems in (
            ("s", self._plural, (word[:-1], word[:-2], word[:-3] + "y" if word.endswith("ies") else "")),
            ("d", self._past, (word[:-1], word[:-2] if word.endswith("ed") else "")),
            ("ing", self._going, (word[:-3], word[:-3] + "e", word[:-4] if _DOUBLED.search(word) else "")),
        ):
            if len(word) > len(ending) + 2 and word.endswith(ending) and not word.endswith(ending * 2):
                for stem in stems:
                    entry = self._known(stem) if len(stem) > 1 and stem[-1] != "'" else None
                    if entry is not None:
                        return _each(entry, rule)
        return None

    def _plural(self, stem: str) -> str:
        if stem[-1] in "ptkfθ":
            return stem + "s"
        return stem + (self._reduced + "z" if stem[-1] in "szʃʒʧʤ" else "z")

    def _past(self, stem: str) -> str:
        if stem[-1] in "pkfθʃsʧ":
            return stem + "t"
        if stem[-1] == "t" and not self._british and stem[-2:-1] in _FLAPPING:
            return stem[:-1] + "ɾᵻd"
        return stem + (self._reduced + "d" if stem[-1] in "td" else "d")

    def _going(self, stem: str) -> str:
        if self._british and stem[-1] in "əː":
            return ""  # an r that is written is said again: espeak knows better
        if stem[-1] == "t" and not self._british and stem[-2:-1] in _FLAPPING:
            return stem[:-1] + "ɾɪŋ"
        return stem + "ɪŋ"


def load(letter: str) -> Lexicon | None:
    """The dictionaries of this letter's dialect; None for another language, or where they are not installed.

    Nothing of the package is imported. Raises :exc:`BadModel` when they are damaged, :exc:`EngineUnavailable`.
    """
    folder = find()
    if letter not in DIALECTS or folder is None:
        return None
    # A process of its own: here it would take the interpreter's lock for a tenth of a second, and everybody who speaks would run dry.
    command = [sys.executable, "-m", "engines.kokoro.english", str(folder), DIALECTS[letter]]
    try:
        result = subprocess.run(command, capture_output=True, timeout=PACKING, check=False)
    except (OSError, subprocess.TimeoutExpired) as problem:
        raise EngineUnavailable(f"the dictionaries in {folder} cannot be packed: {problem}") from problem
    if result.returncode:
        told = result.stderr.decode(errors="replace").strip()[-300:]
        raise BadModel(told, remedy="pip install --force-reinstall misaki")
    return Lexicon(Packed(result.stdout), british=letter == "b")


def main(folder: str, dialect: str) -> int:
    """Writes one dialect's dictionaries, packed, to standard output. The exit status is 0, or 1 with a line that says why."""
    entries: dict[str, Entry] = {}
    for grade in GRADES:
        path = Path(folder, f"{dialect}_{grade}.json")
        try:
            entries |= json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError, TypeError) as problem:
            sys.stderr.write(f"{path} cannot be read: {problem}")
            return 1
    sys.stdout.buffer.write(pack(entries.items()))
    return 0


def find() -> Path | None:
    """The folder of the dictionaries, found without importing their package."""
    spec = importlib.util.find_spec("misaki")
    places = spec.submodule_search_locations or () if spec is not None else ()
    return next((Path(place) / "data" for place in places if (Path(place) / "data" / "us_gold.json").is_file()), None)


def _choose(entry: Entry, espeak: Callable[[], str], *, ends: bool) -> str:
    """``espeak`` reads the word after those before it, whose last group it is."""
    if isinstance(entry, str):
        return entry
    if ends and (last := entry.get("None")):
        return last
    readings = list(dict.fromkeys(reading for reading in (entry.get("DEFAULT"), *entry.values()) if reading))
    spoken = {_unstressed(reading) for reading in readings}
    if len(spoken) == 1 and sum(sign in _VOWELS for sign in readings[0]) == 1:
        return readings[0]  # they differ in stress alone, and espeak stresses any word that stands last
    heard = espeak().split()[-1:] if len(readings) > 1 else []
    return max(readings, key=partial(_nearness, heard[0])) if heard else next(iter(readings), "")


def _nearness(heard: str, reading: str) -> tuple[float, float]:
    """By sounds; where those are the same, by stress."""
    pairs = (_unstressed(reading), _unstressed(heard)), (reading, heard)
    sounds, stress = (difflib.SequenceMatcher(None, one, other, autojunk=False).ratio() for one, other in pairs)
    return sounds, stress


def _unstressed(reading: str) -> str:
    return reading.replace(_PRIMARY, "").replace(_SECONDARY, "")


def _each(entry: Entry, rule: Callable[[str], str]) -> Entry | None:
    if isinstance(entry, str):
        return rule(entry) or None
    return {name: rule(reading) for name, reading in entry.items() if reading}


def _stressed(word: str, reading: str) -> str:
    """A word with a capital is never without any stress."""
    if word == word.lower() or _PRIMARY in reading or _SECONDARY in reading:
        return reading
    first = next((index for index, sign in enumerate(reading) if sign in _VOWELS), None)
    return reading if first is None else reading[:first] + _SECONDARY + reading[first:]


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
