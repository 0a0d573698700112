from __future__ import annotations

import wave
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.hearing import (
    FRAME,
    FRAME_SAMPLES,
    RATE,
    Recording,
    loudness,
    onset,
    pauses,
    silenced,
    spans,
    starved,
    tones,
    write_wav,
)
from engines.base import Samples
from tests.examples import examples

START = 100.0  # when the first frame of a made-up recording arrived


def sine(seconds: float, dbfs: float) -> Samples:
    peak = 32768 * 10 ** (dbfs / 20) * np.sqrt(2)
    return np.round(np.sin(2 * np.pi * 1000 * np.arange(round(seconds * RATE)) / RATE) * peak).astype(np.int16)


def quiet(seconds: float) -> Samples:
    return np.zeros(round(seconds * RATE), dtype=np.int16)


def recording(*parts: Samples) -> Recording:
    samples = np.concatenate(parts)
    return Recording(samples, START + FRAME * np.arange(len(samples) // FRAME_SAMPLES))


@pytest.mark.parametrize("level", [-49.0, -30.0, -3.1])
def test_a_sine_is_as_loud_as_it_was_made(level: float) -> None:
    assert loudness(sine(0.05, level)) == pytest.approx(level, abs=0.2)


def test_nothing_is_as_loud_as_the_floor_and_an_incomplete_frame_is_left_out() -> None:
    assert list(loudness(quiet(0.025))) == [-120.0, -120.0]
    assert len(loudness(quiet(0.0))) == 0


def test_a_sound_below_the_threshold_is_not_heard() -> None:
    assert spans(recording(sine(0.1, -51))) == ()
    assert len(spans(recording(sine(0.1, -49)))) == 1


def test_spans_carry_their_place_and_their_arrival() -> None:
    first, second = spans(recording(quiet(0.2), sine(0.3, -20), quiet(0.4), sine(0.1, -20), quiet(0.1)))
    assert (first.start, first.end) == (pytest.approx(0.2), pytest.approx(0.5))
    assert (first.onset, first.offset) == (pytest.approx(START + 0.2), pytest.approx(START + 0.49))
    assert second.seconds == pytest.approx(0.1)
    assert pauses((first, second)) == (pytest.approx(0.4),)


def test_a_short_silence_belongs_to_the_word() -> None:
    assert len(spans(recording(sine(0.1, -20), quiet(0.05), sine(0.1, -20)))) == 1
    assert len(spans(recording(sine(0.1, -20), quiet(0.08), sine(0.1, -20)))) == 2


@given(lengths=st.lists(st.tuples(st.integers(1, 40), st.integers(7, 60)), min_size=1, max_size=8))
@examples(40)
def test_every_sound_is_found_where_it_was_put(lengths: list[tuple[int, int]]) -> None:
    parts = [part for loud, silent in lengths for part in (sine(loud * FRAME, -20), quiet(silent * FRAME))]
    found = spans(recording(*parts))
    assert [round(span.seconds / FRAME) for span in found] == [loud for loud, _ in lengths]
    assert [round(pause / FRAME) for pause in pauses(found)] == [silent for _, silent in lengths[:-1]]


def test_between_cuts_whole_frames_by_arrival() -> None:
    cut = recording(quiet(0.1), sine(0.1, -20)).between(START + 0.095, START + 0.155)
    assert (len(cut.arrivals), len(cut.samples)) == (6, 6 * FRAME_SAMPLES)
    assert cut.loud[0] == pytest.approx(START + 0.1)


def test_onset_is_the_first_sound_that_came_later() -> None:
    loud = [1.0, 1.01, 5.0]
    assert onset(loud, 0.0) == 1.0
    assert onset(loud, 1.0) == 1.0
    assert onset(loud, 1.02) == 5.0
    assert onset(loud, 5.1) is None


def test_silence_counts_only_when_it_lasts() -> None:
    loud = [1.0, 1.01, 1.02, 1.4, 1.41, 3.0]
    assert silenced(loud, 1.0, latest=4.0, hold=1.0) == 1.41
    assert silenced(loud, 1.0, latest=4.0, hold=0.3) == 1.02
    assert silenced(loud, 2.9, latest=3.5, hold=1.0) is None
    assert silenced(loud, 2.9, latest=4.0, hold=1.0) == 3.0
    assert silenced(loud, 3.1, latest=4.2, hold=1.0) == 3.1


def test_starved_names_the_waits() -> None:
    heard = Recording(quiet(0.03), np.array([1.0, 1.01, 1.2]))
    assert starved(heard) == (pytest.approx(0.19),)


def test_a_wav_comes_back_as_it_was(tmp_path: Path) -> None:
    samples = sine(0.1, -20)
    write_wav(tmp_path / "a.wav", samples, rate=24_000)
    with wave.open(str(tmp_path / "a.wav"), "rb") as file:
        assert (file.getframerate(), file.getnchannels(), file.getsampwidth()) == (24_000, 1, 2)
        assert np.array_equal(np.frombuffer(file.readframes(file.getnframes()), dtype="<i2"), samples)


def test_tones_are_told_apart_by_their_pitch_and_their_silence() -> None:
    seconds = np.arange(round(0.16 * RATE)) / RATE
    words = [np.concatenate([8000 * np.sin(2 * np.pi * pitch * seconds), np.zeros(round(0.04 * RATE))]) for pitch in (440.0, 660.0, 440.0)]
    click = np.full(round(0.01 * RATE), 3000)
    sound = np.concatenate([np.zeros(RATE), *words, np.zeros(RATE), click]).astype(np.int16)
    heard = tones(sound, RATE)
    assert [tone.pitch for tone in heard] == pytest.approx([440, 660, 440], rel=0.01)
    assert [tone.start for tone in heard] == pytest.approx([1.0, 1.2, 1.4], abs=0.006)
    assert heard[0].end == pytest.approx(1.16, abs=0.006)
    assert tones(np.zeros(RATE, dtype=np.int16), RATE) == ()
