"""Operators in forms that processors do several times as fast: snake activations, whose sound is that of the graph to 51 dB, and
transposed convolutions, exactly.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from engines.continuing import FAR
from engines.graph import Graph, attribute, integers

if TYPE_CHECKING:
    from onnx import ModelProto, NodeProto, TensorProto

TERMS = 4  # of the polynomial for a squared sine: it is off by 6e-5 at the most


def smooth(graph: Graph, nodes: Sequence[NodeProto]) -> tuple[list[NodeProto], list[TensorProto]]:
    """Snakes, x + sin(ax)^2 / a, with their sines as rounding and a polynomial; with the constants that these take.

    sin(ax)^2 has the period pi, and is a polynomial in the square of what is left; 1 / a goes into its terms.
    """
    from onnx import helper, numpy_helper

    constants: list[TensorProto] = []
    gone: set[str] = set()
    fresh: dict[str, list[NodeProto]] = {}
    for node in nodes:
        squares = graph.takers_of(node.output[0], "Pow") if node.op_type == "Sin" else []
        if len(squares) != 1 or len(graph.takers[node.output[0]]) != 1:
            continue
        product = graph.made_by(node.input[0], "Mul")
        angles = [name for name in product.input if graph.constant(name) is not None]
        quotients = graph.takers_of(squares[0].output[0], "Mul")
        if len(angles) != 1 or len(quotients) != 1 or len(graph.takers[squares[0].output[0]]) != 1:
            continue
        angle = graph.constant(angles[0])
        quotient = _value(graph, next(name for name in quotients[0].input if name != squares[0].output[0]))
        if angle is None or quotient is None:
            continue
        source, out = next(name for name in product.input if name != angles[0]), quotients[0].output[0]
        values = {f"{out}:turns": angle / np.pi} | {f"{out}:term{power}": term * quotient for power, term in enumerate(_terms())}
        constants += [numpy_helper.from_array(value.astype(np.float32), name) for name, value in values.items()]
        steps = [
            ("Mul", [source, f"{out}:turns"], f"{out}:turn"),
            ("Round", [f"{out}:turn"], f"{out}:round"),
            ("Sub", [f"{out}:turn", f"{out}:round"], f"{out}:rest"),
            ("Mul", [f"{out}:rest", f"{out}:rest"], f"{out}:square"),
            ("Mul", [f"{out}:square", f"{out}:term{TERMS - 1}"], f"{out}:product{TERMS - 1}"),
        ]
        for power in range(TERMS - 2, -1, -1):
            steps.append(("Add", [f"{out}:product{power + 1}", f"{out}:term{power}"], f"{out}:sum{power}"))
            steps.append(("Mul", [f"{out}:sum{power}", f"{out}:square"], f"{out}:product{power}" if power else out))
        fresh[out] = [helper.make_node(operator, taken, [made], name=made) for operator, taken, made in steps]
        gone |= {product.output[0], node.output[0], squares[0].output[0]}
    kept: list[NodeProto] = []
    for node in nodes:
        if node.output[0] in fresh:
            kept += fresh[node.output[0]]
        elif node.output[0] not in gone:
            kept.append(node)
    return kept, constants


def _value(graph: Graph, name: str) -> npt.NDArray[Any] | None:
    """A constant, or what one is the reciprocal of."""
    value = graph.constant(name)
    if value is not None or name not in graph.maker:
        return value
    maker = graph.nodes[graph.maker[name]]
    divisor = graph.constant(maker.input[0]) if maker.op_type == "Reciprocal" else None
    return None if divisor is None else 1 / divisor


def _terms() -> list[float]:
    """Of sin(pi r)^2 for r in [-0.5, 0.5], as a polynomial in r^2 without a constant."""
    squares = np.linspace(0.0, 0.5, 4001) ** 2
    powers = np.stack([squares**power for power in range(1, TERMS + 1)], axis=1)
    terms = np.linalg.lstsq(powers, np.sin(np.pi * np.sqrt(squares)) ** 2, rcond=None)[0]
    return [float(term) for term in terms]


def flatten(model: ModelProto) -> ModelProto:
    """With convolutions in the place of transposed ones, for which OpenVINO has slow kernels: one that makes all the columns between two
    of its input's as so many channels, and then lays them out in time."""
    from onnx import helper

    graph, nodes, constants = Graph(model), [], {item.name: item for item in model.graph.initializer}
    for node in graph.nodes:
        flat, fresh = _flat(graph, node)
        nodes += flat
        constants |= {item.name: item for item in fresh}
    used = {name for node in nodes for name in node.input}
    kept = [item for name, item in constants.items() if name in used]
    body = helper.make_graph(nodes, model.graph.name, model.graph.input, model.graph.output, kept)
    return helper.make_model(body, opset_imports=model.opset_import, ir_version=model.ir_version)


