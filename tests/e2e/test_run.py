"""``voicebooth run`` without any LiveKit server: the doors alone."""

from __future__ import annotations

import json
import signal
import subprocess
import time
import urllib.request

from agent.config import child_environment
from tests.e2e.conftest import ALONE, RUN, Alone


def test_a_node_without_rooms_speaks_and_ends_when_it_is_told(alone: Alone) -> None:
    assert alone.get("/health")["model_loaded"] is True
    request = urllib.request.Request(alone.address + "/synthesize", b'{"text": "Good morning."}')
    with urllib.request.urlopen(request, timeout=5) as answer:
        assert answer.read(4) == b"RIFF"
    begun = time.perf_counter()
    alone.process.send_signal(signal.SIGINT)
    assert alone.process.wait(timeout=5) == 0
    assert time.perf_counter() - begun < 2.0


def test_sigterm_lets_a_stream_that_has_begun_end(alone: Alone) -> None:
    text = "One two three four five six seven eight nine ten. " * 20
    body = json.dumps({"text": text, "format": "pcm", "use_cache": False}).encode()
    with urllib.request.urlopen(urllib.request.Request(alone.address + "/synthesize/stream", body), timeout=20) as answer:
        first = answer.read(100)
        alone.process.send_signal(signal.SIGTERM)
        rest = answer.read()
    assert len(first + rest) > 20 * 3.0 * 48_000
    assert alone.process.wait(timeout=10) == 0


def test_a_port_that_is_taken_is_one_clear_line(alone: Alone) -> None:
    port = alone.address.rpartition(":")[2]
    environment = child_environment(**ALONE, VOICEBOOTH_SERVER__PORTS=port)
    second = subprocess.run(RUN, env=environment, capture_output=True, text=True, timeout=20)
    assert second.returncode == 1
    assert second.stderr.splitlines()[-1].startswith(f"voicebooth: port {port} on 127.0.0.1 is in use already; set server.ports")
