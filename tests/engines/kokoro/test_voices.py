from __future__ import annotations

import numpy as np
import pytest

from engines.base import BadModel, UnknownVoice
from engines.kokoro.voices import MOST_MIXED, ROWS, WIDTH, Mixture, Styles, describe


def test_a_voice_is_a_mixture_of_one():
    assert Mixture.parse("af_heart").shares == (("af_heart", 1.0),)


def test_shares_are_made_to_sum_to_one_and_the_largest_leads():
    mixture = Mixture.parse("bm_george:1+af_heart:3")
    assert mixture.shares == (("af_heart", 0.75), ("bm_george", 0.25))
    assert mixture.letter == "a"
    assert Mixture.parse("af_sky+af_sky").shares == (("af_sky", 1.0),)


@pytest.mark.parametrize("id", ["", "+", "af_heart:", "af_heart:x+", "af_heart:0", "af_heart:-1", "af_heart:inf", "af_heart:nan"])
def test_what_is_no_mixture_is_refused(id):
    if id == "af_heart:":
        assert Mixture.parse(id).shares == (("af_heart", 1.0),)
        return
    with pytest.raises(UnknownVoice):
        Mixture.parse(id)


def test_a_choir_is_refused():
    with pytest.raises(UnknownVoice, match="at most"):
        Mixture.parse("+".join(f"af_{number}" for number in range(MOST_MIXED + 1)))


def test_language_and_gender_are_in_the_id():
    voice = describe("bm_george")
    assert (voice.language, voice.gender, voice.name, voice.sample_rate) == ("en-GB", "male", "George", 24_000)
    assert describe("ff_siwis:2+bm_george").language == "fr-FR"
    assert voice.tier == describe("ff_siwis:2+bm_george").tier == "standard"


@pytest.fixture
def folder(tmp_path):
    for number, name in enumerate(("af_sky", "af_heart", "em_alex")):
        np.full((ROWS, WIDTH), float(number), dtype="<f4").tofile(tmp_path / f"{name}.bin")
    return tmp_path


def test_the_default_voice_comes_first(folder):
    assert Styles(folder).ids == ("af_heart", "af_sky", "em_alex")


@pytest.mark.long
def test_styles_are_mixed_in_line(folder):
    table = Styles(folder).style(Mixture.parse("af_heart:1+em_alex:3"))
    assert table.shape == (ROWS, WIDTH)
    assert table == pytest.approx(np.full((ROWS, WIDTH), 1.75))


def test_an_archive_of_voices_is_read_as_well(tmp_path):
    with (tmp_path / "voices-v1.0.bin").open("wb") as file:
        np.savez(file, af_heart=np.ones((ROWS, 1, WIDTH), np.float32), bm_lewis=np.zeros((ROWS, 1, WIDTH), np.float32))
    styles = Styles(tmp_path)
    assert styles.ids == ("af_heart", "bm_lewis")
    assert styles.style(Mixture.parse("af_heart")).mean() == 1.0


def test_a_damaged_voice_says_so(folder):
    (folder / "af_bella.bin").write_bytes(b"x" * 1000)
    with pytest.raises(BadModel, match="af_bella"):
        Styles(folder).style(Mixture.parse("af_bella"))
    np.full((ROWS, WIDTH), np.nan, dtype="<f4").tofile(folder / "af_nova.bin")
    with pytest.raises(BadModel, match="af_nova"):
        Styles(folder).style(Mixture.parse("af_nova"))


def test_an_unknown_voice_is_told_the_known_ones(folder):
    with pytest.raises(UnknownVoice, match="af_heart, af_sky, em_alex"):
        Styles(folder).style(Mixture.parse("af_nobody"))


def test_a_mixture_has_one_id_however_it_is_written():
    assert Mixture.parse("af_heart").id == "af_heart"
    assert {Mixture.parse(id).id for id in ("af_bella:1+af_heart:3", "af_heart:0.75+af_bella:0.25", "af_heart:6 + af_bella:2")} == {
        "af_heart:0.75+af_bella:0.25"
    }
