from __future__ import annotations

import itertools

import numpy as np
import pytest

from bench import voices
from bench.voices import LEVEL, Heard, Plan, figures, texts
from engines.base import Voice
from engines.kokoro.calibrate import CHECKS
from engines.kokoro.calibrate import SENTENCES as MEASURED
from engines.kokoro.harmonics import HOP


def heard(**changes):
    usual = {"words": 50, "wrong": 1.0, "wrong_whole": 1.0, "scores": [3.4, 3.2], "scores_whole": [3.4, 3.2], "distances": [2.0]}
    return Heard(
        "af_heart",
        **usual | {"levels": [0.2, -0.2], "seams": [0.4, 0.8], "seams_whole": [0.4, 0.8], "rounding": [50.0], "sound": 8.0} | changes,
    )


def missed(*items):
    return [figure.name for figure in figures(items) if not figure.is_met]


def test_as_good_as_the_whole_is_good_enough():
    assert missed(heard(), heard()) == []


def test_each_harm_is_found():
    assert any("words" in name for name in missed(heard(wrong=2.0)))
    assert any("worst voice" in name and "DNSMOS" in name for name in missed(heard(), heard(), heard(scores=[3.2, 3.2])))
    assert any("level" in name for name in missed(heard(levels=[-LEVEL - 0.2, -LEVEL])))
    assert any("seams" in name for name in missed(heard(seams=[0.4, 1.8])))


def test_voices_that_no_recogniser_understands_leave_words_unmeasured():
    (_, words, *_) = figures([heard(words=0, wrong=0.0, wrong_whole=0.0)])
    assert words.value is None
    assert not words.is_met


def test_a_seam_that_clicks_is_a_step():
    smooth = np.sin(np.arange(48_000) / 10).astype(np.float32)
    places = voices.seams(len(smooth))
    assert max(voices.steps(smooth, places)) < 1.1
    clicks = smooth.copy()
    clicks[12 * HOP :] += 0.05  # the end of the first window
    first, *rest = voices.steps(clicks, places)
    assert first > 4 and max(rest) < 1.1


def test_voices_whose_seams_click_and_what_windows_round_are_told():
    usual = {"seams": [0.5] * 40, "seams_whole": [0.5] * 40}
    *_, share, clicking, below = figures([heard(standing=2, **usual), heard(standing=10, rounding=[12.0], **usual)])
    assert (share.value, clicking.value, below.value) == (0.15, 1.0, 31.0)
    assert not share.is_met and not clicking.is_met
    *_, share, clicking, _ = figures([heard(standing=6, **usual), heard(**usual), heard(**usual)])
    assert share.is_met and clicking.is_met  # six of forty is much, and not beyond chance where there are 54 voices


def test_a_voice_that_is_spoken_whole_is_counted_and_not_judged():
    assert missed(heard(), heard(streams=False, levels=[9.0, 9.0])) == []
    (streaming, *_) = figures([heard(), heard(streams=False)])
    assert (streaming.value, streaming.unit) == (1.0, "of 2")


def test_what_is_judged_was_not_measured():
    assert set(texts()) == set(MEASURED)
    assert {len(sentences) for sentences in texts().values()} == {Plan().sentences + Plan().further}
    for language, sentences in texts().items():
        assert not set(sentences) & {*MEASURED[language], *CHECKS[language]}


class Humming:
    """Stands for the engine: its voices hum, and it counts what it is asked."""

    build = "humming"

    def __init__(self):
        self.asked = []

    def load(self):
        pass

    def voices(self):
        return tuple(self.voice(f"af_{name}") for name in "abcd")

    def voice(self, id):
        return Voice(id, "kokoro", "fr-FR", 24_000)

    def streams(self, id):
        return True

    def raw(self, text, id, way):
        if id == "af_c" and len(self.asked) < 8:
            raise KeyboardInterrupt
        self.asked.append((id, way))
        return np.sin(np.arange(24_000) / 10).astype(np.float32)


def test_a_run_that_was_ended_goes_on_behind_the_last_voice(tmp_path, monkeypatch):
    engine = Humming()
    monkeypatch.setattr(voices, "KokoroEngine", lambda: engine)
    monkeypatch.setattr(voices, "score", lambda sound, rate: 3.0)
    plan = Plan(sentences=1)
    with pytest.raises(KeyboardInterrupt):
        voices.run(plan, tmp_path)
    assert {id for id, _ in engine.asked} == {"af_a", "af_b"}
    engine.asked = [("", "")] * 8  # it is well again
    result = voices.run(plan, tmp_path)
    assert {id for id, _ in engine.asked if id} == {"af_c", "af_d"}
    assert [row[0] for row in result.tables[0].rows] == ["af_a", "af_b", "af_c", "af_d"]
    assert not result.missed or {figure.name for figure in result.missed} == {
        "Kokoro streamed, words misunderstood beyond those of the whole"
    }
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("streamed", "sentences"), [(3.0, 1), (2.96, 4), (2.9, 4)])
def test_a_voice_that_may_be_worse_is_heard_in_more_sentences(tmp_path, monkeypatch, streamed, sentences):
    marks = itertools.cycle([streamed, 3.0])  # then the whole
    monkeypatch.setattr(voices, "KokoroEngine", Humming)
    monkeypatch.setattr(voices, "score", lambda sound, rate: next(marks))
    result = voices.run(Plan(voices=("af_a",), sentences=1, further=3), tmp_path)
    assert dict(zip(result.tables[0].columns, result.tables[0].rows[0], strict=False))["sentences"] == sentences
