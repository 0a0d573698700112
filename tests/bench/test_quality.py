from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from bench import quality
from bench.quality import KINDS, Plan, Said, Speaker, figures, sentences
from bench.recognition import misheard
from engines.base import UnknownVoice
from engines.kokoro import KokoroEngine
from engines.kokoro.calibrate import CHECKS
from engines.kokoro.calibrate import SENTENCES as MEASURED
from engines.piper import PiperEngine
from engines.tone import ToneEngine


def said(**changes):
    usual = {"kind": "plain", "words": 10, "wrong": 1, "wrong_whole": 1, "letters": 50, "misspelt": 2, "score": 3.3, "score_whole": 3.3}
    return Said(**usual | {"first": 0.2, "seconds": 1.0, "audio": 2.0} | changes)


def missed(*items):
    return [figure.name for figure in figures({"kokoro af_heart": items}) if not figure.is_met]


def test_the_set_holds_a_hundred_different_sentences_of_every_kind():
    counted = Counter(kind for kind, _ in sentences())
    assert counted.total() == 100
    assert set(counted) == set(KINDS)
    assert min(counted.values()) >= 8
    assert len({text for _, text in sentences()}) == 100
    assert not {text for _, text in sentences()} & {*MEASURED["en"], *CHECKS["en"]}


def test_a_first_look_hears_every_kind():
    assert {kind for kind, _ in sentences(quality.QUICK.every)} == set(KINDS)


def test_figures_are_those_of_all_sentences_together():
    values = {figure.name: figure.value for figure in figures({"v": [said(), said(wrong=3, words=30, seconds=2.0, first=0.4)]})}
    assert values["v, words misunderstood"] == pytest.approx(0.1)
    assert values["v, characters misunderstood"] == pytest.approx(0.04)
    assert values["v, real-time factor"] == pytest.approx(0.75)
    assert values["v, time to first audio, p50"] == pytest.approx(300)


def test_worse_than_the_whole_is_missed():
    assert missed(said()) == []
    assert missed(said(wrong=2)) == ["kokoro af_heart, words misunderstood beyond those of the whole"]
    assert missed(said(score=3.2)) == ["kokoro af_heart, DNSMOS below the whole"]
    assert missed(said(wrong=9, score=1.0, wrong_whole=None, score_whole=None)) == []  # nothing to hold it against


def test_words_and_characters_are_counted():
    words, letters = misheard("The cat sat.", "the cat sad")
    assert (words.wrong, words.of) == (1, 3)
    assert (letters.wrong, letters.of) == (1, 11)


@pytest.fixture
def tones(monkeypatch):
    """A tone for an engine, and a recogniser that understands what was written, numbers as digits, and misses the last word."""
    engine, asked = ToneEngine(), []
    engine.load()

    def transcribe(samples, rate):
        if len(asked) == 13:
            asked.append(None)
            raise KeyboardInterrupt
        asked.append(len(samples))
        return "Nobody knows 24"

    monkeypatch.setattr(quality, "transcribe", transcribe)
    monkeypatch.setattr(quality, "score", lambda sound, rate: 3.0)
    monkeypatch.setattr(quality, "SPEAKERS", {"tone": lambda: Speaker(engine, lambda text, voice: None)})
    return asked


def test_a_run_that_was_ended_goes_on_behind_the_last_sentence(tones, tmp_path):
    plan = Plan(engines=("tone",), every=5)
    with pytest.raises(KeyboardInterrupt):
        quality.run(plan, tmp_path)
    result = quality.run(plan, tmp_path)
    assert len(tones) == 20 + 1
    assert [row[0] for row in result.tables[1].rows] == list(KINDS)
    assert list(tmp_path.iterdir()) == []


def test_digits_that_were_heard_are_the_words_that_were_said(monkeypatch):
    monkeypatch.setattr(quality, "transcribe", lambda samples, rate: "24 kilometers")
    words, _ = quality._misheard("twenty-four kilometers", np.zeros(10, np.float32), 16_000)
    assert words.wrong == 0


def test_a_voice_that_nobody_has_is_refused(tones, tmp_path):
    with pytest.raises(UnknownVoice, match="nobody"):
        quality.run(Plan(engines=("tone",), voices=("nobody",)), tmp_path)


UNDERSTOOD = 0.08  # of the words of these may be wrong: two of them; a voice that is well loses one or none
SUBSET = (1, 22, 36, 63, 80)  # very short, with names, with a date, a question, plain


@pytest.mark.voice
@pytest.mark.parametrize(("make", "voices"), [(KokoroEngine, ("af_heart", "bm_george")), (PiperEngine, ("",))])
def test_a_few_of_the_hundred_are_understood_as_they_are_streamed(make, voices):
    engine = make()
    engine.load()
    for id in voices:
        voice = engine.voice(id)
        chosen = [sentences()[number] for number in SUBSET]
        heard = [quality._judge(Speaker(engine, lambda *_: None), voice.id, voice.sample_rate, kind, text) for kind, text in chosen]
        assert sum(one.wrong for one in heard) <= UNDERSTOOD * sum(one.words for one in heard), [(one.kind, one.wrong) for one in heard]
        assert min(one.score for one in heard) > 2.0
