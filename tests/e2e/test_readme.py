"""The blocks of the README about the doors run as they stand; only the port is another."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.agent.gateway.conftest import decoded
from tests.e2e.conftest import Alone

ROOT = Path(__file__).parents[2]
ADDRESS = "http://127.0.0.1:8003"


def blocks(page: str, heading: str, language: str) -> str:
    """The first block in that language under that heading."""
    text = (ROOT / page).read_text(encoding="utf-8").partition(f"{heading}\n")[2]
    found = re.search(rf"```{language}\n(.*?)```", text.split("\n## ")[0], re.DOTALL)
    assert found, (page, heading)
    return found.group(1)


@pytest.mark.parametrize(("page", "heading"), [("README.md", "## Ask over HTTP"), ("docs/http.md", "# The HTTP door")])
def test_the_lines_for_a_shell(shared: Alone, tmp_path: Path, page: str, heading: str) -> None:
    lines = blocks(page, heading, "sh").replace(ADDRESS, shared.address)
    subprocess.run(["sh", "-eu", "-c", lines], cwd=tmp_path, check=True, timeout=20)
    for name in ("hello.wav", "hello.mp3"):
        rate, samples = decoded((tmp_path / name).read_bytes())
        assert len(samples) / rate > 1.0


def test_the_lines_for_openai_s_client(shared: Alone, tmp_path: Path) -> None:
    program = blocks("README.md", "## Ask with OpenAI's client", "python").replace(ADDRESS, shared.address)
    subprocess.run([sys.executable, "-c", program], cwd=tmp_path, check=True, timeout=30)
    rate, samples = decoded((tmp_path / "hello.mp3").read_bytes())
    assert len(samples) / rate > 1.0
