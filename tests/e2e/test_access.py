"""Real nodes: what one that was killed leaves to the next, and who gets into one that others can call."""

from __future__ import annotations

import json
import subprocess
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from agent.config import child_environment
from tests.e2e.conftest import ALONE, RUN

SENTENCE = "Good morning to all of you."


@contextmanager
def node(**settings: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """A node and its address, on this machine; killed at the end."""
    environment = child_environment(**{**ALONE, "VOICEBOOTH_SERVER__PORTS": "0", "VOICEBOOTH_LOG__LEVEL": "ERROR", **settings})
    with subprocess.Popen(RUN, env=environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        assert process.stdout is not None
        address = ""
        for line in process.stdout:
            kind, _, words = line.strip().partition(" ")
            address = words.strip().replace("0.0.0.0", "127.0.0.1") if kind == "open" else address
            if kind == "ready" and "node" in words:
                break
        try:
            yield process, address
        finally:
            process.kill()


def say(address: str, key: str = "") -> tuple[int, str, bytes]:
    """Status, whether it was cached, and the sound."""
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    request = urllib.request.Request(address + "/synthesize", json.dumps({"text": SENTENCE}).encode(), headers)
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            return answer.status, answer.headers["X-Cache"], answer.read()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, "", b""


def test_what_a_killed_node_has_said_the_next_one_says_again(tmp_path: Path) -> None:
    kept = {"VOICEBOOTH_CACHE__DIR": str(tmp_path)}
    with node(**kept) as (_, address):
        first = say(address)
    with node(**kept) as (_, address):
        second = say(address)
    assert first[:2] == (200, "miss") and second[:2] == (200, "hit")
    assert first[2] == second[2]
    assert (tmp_path / "speech.sqlite").stat().st_mode & 0o077 == 0


def test_a_node_that_others_can_call_wants_a_key(tmp_path: Path) -> None:
    file = tmp_path / "keys.json"
    settings = {"VOICEBOOTH_SECURITY__KEYS_FILE": str(file), "VOICEBOOTH_SERVER__HOST": "0.0.0.0"}
    environment = child_environment(**{**ALONE, **settings, "VOICEBOOTH_SERVER__PORTS": "0"})
    refused = subprocess.run(RUN, env=environment, capture_output=True, text=True, timeout=20)
    assert refused.returncode == 1 and "voicebooth keys add" in refused.stderr.splitlines()[-1]
    made = subprocess.run([*RUN[:-1], "keys", "add", "me"], env=environment, capture_output=True, text=True, timeout=20)
    key = made.stdout.strip()
    assert key and key not in file.read_text()
    with node(**settings) as (_, address):
        assert [say(address)[0], say(address, key + "x")[0], say(address, key)[0]] == [401, 401, 200]
