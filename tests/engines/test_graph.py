"""How a graph is joined, asked on one of four nodes."""

from __future__ import annotations

import numpy as np
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from engines.graph import Graph, Unsplittable, attribute, declared, integers, part


@pytest.fixture
def graph() -> Graph:
    """``out = relu(x + two) * 3``, and beside it ``other = -x``."""
    nodes = [
        helper.make_node("Constant", [], ["three"], value=numpy_helper.from_array(np.float32(3), "")),
        helper.make_node("Add", ["x", "two"], ["sum"]),
        helper.make_node("Relu", ["sum"], ["positive"]),
        helper.make_node("Mul", ["positive", "three"], ["out"]),
        helper.make_node("Neg", ["x"], ["other"]),
    ]
    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n"]) for name in ("x", "out", "other")]
    body = helper.make_graph(nodes, "g", values[:1], values[1:], [numpy_helper.from_array(np.float32([2]), "two")])
    return Graph(helper.make_model(body, opset_imports=[helper.make_opsetid("", 17)], ir_version=8))


def names(graph: Graph, found: set[int]) -> list[str]:
    return [graph.nodes[index].op_type for index in sorted(found)]


def test_what_depends_on_what(graph: Graph) -> None:
    assert names(graph, graph.after(["sum"])) == ["Relu", "Mul"]
    assert names(graph, graph.before(["out"])) == ["Constant", "Add", "Relu", "Mul"]
    assert names(graph, graph.before(["out"], stops=["positive"])) == ["Constant", "Mul"]


def test_who_makes_a_tensor(graph: Graph) -> None:
    assert graph.made_by("sum", "Add", "Sub").op_type == "Add"
    with pytest.raises(Unsplittable, match="expected Mul before sum"):
        graph.made_by("sum", "Mul")
    with pytest.raises(Unsplittable):
        graph.made_by("x")


def test_constants_are_found_in_both_places_that_hold_them(graph: Graph) -> None:
    assert graph.constant("two") == np.float32([2])
    assert graph.constant("three") == np.float32(3)
    assert graph.constant("sum") is None
    assert graph.inputs == ["x"]
    assert declared(graph) == {"x": (TensorProto.FLOAT, ["n"])}


def test_a_part_computes_the_same(graph: Graph) -> None:
    taken = part(graph, {"x": (TensorProto.FLOAT, ["n"])}, ["out"], {"two": np.float32([10])})
    assert [node.op_type for node in taken.graph.node] == ["Constant", "Add", "Relu", "Mul"]
    (out,) = onnxruntime.InferenceSession(taken.SerializeToString()).run(None, {"x": np.float32([1, -20])})
    assert out.tolist() == [33.0, 0.0]


def test_attributes_come_as_whole_numbers_or_not_at_all(graph: Graph) -> None:
    node = helper.make_node("Conv", ["a", "b"], ["c"], pads=[1, 2], group=3)
    assert integers(node, "pads", (0,)) == (1, 2)
    assert integers(node, "group", (1,)) == (3,)
    assert integers(node, "dilations", (1,)) == (1,)
    assert attribute(node, "strides") is None
