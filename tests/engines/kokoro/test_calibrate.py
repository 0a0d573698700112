from __future__ import annotations

import numpy as np
import pytest

from engines.kokoro.calibrate import BY_LETTER, CHECKS, MOST_DISTANCE, MOST_LEVEL, SENTENCES, Calibrated, distance, level, pooled, press
from engines.kokoro.statistics import LENGTHS, Measured, Moments, Pressed, write
from engines.kokoro.voices import LANGUAGES

WAVE = np.sin(np.arange(24_000) / 10).astype(np.float32)


def moments(value):
    return Moments(np.full(6, value, np.float32), np.full(6, value, np.float32))


def test_level_is_in_decibels_of_full_scale():
    assert level(WAVE) == pytest.approx(-3.0, abs=0.1)
    assert level(WAVE / 2) - level(WAVE) == pytest.approx(-6.0, abs=0.1)


def test_distance_is_in_decibels_of_spectra():
    assert distance(WAVE, WAVE) == 0.0
    noise = np.random.default_rng(1).normal(size=24_000).astype(np.float32)
    assert distance(noise, noise / 2) == pytest.approx(6.0, abs=0.3)
    assert distance(WAVE, noise) > 10
    assert distance(WAVE[:100], WAVE[:100] / 2) > 0  # shorter than a spectrum


def test_a_voice_that_is_off_in_level_or_in_spectrum_is_not_good(tmp_path):
    assert Calibrated("v", tmp_path, MOST_LEVEL, MOST_DISTANCE).is_good
    assert not Calibrated("v", tmp_path, MOST_LEVEL + 0.1, 0.0).is_good
    assert not Calibrated("v", tmp_path, 0.0, MOST_DISTANCE + 0.1).is_good


def test_pressing_keeps_who_is_not_good_and_leaves_mixtures_out(tmp_path):
    folder, file = tmp_path / "statistics", tmp_path / "pressed.npz"
    assert press(folder, file) == 0
    assert not file.exists()
    for name, good in (("af_a", True), ("af_b", False), ("af_a:0.5+af_b:0.5", True)):
        write(folder, name, Measured(LENGTHS, (moments(1.0), moments(2.0), moments(3.0))), good=good)
    assert press(folder, file) == 2
    pressed = Pressed.read(file)
    assert (pressed.ids, pressed.worse) == (("af_a", "af_b"), ("af_b",))


def test_every_language_has_its_sentences():
    assert set(BY_LETTER) == set(LANGUAGES)
    assert set(BY_LETTER.values()) == set(SENTENCES) == set(CHECKS)
    assert {len(texts) for texts in SENTENCES.values()} == {8}


def test_sentences_are_pooled_by_length_and_a_bucket_without_one_takes_the_nearest():
    found = pooled([(100, moments(1.0)), (300, moments(2.0)), (100, moments(3.0))])
    assert found.lengths == (100.0, 300.0, 300.0)
    assert [item.mean[0] for item in found.moments] == [2.0, 2.0, 2.0]
    found = pooled([(200, moments(1.0)), (600, moments(5.0))])
    assert found.lengths == (200.0, 200.0, 600.0)
    assert [item.mean[0] for item in found.moments] == [1.0, 1.0, 5.0]
