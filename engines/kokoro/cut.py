"""Cuts Kokoro's graph into a front and three stages, by its structure: ``python -m engines.kokoro.cut MODEL FOLDER PRECISION KIND``.

Kokoro is a StyleTTS 2: a text encoder and predictors of durations, pitch and energy (the front, which needs the whole sentence), a
decoder at 40 and 80 frames a second, and a generator that joins the decoder's output with a harmonic source made from the pitch. All
of it behind the front is convolutions, except that 54 instance norms take the mean and variance of each channel over the whole
utterance. Here each of them becomes one multiplication and one addition per channel, whose factors come from statistics that were
measured beforehand (kind ``frozen``), or stays as it is and tells its statistics (kind ``measuring``).

The harmonic source leaves the graph: :mod:`engines.kokoro.harmonics` makes it, window by window, in float32.

Names of nodes differ between exports, so the places are found from operators and from how they are joined.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from engines.continuing import Intake, go_on
from engines.graph import Graph, Unsplittable, declared, integers
from engines.kokoro.dequantise import dequantise
from engines.kokoro.operators import flatten, smooth
from engines.windows import State

if TYPE_CHECKING:
    from onnx import ModelProto, NodeProto, TensorProto

FORMAT = 3  # raised when the parts or the plan change, so that older ones in the cache are cut again
FRONT, STYLE, PLAN = "front.onnx", "style.onnx", "plan.json"
STAGES = ("decoder", "coarse", "fine")
CONTINUING = STAGES[:2]
"""Those whose frozen form goes on where its last window ended. The last one's windows overlap, since they are blended."""
UNSPLITTABLE, CORRUPT, UNEQUIPPED, FULL = 3, 4, 5, 6
"""Exit status: not a graph of this kind, not a graph, the onnx package is missing, or the parts cannot be written."""


@dataclass(frozen=True, slots=True)
class Part:
    """One stage: its file, what it takes and what it gives."""

    file: str
    columns: tuple[str, ...]
    """Inputs over time. The decoder's three are contours and text at 40 Hz, the others' one is the output of the stage before."""
    harmonics: str
    """Input that takes the harmonic source at 4800 Hz; empty for none."""
    channels: tuple[int, ...]
    """Channels of each norm's statistics, in the order in which they are given and told."""
    spread: tuple[int, ...]
    """For each place of use, which of these norms it uses: several share one."""
    lag: int | None = None
    """Of one that continues: columns of its output that are missing until it has all of its input."""
    states: tuple[State, ...] = ()
    intake: Intake | None = None
    """How one that continues takes the harmonic source."""


@dataclass(frozen=True, slots=True)
class Plan:
    """How the parts are driven. Names are those of the graph's tensors."""

    tokens: str
    style: str
    speed: str
    durations: str
    """Frames of 25 ms for each token."""
    pitch: str
    """Hertz at 80 frames a second."""
    parts: tuple[Part, ...]
    weights: tuple[float, ...]
    """Of the nine harmonics in the source, and the bias last."""

    def write(self, path: Path) -> None:
        path.write_text(json.dumps(asdict(self)))

    @classmethod
    def read(cls, path: Path) -> Plan:
        """Raises :exc:`OSError`, :exc:`ValueError`, :exc:`KeyError` or :exc:`TypeError` for anything but a plan."""
        fields: dict[str, Any] = json.loads(path.read_text())
        parts = tuple(_part(**part) for part in fields["parts"])
        return cls(**fields | {"parts": parts, "weights": tuple(fields["weights"])})


def _part(**fields: Any) -> Part:
    """As JSON has it."""
    typed = {name: tuple(fields[name]) for name in ("columns", "channels", "spread")}
    states, intake = tuple(State(**state) for state in fields["states"]), fields["intake"]
    return Part(**fields | typed | {"states": states, "intake": Intake(**intake) if intake else None})


@dataclass(frozen=True, slots=True)
class Norm:
    """One adaptive instance norm: ``norm(source) * gamma + beta``."""

    source: str
    mean: str
    variance: str
    gamma: str
    beta: str
    out: str


@dataclass(frozen=True, slots=True)
class Places:
    """Where the graph is cut: names of its tensors."""

    durations: str
    pitch: str
    text: str
    contours: tuple[str, str]
    """Pitch and energy at 40 Hz, as the decoder takes them."""
    harmonics: str
    decoded: str
    coarse: str
    sound: str
    norms: tuple[Norm, ...]
    weights: tuple[float, ...]


