from __future__ import annotations

import importlib.util
import json
import sys

import numpy as np
import pytest

from engines.base import BadModel, EngineUnavailable, Pace, Request, SynthesisFailed
from engines.kokoro import KokoroEngine, KokoroSettings, torched
from engines.kokoro.torched import CONFIG, INSTALL, WEIGHTS, Torched
from tests.engines.kokoro import tiny

pytestmark = pytest.mark.filterwarnings("ignore:.*weight_norm:FutureWarning")  # the package is older than torch's warning
TEXT = "Out of the harbour, into the open sea."


@pytest.fixture
def installed(monkeypatch):
    """The libraries seem to be there; the hub's cache is empty."""
    monkeypatch.setattr(torched.importlib.util, "find_spec", lambda name: object())
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)


def furnish(folder, *names):
    for name in names:
        (folder / name).write_bytes(b"")


def test_what_is_missing_is_named_in_its_order(installed, tmp_path, monkeypatch):
    assert WEIGHTS in torched.missing(tmp_path, tmp_path / "cache")
    furnish(tmp_path, WEIGHTS, CONFIG)
    assert "kokoro-voices" in torched.missing(tmp_path, tmp_path / "cache")
    np.zeros((510, 256), "<f4").tofile(tmp_path / "af_heart.bin")
    assert torched.missing(tmp_path, tmp_path / "cache") == ""
    monkeypatch.setattr(torched.importlib.util, "find_spec", lambda name: None if name == "kokoro" else object())
    assert torched.missing(tmp_path, tmp_path / "cache") == INSTALL


def test_without_the_graph_an_engine_can_be_had_on_torch_and_with_it_is_not_asked(installed, tmp_path, monkeypatch):
    settings = KokoroSettings(folder=tmp_path, cache=tmp_path / "cache")
    furnish(tmp_path, WEIGHTS, CONFIG)
    np.zeros((510, 256), "<f4").tofile(tmp_path / "af_heart.bin")
    monkeypatch.setattr("engines.kokoro.files.importlib.util.find_spec", lambda name: None if "voice_model" in name else object())
    assert KokoroEngine(settings).missing() == ""
    (tmp_path / CONFIG).unlink()
    assert KokoroEngine(settings).missing() == "voicebooth models install kokoro-v1.0-int8"
    assert WEIGHTS in KokoroEngine(KokoroSettings(folder=tmp_path, cache=tmp_path / "cache", runtime="torch")).missing()


def test_weights_that_the_package_fetched_before_are_found_and_none_are_fetched(tmp_path, monkeypatch):
    class Hub:
        @staticmethod
        def try_to_load_from_cache(repository, name):
            return f"/hub/{name}" if name in there else None

    monkeypatch.setitem(sys.modules, "huggingface_hub", Hub)
    there = {WEIGHTS}
    assert torched.find_weights(tmp_path) is None
    there = {WEIGHTS, CONFIG}
    found = torched.find_weights(tmp_path)
    assert found is not None and [path.name for path in found] == [CONFIG, WEIGHTS]


def test_without_weights_or_libraries_it_is_unavailable(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(EngineUnavailable, match=WEIGHTS):
        Torched(tmp_path, 1)
    furnish(tmp_path, WEIGHTS, CONFIG)
    monkeypatch.setitem(sys.modules, "kokoro", None)
    with pytest.raises(EngineUnavailable, match="kokoro-torch"):
        Torched(tmp_path, 1)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    if any(importlib.util.find_spec(library) is None for library in ("torch", "kokoro")):
        pytest.fail("these tests run the package kokoro on torch: pip install 'voicebooth[kokoro,kokoro-torch]', as `make test` does")
    return tiny.make(tmp_path_factory.mktemp("kokoro"))


@pytest.fixture(scope="module")
def engine(folder):
    engine = KokoroEngine(KokoroSettings(folder=folder, cache=folder / "cache", runtime="torch", threads=1))
    engine.load()
    return engine


def speak(engine, text=TEXT, **wish):
    chunks = list(engine.synthesize(Request(text, **wish), Pace(10.0)))
    return np.concatenate([chunk.samples for chunk in chunks]), [mark for chunk in chunks for mark in chunk.marks]


@pytest.mark.voice
def test_the_package_speaks_behind_the_engine_s_contract(engine):
    assert [voice.id for voice in engine.voices()] == ["af_heart", "ff_siwis"]
    assert "torch" in engine.build
    assert not engine.streams("af_heart")
    sound, marks = speak(engine)
    assert sound.dtype == np.int16 and sound.any()
    assert [TEXT[mark.start : mark.end] for mark in marks] == TEXT.split()
    assert [mark.sample for mark in marks] == sorted(mark.sample for mark in marks)
    assert marks[-1].sample < len(sound)


@pytest.mark.voice
def test_voices_and_mixtures_differ_and_speed_shortens(engine):
    one, other, mixed = (speak(engine, voice=id)[0] for id in ("af_heart", "ff_siwis", "af_heart+ff_siwis"))
    assert not any(np.array_equal(first, second) for first, second in ((one, other), (one, mixed), (other, mixed)))
    assert len(speak(engine, speed=2.0)[0]) < 0.8 * len(one)


@pytest.mark.voice
def test_a_closed_sentence_and_bad_requests_leave_it_well(engine):
    steps = engine.synthesize(Request(TEXT), Pace())
    next(steps)
    steps.close()
    with pytest.raises(SynthesisFailed):
        speak(engine, "…")
    assert speak(engine)[0].any()


@pytest.mark.voice
@pytest.mark.parametrize("harm", ["truncated", "empty", "others", "settings"])
def test_a_file_that_is_to_blame_is_named(folder, tmp_path, harm):
    """The package itself goes on with random weights where names do not fit."""
    import torch

    weights, config = (folder / WEIGHTS).read_bytes(), json.loads((folder / CONFIG).read_text())
    if harm == "settings":
        del config["plbert"]
    (tmp_path / CONFIG).write_text(json.dumps(config))
    (tmp_path / WEIGHTS).write_bytes(weights[: len(weights) // 2] if harm == "truncated" else b"" if harm == "empty" else weights)
    if harm == "others":
        torch.save({"decoder": {"module.nothing.weight": torch.zeros(3)}}, tmp_path / WEIGHTS)
    with pytest.raises(BadModel, match=WEIGHTS):
        Torched(tmp_path, 1)
