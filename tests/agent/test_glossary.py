"""Every setting is explained, and the page that operators read is the code's own."""

from __future__ import annotations

from pathlib import Path

from agent import glossary
from agent.config import Settings

PAGE = Path(__file__).parents[2] / "docs" / "operations.md"


def test_every_setting_says_what_it_means() -> None:
    silent = [row.key for row in glossary.rows() if not row.meaning]
    assert not silent


def test_what_is_derived_cannot_be_set_and_is_not_listed() -> None:
    assert "piper.folder" not in {row.key for row in glossary.rows()}


def test_a_row_knows_its_variable_and_its_value() -> None:
    row = next(row for row in glossary.rows() if row.key == "node.languages")
    assert row.variable == "VOICEBOOTH_NODE__LANGUAGES"
    assert row.shown(Settings.model_validate({"node": {"languages": "fr,de"}})) == "fr,de"


def test_secrets_do_not_show() -> None:
    settings = Settings.model_validate({"livekit": {"api_secret": "hush", "encryption_key": "hush"}})
    assert "hush" not in [row.shown(settings) for row in glossary.rows()]


def test_bounds_are_told() -> None:
    told = {row.key: row.bounds for row in glossary.rows()}
    assert told["selection.ttft_threshold_ms"] == "≥ 20, ≤ 10000"
    assert told["log.format"] == "`auto`, `json`, `text`"


def test_the_page_holds_the_table_of_this_code() -> None:
    """`make docs` writes it."""
    assert glossary.markdown() in PAGE.read_text(encoding="utf-8")


def test_a_secret_of_an_engine_or_in_an_address_does_not_show_either() -> None:
    proxy, collector = "http://me:hush@proxy:1", "http://me:hush@collector:4318"
    settings = Settings.model_validate({"remote": {"token": "hush"}, "edge": {"proxy": proxy}, "otel": {"endpoint": collector}})
    found = {row.key: row.shown(settings) for row in glossary.rows()}
    assert (found["remote.token"], found["edge.proxy"], found["remote.engine"]) == ("(set)", "(set)", "")
    assert found["otel.endpoint"] == "(set)", "its address may hold a password"
    assert "hush" not in str(settings)
