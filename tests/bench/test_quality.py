from __future__ import annotations

from bench.quality import LEVEL, SENTENCES, Heard, figures
from engines.kokoro.calibrate import CHECKS
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
    assert any("worst voice" in name and "DNSMOS" in name for name in missed(heard(), heard(), heard(scores=[3.2, 3.2])))
    assert any("level" in name for name in missed(heard(levels=[-LEVEL - 0.2, -LEVEL])))
    assert any("one pass" in name for name in missed(heard(seams=[50.0, 30.0])))


def test_voices_that_no_recogniser_understands_leave_words_unmeasured():
    (_, words, *_) = figures([heard(words=0, wrong=0.0, wrong_whole=0.0)])
    assert words.value is None
    assert not words.is_met


def test_a_voice_that_is_spoken_whole_is_counted_and_not_judged():
    assert missed(heard(), heard(streams=False, levels=[9.0, 9.0])) == []
    (streaming, *_) = figures([heard(), heard(streams=False)])
    assert (streaming.value, streaming.unit) == (1.0, "of 2")


def test_what_is_judged_was_not_measured():
    assert not set(SENTENCES) & set(MEASURED["en"])
    assert not any(set(CHECKS[language]) & set(MEASURED[language]) for language in MEASURED)