def find_places(graph: Graph) -> Places:
    """Raises :exc:`Unsplittable`."""
    transform = _one(graph, "STFT", set(range(len(graph.nodes))))
    after = graph.after(transform.output)
    sources = [name for index in after if graph.nodes[index].op_type == "Concat" for name in graph.nodes[index].output]
    sources = [name for name in sources if len(graph.takers_of(name, "Conv")) == 2]
    rises = [graph.nodes[index] for index in sorted(after) if graph.nodes[index].op_type == "ConvTranspose"]
    if len(sources) != 1 or len(rises) != 2:
        raise Unsplittable(f"expected one source and two rises behind it, found {len(sources)} and {len(rises)}")
    fine, inverse = rises
    joined = [index for index in graph.before(fine.output) if graph.nodes[index].op_type == "ConvTranspose"]
    coarse = [node for node in (graph.nodes[index] for index in joined) if node is not fine and _is_whole(node)]
    if len(coarse) != 1:
        raise Unsplittable(f"expected one rise before the source is joined, found {len(coarse)}")
    decoded = graph.made_by(coarse[0].input[0], "LeakyRelu").input[0]
    rounding = _one(graph, "Round", graph.before([decoded]))
    durations = _taker(graph, rounding.output[0], "Clip").output[0]
    timed = graph.after([durations])
    contours = [graph.nodes[index] for index in sorted(graph.before([decoded]) & timed) if _is_contour(graph, graph.nodes[index])]
    contours.sort(key=lambda node: not graph.takers_of(node.input[0], "Resize"))  # only the pitch goes to the source as well
    if len(contours) != 2 or graph.takers_of(contours[1].input[0], "Resize"):
        raise Unsplittable(f"expected the contours of pitch and energy before the decoder, found {len(contours)}")
    earlier = graph.before(contours[0].input) | graph.before(contours[1].input)
    expansions = [index for index in sorted((graph.before([decoded]) & timed) - earlier) if _is_expansion(graph, index, timed)]
    if len(expansions) != 1:
        raise Unsplittable(f"expected one expansion of the text, found {len(expansions)}")
    text = graph.nodes[expansions[0]].output[0]
    return Places(
        durations=durations,
        pitch=contours[0].input[0],
        text=text,
        contours=(contours[0].output[0], contours[1].output[0]),
        harmonics=sources[0],
        decoded=decoded,
        coarse=fine.input[0],
        sound=inverse.output[0],
        norms=tuple(_norms(graph, sorted(graph.after([text, sources[0]])))),
        weights=_source_weights(graph, transform),
    )


def _norms(graph: Graph, within: Sequence[int]) -> list[Norm]:
    found = []
    for index in within:
        node = graph.nodes[index]
        if node.op_type != "ReduceMean":
            continue
        source, mean = node.input[0], node.output[0]
        centred = [taker for taker in graph.takers_of(source, "Sub") if mean in taker.input]
        if not centred:
            continue  # the mean of the squares, found from its partner
        squares = _taker(graph, centred[0].output[0], "Mul", "Pow")
        variance = _taker(graph, squares.output[0], "ReduceMean").output[0]
        ratio = _taker(graph, centred[0].output[0], "Div")
        for scaled in graph.takers_of(ratio.output[0], "Mul"):
            gamma = next(name for name in scaled.input if name != ratio.output[0])
            added = _taker(graph, scaled.output[0], "Add")
            beta = next(name for name in added.input if name != scaled.output[0])
            found.append(Norm(source, mean, variance, gamma, beta, added.output[0]))
    if not found:
        raise Unsplittable("no adaptive norms behind the front")
    return found


def _source_weights(graph: Graph, transform: NodeProto) -> tuple[float, ...]:
    """Of the linear layer before the tanh from which the source is made."""
    squash = _one(graph, "Tanh", graph.before([transform.output[0]]))
    added = graph.made_by(squash.input[0], "Add")
    product = next(graph.nodes[graph.maker[name]] for name in added.input if name in graph.maker)
    values = [value for name in (*product.input, *added.input) if (value := graph.constant(name)) is not None]
    if product.op_type != "MatMul" or [value.size for value in values] != [9, 1]:
        raise Unsplittable("the harmonic source is not a sum of nine")
    return tuple(float(number) for value in values for number in value.ravel())


def _one(graph: Graph, operator: str, within: set[int]) -> NodeProto:
    found = [graph.nodes[index] for index in sorted(within) if graph.nodes[index].op_type == operator]
    if len(found) != 1:
        raise Unsplittable(f"expected one {operator}, found {len(found)}")
    return found[0]


def _taker(graph: Graph, name: str, *operators: str) -> NodeProto:
    found = graph.takers_of(name, *operators)
    if len(found) != 1:
        raise Unsplittable(f"expected one {' or '.join(operators)} behind {name}, found {len(found)}")
    return found[0]


