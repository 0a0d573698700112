"""The order of the sources, and what an operator is told about a setting that cannot be."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import pytest
from pydantic import Field

from agent import config
from agent.config import Section, Settings, SettingsError, load
from pipeline.chain import QUALITY


@pytest.fixture(autouse=True)
def bare_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.startswith(("VOICEBOOTH_", "LIVEKIT_")):
            monkeypatch.delenv(name)


def write(folder: Path, text: str) -> Path:
    path = folder / "settings.yaml"
    path.write_text(text)
    return path


def test_without_any_source_the_defaults_hold() -> None:
    assert load() == Settings()


def test_each_source_gives_way_to_the_one_before_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    path = write(tmp_path, "livekit: {url: 'ws://file', api_key: file, agent_name: file}\nnode: {name: file}")
    assert load(path).livekit.url == "ws://file"
    monkeypatch.setenv("LIVEKIT_URL", "ws://livekit")
    monkeypatch.setenv("LIVEKIT_API_KEY", "livekit")
    assert (load(path).livekit.url, load(path).livekit.api_key) == ("ws://livekit", "livekit")
    monkeypatch.setenv("VOICEBOOTH_LIVEKIT__URL", "ws://ours")
    assert (load(path).livekit.url, load(path).livekit.api_key) == ("ws://ours", "livekit")
    settings = load(path, {"livekit": {"url": "ws://typed"}})
    assert (settings.livekit.url, settings.livekit.api_key, settings.livekit.agent_name) == ("ws://typed", "livekit", "file")
    assert settings.node.name == "file"


def test_the_file_may_be_named_by_the_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("VOICEBOOTH_SETTINGS", str(write(tmp_path, "node: {languages: [fr, de]}")))
    assert load().node.languages == ("fr", "de")


def test_the_chain_is_composed_of_its_own_section_and_of_the_selection(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("VOICEBOOTH_SELECTION__QUALITY", "mine=4.5, piper=2")
    monkeypatch.setenv("VOICEBOOTH_CHAIN__BREAKER__FAILURES", "7")
    selection = "{fallback_chain: [mine, piper], strategy: speed_first, ttft_threshold_ms: 120, quality_threshold: 2.5}"
    chain = load(write(tmp_path, f"selection: {selection}\nchain: {{pause: 2}}")).chain
    assert (chain.order, chain.strategy, chain.budget, chain.pause) == (("mine", "piper"), "speed_first", 0.120, 2.0)
    assert (chain.breaker.failures, chain.quality_threshold) == (7, 2.5)
    assert (chain.quality["mine"], chain.quality["piper"], chain.quality["kokoro"]) == (4.5, 2.0, QUALITY["kokoro"])
    monkeypatch.setenv("VOICEBOOTH_CHAIN__BUDGET", "1")
    with pytest.raises(SettingsError, match=r"chain\.budget: set selection\.ttft_threshold_ms instead"):
        load()


def test_lists_and_switches_can_be_written_as_words(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VOICEBOOTH_NODE__LANGUAGES", "en, fr")
    monkeypatch.setenv("VOICEBOOTH_LIVEKIT__TRANSCRIPTIONS", "yes")
    monkeypatch.setenv("VOICEBOOTH_LOG__LEVEL", "debug")
    monkeypatch.setenv("VOICEBOOTH_AUDIO__SAMPLE_RATE", "16000")
    settings = load()
    assert settings.audio.sample_rate == 16_000
    assert (settings.node.languages, settings.livekit.transcriptions, settings.log.level) == (("en", "fr"), True, "DEBUG")


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("nod: {name: x}", "nod: unknown setting (is node meant?)"),
        ("node: {naem: x}", "node.naem: unknown setting (is name meant?)"),
        ("selection: {ttft_threshold_ms: 19}", "selection.ttft_threshold_ms: input should be greater than or equal to 20"),
        ("selection: {strategy: fastest}", "selection.strategy: input should be 'auto', 'manual', 'quality_first' or 'speed_first'"),
        ("selection: {quality: {piper: 6}}", "selection.quality.piper: input should be less than or equal to 5"),
        ("livekit: {url: rooms.example.org}", "livekit.url: begins with ws://"),
        ("ingest: {gap_wait: -1}", "ingest.gap_wait: must not be negative"),
        ("lanes: {count: two}", "lanes.count: input should be a valid integer"),
        ("node: {languages: []}", "node.languages: "),
        ("node: fast", "node: input should be a valid dictionary"),
        ("- a list", "holds sections"),
        ("a: [", "not YAML in UTF-8"),
    ],
)
def test_what_cannot_be_is_refused_in_one_line_that_names_it(tmp_path: Path, text: str, told: str) -> None:
    with pytest.raises(SettingsError) as caught:
        load(write(tmp_path, text))
    assert told in str(caught.value)
    assert "\n" not in str(caught.value)


def test_all_that_is_wrong_is_told_at_once(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"node\.drain_wait.*; selection\.strategy"):
        load(write(tmp_path, "node: {drain_wait: -1}\nselection: {strategy: 5}"))


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"none\.yaml: cannot be read: No such file"):
        load(tmp_path / "none.yaml")


def test_a_file_that_is_no_settings_file_is_not_read_whole(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="at most"):
        load(write(tmp_path, "#" * (config.FILE_BYTES + 1)))


def test_an_unknown_variable_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VOICEBOOTH_NODES__NAME", "x")
    with pytest.raises(SettingsError, match=r"VOICEBOOTH_NODES__NAME: unknown setting \(is VOICEBOOTH_NODE meant\?\)"):
        load()


def test_an_unknown_key_in_a_variable_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VOICEBOOTH_NODE__NAMES", "x")
    with pytest.raises(SettingsError, match=r"node\.names: unknown setting"):
        load()


def test_what_is_set_once_reaches_the_modules_that_read_it(tmp_path: Path) -> None:
    found = Settings.model_validate({"models": {"root": tmp_path}})
    assert (found.piper.folder, found.xtts.folder, found.kokoro.folder) == (tmp_path, tmp_path, tmp_path / "kokoro")


@pytest.mark.parametrize(("key", "instead"), config.DERIVED.items())
def test_what_is_set_once_cannot_be_set_twice(key: str, instead: str) -> None:
    section, name = key.split(".")
    with pytest.raises(SettingsError, match=f"{key}: set {instead} instead"):
        load(overrides={section: {name: 1}})


def test_a_path_may_begin_at_home(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VOICEBOOTH_PIPER__CACHE", "~/voices")
    monkeypatch.setenv("VOICEBOOTH_LOG__FILE", "~/node.log")
    settings = load()
    assert (settings.piper.cache, settings.log.file) == (Path.home() / "voices", Path.home() / "node.log")


def test_secrets_do_not_show() -> None:
    collector = {"endpoint": "http://me:hush@127.0.0.1:4318"}
    shown = repr(Settings.model_validate({"livekit": {"api_secret": "hush", "encryption_key": "hush"}, "otel": collector}))
    assert "hush" not in shown


@pytest.mark.parametrize(("key", "words"), [("edge", "a, b"), ("piper", "a,b"), ("piper", ["a", "b"])])
def test_the_lists_of_a_module_s_own_dataclass_can_be_written_as_words(key: str, words: object) -> None:
    assert getattr(load(overrides={key: {"voices": words}}), key).voices == ("a", "b")


def test_a_module_s_own_dataclass_is_checked_like_a_section() -> None:
    @dataclass(frozen=True, slots=True)
    class Pauses:
        sentence: Annotated[float, Field(ge=0, le=5)] = 0.2

    class Outer(Section):
        pauses: Pauses = Pauses()

    assert list(config._unknown(Outer, {"pauses": {"sentnce": 1}})) == ["pauses.sentnce: unknown setting (is sentence meant?)"]
    assert Outer.model_validate({"pauses": {"sentence": "0.5"}}).pauses == Pauses(0.5)
    with pytest.raises(ValueError, match="less than or equal to 5"):
        Outer.model_validate({"pauses": {"sentence": 6}})


@pytest.mark.parametrize("name", ["LIVEKIT_AGENTS_PRELOAD_LOCAL_INFERENCE", "LIVEKIT_AGENTS_LOOP_BLOCK_WARN_MS"])
def test_what_a_speaking_node_never_uses_stays_out_unless_the_operator_wants_it(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.delenv(name, raising=False)
    config.before_livekit_agents()
    assert os.environ[name] == "0"
    monkeypatch.setenv(name, "1")
    config.before_livekit_agents()
    assert os.environ[name] == "1"


def test_a_cache_folder_can_be_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert config.cache_folder() == tmp_path / "voicebooth"


def test_a_list_can_be_emptied_in_the_environment(monkeypatch):
    monkeypatch.setenv("VOICEBOOTH_SERVER__PORTS", "none")
    assert load().server.ports == ()
