"""Where the graph of a Piper voice can be cut, found by its structure.

A Piper voice is one VITS graph: text encoder, duration predictor, expansion of each phoneme to its frames, noise, a flow of residual
couplings, and a decoder of transposed convolutions. Only the part before the expansion needs the whole sentence. Flow and decoder are
convolutions: a column depends on a bounded number of its neighbours, its *reach*, so they can run window by window and give the same
samples. They are cut again wherever everything passes through one tensor and enough reach has come together: where windows overlap, one
then computes each stage's short seam twice, and not the whole of it for the sum of all reaches. The expansion and the noise are plain
array work and leave the graph: the front gives the statistics of each phoneme.

Names of nodes differ between exports, so nothing here looks at one: the places are found from operators and from how they are joined.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from engines.graph import POINTWISE, Graph, Unsplittable, attribute, check_channels, integers
from engines.windows import Floats, Stage

if TYPE_CHECKING:
    from onnx import NodeProto

SEAM = 6.0  # frames of reach that a stage gathers before it is cut: one coupling of the flow, or the decoder's first rise

_BY_CHANNEL = {"Slice", "Split", "Concat"}


@dataclass(frozen=True, slots=True)
class Places:
    """Where the graph is cut: names of its tensors."""

    durations: str
    means: str
    deviations: str
    noisy: str
    sound: str
    masks: tuple[str, ...]
    conditions: tuple[str, ...]
    """What a speaker adds behind the noise."""
    noises: tuple[str, ...]


def find_places(graph: Graph) -> Places:
    """Raises :exc:`Unsplittable`."""
    sound = graph.model.graph.output[0].name
    noise, noisy = _find_noise(graph, sound)
    means, deviations, alignment = _find_statistics(graph, noise, noisy)
    ceilings = [graph.nodes[index] for index in graph.before([alignment]) if graph.nodes[index].op_type == "Ceil"]
    if len(ceilings) != 1:
        raise Unsplittable(f"expected one rounding of durations, found {len(ceilings)}")
    durations = ceilings[0].output[0]
    back = graph.after([noisy]) & graph.before([sound])
    masks: list[str] = []
    conditions: list[str] = []
    timed = graph.after([durations])
    spoken = graph.after(name for name in graph.inputs if name != "sid")
    living = graph.after(graph.inputs)
    for index in sorted(back):
        for name in graph.nodes[index].input:
            maker = graph.maker.get(name)
            if name == noisy or maker in back or (maker not in living and name not in graph.inputs):
                continue
            if maker in timed:
                _check_mask(graph, name)
                masks.append(name)
            elif maker in spoken or maker is None:
                raise Unsplittable(f"{graph.nodes[index].op_type} behind the noise takes {name}, which is neither mask nor speaker")
            else:
                conditions.append(name)
    front = graph.before([durations, means, deviations])
    noises = tuple(graph.nodes[index].output[0] for index in sorted(front) if graph.nodes[index].op_type == "RandomNormalLike")
    return Places(durations, means, deviations, noisy, sound, once(masks), once(conditions), noises)


def find_stages(graph: Graph, places: Places, given: Iterable[str]) -> tuple[list[tuple[str, str]], tuple[Stage, ...]]:
    """Where each stage begins and ends, and how it is driven. Raises :exc:`Unsplittable`."""
    given = list(given)
    necks = find_necks(graph, places.noisy, places.sound, given)
    spans: list[tuple[str, str]] = []
    stages: list[Stage] = []
    start, rate = necks[0], 1
    for neck in necks[1:]:
        reach, factor = find_reach(graph, start, neck, given)
        if reach / rate < SEAM and neck != necks[-1]:
            continue
        inside = graph.before([neck], stops=[start, *given, *places.conditions])
        taken = {name for index in inside for name in graph.nodes[index].input}
        conditions = tuple(name for name in places.conditions if name in taken)
        spans.append((start, neck))
        stages.append(Stage(f"stage-{len(stages)}.onnx", math.ceil(reach), factor, conditions))
        start, rate = neck, rate * factor
    return spans, tuple(stages)


def find_necks(graph: Graph, start: str, end: str, given: Iterable[str]) -> list[str]:
    """Tensors between these two through which everything passes, both included, in order."""
    given = set(given)
    back = sorted(graph.after([start]) & graph.before([end], stops=given))
    last_use = {name: index for index in back for name in graph.nodes[index].input}
    timed, alive, necks = {start}, {start}, [start]
    for index in back:
        node = graph.nodes[index]
        if timed.isdisjoint(node.input):
            continue  # made of given values only
        timed.update(node.output)
        alive = {name for name in alive if last_use[name] > index}
        alive.update(name for name in node.output if last_use.get(name, -1) > index)
        if len(alive) == 1 and (only := next(iter(alive))) != necks[-1]:
            necks.append(only)
    return [*necks, end]


def find_reach(graph: Graph, start: str, end: str, given: Iterable[str] = ()) -> tuple[float, int]:
    """How many columns of ``start`` on each side a column of ``end`` depends on, and how many of its columns there are for one.

    Raises :exc:`Unsplittable` when an operator on the way mixes times in another way than a convolution that keeps the length.
    """
    reach: dict[str, tuple[float, int]] = {start: (0.0, 1)}
    for index in sorted(graph.after([start]) & graph.before([end], stops=[start, *given])):
        node = graph.nodes[index]
        known = [reach[name] for name in node.input if name in reach]
        if not known:
            continue  # made of given values only
        far, rate = max(item[0] for item in known), known[0][1]
        if any(item[1] != rate for item in known):
            raise Unsplittable(f"{node.op_type} joins two rates")
        if node.op_type == "Conv":
            far += _convolution_reach(graph, node) / rate
        elif node.op_type == "ConvTranspose":
            stride, kernel = _stride(graph, node)
            far, rate = far + -(-kernel // stride) / rate, rate * stride
        elif node.op_type in _BY_CHANNEL:
            check_channels(graph, node)
        elif node.op_type not in POINTWISE and not (node.op_type in ("Unsqueeze", "Squeeze", "Reshape") and end in node.output):
            raise Unsplittable(f"{node.op_type} may mix times")
        reach.update((name, (far, rate)) for name in node.output)
    return reach[end]


def constant_fills(graph: Graph, within: set[int]) -> dict[str, Floats]:
    """Tensors that only repeat one value in the shape of another: one value of rank 3 does the same by broadcasting."""
    from onnx import numpy_helper

    found = {}
    for index in within:
        node = graph.nodes[index]
        if node.op_type != "ConstantOfShape":
            continue
        takers = [graph.nodes[taker].op_type for taker in graph.takers.get(node.output[0], [])]
        value = attribute(node, "value")
        array = np.zeros(1, np.float32) if value is None else numpy_helper.to_array(value)
        if array.dtype == np.float32 and set(takers) <= {"Add", "Sub", "Mul", "Neg", "Exp"}:
            found[node.output[0]] = array.reshape(1, 1, 1)
    return found


def _find_noise(graph: Graph, sound: str) -> tuple[NodeProto, str]:
    """The last noise of the graph, and the tensor in which it has been added to the means."""
    random = [index for index in graph.before([sound]) if graph.nodes[index].op_type == "RandomNormalLike"]
    last = [index for index in random if not graph.after(graph.nodes[index].output) & set(random)]
    if len(last) != 1:
        raise Unsplittable(f"expected one last noise, found {len(last)}")
    node = noise = graph.nodes[last[0]]
    while node.op_type != "Add":
        takers = graph.takers.get(node.output[0], [])
        if len(takers) != 1 or graph.nodes[takers[0]].op_type not in ("Mul", "Add"):
            raise Unsplittable("the last noise is not scaled and added")
        node = graph.nodes[takers[0]]
    return noise, node.output[0]


def _find_statistics(graph: Graph, noise: NodeProto, noisy: str) -> tuple[str, str, str]:
    """Means and log deviations of each phoneme, shape (1, channels, phonemes), and the alignment that expands both to frames."""
    after_noise = graph.after(noise.output)
    expanded = [name for name in graph.made_by(noisy, "Add").input if graph.maker.get(name) not in after_noise]
    scaled = [
        name for index in after_noise & graph.before([noisy]) for name in graph.nodes[index].input if graph.nodes[index].op_type == "Mul"
    ]
    spreads = [name for name in scaled if name in graph.maker and graph.made_by(name).op_type == "Exp"]
    if len(expanded) != 1 or len(spreads) != 1:
        raise Unsplittable("the noise is not scaled by one deviation and added to one mean")
    means, alignment = _expanded_from(graph, expanded[0])
    deviations, other = _expanded_from(graph, graph.made_by(spreads[0], "Exp").input[0])
    if alignment != other:
        raise Unsplittable("means and deviations are expanded by different alignments")
    return means, deviations, alignment


def _expanded_from(graph: Graph, name: str) -> tuple[str, str]:
    """``transpose(alignment @ transpose(x))`` -> x, alignment."""
    product = graph.made_by(graph.made_by(name, "Transpose").input[0], "MatMul")
    inner = graph.made_by(product.input[1], "Transpose")
    return inner.input[0], product.input[0]


def _check_mask(graph: Graph, name: str) -> None:
    node = graph.made_by(name)
    while node.op_type in ("Cast", "Unsqueeze"):
        node = graph.made_by(node.input[0])
    if node.op_type != "Less":
        raise Unsplittable(f"{name} depends on the durations and is not the mask of the frames")


def _convolution_reach(graph: Graph, node: NodeProto) -> int:
    weights = graph.constant(node.input[1])
    dilation, pads = integers(node, "dilations", (1,)), integers(node, "pads", (0, 0))
    if weights is None or weights.ndim != 3 or integers(node, "strides", (1,)) != (1,) or len(set(pads)) != 1:
        raise Unsplittable("a convolution that is not over time, has a stride or looks to one side")
    span = dilation[0] * (int(weights.shape[2]) - 1)
    if span != 2 * pads[0]:
        raise Unsplittable("a convolution that changes the length")
    return pads[0]


def _stride(graph: Graph, node: NodeProto) -> tuple[int, int]:
    weights = graph.constant(node.input[1])
    stride, pads = integers(node, "strides", (1,))[0], integers(node, "pads", (0, 0))
    extra = integers(node, "output_padding", (0,))[0]
    if weights is None or weights.ndim != 3 or integers(node, "dilations", (1,)) != (1,):
        raise Unsplittable("a transposed convolution of another kind")
    kernel = int(weights.shape[2])
    if kernel - sum(pads) + extra != stride:
        raise Unsplittable("a transposed convolution whose length is no multiple of its input's")
    return stride, kernel


def once(names: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(names))
