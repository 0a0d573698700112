"""What every engine has, whoever wrote it."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable, Generator
from pathlib import Path

import pytest

import engines.xtts.engine as xtts
from engines import download
from engines.base import (
    BadModel,
    BadReference,
    BadSound,
    Chunk,
    Engine,
    EngineError,
    EngineUnavailable,
    Pace,
    Request,
    SynthesisFailed,
    UnknownVoice,
    Voice,
)
from engines.catalog import Catalog
from engines.edge import EdgeEngine
from engines.guard import Guarded
from engines.kokoro import KokoroEngine, files, loaded
from engines.kokoro.loaded import Loaded
from engines.kokoro.voices import Mixture, Styles
from engines.piper import PiperEngine
from engines.remote import RemoteEngine
from engines.tone import ToneEngine


class Two(Engine):
    name = "two"
    build = "1"

    def load(self) -> None: ...

    def unload(self) -> None: ...

    def voices(self) -> tuple[Voice, ...]:
        return Voice("anna", "two", "de-DE", 16_000), Voice("bob", "two", "en-US", 22_050)

    def synthesize(self, request: Request, pace: Pace) -> Generator[Chunk, None, None]:
        yield from ()


class Odd(Two):
    def synthesize(self, request: Request, pace: Pace) -> Generator[Chunk, None, None]:
        yield "x"  # type: ignore[misc]


class Unloaded(Two):
    def voices(self) -> tuple[Voice, ...]:
        return ()


def test_a_voice_is_found_by_its_id_and_the_first_is_the_default() -> None:
    assert Two().voice("bob").sample_rate == 22_050
    assert Two().voice("").id == "anna"


def test_a_voice_that_is_not_there_is_told_with_those_that_are() -> None:
    with pytest.raises(UnknownVoice, match="no voice 'carl'; it has: anna, bob"):
        Two().voice("carl")
    with pytest.raises(UnknownVoice, match="none loaded"):
        Unloaded().voice("")


def test_a_request_without_a_voice_is_spoken_by_one_of_its_language() -> None:
    found = {language: Two().choose(Request("x", language=language)).id for language in ("", "en", "en-GB", "EN-us", "de")}
    assert found == {"": "anna", "en": "bob", "en-GB": "bob", "EN-us": "bob", "de": "anna"}
    assert Two().choose(Request("x", voice="anna", language="en")).id == "anna"


def test_a_language_that_nobody_speaks_is_told_with_those_that_somebody_does() -> None:
    with pytest.raises(UnknownVoice, match="no voice for 'fi'; it speaks: de-DE, en-US") as told:
        Two().choose(Request("x", language="fi"))
    assert told.value.remedy == "voicebooth voices --engine two"
    with pytest.raises(UnknownVoice, match="none loaded"):
        Unloaded().choose(Request("x", language="fi"))


def small_xtts() -> Engine:
    """Without weights: as far as choosing a voice goes."""
    made = xtts.XttsEngine()
    inside = made._loaded = xtts._Loaded.__new__(xtts._Loaded)
    inside.voices, inside._languages, inside._speakers = (), ("en",), {}
    return made


@pytest.mark.parametrize("make", [ToneEngine, PiperEngine, KokoroEngine, small_xtts, EdgeEngine, RemoteEngine])
def test_no_voice_is_looked_for_before_the_first_step(make: Callable[[], Engine]) -> None:
    steps = make().synthesize(Request("One.", voice="nobody"), Pace())
    with pytest.raises(UnknownVoice, match="nobody"):
        next(steps)


def test_an_error_carries_what_mends_it() -> None:
    error = EngineUnavailable("no voice is installed", remedy="voicebooth models list")
    assert (str(error), error.remedy) == ("no voice is installed (voicebooth models list)", "voicebooth models list")
    assert (str(EngineError("it broke")), EngineError("it broke").remedy) == ("it broke", "")


def raising(error: Exception) -> Engine:
    """An engine of one's own that raises this at each of its methods."""

    def fail(*arguments: object) -> None:
        raise error

    return type("Raising", (Two,), {"load": fail, "unload": fail, "synthesize": fail, "build": property(fail)})()


def damaged_voice(folder: Path, content: bytes = b"x" * 1000, name: str = "af_bella.bin") -> Styles:
    (folder / name).write_bytes(content)
    return Styles(folder)


