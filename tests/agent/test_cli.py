"""The command line: what it answers, with which status, and how soon."""

from __future__ import annotations

import subprocess
import sys

import pytest
from typer.testing import CliRunner, Result

from agent.cli import app


def voicebooth(*arguments: str) -> Result:
    return CliRunner().invoke(app, arguments)


def test_help_names_every_command() -> None:
    shown = voicebooth("--help").stdout
    assert all(f"  {name} " in shown for name in ("run", "join", "say", "voices", "models", "doctor", "bench"))


@pytest.mark.parametrize("command", ["run", "join", "say", "voices", "models", "doctor"])
def test_every_command_explains_itself(command: str) -> None:
    shown = voicebooth(command, "--help")
    assert shown.exit_code == 0
    assert "Usage: " in shown.stdout


def test_help_loads_nothing_heavy() -> None:
    code = "import sys, agent.cli; print([m for m in ('numpy', 'pydantic', 'livekit', 'onnxruntime', 'bench') if m in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == "[]"


def test_the_version_is_told() -> None:
    assert voicebooth("--version").stdout.startswith("voicebooth 0.")


@pytest.mark.shell
@pytest.mark.parametrize(
    ("code", "status"),
    [
        ("lambda: None", 0),
        ("lambda: sys.exit(3)", 3),
        ("lambda: sys.exit('told')", 1),
        ("lambda: 1 / 0", 1),
    ],
)
def test_the_process_ends_with_the_command_s_status(code: str, status: int) -> None:
    """At once, whatever threads of an engine's library may still be doing."""
    busy = "threading.Thread(target=threading.Event().wait, args=(60,)).start()"
    run = f"import sys, threading; from agent import cli; {busy}; cli.app = {code}; cli.main()"
    ended = subprocess.run([sys.executable, "-c", run], capture_output=True, text=True, timeout=20, check=False)
    assert ended.returncode == status
    assert ("ZeroDivisionError" in ended.stderr) == ("1 / 0" in code)
