"""What an image is built from is there, and starts what exists; no engine is needed to see that."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

from agent.config import PREFIX, NodeSettings, load
from agent.devserver import MODULE
from agent.gateway.access import check_start
from agent.gateway.keyring import KeyringError

ROOT = Path(__file__).parent.parent
IMAGE = (ROOT / "docker" / "Dockerfile").read_text(encoding="utf-8")
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "docker" / "compose.yaml").read_text(encoding="utf-8"))
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


def test_everything_that_is_copied_is_there() -> None:
    copied = [word for line in re.findall(r"^COPY (?!--from)(.+) \S+$", IMAGE, re.MULTILINE) for word in line.split()]
    assert {"agent", "engines", "pipeline", "pyproject.toml"} <= set(copied)
    assert not [word for word in copied if not (ROOT / word).exists()]


def test_the_extras_exist() -> None:
    (extras,) = re.findall(r"'\.\[([a-z,]+)\]'", IMAGE)
    assert set(extras.split(",")) <= set(PROJECT["project"]["optional-dependencies"])


def test_the_image_has_what_a_node_opens_by_default() -> None:
    (extras,) = re.findall(r"'\.\[([a-z,]+)\]'", IMAGE)
    assert {"piper", "voices", "gateway", "peer"} <= set(extras.split(","))


def test_the_settings_of_image_and_compose_exist(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    variables = dict(re.findall(rf"({PREFIX}\w+)=(\S+)", IMAGE)) | COMPOSE["services"]["node"]["environment"]
    for name, value in variables.items():
        monkeypatch.setenv(name, re.sub(r"\$\{\w+:-(.*)\}", r"\1", value))
    settings = load()
    assert (settings.node.languages, settings.log.format) == (("en",), "json")
    page = yaml.safe_load((ROOT / "livekit.yaml").read_text(encoding="utf-8"))
    assert settings.livekit.url == f"ws://{page['bind_addresses'][0]}:{page['port']}"
    assert page["keys"] == {settings.livekit.api_key: settings.livekit.api_secret}


def test_the_image_s_door_is_reached_from_outside_and_wants_a_key(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))  # this machine's own keys open nothing here
    for name, value in re.findall(rf"({PREFIX}\w+)=(\S+)", IMAGE):
        monkeypatch.setenv(name, value)
    settings = load()
    assert settings.server.host == "0.0.0.0"
    assert re.findall(r"^EXPOSE (.+)$", IMAGE, re.MULTILINE) == [" ".join(map(str, settings.server.ports))]
    with pytest.raises(KeyringError, match="there is no key"):
        check_start(settings)
    monkeypatch.setenv(f"{PREFIX}SECURITY__KEYS", "a key of some length, for a test")
    check_start(load())


def test_the_door_on_the_host_s_network_is_this_machine_s_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    node = COMPOSE["services"]["node"]
    assert node["network_mode"] == "host"
    assert node["environment"][f"{PREFIX}SERVER__HOST"] == "127.0.0.1"


def test_a_container_is_given_the_time_to_drain() -> None:
    assert int(COMPOSE["services"]["node"]["stop_grace_period"].rstrip("s")) > NodeSettings().drain_wait


def test_the_server_is_the_one_that_is_tested_with() -> None:
    assert COMPOSE["services"]["livekit"]["image"].rpartition(":")[2] == MODULE.rpartition("@")[2]


def test_every_package_is_named_to_the_build() -> None:
    listed = PROJECT["tool"]["setuptools"].get("packages", [])
    found = {
        str(path.parent.relative_to(ROOT)).replace("/", ".")
        for room in ("agent", "bench", "engines", "pipeline")
        for path in (ROOT / room).rglob("__init__.py")
    }
    included = listed["find"]["include"] if isinstance(listed, dict) else listed
    assert not [name for name in found if name not in included and f"{name.split('.')[0]}*" not in included]
