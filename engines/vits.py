"""Cuts the graph of a Piper voice into a front and stages, by its structure: ``python -m engines.vits MODEL FOLDER``.

A Piper voice is one VITS graph: text encoder, duration predictor, expansion of each phoneme to its frames, noise, a flow of residual
couplings, and a decoder of transposed convolutions. Only the part before the expansion needs the whole sentence. Flow and decoder are
convolutions: a column depends on a bounded number of its neighbours, its *reach*, so they can run window by window and give the same
samples. They are cut again wherever everything passes through one tensor and enough reach has come together: a window then computes
each stage's short seam twice, and not the whole of it for the sum of all reaches. The expansion and the noise are plain array work
and leave the graph: the front gives the statistics of each phoneme.

Names of nodes differ between exports, so nothing here looks at one: the places are found from operators and from how they are joined.
The onnx package is needed for cutting only; cutting runs in a process of its own, so that its memory does not stay in the node.
"""

from __future__ import annotations

import importlib
import json
import math
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from engines.windows import Chain, Floats, Stage

if TYPE_CHECKING:
    from onnx import ModelProto, NodeProto

FORMAT = 2  # raised when the parts or the plan change, so that older ones in the cache are cut again
FRONT, PLAN = "front.onnx", "plan.json"
SEAM = 6.0  # frames of reach that a stage gathers before it is cut: one coupling of the flow, or the decoder's first rise
FAITHFUL = 90.0  # decibels: what the parts together must reach against the whole graph
PROBE_IDS = 48  # phonemes of the sentence on which parts and whole are compared: two to four seconds of sound
PROBE_WINDOW = 40  # frames: several windows for the probe
UNSPLITTABLE, CORRUPT, UNEQUIPPED = 3, 4, 5  # exit status: not a graph of this kind, not a graph, or the onnx package is missing

# Operators that leave the time axis alone.
_POINTWISE = {"Add", "Sub", "Mul", "Div", "Neg", "Exp", "Tanh", "Sigmoid", "LeakyRelu", "Relu", "Identity", "Cast", "Clip", "Pow", "Sqrt"}
_BY_CHANNEL = {"Slice", "Split", "Concat"}


class Unsplittable(Exception):
    """The graph is not of the kind that this cuts; ``str()`` says where it differs."""


@dataclass(frozen=True, slots=True)
class Plan:
    """How the parts of one voice are driven."""

    hop: int
    """Samples a frame."""
    stages: tuple[Stage, ...]
    """From the noisy frames to the sound."""
    noises: tuple[tuple[str, int], ...]
    """Inputs of the front that take normal noise, shape (1, channels, phonemes): name and channels."""
    speakers: bool
    """Whether the front takes ``sid``."""

    def write(self, path: Path) -> None:
        path.write_text(json.dumps(asdict(self)))

    @classmethod
    def read(cls, path: Path) -> Plan:
        """Raises :exc:`OSError`, :exc:`ValueError`, :exc:`KeyError` or :exc:`TypeError` for anything but a plan."""
        fields: dict[str, Any] = json.loads(path.read_text())
        fields["noises"] = tuple((str(name), int(channels)) for name, channels in fields["noises"])
        fields["stages"] = tuple(Stage(**stage | {"conditions": tuple(stage["conditions"])}) for stage in fields["stages"])
        return cls(**fields)


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

    def constant(self, name: str) -> npt.NDArray[Any] | None:
        from onnx import numpy_helper

        if name in self.constants:
            return numpy_helper.to_array(self.constants[name])
        index = self.maker.get(name)
        if index is not None and self.nodes[index].op_type == "Constant":
            return numpy_helper.to_array(_attribute(self.nodes[index], "value"))
        return None


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
    return Places(durations, means, deviations, noisy, sound, _once(masks), _once(conditions), noises)


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


def _check_mask(graph: Graph, name: str) -> None:
    node = graph.made_by(name)
    while node.op_type in ("Cast", "Unsqueeze"):
        node = graph.made_by(node.input[0])
    if node.op_type != "Less":
        raise Unsplittable(f"{name} depends on the durations and is not the mask of the frames")


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
            _check_channels(graph, node)
        elif node.op_type not in _POINTWISE and not (node.op_type in ("Unsqueeze", "Squeeze", "Reshape") and end in node.output):
            raise Unsplittable(f"{node.op_type} may mix times")
        reach.update((name, (far, rate)) for name in node.output)
    return reach[end]


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


def _convolution_reach(graph: Graph, node: NodeProto) -> int:
    weights = graph.constant(node.input[1])
    dilation, pads = _integers(node, "dilations", (1,)), _integers(node, "pads", (0, 0))
    if weights is None or weights.ndim != 3 or _integers(node, "strides", (1,)) != (1,) or len(set(pads)) != 1:
        raise Unsplittable("a convolution that is not over time, has a stride or looks to one side")
    span = dilation[0] * (int(weights.shape[2]) - 1)
    if span != 2 * pads[0]:
        raise Unsplittable("a convolution that changes the length")
    return pads[0]


