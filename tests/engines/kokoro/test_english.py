from __future__ import annotations

import json

import pytest

from engines.base import BadModel
from engines.kokoro import english
from engines.kokoro.english import Lexicon, Packed, pack

ENTRIES = {
    "a": "A",
    "and": "ænd",
    "apple": "ˈæpᵊl",
    "asked": "ˈæskt",
    "box": "bˈɑks",
    "he": "hi",
    "isn't": "ˈɪzᵊnt",
    "Olav": "ˈOlɑv",
    "present": {"DEFAULT": "pɹˈɛzᵊnt", "VERB": "pɹizˈɛnt"},
    "start": "stˈɑɹt",
    "that": {"DEFAULT": "ðæt", "DT": "ðˈæt"},
    "up": {"DEFAULT": "ˈʌp", "None": "ˌʌp"},
    "used": {"DEFAULT": "jˈuzd", "VBD": "jˈust"},
    "walk": "wˈɔk",
    "water": "wˈɔɾəɹ",
}


def lexicon(*, british=False):
    return Lexicon(Packed(pack(ENTRIES.items())), british=british)


def espeak(heard=""):
    """What it is asked to read comes back in brackets; ``heard`` is its last group, where that is given."""
    return lambda words: " ".join(f"<{word}>" for word in words.split()[: -1 if heard else None]) + (f" {heard}" if heard else "")


def test_a_packed_dictionary_has_what_was_put_in_and_nothing_else():
    packed = Packed(pack(ENTRIES.items()))
    assert dict(packed) == ENTRIES and len(packed) == len(ENTRIES)
    assert not any(word in packed for word in ("", "ap", "applea", "zebra", "Apple", "that\t"))
    assert list(Packed(b"")) == [] and "a" not in Packed(b"")


def test_words_come_from_the_dictionary_and_others_from_espeak():
    assert lexicon().read("he asked Fernández", espeak()) == "hi ˈæskt <Fernández>"
    assert lexicon().read("walk well-known 3rd B NATO", espeak()) == "wˈɔk <well-known> <3rd> <B> <NATO>"
    assert lexicon().read("isn't", espeak()) == "ˈɪzᵊnt"
    assert lexicon().read("olav", espeak()) == "ˈOlɑv"


def test_a_capital_gives_a_word_some_stress():
    assert lexicon().read("He and Apple", espeak()) == "hˌi ænd ˈæpᵊl"


def test_small_words_change_with_what_follows():
    read = lexicon().read
    assert read("the apple", espeak()) == "ði ˈæpᵊl" and read("the box", espeak()) == "ðə bˈɑks"
    assert read("to apple to box", espeak()) == "tʊ ˈæpᵊl tə bˈɑks"
    assert read("a box", espeak()) == "ɐ bˈɑks" and read("A", espeak()) == "ˈA"
    assert read("in box in", espeak()) == "ɪn bˈɑks ˈɪn"
    assert read("used to walk", espeak()) == "jˈust tə wˈɔk" and read("used apple", espeak("jˈuzd")) == "jˈuzd ˈæpᵊl"
    assert read("I am he", espeak()) == "ˌI ɐm hi"


def test_of_several_readings_the_one_that_espeak_means_is_taken():
    assert lexicon().read("present walk", espeak("pɹɪzˈɛnt")) == "pɹizˈɛnt wˈɔk"
    assert lexicon().read("present walk", espeak("pɹˈɛzənt")) == "pɹˈɛzᵊnt wˈɔk"
    assert lexicon().read("that box", espeak("ðˈæt")) == "ðæt bˈɑks"  # it stresses whatever stands last
    assert lexicon().read("walk up", espeak("ˈʌp")) == "wˈɔk ˌʌp"


def test_endings_are_put_to_what_the_dictionary_has():
    read = lexicon().read
    assert read("boxes walks apples", espeak()) == "bˈɑksᵻz wˈɔks ˈæpᵊlz"
    assert read("walked watered started", espeak()) == "wˈɔkt wˈɔTəɹd stˈɑɹTᵻd"
    assert read("walking starting", espeak()) == "wˈɔkɪŋ stˈɑɹTɪŋ"
    assert lexicon(british=True).read("boxes started starting", espeak()) == "bˈɑksɪz stˈɑɹtɪd stˈɑɹtɪŋ"
    assert read("presents", espeak("pɹɪzˈɛnts")) == "pɹizˈɛnts"


@pytest.mark.long
def test_dictionaries_are_read_from_their_package_s_folder(tmp_path, monkeypatch):
    monkeypatch.setattr(english, "find", lambda: tmp_path)
    for name, entries in (("us_gold", {"box": "bˈɑks"}), ("us_silver", {"box": "worse", "fox": "fˈɑks"})):
        (tmp_path / f"{name}.json").write_text(json.dumps(entries), encoding="utf-8")
    found = english.load("a")
    assert found is not None and found.read("box fox", espeak()) == "bˈɑks fˈɑks"
    assert english.load("f") is None
    with pytest.raises(BadModel, match=r"gb_silver\.json.*force-reinstall"):
        english.load("b")
    monkeypatch.setattr(english, "find", lambda: None)
    assert english.load("a") is None


@pytest.mark.long
def test_the_real_dictionaries_know_what_the_model_was_taught():
    for letter, said in (("a", "ðə wˈɔTəɹ ʌv ðə hˈɑɹbəɹ"), ("b", "ðə wˈɔːtə ɒv ðə hˈɑːbə")):
        found = english.load(letter)
        assert found is not None, english.INSTALL
        assert found.read("the water of the harbour", espeak()) == said
