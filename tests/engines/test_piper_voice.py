"""The Piper engine with tiny random voices, whose phonemes are letters: loading, falling back, failing."""

from __future__ import annotations

import json
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

import engines.piper_voice as piper_voice
import engines.vits as vits
from engines.base import BadModel, EngineUnavailable, Pace, Request, SynthesisFailed, UnknownVoice
from engines.piper import PiperEngine, PiperSettings
from tests.engines.tiny_vits import tiny_vits

LETTERS = "_^$ 12345ab"


@pytest.fixture(autouse=True)
def cut_here(monkeypatch):
    """Cuts in this process: starting another takes a second. The real way is taken by the tests with a real voice."""
    runs = []

    def run(command, **options):
        runs.append(command)
        code = vits.main(*command[-2:])
        return subprocess.CompletedProcess(command, code, "", f"status {code}")

    monkeypatch.setattr(vits.subprocess, "run", run)
    return runs


def settings_of(speakers: int) -> dict:
    return {
        "audio": {"sample_rate": 16000},
        "espeak": {"voice": "en"},
        "language": {"code": "en_GB"},
        "phoneme_type": "text",
        "num_symbols": len(LETTERS),
        "num_speakers": speakers,
        "speaker_id_map": {f"s{number}": number for number in range(speakers)} if speakers > 1 else {},
        "phoneme_id_map": {letter: [number] for number, letter in enumerate(LETTERS)},
    }


@pytest.fixture
def make(tmp_path):
    def make(id: str = "tiny", speakers: int = 1, noises: dict | None = None, **odd) -> PiperEngine:
        onnx.save(tiny_vits(speakers, **odd), tmp_path / f"{id}.onnx")
        (tmp_path / f"{id}.onnx.json").write_text(json.dumps(settings_of(speakers)))
        return PiperEngine(PiperSettings(voices=(id,), folder=tmp_path, cache=tmp_path / "parts", threads=1, **noises or {}))

    return make


def sound(engine, text="ab ab 12 ab", window=10.0, **wish):
    return np.concatenate([chunk.samples for chunk in engine.synthesize(Request(text, **wish), Pace(window))])


def test_speakers_are_voices_of_their_own(make):
    engine = make(speakers=3)
    engine.load()
    assert [voice.id for voice in engine.voices()] == ["tiny#s0", "tiny#s1", "tiny#s2"]
    assert {(voice.language, voice.sample_rate) for voice in engine.voices()} == {("en-GB", 16000)}
    assert not np.array_equal(sound(engine, voice="tiny#s0"), sound(engine, voice="tiny#s2"))
    assert np.array_equal(sound(engine), sound(engine, voice="tiny#s0", window=0.0))
    with pytest.raises(UnknownVoice, match="tiny#s1"):
        sound(engine, voice="tiny#s9")


@pytest.mark.parametrize(
    ("id", "speakers", "tier"), [("en_GB-tiny-low", 1, "fast"), ("en_GB-tiny-medium", 2, "standard"), ("own", 1, "standard")]
)
def test_a_voice_of_low_quality_is_for_who_is_in_a_hurry(make, id, speakers, tier):
    engine = make(id, speakers=speakers)
    engine.load()
    assert {voice.tier for voice in engine.voices()} == {tier}


def test_the_catalog_says_whether_it_is_a_man_or_a_woman(make):
    for id, gender in (("en_US-joe-medium", "male"), ("own", "")):
        engine = make(id)
        engine.load()
        assert engine.voices()[0].gender == gender


def test_cut_once(make, cut_here, tmp_path):
    make().load()
    assert len(cut_here) == 1
    make().load()
    assert len(cut_here) == 1
    next((tmp_path / "parts").glob("*/stage-0.onnx")).write_bytes(b"damaged")
    engine = make()
    engine.load()
    assert len(cut_here) == 2
    assert engine.compare("ab", 0.0)[0].size


def test_parts_that_cannot_be_opened_are_cut_again_by_one_of_two(make, cut_here, tmp_path):
    make().load()
    first = next((tmp_path / "parts").glob("*/stage-0.onnx"))
    first.write_bytes(b"?" * first.stat().st_size)
    late = piper_voice.stamp(first.parent)
    make().load()
    assert len(cut_here) == 2
    inode = first.parent.stat().st_ino
    assert vits.find_parts(tmp_path / "tiny.onnx", first.parent.name.partition("-")[0], tmp_path / "parts", late) == first.parent
    assert (len(cut_here), first.parent.stat().st_ino) == (2, inode)
    assert [path.name for path in (tmp_path / "parts").iterdir() if not path.name.startswith(".")] == [first.parent.name]


def test_parts_that_can_never_be_opened_are_spoken_whole(make, monkeypatch, cut_here):
    monkeypatch.setattr(piper_voice.Plan, "read", lambda path: {}["stages"])
    engine = make()
    engine.load()
    assert len(cut_here) == 2 and len(sound(engine))


def test_a_graph_that_cannot_be_cut_is_spoken_whole_with_a_warning(make, caplog):
    engine = make(mixes_times=True)
    engine.load()
    assert "spoken whole" in caplog.text
    chunks = list(engine.synthesize(Request("ab ab 12"), Pace(0.0)))
    assert len(chunks) == 1 and len(chunks[0].samples)
    assert [(mark.start, mark.exact) for mark in chunks[0].marks] == [(0, False), (3, False), (6, False)]
    with pytest.raises(SynthesisFailed, match="whole"):
        engine.compare("ab", 0.0)


