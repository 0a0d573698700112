from __future__ import annotations

from pathlib import Path

import pytest

from bench.chromium import ChromiumMissing, find


def test_whichever_is_there_is_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ChromiumMissing, match="apt-get install chromium"):
        find()
    program = tmp_path / "google-chrome"
    program.touch(mode=0o755)
    assert find() == str(program)
