from __future__ import annotations

import numpy as np

from engines.kokoro.marks import TICK, marks, starts
from engines.kokoro.phonemes import Piece

TEXT = "Book some ham, then."
PHONEMES = "bʊk sʌmhæm, ðɛn."
ALONE = {"Book": ("bʊk",), "some": ("sʌm",), "ham,": ("hæm",), "then.": ("ðɛn",)}


def said(durations, start=0, phonemes=PHONEMES, offset=0):
    words = starts(TEXT, PHONEMES, lambda word: ALONE[word])
    return [(TEXT[m.start : m.end], m.sample / TICK, m.exact) for m in marks(words, Piece(phonemes, start), np.array(durations), offset)]


def test_words_begin_where_their_durations_say():
    durations = [10, *range(1, len(PHONEMES) + 1), 1]  # the silence before them is 10
    assert said(durations) == [("Book", 10.0, True), ("some", 20.0, True), ("ham,", 48.0, False), ("then.", 88.0, True)]


def test_a_piece_tells_of_its_own_words_only():
    piece = PHONEMES[12:]
    assert piece == "ðɛn."
    assert said([4, 1, 1, 1, 1, 1], start=12, phonemes=piece, offset=3 * TICK) == [("then.", 7.0, True)]


def test_no_mark_lies_before_the_sound():
    assert said([2] * (len(PHONEMES) + 2), offset=-20 * TICK)[0][1] == 0.0


def test_punctuation_is_no_word():
    words = starts("a — b", "A — bˈi", lambda word: {"a": ("A",), "b": ("bˈi",)}[word])
    assert [word.phoneme for word in words] == [0, 4]
