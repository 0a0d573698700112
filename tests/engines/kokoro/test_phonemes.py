from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from engines.kokoro.phonemes import LEAST_CLAUSE, MOST_TOKENS, OPENING, VOCABULARY, into_alphabet, pieces, tokens
from tests.examples import examples


def test_the_vocabulary_is_the_model_s():
    known = {";": 1, "?": 6, "—": 9, " ": 16, "\u0303": 17, "A": 24, "I": 25, "W": 39, "a": 43, "f": 48, "h": 50, "z": 68}
    known |= {"ə": 83, "ɹ": 123, "ʧ": 133, "ˈ": 156, "ː": 158, "→": 171, "↘": 173, "ᵻ": 177}
    assert {sign: VOCABULARY[sign] for sign in known} == known
    assert len(VOCABULARY) == len(set(VOCABULARY.values())) == 114


def test_english_gets_one_sign_a_diphthong():
    assert into_alphabet("həlˈo^ʊ", "a") == "həlˈO"
    assert into_alphabet("ba^ɪ ðə wˈe^ɪ", "a") == "bI ðə wˈA"
    assert into_alphabet("bˈʌɾɚ", "a") == "bˈʌTəɹ"
    assert into_alphabet("sˈuːnɚɹ ɔːɹ", "a") == "sˈunəɹ ɔɹ"
    assert into_alphabet("bˈɜːd", "a") == "bˈɜɹd"
    assert into_alphabet("bˈɑːʔn\u0329", "a") == "bˈɑtn"


def test_british_keeps_its_lengths():
    assert into_alphabet("bˈɜːd", "b") == "bˈɜːd"
    assert into_alphabet("ɡˈə^ʊ ðˈe^ə", "b") == "ɡˈQ ðˈɛː"


def test_other_languages_keep_their_vowels():
    assert into_alphabet("t^ʃˈao", "i") == "ʧˈao"
    assert into_alphabet("(^e^n)wiːkˈɛnd(^f^r)", "f") == "wiːkˈɛnd"


def test_a_short_text_is_one_piece():
    assert [(piece.phonemes, piece.start) for piece in pieces("həlˈO ðˈɛɹ.")] == [("həlˈO ðˈɛɹ.", 0)]


def test_a_long_sentence_opens_with_its_first_clauses():
    text = "a" * 40 + ", " + "b" * 40 + ", " + "c" * 60 + "."
    assert [piece.phonemes for piece in pieces(text)] == ["a" * 40 + ", " + "b" * 40 + ",", "c" * 60 + "."]


def test_a_sentence_ends_a_piece_sooner_than_a_clause():
    text = "a" * 40 + ". " + "b" * 40 + ", " + "c" * 60 + "."
    assert next(pieces(text)).phonemes == "a" * 40 + "."


def test_a_sentence_without_clauses_is_cut_only_at_the_limit():
    words = " ".join(["abcdefg"] * 40)
    assert len(words) > OPENING
    assert len(list(pieces(words))) == 1
    assert [len(piece.phonemes) for piece in pieces("a" * 600)] == [510, 90]


@examples(60)
@given(st.text(alphabet="ab ,.;", max_size=1500))
def test_pieces_hold_everything_once_and_fit(text):
    text = text.strip()
    cut = list(pieces(text))
    assert "".join(piece.phonemes for piece in cut).replace(" ", "") == text.replace(" ", "")
    assert all(len(tokens(piece.phonemes)) <= MOST_TOKENS for piece in cut)
    assert all(text[piece.start : piece.start + len(piece.phonemes)] == piece.phonemes for piece in cut)


def test_no_clause_is_torn_off():
    text = "ab, " + "c" * 200 + ", " + "d" * 20
    assert len(next(pieces(text)).phonemes) > LEAST_CLAUSE
