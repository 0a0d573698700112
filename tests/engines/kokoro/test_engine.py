from __future__ import annotations

import pytest

from engines.base import EngineUnavailable, UnknownVoice
from engines.kokoro import KokoroEngine, KokoroSettings


def test_an_engine_that_is_not_loaded_has_no_voice():
    engine = KokoroEngine()
    assert engine.voices() == ()
    with pytest.raises(UnknownVoice, match="none loaded"):
        engine.voice("af_heart")


def test_a_missing_model_names_its_remedy(tmp_path, monkeypatch):
    monkeypatch.setattr("engines.kokoro.files.MODEL_PACKAGES", ("a_package_that_is_not_here",))
    with pytest.raises(EngineUnavailable, match=r"voicebooth models install kokoro-v1\.0-int8"):
        KokoroEngine(KokoroSettings(folder=tmp_path, cache=tmp_path)).load()
