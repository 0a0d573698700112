"""Turns a dynamically quantised graph back into float32: the same weights, but activations are no longer rounded to 256 steps.

ONNX Runtime's dynamic quantisation writes a convolution or product as *quantise the input, multiply integers, add the rounded bias,
cast, scale*. On processors without fast 8-bit arithmetic this is slower than float32, and it gives each window other steps than the
whole. The onnx package is needed here only; this runs in a process of its own.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from engines.graph import Graph, Unsplittable

if TYPE_CHECKING:
    from onnx import ModelProto, NodeProto, TensorProto

_INTEGER = {"ConvInteger": "Conv", "MatMulInteger": "MatMul"}
_LSTM_ATTRIBUTES = ("direction", "hidden_size")
SHARED = 1024  # bytes: equal constants of at least this size are kept once


def dequantise(model: ModelProto) -> ModelProto:
    """A new graph without integer arithmetic; the old one when there was none. Raises :exc:`Unsplittable` for another scheme."""
    from onnx import ModelProto

    graph = Graph(model)
    made: dict[str, tuple[NodeProto, list[TensorProto]]] = {}
    for node in graph.nodes:
        if node.op_type in _INTEGER:
            replaced = _float_product(graph, node)
            made[replaced[0].output[0]] = replaced
        elif node.op_type == "DynamicQuantizeLSTM":
            made[node.output[0]] = _float_lstm(graph, node)
    if not made:
        return model
    nodes = [made[node.output[0]][0] if node.output and node.output[0] in made else node for node in graph.nodes]
    constants = [*model.graph.initializer, *(constant for _, fresh in made.values() for constant in fresh)]
    out = ModelProto()
    out.CopyFrom(model)
    _replace(out, nodes, constants)
    return out


def _float_product(graph: Graph, node: NodeProto) -> tuple[NodeProto, list[TensorProto]]:
    """The float node that takes the place of everything from the quantised input to the scaled output, and its constants."""
    from onnx import helper, numpy_helper

    quantised = graph.made_by(node.input[0], "DynamicQuantizeLinear")
    after, bias = _taker(graph, node), ""
    if after.op_type == "Add":
        bias = next(name for name in after.input if name != node.output[0])
        after = _taker(graph, after)
    if after.op_type != "Cast":
        raise Unsplittable(f"{node.op_type} is followed by {after.op_type}, not by a cast")
    scaled = _taker(graph, after)
    scales = graph.made_by(next(name for name in scaled.input if name != after.output[0]), "Mul")
    scale = next(name for name in scales.input if name != quantised.output[1])
    weights = _constant(graph, node.input[1]).astype(np.float32)
    zero = _constant(graph, node.input[3]).astype(np.float32) if len(node.input) > 3 else np.zeros((), np.float32)
    shape = (-1,) + (1,) * (weights.ndim - 1) if node.op_type == "ConvInteger" else (-1,)  # by output channel
    weights = (weights - _spread(zero, shape)) * _spread(_constant(graph, scale), shape)
    name = f"{node.output[0]}:weights"
    inputs = [quantised.input[0], name]
    if bias:
        inputs.append(_bias(graph, bias, scale))
    attributes = {item.name: helper.get_attribute_value(item) for item in node.attribute}
    product = helper.make_node(_INTEGER[node.op_type], inputs, list(scaled.output), name=f"{node.name}:float", **attributes)
    return product, [numpy_helper.from_array(weights.astype(np.float32), name)]


def _float_lstm(graph: Graph, node: NodeProto) -> tuple[NodeProto, list[TensorProto]]:
    from onnx import helper, numpy_helper

    inputs, constants = list(node.input), []
    for place, scale, zero in ((1, 8, 9), (2, 10, 11)):
        weights = _constant(graph, inputs[place]).astype(np.float32)
        steps, zeros = (_constant(graph, inputs[index]).astype(np.float32) for index in (scale, zero))
        if steps.size > 1:
            steps, zeros = steps.reshape(-1, 1, 1), zeros.reshape(-1, 1, 1)
        name = f"{inputs[place]}:{node.name}"
        constants.append(numpy_helper.from_array(np.ascontiguousarray(((weights - zeros) * steps).transpose(0, 2, 1)), name))
        inputs[place] = name
    attributes = {item.name: helper.get_attribute_value(item) for item in node.attribute if item.name in _LSTM_ATTRIBUTES}
    return helper.make_node("LSTM", inputs[:8], list(node.output), name=f"{node.name}:float", **attributes), constants


def _taker(graph: Graph, node: NodeProto) -> NodeProto:
    takers = graph.takers.get(node.output[0], [])
    if len(takers) != 1:
        raise Unsplittable(f"{node.op_type} {node.name} has {len(takers)} takers, expected one")
    return graph.nodes[takers[0]]


def _constant(graph: Graph, name: str) -> npt.NDArray[Any]:
    value = graph.constant(name)
    if value is None:
        raise Unsplittable(f"{name} is not a constant")
    return value


def _spread(values: npt.NDArray[Any], shape: tuple[int, ...]) -> npt.NDArray[Any]:
    return values.reshape(shape) if values.size > 1 else values.reshape(())


def _bias(graph: Graph, rounded: str, scale: str) -> str:
    """The float bias that was divided, rounded, cast and reshaped: always the first input."""
    name = rounded
    while name in graph.maker:
        name = graph.nodes[graph.maker[name]].input[0]
    if name == scale or _constant(graph, name).dtype != np.float32:
        raise Unsplittable(f"no bias behind {rounded}")
    return name


def _replace(model: ModelProto, nodes: list[NodeProto], constants: list[TensorProto]) -> None:
    """Puts these nodes into the graph: without those that nobody needs, and each large constant once."""
    used, kept = {item.name for item in model.graph.output}, []
    for node in reversed(nodes):
        if used.intersection(node.output):
            kept.append(node)
            used.update(name for name in node.input if name)
    first: dict[bytes, str] = {}
    same: dict[str, str] = {}
    unique = []
    for constant in constants:
        if constant.name not in used:
            continue
        if len(constant.raw_data) >= SHARED:
            key = hashlib.sha256(repr((constant.data_type, list(constant.dims))).encode() + constant.raw_data).digest()
            if key in first:
                same[constant.name] = first[key]
                continue
            first[key] = constant.name
        unique.append(constant)
    for node in kept:
        for index, name in enumerate(node.input):
            node.input[index] = same.get(name, name)
    copies = [type(item).FromString(item.SerializeToString()) for item in reversed(kept)]
    del model.graph.node[:]
    model.graph.node.extend(copies)
    del model.graph.initializer[:]
    model.graph.initializer.extend(unique)