def _stride(graph: Graph, node: NodeProto) -> tuple[int, int]:
    weights = graph.constant(node.input[1])
    stride, pads = _integers(node, "strides", (1,))[0], _integers(node, "pads", (0, 0))
    extra = _integers(node, "output_padding", (0,))[0]
    if weights is None or weights.ndim != 3 or _integers(node, "dilations", (1,)) != (1,):
        raise Unsplittable("a transposed convolution of another kind")
    kernel = int(weights.shape[2])
    if kernel - sum(pads) + extra != stride:
        raise Unsplittable("a transposed convolution whose length is no multiple of its input's")
    return stride, kernel


def _check_channels(graph: Graph, node: NodeProto) -> None:
    """Raises :exc:`Unsplittable` when a slice, split or concatenation is not along the channels."""
    if node.op_type == "Slice":
        axes = graph.constant(node.input[3]) if len(node.input) > 3 else None
        along = [int(axis) for axis in np.ravel(axes)] if axes is not None else []
    else:
        along = [_integers(node, "axis", (0,))[0]]
    if along not in ([1], [-2]):
        raise Unsplittable(f"{node.op_type} along axis {along or 'unknown'}")


def _attribute(node: NodeProto, name: str) -> Any:
    from onnx import helper

    for item in node.attribute:
        if item.name == name:
            return helper.get_attribute_value(item)
    return None


def _integers(node: NodeProto, name: str, default: tuple[int, ...]) -> tuple[int, ...]:
    value = _attribute(node, name)
    if value is None:
        return default
    return (int(value),) if isinstance(value, int) else tuple(int(item) for item in value)


def _once(names: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(names))


def _part(graph: Graph, inputs: Mapping[str, tuple[int, list[Any]]], outputs: Iterable[str], given: Mapping[str, Floats]) -> ModelProto:
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


def _constant_fills(graph: Graph, within: set[int]) -> dict[str, Floats]:
    """Tensors that only repeat one value in the shape of another: one value of rank 3 does the same by broadcasting."""
    from onnx import numpy_helper

    found = {}
    for index in within:
        node = graph.nodes[index]
        if node.op_type != "ConstantOfShape":
            continue
        takers = [graph.nodes[taker].op_type for taker in graph.takers.get(node.output[0], [])]
        value = _attribute(node, "value")
        array = np.zeros(1, np.float32) if value is None else numpy_helper.to_array(value)
        if array.dtype == np.float32 and set(takers) <= {"Add", "Sub", "Mul", "Neg", "Exp"}:
            found[node.output[0]] = array.reshape(1, 1, 1)
    return found


def cut(model: ModelProto) -> tuple[Plan, dict[str, ModelProto]]:
    """The plan, and the parts by the names of their files. Raises :exc:`Unsplittable`."""
    from onnx import TensorProto

    graph = Graph(model)
    places = find_places(graph)
    back = graph.after([places.noisy]) & graph.before([places.sound])
    given = {name: np.ones((1, 1, 1), np.float32) for name in places.masks} | _constant_fills(graph, back)
    spans, stages = find_stages(graph, places, given)
    channels = _noise_channels(graph, places.noises)
    noises = {name: (TensorProto.FLOAT, [1, count, "phonemes"]) for name, count in zip(places.noises, channels, strict=True)}
    outputs = (places.durations, places.means, places.deviations, *places.conditions)
    parts = {FRONT: _part(graph, _declared(graph) | noises, outputs, {})}
    for (start, end), stage in zip(spans, stages, strict=True):
        taken: dict[str, tuple[int, list[Any]]] = {start: (TensorProto.FLOAT, [1, None, "columns"])}
        taken |= {name: (TensorProto.FLOAT, [1, None, 1]) for name in stage.conditions}
        parts[stage.file] = _part(graph, taken, [end], given)
    hop = math.prod(stage.factor for stage in stages)
    return Plan(hop, stages, tuple(zip(places.noises, channels, strict=True)), "sid" in graph.inputs), parts


def _noise_channels(graph: Graph, noises: tuple[str, ...]) -> list[int]:
    """How many channels the noises of the front have: asked of the graph itself, with two phonemes."""
    if not noises:
        return []
    front = _part(graph, _declared(graph), noises, {})
    shapes = [item.shape for item in _session(front.SerializeToString()).run(None, _probe(graph, 2))]
    if any(len(shape) != 3 or shape[2] != 2 for shape in shapes):
        raise Unsplittable("noise of the durations is not one value a channel and phoneme")
    return [int(shape[1]) for shape in shapes]


