"""Small graphs only: the whole cut is proved on the real model, in tests/engines/test_kokoro.py."""

from __future__ import annotations

import errno

import numpy as np
import pytest

from engines.graph import Graph, Unsplittable
from engines.kokoro import cut
from engines.kokoro.cut import Part, Plan, find_places
from engines.kokoro.dequantise import dequantise
from tests.engines.kokoro.small_graphs import build, run, snake

onnx = pytest.importorskip("onnx")
runtime = pytest.importorskip("onnxruntime")


def test_a_disk_that_is_full_has_an_exit_status_of_its_own(tmp_path, monkeypatch, capsys):
    def full(*arguments):
        raise OSError(errno.ENOSPC, "No space left on device")

    onnx.save(snake(), tmp_path / "model.onnx")
    monkeypatch.setattr(cut, "dequantise", lambda model: model)
    monkeypatch.setattr(cut, "find_places", lambda graph: None)
    monkeypatch.setattr(cut, "cut", lambda graph, places, kind: (None, {"front.onnx": snake()}))
    monkeypatch.setattr(onnx, "save", full)
    assert cut.main(str(tmp_path / "model.onnx"), str(tmp_path), "float32", "frozen") == cut.FULL
    assert "No space left" in capsys.readouterr().err


def test_a_quantised_graph_becomes_float_with_the_same_weights(tmp_path):
    from onnxruntime.quantization import QuantType, quantize_dynamic

    random = np.random.default_rng(4)
    constants = {
        "kernel": random.normal(0, 0.2, (5, 4, 3)).astype(np.float32),
        "bias": random.normal(0, 0.2, 5).astype(np.float32),
        "matrix": random.normal(0, 0.2, (5, 3)).astype(np.float32),
    }
    nodes = [
        ("Conv", ["x", "kernel", "bias"], ["c"], {"pads": [1, 1], "name": "conv"}),
        ("Transpose", ["c"], ["t"], {"perm": [0, 2, 1], "name": "turn"}),
        ("MatMul", ["t", "matrix"], ["y"], {"name": "product"}),
    ]
    model = build(nodes, constants)
    onnx.save(model, tmp_path / "float.onnx")
    quantize_dynamic(tmp_path / "float.onnx", tmp_path / "int8.onnx", weight_type=QuantType.QUInt8, op_types_to_quantize=["Conv", "MatMul"])
    quantised = onnx.load(tmp_path / "int8.onnx")
    assert {"ConvInteger", "MatMulInteger"} <= {node.op_type for node in quantised.graph.node}
    again = dequantise(quantised)
    left = {node.op_type for node in again.graph.node}
    assert {"Conv", "MatMul"} <= left
    assert not left & {"ConvInteger", "MatMulInteger", "DynamicQuantizeLinear", "Cast"}
    x = random.normal(size=(1, 4, 50)).astype(np.float32)
    assert np.abs(run(again, x) - run(model, x)).max() < 0.02  # half a step of the weights, summed


def test_a_graph_without_integers_is_left_alone():
    model = snake()
    assert dequantise(model) is model


def test_equal_constants_are_kept_once(tmp_path):
    from onnxruntime.quantization import QuantType, quantize_dynamic

    weights = np.random.default_rng(4).normal(0, 0.2, (64, 64)).astype(np.float32)
    nodes = [
        ("Transpose", ["x"], ["t"], {"perm": [0, 2, 1]}),
        ("MatMul", ["t", "one"], ["a"], {"name": "one"}),
        ("MatMul", ["a", "two"], ["y"], {"name": "two"}),
    ]
    onnx.save(build(nodes, {"one": weights, "two": weights.copy()}, channels=64), tmp_path / "float.onnx")
    quantize_dynamic(tmp_path / "float.onnx", tmp_path / "int8.onnx", weight_type=QuantType.QUInt8)
    again = dequantise(onnx.load(tmp_path / "int8.onnx"))
    assert [list(item.dims) for item in again.graph.initializer] == [[64, 64]]


def test_another_graph_is_refused():
    with pytest.raises(Unsplittable, match="STFT"):
        find_places(Graph(snake()))


def test_the_plan_comes_back(tmp_path):
    part = Part("a.onnx", ("x", "y"), "h", (3, 4), (0, 1, 1))
    plan = Plan("tokens", "style", "speed", "durations", "pitch", (part, part), (0.5, -0.25))
    plan.write(tmp_path / "plan.json")
    assert Plan.read(tmp_path / "plan.json") == plan
