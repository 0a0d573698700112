from __future__ import annotations

import json

import numpy as np
import pytest

from engines.base import BadModel, EngineUnavailable, SynthesisFailed
from engines.kokoro import runtimes

onnx = pytest.importorskip("onnx")


@pytest.fixture
def doubling(tmp_path):
    from onnx import TensorProto, helper

    node = helper.make_node("Add", ["x", "x"], ["y"])
    inputs = [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, None])]
    outputs = [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, None])]
    model = helper.make_model(helper.make_graph([node], "g", inputs, outputs), opset_imports=[helper.make_opsetid("", 20)], ir_version=9)
    onnx.save(model, tmp_path / "double.onnx")
    return tmp_path / "double.onnx"


def feed(count):
    return {"x": np.arange(count, dtype=np.float32)[None]}


def here():
    names = []
    for name in runtimes.NAMES["float32"]:
        try:
            runtimes.make(name, 1)
        except EngineUnavailable:
            continue
        names.append(name)
    return names


def test_every_runtime_here_runs_any_length_and_gives_arrays_to_keep(doubling):
    for name in here():
        model = runtimes.make(name, 1).open(doubling)
        first = model.run(feed(3))["y"]
        assert model.run(feed(5))["y"].tolist() == [[0, 2, 4, 6, 8]]
        assert first.tolist() == [[0, 2, 4]]


def test_errors_are_ours(doubling, tmp_path):
    damaged = tmp_path / "damaged.onnx"
    damaged.write_bytes(b"not a graph")
    for name in here():
        runtime = runtimes.make(name, 1)
        with pytest.raises(BadModel, match="damaged"):
            runtime.open(damaged)
        with pytest.raises(SynthesisFailed):
            runtime.open(doubling).run({"nothing": np.zeros((1, 1), np.float32)})


def test_a_library_that_is_missing_names_its_remedy(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "openvino", None)
    with pytest.raises(EngineUnavailable, match=r"pip install 'voicebooth\[kokoro\]'"):
        runtimes.make("openvino-f32", 1)


class Card:
    """An ONNX Runtime that was built for a card."""

    def __init__(self, used):
        self.used, self.asked = used, []

    def get_available_providers(self):
        return [runtimes.CUDA, "CPUExecutionProvider"]

    def preload_dlls(self): ...

    def SessionOptions(self):
        return type("Options", (), {"add_session_config_entry": lambda self, key, value: None})()

    def InferenceSession(self, path, options, providers):
        self.asked.append(providers)
        return type("Session", (), {"get_providers": lambda _: self.used, "get_outputs": lambda _: []})()


def test_a_card_is_used_only_where_it_works(monkeypatch, tmp_path):
    with pytest.raises(EngineUnavailable, match="onnxruntime-gpu"):
        runtimes.make("onnxruntime-cuda", 1)  # this library is the processor's
    for used in ([runtimes.CUDA, "CPUExecutionProvider"], ["CPUExecutionProvider"]):
        library = Card(used)
        real = runtimes._import
        monkeypatch.setattr(runtimes, "_import", lambda name, library=library, real=real: library if name == "onnxruntime" else real(name))
        runtime = runtimes.make("onnxruntime-cuda", 1)
        assert runtime.name == "onnxruntime-cuda"
        if len(used) == 2:
            runtime.open(tmp_path)
        else:
            with pytest.raises(EngineUnavailable, match="graphics card"):
                runtime.open(tmp_path)
        assert library.asked == [[(runtimes.CUDA, runtimes.CUDA_OPTIONS), "CPUExecutionProvider"]]
        monkeypatch.undo()


def test_a_card_that_has_gone_is_not_used_again(doubling, tmp_path, monkeypatch):
    graphs = {"float32": (doubling, {})}
    for name in ("onnxruntime-cuda", "onnxruntime"):
        monkeypatch.setattr(runtimes, "fastest", lambda graphs, threads, name=name: ("float32", name))
        assert runtimes.choose(tmp_path, graphs, 2) == ("float32", name)


@pytest.mark.gpu
@pytest.mark.skipif("onnxruntime-cuda" not in here(), reason="no ONNX Runtime with CUDA here")
def test_a_card_gives_what_the_processor_gives(doubling):
    assert runtimes.make("onnxruntime-cuda", 1).open(doubling).run(feed(5))["y"].tolist() == [[0, 2, 4, 6, 8]]


def test_the_fastest_is_taken_once_and_remembered(doubling, tmp_path, monkeypatch):
    took = {"onnxruntime": 0.3, "openvino-f32": 0.2}
    graphs = {"float32": (doubling, {}), "int8": (tmp_path / "small.onnx", {})}
    asked = []

    class Timed(runtimes.Runtime, runtimes.Model):
        def __init__(self, name):
            self.name = name

        def open(self, path):
            self.is_small = path.name == "small.onnx"
            return self

        def run(self, feed):
            return {}

    def make(name, threads):
        asked.append(name)
        if name not in took:
            raise EngineUnavailable("not here")
        return Timed(name)

    monkeypatch.setattr(runtimes, "make", make)
    monkeypatch.setattr(runtimes, "_seconds", lambda model, feed: 0.25 if model.is_small else took[model.name])
    assert runtimes.choose(tmp_path, graphs, 2) == ("float32", "openvino-f32")
    assert asked == [*runtimes.NAMES["float32"], *runtimes.NAMES["int8"]]
    asked.clear()
    assert runtimes.choose(tmp_path, graphs, 2) == ("float32", "openvino-f32")
    assert asked == []
    (kept,) = tmp_path.glob("runtime-*.json")
    for damage in (
        {"precision": "float32", "runtime": "abacus"},
        {"runtime": "onnxruntime"},
        {"precision": "int7", "runtime": "onnxruntime"},
    ):
        kept.write_text(json.dumps(damage))
        assert runtimes.choose(tmp_path, graphs, 2) == ("float32", "openvino-f32")
    del took["openvino-f32"]
    kept.unlink()
    assert runtimes.choose(tmp_path, graphs, 2) == ("int8", "onnxruntime")
    took.clear()
    kept.unlink()
    with pytest.raises(EngineUnavailable):
        runtimes.choose(tmp_path, graphs, 2)
