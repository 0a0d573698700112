"""What ``make demo`` runs: a passage through a real room, a row for each sentence, and a recording."""

from __future__ import annotations

import asyncio
import re
import wave
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from agent.devserver import DevServer, find_server
from bench.cli import app
from bench.passages import Passage

SENTENCES = (("One two three.", "Four five."), ("Six seven.",))
ROW = re.compile(r"^ +\d+  tone +\d+ +\d+ +[\d-]+  (.+)$", re.MULTILINE)


class Torn(Passage):
    """Its last paragraph never reaches the node."""

    @property
    def text(self) -> str:
        return " ".join(self.paragraphs[0])


@pytest.mark.parametrize(("kind", "status", "said"), [(Passage, 0, 3), (Torn, 1, 2)], ids=["all of it", "not all of it"])
def test_the_demo_ends_well_when_every_sentence_was_spoken(
    kind: type[Passage], status: int, said: int, livekit_server: DevServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bench.demo.passage", lambda name: kind(SENTENCES))
    out = tmp_path / "demo.wav"
    shown = CliRunner().invoke(app, ["demo", "--engine", "tone", "--url", livekit_server.url, "--out", str(out)])
    assert shown.exit_code == status, shown.output
    sentences = [sentence for paragraph in SENTENCES for sentence in paragraph]
    assert ROW.findall(shown.output) == sentences[:said]
    assert re.findall(r"^not spoken: (.+)$", shown.output, re.MULTILINE) == sentences[said:]
    with wave.open(str(out)) as file:
        samples = np.frombuffer(file.readframes(file.getnframes()), dtype=np.int16)
        assert 1.0 < len(samples) / file.getframerate() < 60.0
    assert np.abs(samples).max() > 1000


async def test_the_demo_uses_the_server_that_the_environment_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One whose keys are not the development server's, so that none of our own would do."""

    class Elsewhere(DevServer):
        api_key, api_secret = "somebody", "a-secret-of-thirty-two-characters"

    monkeypatch.setattr("bench.demo.passage", lambda name: Passage(SENTENCES))
    async with Elsewhere(find_server()) as server:
        for name, value in (("URL", server.url), ("API_KEY", server.api_key), ("API_SECRET", server.api_secret)):
            monkeypatch.setenv(f"LIVEKIT_{name}", value)
        out = tmp_path / "demo.wav"
        shown = await asyncio.to_thread(CliRunner().invoke, app, ["demo", "--engine", "tone", "--out", str(out)])
    assert shown.exit_code == 0, shown.output
    assert f"on {server.url}" in shown.output
