"""Settings in the words of other services."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import yaml

from agent import foreign, glossary
from agent.config import Settings, SettingsError, load

KNOWN = {row.key for row in glossary.rows()}
THEIRS = """
server: {name: hive, drain_s: 12, environment: production, enable_model_caching: true}
engines: {selection_strategy: quality_first, enabled: true}
auto_selection: {ttft_threshold_ms: 300, quality_threshold: 3.5}
fallback_chain: [piper, edge-tts]
quality: {sample_rate: 22050}
output: {format: mp3, normalize_audio: false, trim_silence: false, compression: true}
tts: {cache_enabled: false, enabled: true}
audio: {channels: 1, bit_depth: 16}
cache: {strategy: lru, size_mb: 2000}
stream: {enabled: true}
piper: {model: en_US-lessac-medium}
"""


@pytest.fixture(autouse=True)
def bare_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.startswith("VOICEBOOTH_") or name in foreign.VARIABLES:
            monkeypatch.delenv(name)


def write(folder: Path, text: str) -> Path:
    path = folder / "settings.yaml"
    path.write_text(text)
    return path


def test_what_stands_for_ours_is_ours() -> None:
    assert {*foreign.VARIABLES.values(), *foreign.KEYS.values()} <= KNOWN
    assert not {*foreign.KEYS, *foreign.FIXED, *foreign.ABSENT} & KNOWN


def test_a_file_in_their_words_starts_the_node(tmp_path: Path) -> None:
    settings = load(write(tmp_path, THEIRS))
    assert (settings.node.name, settings.node.drain_wait) == ("hive", 12.0)
    selection = settings.selection
    assert (selection.strategy, selection.ttft_threshold_ms, selection.quality_threshold) == ("quality_first", 300, 3.5)
    assert selection.fallback_chain == ("piper", "edge")
    assert (settings.audio.sample_rate, settings.audio.format, settings.audio.compression) == (22_050, "mp3", True)
    assert not (settings.audio.normalize or settings.audio.trim_silence or settings.cache.enabled)
    assert (settings.cache.size_mb, settings.piper.voices) == (2000.0, ("en_US-lessac-medium",))
    assert (settings.origin("node.name"), settings.origin("node.languages")) == ("file", "")


def test_their_variables_stand_between_ours_and_the_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    theirs = {
        "SERVICE_HOST": "0.0.0.0",
        "SERVICE_PORT": "8002",
        "MAX_TEXT_LENGTH": "500",
        "CACHE_ENABLED": "true",
        "CACHE_DIR": "./cache/",
        "AUDIO_FORMAT": "ogg",
        "AUDIO_SAMPLE_RATE": "22050",
        "CORS_ORIGINS": '["https://a.example", "https://b.example"]',
        "SERVER_LOG_LEVEL": "error",
        "LOG_LEVEL": "warning",
        "STREAM_CHUNK_SIZE": "",
    }
    for name, value in theirs.items():
        monkeypatch.setenv(name, value)
    path = write(tmp_path, "limits: {text_chars: 9, batch_items: 7}\ncache: {enabled: false}")
    settings = load(path)
    assert (settings.server.host, settings.server.ports, settings.log.level) == ("0.0.0.0", (8002,), "WARNING")
    assert (settings.limits.text_chars, settings.limits.batch_items, settings.cache.enabled) == (500, 7, True)
    assert (settings.cache.dir, settings.audio.format, settings.audio.sample_rate) == (Path("cache"), "ogg", 22_050)
    assert (settings.security.cors_origins, settings.stream.chunk_bytes) == (("https://a.example", "https://b.example"), 4_096)
    monkeypatch.setenv("VOICEBOOTH_LIMITS__TEXT_CHARS", "70")
    assert load(path).limits.text_chars == 70


def test_a_variable_that_cannot_be_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MAX_TEXT_LENGTH", "many")
    with pytest.raises(SettingsError, match=r"limits\.text_chars: .*integer.* \(MAX_TEXT_LENGTH\)"):
        load()


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("audio: {channels: 2}", "audio.channels: here it is 1"),
        ("stream: {enabled: 1}", "stream.enabled: here it is true"),
        ("cache: {strategy: adaptive}", 'cache.strategy: here it is "lru"'),
        ("engines: {device: cuda, compile: 1}", "engines.device: each engine finds its own"),
        ("server: {name: a}\nnode: {name: b}", "server.name and node.name say different things"),
        ("engines: {warp: 9}", "engines: unknown setting"),
    ],
)
def test_what_has_no_meaning_here_is_refused_in_one_line(tmp_path: Path, text: str, told: str) -> None:
    with pytest.raises(SettingsError) as caught:
        load(write(tmp_path, text))
    assert told in str(caught.value) and "\n" not in str(caught.value)


def test_their_keys_are_none_of_ours_elsewhere() -> None:
    with pytest.raises(ValueError, match=r"server\.drain_s: set node\.drain_wait"):
        Settings.model_validate({"server": {"drain_s": 3}})


def test_reading_a_file_changes_nothing_of_it() -> None:
    found = yaml.safe_load(THEIRS)
    before = yaml.safe_load(THEIRS)
    foreign.from_file(found)
    assert found == before