def _flat(graph: Graph, node: NodeProto) -> tuple[list[NodeProto], list[TensorProto]]:
    """What takes this node's place, and its constants; the node itself when it is anything else."""
    from onnx import helper, numpy_helper

    weights = graph.constant(node.input[1]) if node.op_type == "ConvTranspose" else None
    bias = graph.constant(node.input[2]) if weights is not None and len(node.input) > 2 else None
    is_usual = integers(node, "dilations", (1,)) == (1,) and attribute(node, "output_shape") is None
    is_usual = is_usual and attribute(node, "auto_pad") in (None, b"NOTSET")
    if weights is None or not is_usual or (bias is None and len(node.input) > 2):
        return [node], []
    out, group, (stride,) = node.output[0], integers(node, "group", (1,))[0], integers(node, "strides", (1,))
    (before, after), (more,) = integers(node, "pads", (0, 0)), integers(node, "output_padding", (0,))
    channels, taps = weights.shape[1] * group, -(-weights.shape[2] // stride)
    beyond = taps * stride - weights.shape[2] + after - more
    if beyond < 0:  # it is asked for more than the convolution makes
        return [node], []
    numbers = {
        "apart": [1, channels, stride, -1],
        "joined": [1, channels, -1],
        "first": [before],
        "last": [-beyond if beyond else FAR],
        "axis": [2],
    }
    values = {name: np.array(value, dtype=np.int64) for name, value in numbers.items()}
    floats = {"weights": _side_by_side(weights, group, taps, stride)} | ({} if bias is None else {"bias": np.repeat(bias, stride)})
    steps = [
        helper.make_node(
            "Conv",
            [node.input[0], *(f"{out}:{name}" for name in floats)],
            [f"{out}:phases"],
            pads=[taps - 1, taps - 1],
            group=group,
        ),
        helper.make_node("Reshape", [f"{out}:phases", f"{out}:apart"], [f"{out}:by_phase"]),
        helper.make_node("Transpose", [f"{out}:by_phase"], [f"{out}:in_time"], perm=[0, 1, 3, 2]),
        helper.make_node("Reshape", [f"{out}:in_time", f"{out}:joined"], [f"{out}:all"]),
        helper.make_node("Slice", [f"{out}:all", f"{out}:first", f"{out}:last", f"{out}:axis"], [out]),
    ]
    return steps, [numpy_helper.from_array(value, f"{out}:{name}") for name, value in {**values, **floats}.items()]


def _side_by_side(weights: npt.NDArray[np.float32], group: int, taps: int, stride: int) -> npt.NDArray[np.float32]:
    """Of a transposed convolution, (channels, channels made / groups, kernel), to those of a convolution that makes each of ``stride``
    phases as a channel of its own, (channels made * stride, channels / groups, taps)."""
    channels, each, kernel = weights.shape
    padded = np.pad(weights, ((0, 0), (0, 0), (0, taps * stride - kernel)))
    phases = padded.reshape(group, channels // group, each, taps, stride)[:, :, :, ::-1]
    return np.ascontiguousarray(phases.transpose(0, 2, 4, 1, 3).reshape(group * each * stride, channels // group, taps))
