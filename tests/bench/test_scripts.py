from __future__ import annotations

import contextlib
import json
import sys
from importlib.metadata import entry_points
from pathlib import Path

import pytest

from agent.config import Settings
from agent.node import find_engine
from bench import scripts
from engines.base import Pace, Request, SynthesisFailed
from engines.guard import Guarded
from engines.scripted import Die, Hang, Late, Scripted
from engines.tone import pitch_of


def test_a_node_finds_them_as_it_would_find_anybodys_own() -> None:
    known = {entry.name for entry in entry_points(group=scripts.GROUP)}
    assert not known & set(scripts.ENGINES)
    with scripts.within() as made:
        engines = [find_engine(name, Settings()) for name in scripts.ENGINES]
        assert [engine.name for engine in engines] == list(scripts.ENGINES)
        assert list(made) == [engine.inside for engine in engines if isinstance(engine, Guarded)]
    assert {entry.name for entry in entry_points(group=scripts.GROUP)} == known
    assert all(engine.gate.is_set() for engine in made), "what hangs in them ends"


def test_the_environment_of_another_process_names_the_folder() -> None:
    with scripts.package() as folder:
        assert str(folder) in scripts.environment(folder)["PYTHONPATH"]
    assert not Path(folder).exists()


def said(engine: Scripted, *texts: str) -> None:
    engine._work = lambda seconds: None
    for text in texts:
        with contextlib.suppress(SynthesisFailed):  # some of them die
            list(engine.synthesize(Request(text), Pace()))


def told(caplog: pytest.LogCaptureFixture) -> list[scripts.Told]:
    lines = [json.dumps({"logger": record.name, "message": record.getMessage()}) for record in caplog.records]
    return scripts.told("\n".join(["no JSON", "[1]", '{"message": 5}', *lines]))


def test_what_goes_wrong_is_told_and_can_be_read(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    engine = scripts.dicing()
    said(engine, *(f'Sentence "{number}" is here.' for number in range(40)))
    faults = [(text, fault) for text, fault in engine.asked if fault is not None]
    assert [(one.text, one.kind, one.at) for one in told(caplog)] == [(text, type(fault).__name__, fault.at) for text, fault in faults]
    assert 5 < len(faults) < 20


def test_what_is_dealt_out_strikes_in_its_sentence_once_though_it_is_asked_for_in_parts(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    whole, long = "All of it.", "This one is long, and it is asked for in parts."
    with scripts.within():
        assert scripts.dealt().strike(whole) is None
    with scripts.package({whole: Die(at=1), long: Late(at=5), "Never asked.": Hang()}) as folder:
        sys.path.insert(0, str(folder))
        engine = scripts.faulty()
        sys.path.remove(str(folder))
    said(engine, "One more.", whole, whole, long[:17], long[18:], long)
    assert told(caplog) == [scripts.Told("Die", 1, whole), scripts.Told("Late", 1, "and it is asked for in parts.")]


def test_the_one_that_hangs_does_so_once_it_is_warm() -> None:
    engine = scripts.hanging()
    assert [engine.faults.get(number) for number in range(2)] == [Hang(), Hang()]
    assert isinstance(engine, Scripted) and engine._rehearsals == 3 and scripts.ever_hanging()._rehearsals == 0


def test_words_are_tones() -> None:
    samples = next(chunk.samples for chunk in scripts.sound().synthesize(Request("Hello there."), Pace()) if len(chunk.samples))
    crossings = ((samples[:-1] < 0) & (samples[1:] >= 0)).sum()
    assert crossings / (scripts.WORD - 0.04) == pytest.approx(pitch_of("Hello"), rel=0.05)
