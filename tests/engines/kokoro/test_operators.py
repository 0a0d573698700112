from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engines.graph import Graph
from engines.kokoro.operators import flatten, smooth
from tests.engines.kokoro.small_graphs import build, run, snake

onnx = pytest.importorskip("onnx")


def test_a_snake_becomes_a_polynomial():
    model = snake()
    graph = Graph(model)
    nodes, constants = smooth(graph, graph.nodes)
    assert not {node.op_type for node in nodes} & {"Sin", "Pow"}
    made = onnx.ModelProto()
    made.CopyFrom(model)
    del made.graph.node[:]
    made.graph.node.extend(nodes)
    made.graph.initializer.extend(constants)
    x = np.random.default_rng(1).uniform(-9, 9, (1, 4, 500)).astype(np.float32)
    assert np.abs(run(made, x) - run(model, x)).max() < 1e-4 / 0.2  # of 1 / a


def test_another_use_of_a_sine_is_left_alone():
    constants = {"angle": np.full((1, 4, 1), 0.7, np.float32), "two": np.array(2.0, np.float32)}
    squared = [("Mul", ["angle", "x"], ["turned"], {}), ("Sin", ["turned"], ["sine"], {}), ("Pow", ["sine", "two"], ["square"], {})]
    for node in (("Add", ["square", "x"], ["y"], {}), ("Mul", ["square", "turned"], ["y"], {})):
        graph = Graph(build([*squared, node], constants))
        assert smooth(graph, graph.nodes) == (graph.nodes, [])


@st.composite
def rises(draw):
    """A transposed convolution, channels that it takes, and a number for its weights."""
    stride = draw(st.integers(1, 5))
    kernel = draw(st.integers(stride, 3 * stride))
    shape = {"strides": [stride], "kernel_shape": [kernel], "group": draw(st.sampled_from([1, 2, 4]))}
    shape["output_padding"] = [draw(st.integers(0, stride - 1))]
    shape["pads"] = [draw(st.integers(0, kernel // 2)), draw(st.integers(0, kernel // 2))]
    return shape, draw(st.booleans()), draw(st.integers(2, 9)), draw(st.integers(0, 1000))


@settings(deadline=None)
@given(rises())
def test_a_transposed_convolution_becomes_one_with_the_same_columns(rise):
    shape, is_biased, columns, seed = rise
    random = np.random.default_rng(seed)
    constants = {"w": random.normal(size=(4, 3, shape["kernel_shape"][0])), "b": random.normal(size=3 * shape["group"])}
    constants = {name: value.astype(np.float32) for name, value in constants.items() if is_biased or name == "w"}
    model = build([("ConvTranspose", ["x", *constants], ["y"], shape)], constants)
    flat = flatten(model)
    beyond = -shape["kernel_shape"][0] % shape["strides"][0] + shape["pads"][1] - shape["output_padding"][0]
    assert ("Conv" in {node.op_type for node in flat.graph.node}) is (beyond >= 0)
    x = random.normal(size=(1, 4, columns)).astype(np.float32)
    made, expected = run(flat, x), run(model, x)
    assert made.shape == expected.shape
    assert np.allclose(made, expected, atol=1e-5)


@pytest.mark.parametrize("more", [{"dilations": [2]}, {"output_shape": [21]}, {"auto_pad": "SAME_UPPER"}])
def test_a_transposed_convolution_of_another_kind_is_left_alone(more):
    weights = {"w": np.ones((4, 3, 6), np.float32)}
    model = build([("ConvTranspose", ["x", "w"], ["y"], {"strides": [2], **more})], weights)
    assert [node.op_type for node in flatten(model).graph.node] == ["ConvTranspose"]


def test_so_is_one_whose_bias_is_made():
    constants = {"w": np.ones((4, 3, 6), np.float32), "b": np.ones(3, np.float32)}
    nodes = [("Neg", ["b"], ["bias"], {}), ("ConvTranspose", ["x", "w", "bias"], ["y"], {"strides": [2]})]
    assert [node.op_type for node in flatten(build(nodes, constants)).graph.node] == ["Neg", "ConvTranspose"]
