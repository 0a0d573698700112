"""A graph of operators that can be asked how it is joined, and out of which parts can be taken."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from engines.windows import Floats

if TYPE_CHECKING:
    from onnx import ModelProto, NodeProto

Declared = dict[str, tuple[int, list[Any]]]
"""Element type and shape of inputs, by name."""


POINTWISE = {
    *("Add", "Sub", "Mul", "Div", "Pow", "Sqrt", "Neg", "Exp", "Sin", "Tanh", "Sigmoid", "LeakyRelu", "Relu"),
    *("Round", "Floor", "Clip", "Cast", "Identity"),
}
"""Operators that take each value by itself, or with those at the same place in other inputs."""


class Unsplittable(Exception):
    """The graph is not of the kind that this cuts; ``str()`` says where it differs."""


class Graph:
    """A graph that can be asked who makes a tensor, who takes it, and what depends on what."""

    def __init__(self, model: ModelProto) -> None:
        self.model = model
        self.nodes: list[NodeProto] = list(model.graph.node)
        self.constants = {item.name: item for item in model.graph.initializer}
        self.inputs = [item.name for item in model.graph.input if item.name not in self.constants]
        self.maker = {name: index for index, node in enumerate(self.nodes) for name in node.output if name}
        self.takers: dict[str, list[int]] = {}
        for index, node in enumerate(self.nodes):
            for name in node.input:
                self.takers.setdefault(name, []).append(index)

    def after(self, starts: Iterable[str]) -> set[int]:
        """Nodes that depend on these tensors."""
        reached, waiting = set[int](), list(starts)
        while waiting:
            for index in self.takers.get(waiting.pop(), ()):
                if index not in reached:
                    reached.add(index)
                    waiting.extend(self.nodes[index].output)
        return reached

    def before(self, ends: Iterable[str], stops: Iterable[str] = ()) -> set[int]:
        """Nodes on which these tensors depend, not looking behind ``stops``."""
        barred, reached, waiting = set(stops), set[int](), list(ends)
        while waiting:
            name = waiting.pop()
            index = self.maker.get(name)
            if name not in barred and index is not None and index not in reached:
                reached.add(index)
                waiting.extend(self.nodes[index].input)
        return reached

    def made_by(self, name: str, *operators: str) -> NodeProto:
        """The node that makes this tensor. Raises :exc:`Unsplittable` when it is none of these operators."""
        index = self.maker.get(name)
        if index is None or (operators and self.nodes[index].op_type not in operators):
            raise Unsplittable(f"expected {' or '.join(operators)} before {name}")
        return self.nodes[index]

    def takers_of(self, name: str, *operators: str) -> list[NodeProto]:
        """The nodes of these operators that take this tensor, each once."""
        return [self.nodes[index] for index in dict.fromkeys(self.takers.get(name, [])) if self.nodes[index].op_type in operators]

    def constant(self, name: str) -> npt.NDArray[Any] | None:
        from onnx import numpy_helper

        if name in self.constants:
            return numpy_helper.to_array(self.constants[name])
        index = self.maker.get(name)
        if index is not None and self.nodes[index].op_type == "Constant":
            return numpy_helper.to_array(attribute(self.nodes[index], "value"))
        return None


def declared(graph: Graph) -> Declared:
    return {
        item.name: (item.type.tensor_type.elem_type, [dim.dim_value or dim.dim_param or None for dim in item.type.tensor_type.shape.dim])
        for item in graph.model.graph.input
        if item.name in graph.inputs
    }


def part(graph: Graph, inputs: Declared, outputs: Iterable[str], given: Mapping[str, Floats]) -> ModelProto:
    """The nodes between these tensors as a graph of its own; ``given`` tensors become constants in it."""
    from onnx import TensorProto, helper, numpy_helper

    outputs = list(outputs)
    kept = graph.before(outputs, stops=[*inputs, *given])
    nodes = [graph.nodes[index] for index in sorted(kept)]
    used = {name for node in nodes for name in node.input}
    constants = [item for name, item in graph.constants.items() if name in used]
    constants += [numpy_helper.from_array(value, name) for name, value in given.items() if name in used]
    body = helper.make_graph(
        nodes,
        "part",
        [helper.make_tensor_value_info(name, kind, shape) for name, (kind, shape) in inputs.items()],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in outputs],
        constants,
    )
    return helper.make_model(body, opset_imports=graph.model.opset_import, ir_version=graph.model.ir_version)


def check_channels(graph: Graph, node: NodeProto) -> None:
    """Raises :exc:`Unsplittable` when a slice, split or concatenation is not along the channels."""
    if node.op_type == "Slice":
        axes = graph.constant(node.input[3]) if len(node.input) > 3 else None
        along = [int(axis) for axis in np.ravel(axes)] if axes is not None else []
    else:
        along = [integers(node, "axis", (0,))[0]]
    if along not in ([1], [-2]):
        raise Unsplittable(f"{node.op_type} along axis {along or 'unknown'}")


def attribute(node: NodeProto, name: str) -> Any:
    from onnx import helper

    for item in node.attribute:
        if item.name == name:
            return helper.get_attribute_value(item)
    return None


def integers(node: NodeProto, name: str, default: tuple[int, ...]) -> tuple[int, ...]:
    value = attribute(node, name)
    if value is None:
        return default
    return (int(value),) if isinstance(value, int) else tuple(int(item) for item in value)
