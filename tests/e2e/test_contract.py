"""The OpenAPI page against the node: thousands of requests that fit it, and that do not."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tests.e2e.conftest import Alone

HOOKS = """
import schemathesis

schemathesis.serializer.alias(["application/sdp", "application/trickle-ice-sdpfrag"], "text/plain")  # any text: none of it is an offer
"""
SETTINGS = """
hooks = "HOOKS"

[checks.not_a_server_error]
expected-statuses = ["2xx", "3xx", "4xx", 501, 504]  # what has a contract and is not built yet; a `timeout` of next to nothing

[checks.positive_data_acceptance]
enabled = false  # a voice's name fits any schema, and nobody may have it

[phases.stateful]
enabled = false

[[operations]]
include-path-regex = "^/(synthesize/stream|synthesize-stream|tts/.*)$"
phases.coverage.enabled = false  # they read the same body as /synthesize, which has 4000 requests of its own

[[operations]]
include-path-regex = "^/(models|server)/"
checks.unsupported_method.enabled = false  # nothing there is built yet, whatever is asked: 501, not 405
checks.allow_header_conformance.enabled = false  # for the same reason
"""
SECONDS = 240.0


def test_every_answer_is_as_the_page_says(shared: Alone, tmp_path: Path) -> None:
    settings = tmp_path / "schemathesis.toml"
    hooks = tmp_path / "hooks.py"
    hooks.write_text(HOOKS)
    settings.write_text(SETTINGS.replace("HOOKS", str(hooks)))
    asked = "--max-examples 8 --workers 1 --seed 1 --request-timeout 20 --no-color"
    command = [sys.executable, "-m", "schemathesis.cli", "--config-file", str(settings), "run", shared.address + "/openapi.json"]
    done = subprocess.run([*command, *asked.split()], capture_output=True, text=True, timeout=SECONDS, cwd=tmp_path)
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
    assert shared.get("/health")["healthy"]
