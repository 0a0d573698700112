"""Makes a graph of convolutions continue where its last window ended, so that no column is made twice.

A convolution over time needs some columns on both sides of the one it makes. Where a window ends, those on its right are not there yet:
here each convolution makes what it can, keeps the columns that it will need again, and goes on with the next window. What it keeps goes
out of the graph and comes in with the next window: its states. Where two branches of different reach are joined, the faster one waits.
Window by window such a graph makes exactly the columns of one pass over the whole; until the whole ends it lags behind what it was given.

The onnx package is needed here only.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from engines.graph import POINTWISE, Graph, Unsplittable, check_channels, integers
from engines.windows import BEGINS, ENDS, GIVEN, KEPT, State

if TYPE_CHECKING:
    from onnx import ModelProto, NodeProto, TensorProto

TIME = 2  # the axis of columns
FAR = 2**31  # behind every column
_QUANTISATION = "DynamicQuantizeLinear"
_CONVOLUTIONS = ("Conv", "ConvInteger")
OPSET = 15  # the first in which a shape can be asked for one axis


@dataclass(frozen=True, slots=True)
class Intake:
    """What is taken of the source: its first convolution makes ``steps`` columns of it into one, and pads nothing by itself."""

    steps: int
    kernel: int
    pad: int
    ahead: int
    """Columns that convolution is to make beyond those that belong to the columns given."""

    def span(self, first: int, last: int) -> tuple[int, int]:
        """Columns of the source, zeros before and behind it included, for these columns of what is made of it."""
        return first * self.steps - self.pad, (last - 1) * self.steps - self.pad + self.kernel


@dataclass(frozen=True, slots=True)
class Continuing:
    """A graph that goes on. Behind its inputs and its output it takes and gives its states, and takes ``BEGINS`` and ``ENDS``."""

    model: ModelProto
    states: tuple[State, ...]
    lag: int
    """Columns of its output that are missing until the whole ends."""
    intake: Intake | None
    """None without a source."""


@dataclass(frozen=True, slots=True)
class _Timed:
    """A tensor that has columns."""

    channels: int
    lag: int
    """Columns that it is behind; one that is ahead has less than none."""
    is_source: bool = False
    """It comes from the source alone."""
    is_padded: bool = False
    """It holds what the convolution behind it needs on both sides."""


def go_on(model: ModelProto, columns: Mapping[str, int], output: str, source: str = "") -> Continuing:
    """``columns``: inputs over time and their channels. ``source``: one more, whose first convolution may take strides; whatever that one
    needs on both sides comes with each window, so it keeps nothing.

    Raises :exc:`Unsplittable` for operators whose columns depend on others in a way that is not known here.
    """
    version = max((item.version for item in model.opset_import if not item.domain), default=0)
    if version < OPSET:
        raise Unsplittable(f"operators of version {version}")
    trial = _Rewriter(model, columns, source, ahead=0)
    trial.run()
    rewriter = _Rewriter(model, columns, source, ahead=max(0, trial.apart))
    rewriter.run()
    return Continuing(rewriter.model(output), tuple(rewriter.states), rewriter.timed[output].lag, rewriter.intake)


class _Rewriter:
    """Goes through the nodes once, and writes them anew."""

    def __init__(self, model: ModelProto, columns: Mapping[str, int], source: str, *, ahead: int) -> None:
        self.intake: Intake | None = None
        self.apart = 0
        """Columns that what comes from the source is behind what it is joined with."""
        self.timed = {name: _Timed(channels, 0) for name, channels in columns.items()}
        self.states: list[State] = []
        self._graph = Graph(model)
        self._sources, self._ahead = {source} - {""}, ahead
        self._nodes: list[NodeProto] = []
        self._constants: dict[str, TensorProto] = {}
        self._made: dict[tuple[str, int], str] = {}

    def run(self) -> None:
        for node in self._graph.nodes:
            if self._sources.intersection(node.input):
                self._from_source(node)
            elif not any(name in self.timed for name in node.input):
                self._append(node)
            elif node.op_type in _CONVOLUTIONS:
                self._convolution(node)
            elif node.op_type == "ConvTranspose":
                self._rise(node)
            elif node.op_type == "Resize":
                self._repetition(node)
            elif node.op_type == _QUANTISATION:
                self._quantisation(node)
            elif node.op_type in POINTWISE or node.op_type == "Concat":
                self._by_column(node)
            elif node.op_type == "Slice":
                self._slice(node)
            elif node.op_type == "Split":
                self._split(node)
            elif node.op_type == "Unsqueeze" and not any(name in self._graph.takers for name in node.output):
                self._axis_more(node)
            else:
                raise Unsplittable(f"{node.op_type} among convolutions")

    def model(self, output: str) -> ModelProto:
        from onnx import TensorProto, helper

        before = self._graph.model
        numbers = range(len(self.states))
        inputs = [*before.graph.input, *(helper.make_tensor_value_info(name, TensorProto.INT64, [1]) for name in (BEGINS, ENDS))]
        for number, state in enumerate(self.states):
            shape: list[str | int | None] = [1, state.channels, f"{GIVEN}{number}"]
            inputs.append(helper.make_tensor_value_info(f"{GIVEN}{number}", TensorProto.FLOAT, shape))
        outputs = [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in (output, *(f"{KEPT}{n}" for n in numbers))]
        constants = [*before.graph.initializer, *self._constants.values()]
        body = helper.make_graph(self._nodes, before.graph.name, inputs, outputs, constants)
        return helper.make_model(body, opset_imports=before.opset_import, ir_version=before.ir_version)

    # Operators

    def _from_source(self, node: NodeProto) -> None:
        if node.op_type == _QUANTISATION:
            self._append(node)
            self._sources.add(node.output[0])
        elif node.op_type in _CONVOLUTIONS and self.intake is None:
            (steps,), weights = integers(node, "strides", (1,)), self._weights(node)
            self.intake = Intake(steps, weights.shape[TIME], integers(node, "pads", (0, 0))[0], self._ahead)
            self._append(node, pads=[0, 0])
            self.timed[node.output[0]] = _Timed(weights.shape[0], -self._ahead, is_source=True)
        else:
            raise Unsplittable(f"{node.op_type} takes the source, or a second convolution")

    def _by_column(self, node: NodeProto) -> None:
        """What has several inputs over time has them wait for the slowest."""
        if node.op_type == "Concat":
            check_channels(self._graph, node)
        inputs = {name: self.timed[name] for name in node.input if name in self.timed}
        slowest = max(inputs, key=lambda name: inputs[name].lag)
        lag = inputs[slowest].lag
        from_source, others = ({item.lag for item in inputs.values() if item.is_source is it} for it in (True, False))
        if from_source and others:
            self.apart = max(from_source) - max(others)
        self._append(node, {name: self._waiting(name, slowest) for name, item in inputs.items() if item.lag < lag})
        widths = [item.channels for item in inputs.values()]
        channels = sum(widths) if node.op_type == "Concat" else max(widths)
        self.timed[node.output[0]] = replace(inputs[slowest], channels=channels, is_source=not others)

    def _slice(self, node: NodeProto) -> None:
        check_channels(self._graph, node)
        item = self.timed[node.input[0]]
        given = [self._graph.constant(name) for name in (*node.input[1:3], *node.input[4:5])]
        values = [int(value.item()) for value in given if value is not None and value.size == 1]
        if len(values) < len(given):
            raise Unsplittable(f"a slice whose channels are not known: {node.output[0]}")
        kept = range(item.channels)[slice(*values)]
        self._append(node)
        self.timed[node.output[0]] = replace(item, channels=len(kept))

    def _split(self, node: NodeProto) -> None:
        check_channels(self._graph, node)
        item, count = self.timed[node.input[0]], len(node.output)
        each = -(-item.channels // count)
        sizes: Sequence[int] = [each] * (count - 1) + [item.channels - each * (count - 1)]
        if len(node.input) > 1:
            given = self._graph.constant(node.input[1])
            if given is None:
                raise Unsplittable(f"a split whose channels are not known: {node.output[0]}")
            sizes = [int(size) for size in given]
        self._append(node)
        self.timed |= {name: replace(item, channels=size) for name, size in zip(node.output, sizes, strict=True)}

    def _axis_more(self, node: NodeProto) -> None:
        """At the very end, where nobody asks for columns any more but whoever takes the last axis."""
        axes = self._graph.constant(node.input[1])
        if axes is None or not {int(axis) for axis in np.ravel(axes)} <= {0, 1, TIME}:
            raise Unsplittable(f"an axis behind the columns: {node.output[0]}")
        self._append(node)
        self.timed[node.output[0]] = self.timed[node.input[0]]

    def _waiting(self, name: str, slower: str) -> str:
        """As many columns of this tensor as the slower one has."""
        key = name, self.timed[slower].lag
        if key not in self._made:
            given, kept = self._state(self.timed[name].channels, 0)
            joined = self._add("Concat", [given, name], f"{given}:joined", axis=TIME)
            count = self._add("Shape", [slower], f"{given}:count", start=TIME, end=TIME + 1)
            self._made[key] = self._columns(joined, self._constant(0), count, f"{given}:waited")
            self._columns(joined, count, self._constant(FAR), kept)
        return self._made[key]

    def _quantisation(self, node: NodeProto) -> None:
        """Takes in what the convolution behind it needs, so that it is rounded with the rest."""
        name, made = node.input[0], node.output[0]
        takers = [self._graph.nodes[index] for index in self._graph.takers.get(made, ())]
        pads = {self._pad(taker) if taker.op_type in _CONVOLUTIONS else 0 for taker in takers}
        if len(pads) > 1:
            raise Unsplittable(f"convolutions of different reach share {made}")
        pad = pads.pop() if pads else 0
        self._append(node, {name: self._padded(name, pad)})
        self.timed[made] = replace(self.timed[name], is_padded=True)

    def _convolution(self, node: NodeProto) -> None:
        name, pad = node.input[0], self._pad(node)
        item = self.timed[name]
        self._append(node, {} if item.is_padded else {name: self._padded(name, pad)}, pads=[0, 0])
        self.timed[node.output[0]] = replace(item, channels=self._weights(node).shape[0], lag=item.lag + pad, is_padded=False)

    def _padded(self, name: str, pad: int) -> str:
        """The columns of this tensor behind those that are needed again; at both ends of the whole there are zeros."""
        if not pad:
            return name
        channels = self.timed[name].channels
        given, kept = self._state(channels, pad)
        joined = self._add("Concat", [given, name, self._tail(channels, pad)], f"{given}:joined", axis=TIME)
        self._columns(joined, self._constant(-2 * pad), self._constant(FAR), kept)
        return joined

    def _tail(self, channels: int, pad: int) -> str:
        """Zeros for the end of the whole, no columns before."""
        name = f"tail:{channels}:{pad}"
        if not any(name in node.output for node in self._nodes):
            count = self._add("Mul", [ENDS, self._constant(pad)], f"{name}:count")
            shape = self._add("Concat", [self._constant(1), self._constant(channels), count], f"{name}:shape", axis=0)
            self._add("ConstantOfShape", [shape], name)
        return name

    def _rise(self, node: NodeProto) -> None:
        """A transposed convolution: a column of its output needs ``kernel / stride`` of its input, the latest of them last."""
        name, made = node.input[0], node.output[0]
        kernel, (stride,) = self._weights(node).shape[TIME], integers(node, "strides", (1,))
        before, after = integers(node, "pads", (0, 0))
        (more,) = integers(node, "output_padding", (0,))
        cut, context = after - more, -(-kernel // stride) - 1
        if before != after or integers(node, "dilations", (1,)) != (1,) or kernel <= stride or not 0 <= cut <= kernel - stride:
            raise Unsplittable(f"a transposed convolution of another kind: {made}")
        item = self.timed[name]
        given, kept = self._state(item.channels, context)
        joined = self._add("Concat", [given, name], f"{given}:joined", axis=TIME)
        self._columns(joined, self._constant(-context), self._constant(FAR), kept)
        raw = f"{made}:raw"
        self._append(node, {name: joined, made: raw}, pads=[0, 0], output_padding=[0])
        # What the next window adds to is not made yet, except at the end.
        first = self._sum(context * stride, BEGINS, before, f"{made}:first")
        last = self._sum(stride - kernel, ENDS, (FAR if cut == 0 else -cut) - (stride - kernel), f"{made}:last")
        self._columns(raw, first, last, made)
        group = integers(node, "group", (1,))[0]
        self.timed[made] = replace(item, channels=self._weights(node).shape[1] * group, lag=item.lag * stride + before)

    def _repetition(self, node: NodeProto) -> None:
        scales = self._graph.constant(node.input[2])
        if scales is None or list(scales[:TIME]) != [1.0, 1.0] or scales[TIME] % 1.0:
            raise Unsplittable(f"a resize of another kind: {node.output[0]}")
        self._append(node)
        item = self.timed[node.input[0]]
        self.timed[node.output[0]] = replace(item, lag=item.lag * int(scales[TIME]))

    # Pieces of the new graph

    def _state(self, channels: int, columns: int) -> tuple[str, str]:
        self.states.append(State(channels, columns))
        number = len(self.states) - 1
        return f"{GIVEN}{number}", f"{KEPT}{number}"

    def _columns(self, name: str, first: str, last: str, made: str) -> str:
        return self._add("Slice", [name, first, last, self._constant(TIME)], made)

    def _sum(self, number: int, flag: str, times: int, made: str) -> str:
        product = self._add("Mul", [flag, self._constant(times)], f"{made}:product")
        return self._add("Add", [product, self._constant(number)], made)

    def _constant(self, number: int) -> str:
        from onnx import numpy_helper

        name = f"number:{number}"
        if name not in self._constants:
            self._constants[name] = numpy_helper.from_array(np.array([number], dtype=np.int64), name)
        return name

    def _weights(self, node: NodeProto) -> npt.NDArray[Any]:
        weights = self._graph.constant(node.input[1])
        if weights is None or weights.ndim != TIME + 1:
            raise Unsplittable(f"{node.op_type} whose weights are made, or of another rank: {node.output[0]}")
        return weights

    def _pad(self, node: NodeProto) -> int:
        """Columns that a convolution needs on each side. Raises :exc:`Unsplittable` for one that gives another number than it takes."""
        (dilation,), (before, after) = integers(node, "dilations", (1,)), integers(node, "pads", (0, 0))
        span = (self._weights(node).shape[TIME] - 1) * dilation
        if integers(node, "strides", (1,)) != (1,) or before != after or 2 * before != span:
            raise Unsplittable(f"a convolution of another kind: {node.output[0]}")
        return before

    def _append(self, node: NodeProto, names: Mapping[str, str] | None = None, **attributes: Any) -> None:
        """The node as it was, but for these names and attributes."""
        from onnx import NodeProto, helper

        fresh = NodeProto()
        fresh.CopyFrom(node)
        for place in (fresh.input, fresh.output):
            renamed = [(names or {}).get(name, name) for name in place]
            del place[:]
            place.extend(renamed)
        kept = [item for item in fresh.attribute if item.name not in attributes]
        del fresh.attribute[:]
        fresh.attribute.extend([*kept, *(helper.make_attribute(key, value) for key, value in attributes.items())])
        self._nodes.append(fresh)

    def _add(self, operator: str, inputs: Sequence[str], made: str, **attributes: Any) -> str:
        from onnx import helper

        self._nodes.append(helper.make_node(operator, inputs, [made], name=f"{made}:{operator}", **attributes))
        return made
