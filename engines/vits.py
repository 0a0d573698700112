"""Cuts the graph of a Piper voice into a front and stages: ``python -m engines.vits MODEL FOLDER``, and keeps what it cut.

The onnx package is needed for cutting only; cutting runs in a process of its own, so that its memory does not stay in the node.
"""

from __future__ import annotations

import importlib
import json
import logging
import math
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from engines.anatomy import constant_fills, find_places, find_stages
from engines.catalog import damaged
from engines.continuing import go_on
from engines.download import Busy
from engines.graph import Graph as Graph  # cutting other voices begins here, too
from engines.graph import Unsplittable as Unsplittable
from engines.graph import declared, part
from engines.parts import Stamp, find_whole
from engines.windows import Chain, Floats, Going, Run, Stage, State

if TYPE_CHECKING:
    from onnx import ModelProto

log = logging.getLogger(__name__)

FORMAT = 3  # raised when the parts or the plan change, so that older ones in the cache are cut again
FRONT, PLAN = "front.onnx", "plan.json"
FAITHFUL = 90.0  # decibels: what the parts together must reach against the whole graph
PROBE_IDS = 48  # phonemes of the sentence on which parts and whole are compared: two to four seconds of sound
PROBE_WINDOW = 40  # frames: several windows for the probe
NARROW = 1.5  # frames of reach: below it seams cost less than the copies that continuing takes, a sixth of a stage's work at high rates
UNSPLITTABLE, CORRUPT, UNEQUIPPED = 3, 4, 5  # exit status: not a graph of this kind, not a graph, or the onnx package is missing
CUTTING = 120.0  # seconds until a cut is given up: ten times what a large voice takes on a slow machine


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
        fields["stages"] = tuple(_stage(**stage) for stage in fields["stages"])
        return cls(**fields)


def _stage(conditions: list[str], lag: int | None, states: list[dict[str, int]], **rest: Any) -> Stage:
    """As JSON has it."""
    kept = tuple(State(**state) for state in states)
    return Stage(**rest, conditions=tuple(conditions), lag=lag if lag is None else int(lag), states=kept)


def find_parts(model: Path, digest: str, cache: Path, broken: Stamp | None = None) -> Path | None:
    """The folder with the voice's parts, cut now if need be; None when it has to be spoken whole. Raises :exc:`BadModel`.

    ``broken``: of parts that could not be opened; see :func:`engines.parts.find_whole`.
    """
    try:
        return find_whole(cache / f"{digest[:32]}-{FORMAT}", PLAN, lambda made: _cut(model, made), broken)
    except Unsplittable as problem:
        log.warning("voice %s is spoken whole, sentence by sentence: %s", model.name, problem)
    except (OSError, Busy, subprocess.TimeoutExpired) as problem:
        log.warning("voice %s is spoken whole, its parts cannot be made or kept: %s", model.name, problem)
    return None


def _cut(model: Path, made: Path) -> None:
    """The parts into this folder. Raises :exc:`BadModel`, :exc:`Unsplittable`, :exc:`OSError` and :exc:`subprocess.TimeoutExpired`."""
    # A process of its own: the memory that cutting takes, five times the model's, goes with it.
    command = [sys.executable, "-m", "engines.vits", str(model), str(made)]
    result = subprocess.run(command, capture_output=True, text=True, timeout=CUTTING, check=False)
    told = result.stderr.strip()
    if result.returncode == CORRUPT:
        raise damaged(model, told)
    if result.returncode:
        raise Unsplittable(told if result.returncode in (UNSPLITTABLE, UNEQUIPPED) else told[-300:])


def cut(model: ModelProto) -> tuple[Plan, dict[str, ModelProto]]:
    """The plan, and the parts by the names of their files. Raises :exc:`Unsplittable`."""
    from onnx import TensorProto

    graph = Graph(model)
    places = find_places(graph)
    back = graph.after([places.noisy]) & graph.before([places.sound])
    given = {name: np.ones((1, 1, 1), np.float32) for name in places.masks} | constant_fills(graph, back)
    spans, stages = find_stages(graph, places, given)
    shapes = _shapes(graph, [*places.noises, *(start for start, _ in spans)])
    noises = tuple((name, _channels(shapes[name])) for name in places.noises)
    normal = {name: (TensorProto.FLOAT, [1, channels, "phonemes"]) for name, channels in noises}
    outputs = (places.durations, places.means, places.deviations, *places.conditions)
    parts = {FRONT: part(graph, declared(graph) | normal, outputs, {})}
    driven: list[Stage] = []
    for (start, end), stage in zip(spans, stages, strict=True):
        taken: dict[str, tuple[int, list[Any]]] = {start: (TensorProto.FLOAT, [1, None, "columns"])}
        taken |= {name: (TensorProto.FLOAT, [1, None, 1]) for name in stage.conditions}
        fresh, parts[stage.file] = stage, part(graph, taken, [end], given)
        if stage.reach >= NARROW * math.prod(before.factor for before in driven):
            fresh, parts[stage.file] = _going_on(stage, parts[stage.file], {start: shapes[start][1]}, end)
        driven.append(fresh)
    hop = math.prod(stage.factor for stage in stages)
    return Plan(hop, tuple(driven), noises, "sid" in graph.inputs), parts


def _going_on(stage: Stage, model: ModelProto, columns: Mapping[str, int], end: str) -> tuple[Stage, ModelProto]:
    """The stage so that it continues; as it is, its windows overlapping, where its operators are not known well enough."""
    try:
        going = go_on(model, columns, end)
    except Unsplittable:
        return stage, model
    return replace(stage, lag=going.lag, states=going.states), going.model


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


def _shapes(graph: Graph, names: Sequence[str]) -> dict[str, tuple[int, ...]]:
    """Of these tensors: asked of the graph itself, with two phonemes."""
    model = part(graph, declared(graph), names, {})
    made = _session(model.SerializeToString()).run(None, _probe(graph, 2))
    return {name: tuple(item.shape) for name, item in zip(names, made, strict=True)}


def _channels(noise: tuple[int, ...]) -> int:
    """Of a noise that has this shape for two phonemes."""
    if len(noise) != 3 or noise[2] != 2:
        raise Unsplittable("noise of the durations is not one value a channel and phoneme")
    return noise[1]


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


def bind(session: Any, conditions: Mapping[str, Floats]) -> Run:
    """A stage for one sentence."""
    name = session.get_inputs()[0].name

    def run(columns: Floats, going: Going) -> Sequence[Floats]:
        made: Sequence[Floats] = session.run(None, {name: columns, **conditions, **going})
        return made

    return run


def expand(durations: Floats, values: Floats) -> Floats:
    """Repeats each phoneme's column for its frames: (1, channels, phonemes) -> (1, channels, frames)."""
    return np.repeat(values, np.maximum(durations.reshape(-1), 0).astype(np.int64), axis=2)


def decibels(signal: Floats, other: Floats) -> float:
    """How far below the signal the difference lies; infinite when there is none."""
    difference = float(np.mean((signal - other).astype(np.float64) ** 2))
    return float("inf") if difference == 0.0 else 10 * float(np.log10(np.mean(signal.astype(np.float64) ** 2) / difference))


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
    for name, model in parts.items():
        onnx.save(model, str(Path(folder, name)))
    plan.write(Path(folder, PLAN))
    sys.stdout.write(f"{reached:.0f} dB")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2]))