def test_a_cache_that_cannot_be_written_costs_the_windows_only(make, tmp_path, caplog):
    (tmp_path / "parts").write_text("a file, not a folder")
    engine = make()
    engine.load()
    assert "spoken whole" in caplog.text and len(sound(engine))


@pytest.mark.parametrize("size", [0, 700])
def test_a_truncated_model_names_file_and_remedy(make, tmp_path, size):
    engine = make()
    path = tmp_path / "tiny.onnx"
    path.write_bytes(path.read_bytes()[:size])
    with pytest.raises(BadModel, match=r"tiny\.onnx.*voicebooth models install tiny"):
        engine.load()


def graph(inputs, node):
    """A valid graph of one node, which speaks nothing."""
    kinds = {"input": TensorProto.INT64, "input_lengths": TensorProto.INT64}
    values = [helper.make_tensor_value_info(name, kinds.get(name, TensorProto.FLOAT), None) for name in inputs]
    out = helper.make_tensor_value_info("out", TensorProto.FLOAT, None)
    opset = helper.make_opsetid("", 17)
    return helper.make_model(helper.make_graph([node], "g", values, [out]), opset_imports=[opset], ir_version=8)


OTHERS = {
    "another network": (graph(["x"], helper.make_node("Neg", ["x"], ["out"])), "Required inputs"),
    "wrong shapes": (graph(["input", "input_lengths", "scales"], helper.make_node("Gather", ["scales", "input"], ["out"])), "indices"),
    "silence": (graph(["input", "input_lengths", "scales"], helper.make_node("Sub", ["scales", "scales"], ["out"])), "gives no sound"),
}


@pytest.mark.parametrize("kind", OTHERS)
def test_a_graph_that_is_no_voice_names_file_and_remedy(make, tmp_path, kind):
    engine = make()
    model, why = OTHERS[kind]
    onnx.save(model, tmp_path / "tiny.onnx")
    with pytest.raises(BadModel, match=rf"tiny\.onnx cannot speak: .*{why}.*voicebooth models install tiny") as told:
        engine.load()
    assert told.value.remedy == "voicebooth models install tiny" and engine.voices() == ()


def test_a_voice_that_cannot_say_the_warm_up_keeps_its_own_loudness(make, monkeypatch, caplog):
    engine = make()
    monkeypatch.setattr(piper_voice, "WARM_UP", " ")
    engine.load()
    assert "keeps its own loudness" in caplog.text and len(sound(engine, "ab ab"))


@pytest.mark.parametrize("content", [None, "", "[]", '{"audio": {}}', "{", '{"num_symbols": 3}'])
def test_bad_settings_of_a_voice_are_named(make, tmp_path, content):
    engine = make()
    path = tmp_path / "tiny.onnx.json"
    if content is None:
        path.unlink()
    else:
        path.write_text(content)
    with pytest.raises(BadModel, match=r"tiny\.onnx\.json"):
        engine.load()


def test_one_bad_voice_does_not_take_the_others_along(make, tmp_path, caplog):
    make("good")
    make("bad")
    (tmp_path / "bad.onnx").write_bytes(b"nothing")
    engine = PiperEngine(PiperSettings(voices=("bad", "good"), folder=tmp_path, cache=tmp_path / "parts", threads=1))
    engine.load()
    assert [voice.id for voice in engine.voices()] == ["good"]
    assert "left out" in caplog.text


def test_missing_packages_name_the_command(make, monkeypatch):
    for package in ("onnxruntime", "piper"):
        with monkeypatch.context() as missing:
            missing.setitem(sys.modules, package, None)
            with pytest.raises(EngineUnavailable, match=r"pip install 'voicebooth\[piper\]'"):
                make().load()


def test_unloaded_it_has_no_voices(make):
    engine = make()
    engine.load()
    build = engine.build
    engine.unload()
    assert engine.voices() == () and engine.build != build
    with pytest.raises(UnknownVoice):
        sound(engine)


def test_the_scales_of_the_noise_can_be_set_for_all_requests(make):
    lively, asked, calm = make(), make(), make(noises={"noise_scale": 0.0, "noise_w": 0.0})
    for engine in (lively, asked, calm):
        engine.load()
        engine._loaded["tiny"]._gain = 1.0  # which is measured with the noise that is set
    wished = sound(asked, options={"noise_scale": 0.0, "noise_w": 0.0})
    assert np.array_equal(sound(calm), wished)
    assert not np.array_equal(sound(lively), wished)


def test_odd_requests(make):
    engine = make()
    engine.load()
    assert len(sound(engine, "ab", options={"noise_scale": 99.0, "noise_w": -1.0, "nobody": 1.0}))
    assert len(sound(engine, "a" * 3000)) > 3000  # cut into pieces, none left out
    assert len(sound(engine, "[[ab]]"))
    with pytest.raises(SynthesisFailed):
        sound(engine, "   ")


def test_closing_between_steps_ends_it(make):
    engine = make()
    engine.load()
    steps = engine.synthesize(Request("ab ab 12 ab" * 9), Pace(0.0))
    next(steps)
    next(steps)
    steps.close()
    with pytest.raises(StopIteration):
        next(steps)


def test_many_threads_at_once_do_not_disturb_each_other(make):
    engine = make()
    engine.load()
    texts = [f"ab 1{number} ab" for number in range(1, 6)]
    alone = [sound(engine, text) for text in texts]
    with ThreadPoolExecutor(5) as pool:
        together = list(pool.map(lambda text: sound(engine, text, window=0.0), texts * 4))
    assert all(np.array_equal(one, other) for one, other in zip(alone * 4, together, strict=True))
