from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engines.base import Chunk, Pace, Request, SynthesisFailed, UnknownVoice
from engines.tone import SAMPLE_RATE, ToneEngine, ToneSettings
from tests.examples import examples


@pytest.fixture(scope="module")
def tone() -> ToneEngine:
    engine = ToneEngine()
    engine.load()
    return engine


def speak(engine: ToneEngine, text: str, window: float = 0.0, **wish) -> list[Chunk]:
    return list(engine.synthesize(Request(text, **wish), Pace(window)))


def sound(chunks: list[Chunk]) -> np.ndarray:
    return np.concatenate([chunk.samples for chunk in chunks])


def test_each_word_has_an_exact_mark_where_its_tone_begins(tone):
    text = "Good morning, everybody."
    chunks = speak(tone, text)
    marks = [mark for chunk in chunks for mark in chunk.marks]
    assert [text[mark.start : mark.end] for mark in marks] == ["Good", "morning,", "everybody."]
    assert all(mark.exact for mark in marks)
    pcm = sound(chunks)
    for mark in marks:
        assert not pcm[max(0, mark.sample - 100) : mark.sample].any()
        assert np.abs(pcm[mark.sample : mark.sample + 240]).max() > 1000


@given(
    st.text(alphabet=st.sampled_from("ab ,.日本語 ไทย"), min_size=1, max_size=60).filter(lambda t: any(map(str.isalnum, t))),
    st.floats(0, 3),
)
@examples(40)
def test_windows_never_change_the_sound(text, window):
    engine = ToneEngine()
    engine.load()
    chunks = speak(engine, text, window)
    assert np.array_equal(sound(chunks), sound(speak(engine, text, 1e6)))
    assert all(len(chunk.samples) <= max(window, 0.02) * SAMPLE_RATE for chunk in chunks)
    position = 0
    for chunk in chunks:
        assert all(mark.sample >= position for mark in chunk.marks)
        position += len(chunk.samples)


def test_pace_may_change_between_steps(tone):
    pace = Pace(0.02)
    steps = tone.synthesize(Request("one two three four five six"), pace)
    assert len(next(steps).samples) == 480
    pace.window = 0.5
    assert len(next(steps).samples) == 12_000


def test_words_differ_and_repeat(tone):
    first, again, other = (sound(speak(tone, text)) for text in ("house", "house", "mouse"))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)
    assert not np.array_equal(first, sound(speak(tone, "house", voice="tone-en-low")))


def test_speed_shortens(tone):
    assert len(sound(speak(tone, "a long sentence", speed=2.0))) == pytest.approx(len(sound(speak(tone, "a long sentence"))) / 2, rel=0.01)


def test_voice_by_language(tone):
    assert np.array_equal(sound(speak(tone, "ja", language="ja-JP")), sound(speak(tone, "ja", voice="tone-ja")))
    with pytest.raises(UnknownVoice, match="xx"):
        speak(tone, "x", language="xx")
    with pytest.raises(UnknownVoice, match="nobody"):
        speak(tone, "x", voice="nobody")


def test_languages_are_a_setting():
    engine = ToneEngine(ToneSettings(languages=("sv",)))
    assert engine.voices() == ()
    engine.load()
    assert [voice.id for voice in engine.voices()] == ["tone-sv", "tone-sv-low"]
    engine.unload()
    with pytest.raises(UnknownVoice):
        speak(engine, "hej")


def test_nothing_to_say_is_typed(tone):
    with pytest.raises(SynthesisFailed):
        speak(tone, " — !")
