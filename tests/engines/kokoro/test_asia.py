from __future__ import annotations

import builtins
import importlib

import pytest

from engines.base import EngineUnavailable, SynthesisFailed
from engines.kokoro import asia
from engines.kokoro.phonemes import VOCABULARY


@pytest.fixture(autouse=True)
def fresh():
    asia._reader.cache_clear()
    yield
    asia._reader.cache_clear()


def test_runs_of_latin_letters_are_read_by_somebody_else(monkeypatch):
    monkeypatch.setattr(asia, "_chinese", lambda: lambda text: (f"<{text}>", None))
    assert asia.read("我用Linux。", "z", str.upper) == "<我用> LINUX."
    assert asia.read("A，B", "z", str.lower) == "a, b"


def test_what_its_tables_lack_is_ours_to_tell(monkeypatch):
    def lost(text):
        raise AssertionError(text)

    monkeypatch.setattr(asia, "_japanese", lambda: lost)
    with pytest.raises(SynthesisFailed, match="misaki"):
        asia.read("猫", "j", str)


def test_a_package_that_is_missing_names_its_remedy(monkeypatch):
    def refuse(name, *rest):
        raise ImportError(name)

    monkeypatch.setattr(importlib, "import_module", refuse)
    with pytest.raises(EngineUnavailable, match=r"voicebooth\[kokoro-asia\]"):
        asia.read("猫", "j", str)


def test_looking_imports_nothing(monkeypatch):
    asia.can_read.cache_clear()
    monkeypatch.setattr(builtins, "__import__", lambda name, *rest: pytest.fail(name))
    assert not asia.can_read("a")
    assert asia.can_read("z") in (True, False)
    asia.can_read.cache_clear()


@pytest.mark.voice
def test_chinese_has_its_tones():
    read = asia.read("大家早上好，火车几点出发？", "z", str)
    assert read.count(" ") >= 4
    assert {"→", "↓", "↘"} <= set(read)
    assert set(read) - {"ꭧ"} <= set(VOCABULARY)
    assert read.endswith("?")


@pytest.mark.voice
def test_japanese_characters_get_their_readings():
    read = asia.read("皆さん、東京の猫です。", "j", str)
    assert "toː" in read or "too" in read
    assert "neko" in read
    assert set(read) <= set(VOCABULARY)
