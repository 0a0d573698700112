"""Recordings as people send them: good ones in every form, and every kind of bad one."""

from __future__ import annotations

import io

import numpy as np
import pytest
import soundfile

from engines.base import EngineUnavailable
from engines.xtts import reference
from engines.xtts.reference import LONGEST, MOST_BYTES, MOST_RECORDINGS, RATE, SHORTEST, BadReference, hear
from tests.engines.xtts.tiny import speech


def written(sound: np.ndarray, rate: int = RATE, *, form: str = "WAV", subtype: str | None = None) -> bytes:
    file = io.BytesIO()
    soundfile.write(file, sound, rate, format=form, subtype=subtype)
    return file.getvalue()


@pytest.mark.long
@pytest.mark.parametrize(
    ("form", "subtype", "rate", "channels"),
    [
        ("WAV", "PCM_16", 22_050, 1),
        ("WAV", "PCM_16", 44_100, 2),
        ("WAV", "PCM_U8", 22_050, 1),
        ("WAV", "PCM_24", 96_000, 1),
        ("WAV", "FLOAT", 48_000, 1),
        ("WAV", "ULAW", 8_000, 1),
        ("FLAC", "PCM_16", 48_000, 2),
        ("OGG", "VORBIS", 48_000, 1),
        ("MP3", "MPEG_LAYER_III", 44_100, 1),
    ],
)
def test_what_can_be_converted_is_converted(form, subtype, rate, channels):
    sound = speech(4.0, rate=rate)
    recording = written(np.stack([sound] * channels, axis=1), rate, form=form, subtype=subtype)
    (heard,) = hear(recording)
    assert heard.dtype == np.float32
    assert heard.shape == pytest.approx((4.0 * RATE,), rel=0.02)
    want, got = np.abs(np.fft.rfft(speech(4.0))), np.abs(np.fft.rfft(heard, round(4.0 * RATE)))
    assert np.dot(want, got) / np.linalg.norm(want) / np.linalg.norm(got) > 0.95


def test_several_recordings_make_one_voice():
    first, second = hear(written(speech(2.0)), written(speech(2.0, pitch=121.0)))
    assert len(first) == len(second) == 2 * RATE


def noise(seconds: float = 4.0) -> np.ndarray:
    return np.random.default_rng(1).normal(0, 0.1, round(seconds * RATE)).astype(np.float32)


def tone(seconds: float = 4.0) -> np.ndarray:
    return 0.3 * np.sin(2 * np.pi * 200 * np.arange(round(seconds * RATE)) / RATE)


def once(sound: np.ndarray, at: int, value: float) -> np.ndarray:
    sound[at] = value
    return sound


BAD = {
    "is empty": lambda: b"",
    "no sound that can be read": lambda: b"<html>not a recording</html>" * 100,
    "can be read": lambda: written(speech(4.0))[:20],
    "too short: 2.0 s": lambda: written(speech(2.0)),
    "too short: 0.0 s": lambda: written(speech(0.01)),
    "too long: 10.5 s": lambda: written(speech(10.5)),
    "too long: 60.0 s": lambda: written(np.tile(speech(6.0), 10)),
    "is silent": lambda: written(np.zeros(4 * RATE)),
    "silent": lambda: written(np.full(4 * RATE, 0.3)),
    "too quiet: -": lambda: written(speech(4.0, level=0.005)),
    "is clipped": lambda: written(np.clip(speech(4.0, level=6.0), -1, 1)),
    "no numbers": lambda: written(once(speech(4.0), 700, np.nan), subtype="FLOAT"),
    "no number": lambda: written(once(speech(4.0), 700, np.inf), subtype="FLOAT"),
    "nobody seems to speak": lambda: written(noise()),
    "nobody seems": lambda: written(tone()),
    "nobody": lambda: written(noise() * np.abs(speech(4.0)) / 0.1),
    "s of speech, at least": lambda: written(np.concatenate([speech(1.0), np.zeros(3 * RATE, np.float32)])),
    "9 channels": lambda: written(np.stack([speech(4.0)] * 9, axis=1)),
    "at 4000 Hz": lambda: written(speech(4.0, rate=4_000), 4_000),
    "too large": lambda: b"RIFF" + bytes(MOST_BYTES),
}


@pytest.mark.long
@pytest.mark.parametrize("wrong", BAD)
def test_a_bad_recording_is_named_with_its_remedy(wrong):
    with pytest.raises(BadReference, match=wrong) as failed:
        hear(BAD[wrong]())
    assert failed.value.remedy


@pytest.mark.parametrize(("seconds", "is_good"), [(SHORTEST, True), (LONGEST, True), (SHORTEST - 0.2, False), (LONGEST + 0.2, False)])
def test_the_bounds_themselves(seconds, is_good):
    if is_good:
        assert len(hear(written(speech(seconds)))) == 1
    else:
        with pytest.raises(BadReference):
            hear(written(speech(seconds)))


@pytest.mark.parametrize("count", [0, MOST_RECORDINGS + 1])
def test_the_count_of_recordings_is_bounded(count):
    with pytest.raises(BadReference, match="recordings of one voice"):
        hear(*[written(speech(1.0))] * count)


def test_which_recording_is_bad_is_told():
    with pytest.raises(BadReference, match="reference 2 of 2 is silent"):
        hear(written(speech(4.0)), written(np.zeros(RATE)))


def test_voices_high_and_low_are_voices():
    for pitch in (75.0, 120.0, 220.0, 350.0):
        assert hear(written(speech(4.0, pitch=pitch)))


def test_a_missing_library_names_its_remedy(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "soundfile", None)
    with pytest.raises(EngineUnavailable, match=r"voicebooth\[xtts\]"):
        reference.hear(b"anything")
