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
    for name in runtimes.NAMES:
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


def test_the_fastest_is_taken_once_and_remembered(doubling, tmp_path, monkeypatch):
    took = {"onnxruntime": 0.3, "openvino-f32": 0.2}
    asked = []

    class Timed(runtimes.Runtime, runtimes.Model):
        def __init__(self, name):
            self.name = name

        def open(self, path):
            return self

        def run(self, feed):
            return {}

    def make(name, threads):
        asked.append(name)
        if name not in took:
            raise EngineUnavailable("not here")
        return Timed(name)

    monkeypatch.setattr(runtimes, "make", make)
    monkeypatch.setattr(runtimes, "_seconds", lambda model, feed: took[model.name])
    assert runtimes.choose(tmp_path, doubling, {}, 2) == "openvino-f32"
    assert asked == list(runtimes.NAMES)
    asked.clear()
    assert runtimes.choose(tmp_path, doubling, {}, 2) == "openvino-f32"
    assert asked == []
    (kept,) = tmp_path.glob("runtime-*.json")
    kept.write_text(json.dumps({"runtime": "abacus"}))
    assert runtimes.choose(tmp_path, doubling, {}, 2) == "openvino-f32"
    took.clear()
    kept.unlink()
    with pytest.raises(EngineUnavailable):
        runtimes.choose(tmp_path, doubling, {}, 2)
