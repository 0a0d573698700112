"""Graphs of a few nodes, and what they make."""

from __future__ import annotations

import numpy as np
import pytest

onnx = pytest.importorskip("onnx")
runtime = pytest.importorskip("onnxruntime")


def build(nodes, constants, channels=4):
    from onnx import TensorProto, helper, numpy_helper

    inputs = [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, channels, None])]
    outputs = [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)]
    items = [numpy_helper.from_array(value, name) for name, value in constants.items()]
    graph = helper.make_graph([helper.make_node(*node, **more) for *node, more in nodes], "g", inputs, outputs, items)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=9)


def run(model, x):
    session = runtime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(None, {"x": x})[0]


def snake():
    random = np.random.default_rng(0)
    angle = random.uniform(0.2, 3, (1, 4, 1)).astype(np.float32)
    nodes = [
        ("Mul", ["angle", "x"], ["turned"], {}),
        ("Sin", ["turned"], ["sine"], {}),
        ("Pow", ["sine", "two"], ["squared"], {}),
        ("Reciprocal", ["angle"], ["less"], {}),
        ("Mul", ["less", "squared"], ["wave"], {}),
        ("Add", ["x", "wave"], ["y"], {}),
    ]
    return build(nodes, {"angle": angle, "two": np.array(2.0, np.float32)})
