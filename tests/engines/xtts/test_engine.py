"""The engine as far as it goes without torch."""

from __future__ import annotations

import sys
import tomllib
from pathlib import Path

import pytest

from agent.config import Settings
from engines.base import EngineUnavailable, Pace, Request, UnknownVoice
from engines.xtts import XttsEngine, XttsSettings
from engines.xtts.engine import GENDERS, _Loaded, _slug, _Speaker
from engines.xtts.files import ACCEPT, CONFIG, INSTALL, MODEL, VOCABULARY
from tests.engines.xtts.licence import accept_licence


def test_without_weights_it_is_unavailable_and_says_what_fetches_them(tmp_path):
    engine = XttsEngine(XttsSettings(folder=tmp_path))
    with pytest.raises(EngineUnavailable) as failed:
        engine.load()
    assert failed.value.remedy == INSTALL
    assert engine.voices() == ()
    assert "not loaded" in engine.build


def test_what_is_missing_is_named_one_after_the_other(tmp_path, monkeypatch):
    engine = XttsEngine(XttsSettings(folder=tmp_path))
    monkeypatch.setattr("engines.xtts.engine.LIBRARIES", ("numpy", "no_such_library"))
    assert engine.missing() == "pip install 'voicebooth[xtts]'"
    monkeypatch.setattr("engines.xtts.engine.LIBRARIES", ("numpy",))
    assert engine.missing() == INSTALL, "no weights"
    (tmp_path / "xtts").mkdir()
    for name in (MODEL, CONFIG, VOCABULARY):
        (tmp_path / "xtts" / name).write_bytes(b"x")
    assert engine.missing() == ACCEPT, "no licence"
    accept_licence(tmp_path / "xtts")
    assert engine.missing() == ""


def test_without_the_licence_it_is_unavailable(tmp_path):
    (tmp_path / "xtts").mkdir()
    for name in (MODEL, CONFIG, VOCABULARY):
        (tmp_path / "xtts" / name).write_bytes(b"x")
    with pytest.raises(EngineUnavailable, match="Coqui Public Model License"):
        XttsEngine(XttsSettings(folder=tmp_path)).load()


def test_without_torch_it_is_unavailable(tmp_path, monkeypatch):
    accept_licence(tmp_path / "xtts")
    for name in (MODEL, CONFIG, VOCABULARY):
        (tmp_path / "xtts" / name).write_bytes(b"x")
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(EngineUnavailable, match=r"voicebooth\[xtts\]"):
        XttsEngine(XttsSettings(folder=tmp_path)).load()


def test_before_it_is_loaded_it_has_no_voice():
    engine = XttsEngine()
    for ask in (lambda: engine.clone(b""), lambda: next(engine.synthesize(Request("One."), Pace()))):
        with pytest.raises(EngineUnavailable, match="not loaded"):
            ask()
    with pytest.raises(UnknownVoice, match="none loaded"):
        engine.voice("en-claribel-dervla")


@pytest.mark.shell
def test_importing_it_imports_no_torch():
    import subprocess

    program = (
        "import sys, agent.config, engines.xtts; sys.exit('torch' in sys.modules or 'TTS' in sys.modules or 'soundfile' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", program], timeout=60, check=False).returncode == 0


@pytest.mark.parametrize("temperature", [0.0, 3.0])
def test_a_temperature_that_cannot_be_is_refused(temperature):
    with pytest.raises(ValueError, match="temperature"):
        Settings.model_validate({"xtts": {"temperature": temperature}})


def test_its_folder_is_that_of_all_models(tmp_path):
    assert Settings.model_validate({"models": {"root": tmp_path}}).xtts.folder == tmp_path
    with pytest.raises(ValueError, match=r"models\.root"):
        Settings.model_validate({"xtts": {"folder": tmp_path}})


def test_names_become_ids():
    assert [_slug(name) for name in ("Claribel Dervla", "Eugenio Mataracı", "Camilla Holmström", "Юлия  К.", "../x")] == [
        "claribel-dervla",
        "eugenio-mataraci",
        "camilla-holmstrom",
        "юлия-к",
        "x",
    ]
    assert len({_slug(name) for name in GENDERS}) == len(GENDERS) == 57  # and one of whom nobody says


def test_its_voices_are_for_who_has_time():
    loaded = _Loaded.__new__(_Loaded)
    loaded._speakers = {"claribel-dervla": _Speaker("Claribel Dervla", None, "female")}
    assert [loaded._describe("en", slug).tier for slug in ("claribel-dervla", "clone-0123")] == ["premium"] * 2


def test_the_extra_names_what_the_engine_imports():
    project = tomllib.loads((Path(__file__).parents[3] / "pyproject.toml").read_text())["project"]
    extra = " ".join(project["optional-dependencies"]["xtts"])
    assert all(name in extra for name in ("coqui-tts[codec]", "torch==", "torchaudio==", "soundfile", "cutlet", "pypinyin"))
    assert not any("xtts" in item for item in project["optional-dependencies"]["dev"])