def _declared(graph: Graph) -> dict[str, tuple[int, list[Any]]]:
    return {
        item.name: (item.type.tensor_type.elem_type, [dim.dim_value or dim.dim_param or None for dim in item.type.tensor_type.shape.dim])
        for item in graph.model.graph.input
        if item.name in graph.inputs
    }


def _probe(graph: Graph, count: int) -> dict[str, npt.NDArray[Any]]:
    """A sentence of ``count`` phonemes, each once in turn, without noise."""
    known = 1
    for index in graph.takers.get("input", []):
        node = graph.nodes[index]
        if node.op_type == "Gather" and node.input[0] in graph.constants:
            known = int(graph.constants[node.input[0]].dims[0])
    feed: dict[str, npt.NDArray[Any]] = {
        "input": (np.arange(count, dtype=np.int64) % known)[None],
        "input_lengths": np.array([count], dtype=np.int64),
        "scales": np.array([0.0, 1.0, 0.0], dtype=np.float32),
        "sid": np.zeros(1, dtype=np.int64),
    }
    return {name: feed[name] for name in graph.inputs if name in feed}


def _session(model: bytes) -> Any:
    runtime: Any = importlib.import_module("onnxruntime")  # as Any: it exports its names in a way that type checkers do not see
    options = runtime.SessionOptions()
    options.log_severity_level = 3  # errors only: this output is read by another process
    return runtime.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def bind(session: Any, conditions: Mapping[str, Floats]) -> Callable[[Floats], Floats]:
    """A stage as a function of its columns."""
    name = session.get_inputs()[0].name

    def run(columns: Floats) -> Floats:
        out: Floats = session.run(None, {name: columns, **conditions})[0]
        return out

    return run


def expand(durations: Floats, values: Floats) -> Floats:
    """Repeats each phoneme's column for its frames: (1, channels, phonemes) -> (1, channels, frames)."""
    return np.repeat(values, np.maximum(durations.reshape(-1), 0).astype(np.int64), axis=2)


def decibels(signal: Floats, other: Floats) -> float:
    """How far below the signal the difference lies; infinite when there is none."""
    difference = float(np.mean((signal - other).astype(np.float64) ** 2))
    return float("inf") if difference == 0.0 else 10 * float(np.log10(np.mean(signal.astype(np.float64) ** 2) / difference))


def check(model: ModelProto, plan: Plan, parts: Mapping[str, ModelProto]) -> float:
    """Speaks a probe by the whole graph and by the parts in windows, both without noise; decibels. Raises :exc:`Unsplittable`."""
    graph = Graph(model)
    feed = _probe(graph, PROBE_IDS)
    whole = np.ravel(_session(model.SerializeToString()).run(None, feed)[0])
    front = _session(parts[FRONT].SerializeToString())
    quiet = {name: np.zeros((1, channels, PROBE_IDS), np.float32) for name, channels in plan.noises}
    found = dict(zip((item.name for item in front.get_outputs()), front.run(None, feed | quiet), strict=True))
    durations, means = list(found.values())[:2]
    runs = [
        bind(_session(parts[stage.file].SerializeToString()), {name: found[name] for name in stage.conditions}) for stage in plan.stages
    ]
    chain = Chain(plan.stages, runs, expand(durations, means))
    window = PROBE_WINDOW * plan.hop
    windowed = np.concatenate([np.ravel(chain.pull(at, min(at + window, chain.columns))) for at in range(0, chain.columns, window)])
    if windowed.shape != whole.shape:
        raise Unsplittable(f"the parts gave {len(windowed)} samples, the whole {len(whole)}")
    return decibels(whole, windowed)


def main(model_path: str, folder: str) -> int:
    """Cuts, checks and writes; the plan last. The exit status is 0, :data:`UNSPLITTABLE`, or 1 with a trace."""
    try:
        import onnx
        from google.protobuf.message import DecodeError
    except ImportError as problem:
        sys.stderr.write(f"cutting needs the onnx package: {problem}")
        return UNEQUIPPED
    try:
        model = onnx.load(model_path)
        if not model.graph.node or not model.graph.output:
            raise DecodeError("holds no graph")
    except DecodeError as problem:
        sys.stderr.write(f"is damaged: {problem}")
        return CORRUPT
    try:
        plan, parts = cut(model)
        reached = check(model, plan, parts)
        if reached < FAITHFUL:
            raise Unsplittable(f"the parts reach {reached:.0f} dB against the whole")
    except Unsplittable as problem:
        sys.stderr.write(str(problem))
        return UNSPLITTABLE
    for name, part in parts.items():
        onnx.save(part, str(Path(folder, name)))
    plan.write(Path(folder, PLAN))
    sys.stdout.write(f"{reached:.0f} dB")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2]))
