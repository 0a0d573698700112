"""``voicebooth run`` without any LiveKit server: the doors alone."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Iterator

import pytest

from agent.config import child_environment


@pytest.fixture
def alone() -> Iterator[tuple[subprocess.Popen[str], str]]:
    """The command and its address, once it can speak."""
    names = {"LIVEKIT_URL": "", "VOICEBOOTH_SELECTION__FALLBACK_CHAIN": "tone", "VOICEBOOTH_SERVER__PORTS": "0"}
    command = [sys.executable, "-m", "agent.cli", "run"]
    with subprocess.Popen(command, env=child_environment(**names), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout
        address = ""
        for line in process.stdout:
            if line.startswith("open"):
                address = line.split()[1]
            if line.startswith("alone"):
                break
        yield process, address
        process.kill()


def test_a_node_without_rooms_answers_and_ends_when_it_is_told(alone: tuple[subprocess.Popen[str], str]) -> None:
    process, address = alone
    with urllib.request.urlopen(address + "/health", timeout=5) as answer:
        assert json.load(answer)["healthy"] is True
    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=2) == 0


def test_a_port_that_is_taken_is_one_clear_line(alone: tuple[subprocess.Popen[str], str]) -> None:
    port = alone[1].rpartition(":")[2]
    names = {"LIVEKIT_URL": "", "VOICEBOOTH_SELECTION__FALLBACK_CHAIN": "tone", "VOICEBOOTH_SERVER__PORTS": port}
    command = [sys.executable, "-m", "agent.cli", "run"]
    second = subprocess.run(command, env=child_environment(**names), capture_output=True, text=True, timeout=20)
    assert second.returncode == 1
    assert second.stderr.splitlines()[-1].startswith(f"voicebooth: port {port} on 127.0.0.1 is in use already; set server.ports")
