"""The OpenAPI page against the node: thousands of requests that fit it, and that do not."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tests.e2e.conftest import Alone

SETTINGS = """
[checks.not_a_server_error]
expected-statuses = ["2xx", "3xx", "4xx", 501, 504]  # what has a contract and is not built yet; a `timeout` of next to nothing

[checks.positive_data_acceptance]
enabled = false  # a voice's name fits any schema, and nobody may have it

[phases.stateful]
enabled = false

[[operations]]
include-path-regex = "^/(synthesize/stream|synthesize-stream|tts/.*)$"
phases.coverage.enabled = false  # they read the same body as /synthesize, which has 4000 requests of its own
"""
SECONDS = 120.0

OFFERS = "/whep"  # SDP is no type that it can write; tests of offers damage them by themselves


def test_every_answer_is_as_the_page_says(shared: Alone, tmp_path: Path) -> None:
    settings = tmp_path / "schemathesis.toml"
    settings.write_text(SETTINGS)
    asked = f"--exclude-tag later --exclude-path-regex {OFFERS} --max-examples 8 --workers 1 --seed 1 --request-timeout 20 --no-color"
    command = [sys.executable, "-m", "schemathesis.cli", "--config-file", str(settings), "run", shared.address + "/openapi.json"]
    done = subprocess.run([*command, *asked.split()], capture_output=True, text=True, timeout=SECONDS, cwd=tmp_path)
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
    assert shared.get("/health")["healthy"]
