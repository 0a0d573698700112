"""The way of a calibration, with a model in place of the real one that measures what it is told to."""

from __future__ import annotations

import errno
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from typer.testing import CliRunner

from agent.cli import app
from engines.base import EngineUnavailable, UnknownVoice
from engines.kokoro import calibrate as module
from engines.kokoro.calibrate import CHECKS, MOST_DISTANCE, SENTENCES, calibrate, press
from engines.kokoro.files import MODEL, SPOKEN
from engines.kokoro.statistics import Moments, Pressed, read

CHANNELS = 6
A_VOICE = 2 * len(SENTENCES["en"]) + len(CHECKS["en"])  # passes that one voice takes


class Scripted:
    """Both kinds of the model: a second of noise for whatever is said, when it is streamed ``louder`` and with ``hiss``."""

    passes = 0
    louder = 1.05
    hiss = 0.01

    def __init__(self, folder, front, windows): ...

    def prepare(self, phonemes, table, speed):
        return SimpleNamespace(
            frames=5 * len(phonemes), sound=np.random.default_rng(len(phonemes)).normal(0, 0.1, 24_000).astype(np.float32)
        )

    def measure(self, prepared):
        Scripted.passes += 1
        return prepared.sound, Moments(*(np.full(CHANNELS, value, np.float32) for value in (prepared.frames / 100, 1.0)))

    def flow(self, prepared, measured, pace):
        moments = measured.at(prepared.frames)
        assert moments.mean.shape == (CHANNELS,) and abs(moments.mean[0] - prepared.frames / 100) < 2.0  # of that length
        factor = self.louder * 10 ** (measured.gain / 20)
        hiss = np.random.default_rng(1).normal(0, self.hiss, 24_000).astype(np.float32)
        return SimpleNamespace(columns=24_000, pull=lambda start, end: factor * (prepared.sound + hiss)[start:end])


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Two voices and a model; nothing of them is read."""
    monkeypatch.setattr(Scripted, "passes", 0)
    for name, stand_in in {
        "Kokoro": Scripted,
        "make": lambda name, threads: None,
        "find_parts": lambda model, digest, precision, kind, cache: Path(kind),
        "phonemize": lambda text, letter, *more: text,
        "Espeak": SimpleNamespace(load=lambda: None),
    }.items():
        monkeypatch.setattr(module, name, stand_in)
    place = tmp_path / "kokoro"
    place.mkdir()
    (place / MODEL).write_bytes(b"model")
    for number, id in enumerate(("af_a", "af_b")):
        np.full(SPOKEN // 4, number, dtype="<f4").tofile(place / f"{id}.bin")
    return place


def test_a_voice_is_measured_once_and_again_when_asked(folder):
    (done,) = calibrate(["af_a"], folder, folder)
    assert done.is_good and done.path.is_file() and Scripted.passes == A_VOICE
    assert read(done.path).gain == pytest.approx(-0.47, abs=0.01)  # a factor of 1.05, and a little for the hiss
    assert done.level < 0.02 and done.distance > 0
    (before,) = calibrate(["af_a"], folder, folder)
    assert (before.id, before.path, before.distance, Scripted.passes) == ("af_a", done.path, 0.0, A_VOICE)
    (anew,) = calibrate(["af_a"], folder, folder, again=True)
    assert anew == done and Scripted.passes == 2 * A_VOICE


def test_what_was_broken_off_goes_on_where_it_was(folder):
    going = calibrate((), folder, folder)
    assert next(going).id == "af_a"
    going.close()
    assert Scripted.passes == A_VOICE
    assert [done.id for done in calibrate((), folder, folder)] == ["af_a", "af_b"]
    assert Scripted.passes == 2 * A_VOICE


def test_a_mixture_has_statistics_of_its_own_and_one_place_however_it_is_written(folder):
    (done,) = calibrate(["af_a:1+af_b:3"], folder, folder)
    (same,) = calibrate(["af_b:0.75+af_a:0.25"], folder, folder)
    assert same.path == done.path and Scripted.passes == A_VOICE


def test_a_voice_that_sounds_worse_is_told_and_marked(folder, monkeypatch, tmp_path):
    monkeypatch.setattr(Scripted, "hiss", 0.2)
    (done,) = calibrate(["af_b"], folder, folder)
    assert not done.is_good and done.distance > MOST_DISTANCE
    assert press(done.path.parent, tmp_path / "pressed.npz") == 1
    assert Pressed.read(tmp_path / "pressed.npz").worse == ("af_b",)


def test_a_voice_that_is_not_there_and_a_disk_that_is_full_are_told(folder, monkeypatch):
    with pytest.raises(UnknownVoice, match="af_nobody"):
        list(calibrate(["af_nobody"], folder, folder))

    def full(*arguments, **more):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(module, "write", full)
    with pytest.raises(EngineUnavailable, match=r"cannot be kept in .*No space left"):
        list(calibrate(["af_a"], folder, folder))


def test_the_command_measures_tells_and_presses(folder, tmp_path):
    def command(*arguments):
        settings = "--set", f"models.root={tmp_path}", "--set", f"kokoro.cache={folder}"
        return CliRunner().invoke(app, ("models", "calibrate", "kokoro", *arguments, *settings))

    pressed = tmp_path / "all.npz"
    told = command("--press", str(pressed)).stdout.splitlines()
    assert [line.split(":")[0] for line in told] == ["af_a", "af_b", str(pressed)] and told[-1].endswith(": 2 voices")
    assert Pressed.read(pressed).ids == ("af_a", "af_b")
    assert command("af_a").stdout == "af_a: measured before\n"
    assert command("af_a", "--again").stdout.startswith("af_a: level 0.0 dB off, spectra ")
    answer = command("af_nobody")
    assert answer.exit_code == 1 and "voicebooth: " in answer.stderr
