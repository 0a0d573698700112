"""Text to the phonemes that Kokoro was trained on, and those to its tokens.

Kokoro learned from misaki's alphabet: IPA in which diphthongs and affricates are one sign each (``A`` for the vowel of *day*). Here
espeak-ng reads the text, and its IPA is put into that alphabet, as misaki does for words that its dictionaries lack. Punctuation is
kept, since the model makes pauses and tunes of it.
"""

from __future__ import annotations

import ctypes
import importlib
import re
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from engines.base import EngineUnavailable, SynthesisFailed
from engines.kokoro import asia
from engines.kokoro.english import Lexicon
from engines.kokoro.files import INSTALL

MOST_TOKENS = 510  # what the model was trained with; the style table has a row for each count
LEAST_CLAUSE = 24  # phonemes: a shorter clause by itself sounds torn off
OPENING = 110  # phonemes of a first piece: 6 s of sound, whose front takes a third of the longest one's

_SIGNS = (  # each sign at its token's number; a space where the number is not used, and the space itself is 16
    (1, ";:,.!?"),
    (9, '—…"()“” \u0303ʣʥʦʨᵝꭧAI'),
    (31, "O"),
    (33, "Q"),
    (35, "ST"),
    (39, "W"),
    (41, "Yᵊabcdef"),
    (50, "hijklmnopqrstuvwxyzɑɐɒæ"),
    (75, "βɔɕç"),
    (80, "ɖðʤə"),
    (85, "ɚɛɜ"),
    (90, "ɟ"),
    (92, "ɡ"),
    (99, "ɥ"),
    (101, "ɨɪʝ"),
    (110, "ɯɰŋɳɲɴø"),
    (118, "ɸθœ"),
    (123, "ɹ"),
    (125, "ɾɻ"),
    (128, "ʁɽʂʃʈʧ"),
    (135, "ʊʋ"),
    (138, "ʌɣɤ"),
    (142, "χʎ"),
    (147, "ʒʔ"),
    (156, "ˈˌː"),
    (162, "ʰ"),
    (164, "ʲ"),
    (169, "↓"),
    (171, "→↗↘"),
    (177, "ᵻ"),
)
VOCABULARY = {sign: first + index for first, signs in _SIGNS for index, sign in enumerate(signs)}

ESPEAK = {"a": "en-us", "b": "en", "e": "es", "f": "fr", "h": "hi", "i": "it", "p": "pt-br"}
"""espeak-ng's language for the first letter of a voice. It cannot read Japanese and Chinese well enough: see :mod:`engines.kokoro.asia`."""

_TIE = "^"  # joins what is one sound in espeak's IPA
_PAIRS = {"a^ɪ": "I", "a^ʊ": "W", "d^ʒ": "ʤ", "e^ɪ": "A", "t^ʃ": "ʧ", "ɔ^ɪ": "Y"}
_OTHERS = {**_PAIRS, "d^z": "ʣ", "o^ʊ": "O", "ə^ʊ": "Q", "s^s": "S", "t^s": "ʦ"}
_ENGLISH = {
    **_PAIRS,
    "ʔˌn\u0329": "ʔn",
    "ʔn\u0329": "ʔn",
    "ə^l": "ᵊl",
    "e": "A",
    "ʲo": "jo",
    "ʲə": "jə",
    "ʲ": "",
    "ɚɹ": "əɹ",
    "ɚ": "əɹ",
    "r": "ɹ",
    "x": "k",
    "ç": "k",
    "ɐ": "ə",
    "ɬ": "l",
    "\u0303": "",
}
_BRITISH = {**_ENGLISH, "e^ə": "ɛː", "eə": "ɛː", "iə": "ɪə", "ə^ʊ": "Q"}
_AMERICAN = {**_ENGLISH, "o^ʊ": "O", "ɜːɹ": "ɜɹ", "ɜː": "ɜɹ", "ɪə": "iə", "ː": ""}
_LAST_ENGLISH = {"o": "ɔ", "ɾ": "T", "ʔ": "t"}

_SYLLABIC = re.compile("(\\S)\u0329")
_FOREIGN = re.compile(r"\([a-z^-]+\)")  # espeak's remark that it reads a word in another language
_MARKS = re.compile(r'\s*(?:[;:,!?…—"“”()«»¡¿]|\.(?=[\s."”»)]|$))+\s*')
_SPELLING = str.maketrans({"«": "“", "»": "”", "¡": None, "¿": None, "’": "'", "‘": "'", "–": "—", "[": "(", "]": ")"})
_CLAUSE = re.compile(r'[.!?…;:,—][")”]*\s')
_SENTENCE = re.compile(r'[.!?…][")”]*\s')