def _is_whole(node: NodeProto) -> bool:
    """Whether a transposed convolution mixes channels."""
    return integers(node, "group", (1,)) == (1,)


def _is_contour(graph: Graph, node: NodeProto) -> bool:
    if node.op_type != "Conv" or integers(node, "strides", (1,)) != (2,):
        return False
    weights = graph.constant(node.input[1])
    return weights is not None and weights.shape[:2] == (1, 1)


def _is_expansion(graph: Graph, index: int, timed: set[int]) -> bool:
    """Whether a product repeats the text's columns by an alignment made from the durations."""
    if graph.nodes[index].op_type != "MatMul":
        return False
    text, alignment = (graph.maker.get(name) for name in graph.nodes[index].input)
    return text not in timed and alignment in timed


def cut(graph: Graph, places: Places, kind: str) -> tuple[Plan, dict[str, ModelProto]]:
    """The plan, and the parts by the names of their files. Raises :exc:`Unsplittable`.

    ``places`` may have been found in the float form of a quantised graph: the tensors between two of its operations have the same names.
    """
    names = graph.inputs
    if len(names) != 3:
        raise Unsplittable(f"expected tokens, style and speed, found {len(names)} inputs")
    frozen = kind == "frozen"
    spans = (
        ((places.text, *places.contours), "", places.decoded),
        ((places.decoded,), places.harmonics, places.coarse),
        ((places.coarse,), places.harmonics, places.sound),
    )
    parts, models, factors = [], {}, []
    for stage, (columns, harmonics, end) in zip(STAGES, spans, strict=True):
        stops = [*columns, *([harmonics] if harmonics else [])]
        inside = graph.before([end], stops=stops)
        norms = [norm for norm in places.norms if graph.maker[norm.out] in inside]
        sources = list(dict.fromkeys(norm.source for norm in norms))
        spread = tuple(sources.index(norm.source) for norm in norms)
        widths = [_width(graph, norm) for norm in norms]
        channels = tuple(widths[spread.index(number)] for number in range(len(sources)))
        part = Part(f"{stage}.onnx", columns, harmonics, channels, spread)
        model = _stage(graph, part, norms, widths, end, frozen=frozen)
        if frozen and stage in CONTINUING:
            going = go_on(model, {name: _channels(graph, places, name) for name in columns}, end, harmonics)
            part, model = replace(part, lag=going.lag, states=going.states, intake=going.intake), going.model
        parts.append(part)
        models[part.file] = model
        factors.append(norms)
    models[STYLE] = _style(graph, names[1], factors)
    ends = [places.durations, places.pitch, places.text, *places.contours]
    models[FRONT] = _model(graph, declared(graph), ends, [graph.nodes[index] for index in sorted(graph.before(ends))], [])
    tokens, style, speed = names
    return Plan(tokens, style, speed, places.durations, places.pitch, tuple(parts), places.weights), models


def _channels(graph: Graph, places: Places, name: str) -> int:
    """Of a tensor at which a stage begins: a contour has one, else as many as the convolution behind it takes."""
    if name in places.contours:
        return 1
    waiting = [name]
    for reached in waiting:
        for node in graph.takers_of(reached, "Conv", "ConvInteger", "ConvTranspose"):
            weights = graph.constant(node.input[1])
            if weights is not None and reached == node.input[0]:
                return int(weights.shape[0 if node.op_type == "ConvTranspose" else 1])
        waiting += [node.output[0] for node in graph.takers_of(reached, "LeakyRelu", "DynamicQuantizeLinear")]
    raise Unsplittable(f"no convolution behind {name}")


def _width(graph: Graph, norm: Norm) -> int:
    """Channels of a norm: half of the bias from which gamma and beta are split."""
    split = graph.made_by(norm.beta, "Split")
    linear = graph.made_by(graph.made_by(split.input[0], "Unsqueeze", "Reshape").input[0], "Add", "Gemm")
    sizes = [graph.constants[name].dims[0] for name in linear.input if name in graph.constants and len(graph.constants[name].dims) == 1]
    if len(sizes) != 1:
        raise Unsplittable("a norm whose channels cannot be counted")
    return int(sizes[0]) // 2


