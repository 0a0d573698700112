from __future__ import annotations

import sys

import numpy as np
import pytest

from agent.dnsmos import HEARD, INSTALL, missing, score

long = pytest.mark.long  # the scorer is loaded
RATE = 24_000


def noise(seconds):
    return np.random.default_rng(1).normal(0, 0.1, round(seconds * RATE)).astype(np.float32)


@long
def test_noise_is_no_speech():
    assert score(noise(1.0), RATE) < 2.0


@long
def test_a_longer_sound_is_heard_to_its_end():
    """Twelve seconds of which only the last ones are noise differ from silence alone."""
    silence = np.zeros(round(12 * RATE), np.float32)
    ending = silence.copy()
    ending[round((HEARD + 1) * RATE) :] = noise(12)[round((HEARD + 1) * RATE) :]
    assert abs(score(silence, RATE) - score(ending, RATE)) > 0.01


@pytest.mark.parametrize("package", ["speechmos", "onnxruntime"])
def test_what_is_missing_is_told_with_what_installs_it(package, monkeypatch):
    assert missing() == ""
    monkeypatch.setitem(sys.modules, package, None)
    assert missing() == INSTALL == "pip install 'voicebooth[mos]'"