class Espeak:
    """espeak-ng's library. It has one state for the whole process, so calls take turns."""

    _lock = threading.Lock()
    _library: Any = None

    @classmethod
    def load(cls) -> None:
        """Raises :exc:`EngineUnavailable`."""
        with cls._lock:
            if cls._library is not None:
                return
            try:
                loader: Any = importlib.import_module("espeakng_loader")
                library: Any = ctypes.CDLL(loader.get_library_path())
                data = loader.get_data_path()
            except (ImportError, OSError, RuntimeError) as problem:
                raise EngineUnavailable(f"engine kokoro needs espeak-ng: {problem}", remedy=INSTALL) from problem
            library.espeak_TextToPhonemes.restype = ctypes.c_char_p
            library.espeak_TextToPhonemes.argtypes = [ctypes.POINTER(ctypes.c_char_p), ctypes.c_int, ctypes.c_int]
            synchronous = 2  # no sound device, no thread
            if library.espeak_Initialize(synchronous, 0, data.encode(), 0) <= 0:
                raise EngineUnavailable(f"espeak-ng does not find its data in {data}", remedy=INSTALL)
            cls._library = library

    @classmethod
    def read(cls, text: str, language: str) -> str:
        """IPA with ties, words separated by spaces. Raises :exc:`SynthesisFailed`."""
        utf8, ipa, tied = 1, 0x02, 0x80 | ord(_TIE) << 8
        with cls._lock:
            if cls._library.espeak_SetVoiceByName(language.encode()) != 0:
                raise SynthesisFailed(f"espeak-ng does not read {language}")
            rest = ctypes.c_char_p(text.encode("utf-8", errors="replace"))
            clauses = []
            while rest.value is not None:  # each call reads one clause and moves on
                clauses.append(cls._library.espeak_TextToPhonemes(ctypes.byref(rest), utf8, ipa | tied) or b"")
        return " ".join(clause.decode("utf-8", errors="replace") for clause in clauses)


def can_read(letter: str) -> bool:
    """Whether the language of voices that begin with this letter can be read here."""
    return letter in ESPEAK or asia.can_read(letter)


def phonemize(text: str, letter: str, lexicon: Lexicon | None = None) -> str:
    """Phonemes and punctuation of the model's alphabet; empty when there is nothing to say. ``letter``: of the voice's language.
    ``lexicon``: English words as the model was taught them; without it espeak-ng reads all of them.

    Raises :exc:`SynthesisFailed` or :exc:`EngineUnavailable`.
    """
    text = " ".join(text.translate(_SPELLING).split())
    read = asia.read(text, letter, lambda run: _read(run, "a", None)) if letter in asia.NEEDS else _read(text, letter, lexicon)
    phonemes = "".join(sign for sign in read if sign in VOCABULARY).strip()
    return phonemes if any(sign.isalpha() for sign in phonemes) else ""


def _read(text: str, letter: str, lexicon: Lexicon | None) -> str:
    pieces: list[str] = []
    position = 0
    for mark in _MARKS.finditer(text):
        pieces += [_say(text[position : mark.start()], letter, lexicon), mark.group().replace("\n", " ")]
        position = mark.end()
    pieces.append(_say(text[position:], letter, lexicon))
    return "".join(pieces)


def _say(words: str, letter: str, lexicon: Lexicon | None) -> str:
    if not any(map(str.isalnum, words)):
        return ""
    return lexicon.read(words, lambda run: _by_espeak(run, letter)) if lexicon is not None else _by_espeak(words, letter)


def _by_espeak(words: str, letter: str) -> str:
    return into_alphabet(Espeak.read(words, ESPEAK[letter]), letter)


def into_alphabet(ipa: str, letter: str) -> str:
    """espeak's IPA with ties as the signs that the model knows."""
    ipa = _FOREIGN.sub("", ipa).strip()
    if letter not in "ab":
        return _replace(ipa, _OTHERS).replace(_TIE, "").replace("-", "")
    ipa = _SYLLABIC.sub(r"ᵊ\1", _replace(ipa, _BRITISH if letter == "b" else _AMERICAN)).replace("\u0329", "")
    return _replace(ipa, _LAST_ENGLISH).replace(_TIE, "")


def _replace(ipa: str, signs: dict[str, str]) -> str:
    for old in sorted(signs, key=len, reverse=True):
        ipa = ipa.replace(old, signs[old])
    return ipa


def tokens(phonemes: str) -> list[int]:
    """Their numbers, all of them in the vocabulary; without the silence that the model wants before and after."""
    return [VOCABULARY[sign] for sign in phonemes]


@dataclass(frozen=True, slots=True)
class Piece:
    """Phonemes that are spoken in one go."""

    phonemes: str
    start: int
    """Where they begin among all phonemes of the request."""


def pieces(phonemes: str) -> Iterator[Piece]:
    """Cut where clauses end: the first piece short, so that its front is done soon, each within the model's limit."""
    start = 0
    while start < len(phonemes):
        most = OPENING if start == 0 else MOST_TOKENS
        rest = len(phonemes) - start
        end = len(phonemes) if rest <= most else start + _break(phonemes[start : start + MOST_TOKENS], most, rest)
        yield Piece(phonemes[start:end].strip(), start + len(phonemes[start:end]) - len(phonemes[start:end].lstrip()))
        start = end


def _break(phonemes: str, most: int, rest: int) -> int:
    """Where to cut: the last sentence's end within ``most``, else the last clause's, else the first one after it, else, when it must
    be, a space."""
    for ends in (_SENTENCE, _CLAUSE):
        found = [match.end() for match in ends.finditer(phonemes) if LEAST_CLAUSE <= match.end()]
        if fitting := [end for end in found if end <= most]:
            return fitting[-1]
    if found:
        return found[0]
    return rest if rest <= MOST_TOKENS else phonemes.rfind(" ") + 1 or len(phonemes)