def _stage(graph: Graph, part: Part, norms: Sequence[Norm], widths: Sequence[int], end: str, *, frozen: bool) -> ModelProto:
    """Columns (and the source) to columns. ``frozen``: takes ``scale`` and ``shift``. Otherwise: takes ``gamma`` and ``beta``,
    norms by itself, and gives ``mean`` and ``variance`` as well. All of these have shape (1, channels of all norms, 1)."""
    from onnx import helper, numpy_helper

    sizes = numpy_helper.from_array(np.array(widths, dtype=np.int64), "widths")
    stops = {*part.columns, part.harmonics}
    ends = [end]
    if frozen:
        stops |= {norm.out for norm in norms}
        ends += [norm.source for norm in norms]
    else:
        stops |= {name for norm in norms for name in (norm.gamma, norm.beta)}
        ends += [name for norm in norms for name in (norm.mean, norm.variance)]
    kept = {index: [graph.nodes[index]] for index in graph.before(ends, stops=stops)}
    if frozen:
        for number, norm in enumerate(norms):
            product = f"scaled:{number}"
            kept[graph.maker[norm.out]] = [
                helper.make_node("Mul", [norm.source, f"scale:{number}"], [product], name=product),
                helper.make_node("Add", [product, f"shift:{number}"], [norm.out], name=f"shifted:{number}"),
            ]
        given, outs = ("scale", "shift"), [end]
        pieces = [[f"{name}:{number}" for number in range(len(norms))] for name in given]
    else:
        given, outs = ("gamma", "beta"), [end, "mean", "variance"]
        pieces = [[norm.gamma for norm in norms], [norm.beta for norm in norms]]
    nodes = [helper.make_node("Split", [name, "widths"], names, axis=1, name=name) for name, names in zip(given, pieces, strict=True)]
    # A graph that feeds norms with what norms made stays in order: the replaced nodes keep their places.
    nodes += [node for index in sorted(kept) for node in kept[index]]
    if not frozen:
        firsts = [norms[part.spread.index(number)] for number in range(len(part.channels))]
        nodes.append(helper.make_node("Concat", [norm.mean for norm in firsts], ["mean"], axis=1, name="mean"))
        nodes.append(helper.make_node("Concat", [norm.variance for norm in firsts], ["variance"], axis=1, name="variance"))
    total = sum(widths)
    inputs = {name: (1, [1, None, f"columns{place}"]) for place, name in enumerate(part.columns)}
    if part.harmonics:
        inputs[part.harmonics] = (1, [1, 22, "steps"])
    inputs |= {name: (1, [1, total, 1]) for name in given}
    nodes, constants = smooth(graph, nodes)
    return _model(graph, inputs, outs, nodes, [sizes, *constants])


def _style(graph: Graph, style: str, factors: Sequence[Sequence[Norm]]) -> ModelProto:
    """A style row to the gamma and beta of each stage."""
    from onnx import helper

    outs, joins = [], []
    for stage, norms in zip(STAGES, factors, strict=True):
        for name, pieces in (("gamma", [norm.gamma for norm in norms]), ("beta", [norm.beta for norm in norms])):
            outs.append(f"{name}:{stage}")
            joins.append(helper.make_node("Concat", pieces, [outs[-1]], axis=1, name=outs[-1]))
    ends = [name for join in joins for name in join.input]
    nodes = [graph.nodes[index] for index in sorted(graph.before(ends))]
    return _model(graph, {style: declared(graph)[style]}, outs, [*nodes, *joins], [])


def _model(
    graph: Graph,
    inputs: Mapping[str, tuple[int, list[Any]]],
    outputs: Sequence[str],
    nodes: Sequence[NodeProto],
    constants: Sequence[TensorProto],
) -> ModelProto:
    from onnx import TensorProto, helper

    used = {name for node in nodes for name in node.input}
    body = helper.make_graph(
        nodes,
        "part",
        [helper.make_tensor_value_info(name, kind, shape) for name, (kind, shape) in inputs.items()],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in outputs],
        [*(item for name, item in graph.constants.items() if name in used), *constants],
    )
    return helper.make_model(body, opset_imports=graph.model.opset_import, ir_version=graph.model.ir_version)


def main(model_path: str, folder: str, precision: str, kind: str) -> int:
    """Cuts and writes; the plan last. ``precision`` is ``float32`` or ``int8``. The exit status is 0, one of vits', or 1 with a trace."""
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
        floating = Graph(dequantise(model))
        plan, parts = cut(floating if precision == "float32" else Graph(model), find_places(floating), kind)
        if precision == "float32":
            parts = {name: flatten(part) for name, part in parts.items()}
    except Unsplittable as problem:
        sys.stderr.write(str(problem))
        return UNSPLITTABLE
    try:
        for name, part in parts.items():
            onnx.save(part, str(Path(folder, name)))
        plan.write(Path(folder, PLAN))
    except OSError as problem:
        sys.stderr.write(str(problem))
        return FULL
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
