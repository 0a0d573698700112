from __future__ import annotations

import numpy as np
import pytest

from bench.quality import LEVEL, SENTENCES, Heard, figures, level
from engines.kokoro.calibrate import SENTENCES as MEASURED


def heard(**changes):
    usual = {"words": 50, "wrong": 1.0, "wrong_whole": 1.0, "scores": [3.4, 3.2], "scores_whole": [3.4, 3.2]}
    return Heard("af_heart", **usual | {"levels": [0.2, -0.2], "seams": [50.0, 60.0]} | changes)


def missed(*items):
    return [figure.name for figure in figures(items) if not figure.is_met]


def test_as_good_as_the_whole_is_good_enough():
    assert missed(heard(), heard()) == []


def test_each_harm_is_found():
    assert any("words" in name for name in missed(heard(wrong=2.0)))
    assert any("worst voice" in name and "DNSMOS" in name for name in missed(heard(), heard(), heard(scores=[3.3, 3.2])))
    assert any("level" in name for name in missed(heard(levels=[-LEVEL - 0.2, -LEVEL])))
    assert any("one pass" in name for name in missed(heard(seams=[50.0, 30.0])))


def test_voices_that_no_recogniser_understands_leave_words_unmeasured():
    (words, *_) = figures([heard(words=0, wrong=0.0, wrong_whole=0.0)])
    assert words.value is None
    assert not words.is_met


def test_level_is_in_decibels_of_full_scale():
    wave = np.sin(np.arange(24_000) / 10).astype(np.float32)
    assert level(wave) == pytest.approx(-3.0, abs=0.1)
    assert level(wave / 2) - level(wave) == pytest.approx(-6.0, abs=0.1)


def test_what_is_judged_was_not_measured():
    assert not set(SENTENCES) & set(MEASURED["en"])
