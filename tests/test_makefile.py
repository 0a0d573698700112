"""What `make test` does about programs of the system: it brings them, or ends with the line that does."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
MAKE = shutil.which("make") or "make"
PROGRAMS = ("chromium", "turnserver", "npm")
pytestmark = pytest.mark.shell


def make_tools(folder: Path, *present: str, user: int = 1000) -> subprocess.CompletedProcess[str]:
    """On a system that has these programs, each of which writes down what it is asked for, and nothing else."""
    for name in present:
        (folder / name).write_text(f'#!/bin/sh\necho {name} "$@" >> {folder / "asked"}\n')
    (folder / "id").write_text(f"#!/bin/sh\necho {user}\n")
    for file in folder.iterdir():
        file.chmod(0o755)
    command = [MAKE, "--no-print-directory", "-C", str(ROOT), "tools"]
    return subprocess.run(command, env={"PATH": str(folder)}, capture_output=True, text=True, timeout=20)


def test_where_all_are_there_nothing_is_said(tmp_path: Path) -> None:
    made = make_tools(tmp_path, *PROGRAMS)
    assert (made.returncode, made.stdout, made.stderr) == (0, "", "")


@pytest.mark.parametrize(("user", "others"), [(1000, ("apt-get",)), (0, ())])
def test_whoever_cannot_install_what_is_missing_is_told_the_line_that_does(user: int, others: tuple[str, ...], tmp_path: Path) -> None:
    made = make_tools(tmp_path, "turnserver", *others, user=user)
    assert made.returncode != 0
    assert made.stdout == "the tests need more of the system: apt-get install chromium npm, then again: make tools\n"
    assert not (tmp_path / "asked").exists()


def test_root_is_given_what_is_missing(tmp_path: Path) -> None:
    made = make_tools(tmp_path, "chromium", "apt-get", user=0)
    assert (made.returncode, made.stdout) == (0, "installing coturn npm\n")
    asked = (tmp_path / "asked").read_text().splitlines()
    assert asked == ["apt-get update -qq", "apt-get install -qq -y --no-install-recommends coturn npm"]


def test_it_is_looked_at_before_anything_is_fetched() -> None:
    planned = subprocess.run([MAKE, "--dry-run", "-C", str(ROOT), "test"], capture_output=True, text=True, timeout=20).stdout
    assert planned.index("have turnserver") < planned.index("pytest")
    assert not any(line.startswith('echo "installing') for line in planned[: planned.index("have turnserver")].splitlines())


@pytest.mark.parametrize(("target", "has_torch"), [("test", True), ("rooms", False), ("check", False)])
def test_only_the_tests_of_everything_want_torch(target: str, has_torch: bool, tmp_path: Path) -> None:
    """As in a house where nothing is installed yet."""
    command = [MAKE, "--dry-run", "-C", str(ROOT), f"VENV={tmp_path / 'none'}", target]
    planned = subprocess.run(command, capture_output=True, text=True, timeout=20).stdout
    assert "pytest" in planned and "[dev]" in planned
    assert ("torch" in planned) is has_torch


def test_the_rooms_want_a_server_and_no_other_tests() -> None:
    planned = subprocess.run([MAKE, "--dry-run", "-C", str(ROOT), "rooms"], capture_output=True, text=True, timeout=20).stdout
    assert "agent.devserver" in planned and "-m e2e" in planned
