"""The engine that docs/engines.md shows is loaded, set, spoken with and examined as an installed one would be."""

from __future__ import annotations

import re
import sys
import tomllib
from importlib.metadata import EntryPoint, EntryPoints
from pathlib import Path

import numpy as np
import pytest

from agent import node
from agent.config import Settings
from agent.doctor import examine_in_lanes
from agent.node import find_engine
from engines.base import Engine, EngineUnavailable, Pace, Request, SynthesisFailed
from engines.guard import Guarded
from pipeline.lanes import Lanes, LaneSettings

PAGE = (Path(__file__).parent.parent / "docs" / "engines.md").read_text(encoding="utf-8")
BLOCKS = dict(re.findall(r"^```(\w+)\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE))


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As ``pip install`` would have left it."""
    (tmp_path / "morse.py").write_text(BLOCKS["python"], encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "morse", raising=False)
    ((group, entries),) = tomllib.loads(BLOCKS["toml"])["project"]["entry-points"].items()
    found = EntryPoints(EntryPoint(name, value, group) for name, value in entries.items())
    monkeypatch.setattr(node, "entry_points", lambda **wanted: found.select(**wanted))


def loaded(**own: object) -> Engine:
    engine = find_engine("morse", Settings.model_validate({"own": {"morse": own}}))
    engine.load()
    return engine


@pytest.mark.usefixtures("installed")
async def test_it_speaks_by_name_and_is_examined_like_any_other() -> None:
    engine = loaded()
    assert isinstance(engine, Guarded)
    lanes = Lanes(LaneSettings(count=1, network_count=1))
    findings = [finding async for finding in examine_in_lanes(engine, lanes)]
    lanes.close()
    assert len(findings) == 2
    assert [finding.text for finding in findings if not finding.ok] == []


@pytest.mark.usefixtures("installed")
def test_its_words_are_marked_where_they_begin() -> None:
    text = "Eat, now."
    chunks = list(loaded().synthesize(Request(text), Pace()))
    marks = [mark for chunk in chunks for mark in chunk.marks]
    assert [text[mark.start : mark.end] for mark in marks] == ["Eat,", "now."]
    samples = np.concatenate([chunk.samples for chunk in chunks])
    assert np.abs(samples[marks[1].sample :][:160]).max() > 7000
    assert np.abs(samples[marks[1].sample - 800 : marks[1].sample]).max() == 0
    half = np.concatenate([chunk.samples for chunk in loaded().synthesize(Request(text, speed=2.0), Pace())])
    assert len(half) == pytest.approx(len(samples) / 2, rel=0.01)


@pytest.mark.usefixtures("installed")
def test_its_settings_are_those_that_its_dataclass_declares() -> None:
    assert loaded(pitch="800").load() is None
    with pytest.raises(EngineUnavailable, match=r"nobody hears 9 Hz \(set own\.morse\.pitch"):
        loaded(pitch=9)
    with pytest.raises(EngineUnavailable, match=r"own\.morse\.pich: unknown setting \(is pitch meant\?\)"):
        loaded(pich=9)
    with pytest.raises(EngineUnavailable, match=r"own\.morse\.unit: input should be a valid number"):
        loaded(unit="short")


@pytest.mark.usefixtures("installed")
def test_what_it_cannot_say_is_told() -> None:
    with pytest.raises(SynthesisFailed, match="no sign"):
        list(loaded().synthesize(Request("—"), Pace()))


def test_each_part_of_the_contract_is_explained() -> None:
    parts = {name for name in vars(Engine) if not name.startswith("_")} - {"voice"}
    assert not [name for name in parts if f"`{name}`" not in PAGE]