def a_zip(name: str) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr(name, b"no array")
    return file.getvalue()


def missing_voice(folder: Path) -> Styles:
    made = damaged_voice(folder)
    (folder / "af_bella.bin").unlink()
    return made


def unspoken(engine: Engine) -> None:
    engine.choose(Request("x", language="tlh"))


def unkept(folder: Path) -> None:
    (folder / "file").write_text("no folder")
    Catalog(folder / "file", offline=True).install("en_US-joe-medium")


def busy(folder: Path) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(download, "LOCKED", 0.0)
        with download.locked(folder, "x"), download.locked(folder, "x"):
            pass


def unread(folder: Path) -> None:
    made = Loaded.__new__(Loaded)
    made._styles = damaged_voice(folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loaded, "can_read", lambda letter: False)
        list(made._offered(()))


def mute() -> None:
    class Mute:
        voices = (None,)

        def __init__(self, settings: object) -> None: ...

        def speak(self, *asked: object) -> None:
            raise SynthesisFailed("no")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(xtts, "_Loaded", Mute)
        xtts.XttsEngine().load()


MIXED = Mixture.parse("af_bella")
CASES: dict[str, tuple[type[EngineError], str, Callable[[Path], object]]] = {
    "kokoro: a voice is too small": (BadModel, "af_bella.bin", lambda at: damaged_voice(at).style(MIXED)),
    "kokoro: a voice cannot be read": (BadModel, "af_bella.bin", lambda at: missing_voice(at).style(MIXED)),
    "kokoro: an archive holds no voice": (BadModel, "all.npz", lambda at: damaged_voice(at, a_zip("af_bella.npy"), "all.npz").style(MIXED)),
    "kokoro: a voice that is not there": (UnknownVoice, "af_nova", lambda at: Styles(at).style(Mixture.parse("af_nova"))),
    "kokoro: too many are mixed": (UnknownVoice, "9 voices", lambda at: Mixture.parse("+".join(f"af_{n}" for n in range(9)))),
    "kokoro: no language can be read": (EngineUnavailable, "Kokoro's voices", unread),
    "kokoro: the model cannot be read": (BadModel, "m.onnx", lambda at: files.digest(at / "m.onnx")),
    "a language that nobody speaks": (UnknownVoice, "tlh", lambda at: unspoken(Two())),
    "a voice that nobody has": (UnknownVoice, "carl", lambda at: Two().voice("carl")),
    "catalog: another process has the lock": (download.Busy, "x", busy),
    "catalog: nothing can be written": (download.CatalogError, "file", unkept),
    "own: it raises while it is loaded": (EngineUnavailable, "two", lambda at: Guarded(raising(OSError("no"))).load()),
    "own: it raises at its end": (EngineUnavailable, "two", lambda at: Guarded(raising(OSError("no"))).unload()),
    "own: its build": (SynthesisFailed, "two", lambda at: Guarded(raising(OSError("no"))).build),
    "own: it raises in a step": (SynthesisFailed, "two", lambda at: next(Guarded(raising(OSError("no"))).synthesize(Request("x"), Pace()))),
    "own: what it gives is no chunk": (BadSound, "two", lambda at: next(Guarded(Odd()).synthesize(Request("x"), Pace()))),
    "xtts: a recording cannot be read": (BadReference, "anna.wav", lambda at: xtts._content(at / "anna.wav")),
    "xtts: its model cannot speak": (EngineUnavailable, "XTTS", lambda at: mute()),
    "xtts: it is not loaded": (EngineUnavailable, "xtts", lambda at: xtts.XttsEngine().clone(b"")),
}


@pytest.mark.parametrize("case", CASES)
def test_an_error_names_the_thing_and_what_mends_it(case: str, tmp_path: Path) -> None:
    kind, thing, fail = CASES[case]
    with pytest.raises(kind) as told:
        fail(tmp_path)
    assert thing in str(told.value) and told.value.remedy, told.value


def test_one_kind_of_error_leaves_an_engine() -> None:
    assert all(issubclass(kind, EngineError) for kind in (BadModel, EngineUnavailable, UnknownVoice))
    assert issubclass(BadModel, EngineUnavailable)
