"""What a line of the log looks like."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from pathlib import Path

import pytest

from agent import log
from agent.config import LogSettings


@pytest.fixture(autouse=True)
def root_as_it_was() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    levels = {name: logging.getLogger(name).level for name in log.TALKATIVE}
    yield
    for handler in root.handlers:
        if handler not in handlers:
            handler.close()
    root.handlers[:] = handlers
    root.setLevel(level)
    for name, value in levels.items():
        logging.getLogger(name).setLevel(value)


def test_one_object_a_line_with_the_extra_fields(tmp_path: Path) -> None:
    log.configure(LogSettings(file=tmp_path / "logs" / "node.log"))
    try:
        raise ValueError("broken")
    except ValueError:
        logging.getLogger("agent.room").exception("room %s\nlost", "ä", extra={"room": "ä"})
    lines = (tmp_path / "logs" / "node.log").read_text(encoding="utf-8").splitlines()
    assert len(lines) == 1
    line = json.loads(lines[0])
    assert (line["level"], line["logger"], line["message"], line["room"]) == ("ERROR", "agent.room", "room ä\nlost", "ä")
    assert line["error"].endswith("ValueError: broken")
    assert set(line) == {"time", "level", "logger", "message", "room", "error"}


def test_text_for_people(capsys: pytest.CaptureFixture[str]) -> None:
    log.configure(LogSettings(format="text"))
    logging.getLogger("agent.node").info("ready")
    assert capsys.readouterr().err.endswith("INFO    agent.node  ready\n")


def test_standard_error_that_is_no_terminal_gets_json(capsys: pytest.CaptureFixture[str]) -> None:
    log.configure(LogSettings())
    logging.getLogger("agent.node").info("ready")
    assert json.loads(capsys.readouterr().err)["message"] == "ready"


@pytest.mark.parametrize(("level", "heard"), [("INFO", False), ("DEBUG", True)])
def test_libraries_tell_their_story_when_asked(level: str, heard: bool, capsys: pytest.CaptureFixture[str]) -> None:
    log.configure(LogSettings.model_validate({"level": level}))
    logging.getLogger("livekit").info("resuming")
    assert ("resuming" in capsys.readouterr().err) is heard
