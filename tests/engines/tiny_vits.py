"""A VITS graph of the shape that Piper voices have, tiny and with random weights: cut and spoken in milliseconds."""

from __future__ import annotations

import numpy as np
from onnx import ModelProto, TensorProto, helper, numpy_helper

CHANNELS = 4
SYMBOLS = 12


class Builder:
    def __init__(self, seed: int) -> None:
        self.random = np.random.default_rng(seed)
        self.nodes = []
        self.constants = []

    def constant(self, value, kind=np.float32) -> str:
        name = f"c{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.asarray(value, kind), name))
        return name

    def weights(self, *shape: int) -> str:
        return self.constant(self.random.standard_normal(shape) * (0.6 / np.sqrt(np.prod(shape[1:]))))

    def add(self, operator: str, *inputs: str, outputs: int = 1, **attributes):
        names = [f"t{len(self.nodes)}_{index}" for index in range(outputs)]
        self.nodes.append(helper.make_node(operator, list(inputs), names, name=f"n{len(self.nodes)}", **attributes))
        return names[0] if outputs == 1 else names

    def conv(self, x: str, into: int, out: int, kernel: int, dilation: int = 1) -> str:
        pad = dilation * (kernel - 1) // 2
        return self.add("Conv", x, self.weights(out, into, kernel), self.weights(out), dilations=[dilation], pads=[pad, pad])

    def unsqueeze(self, x: str, axis: int) -> str:
        return self.add("Unsqueeze", x, self.constant([axis], np.int64))

    def cut(self, x: str, start: int, end: int, axis: int, step: int = 1) -> str:
        return self.add("Slice", x, *(self.constant([value], np.int64) for value in (start, end, axis, step)))


def tiny_vits(speakers: int = 1, *, mixes_times: bool = False, seed: int = 0) -> ModelProto:
    """``mixes_times`` puts an average over time into the decoder: such a graph cannot be spoken in windows."""
    b = Builder(seed)
    noise_scale, length_scale, noise_width = (b.add("Gather", "scales", b.constant(index, np.int64), axis=0) for index in range(3))
    speaker = b.unsqueeze(b.add("Gather", b.weights(speakers, CHANNELS), "sid"), -1) if speakers > 1 else None

    def heard(x: str) -> str:
        """What a speaker adds."""
        return b.add("Add", x, b.conv(speaker, CHANNELS, CHANNELS, 1)) if speaker else x

    # Text encoder, and the durations of its phonemes
    text = b.add("Transpose", b.add("Gather", b.weights(SYMBOLS, CHANNELS), "input"), perm=[0, 2, 1])
    text = b.add("Relu", b.conv(text, CHANNELS, CHANNELS, 3))
    means, deviations = b.add("Split", b.conv(text, CHANNELS, 2 * CHANNELS, 1), outputs=2, axis=1)
    jitter = b.add("Mul", b.add("RandomNormalLike", b.cut(text, 0, 2, 1)), noise_width)
    logs = b.add("Add", b.conv(heard(text), CHANNELS, 1, 1), b.conv(jitter, 2, 1, 1))
    stretched = b.add("Mul", b.add("Mul", b.add("Exp", logs), b.constant(4.0)), length_scale)
    durations = b.add("Ceil", stretched)
    total = b.add("Cast", b.add("ReduceSum", durations, b.constant([1, 2], np.int64), keepdims=0), to=TensorProto.INT64)

    # Alignment of frames to phonemes, mask of the frames
    frames = b.add("Range", b.constant(0, np.int64), b.add("ReduceMax", total, keepdims=0), b.constant(1, np.int64))
    less = b.add("Less", b.unsqueeze(frames, 0), b.unsqueeze(total, 1))
    mask = b.add("Cast", b.unsqueeze(less, 1), to=TensorProto.FLOAT)
    ends = b.add("Transpose", b.add("CumSum", durations, b.constant(2, np.int64)), perm=[0, 2, 1])
    begun = b.add("Sub", ends, b.add("Transpose", durations, perm=[0, 2, 1]))
    clock = b.unsqueeze(b.unsqueeze(b.add("Cast", frames, to=TensorProto.FLOAT), 0), 0)
    inside = b.add("And", b.add("Less", clock, ends), b.add("Not", b.add("Less", clock, begun)))
    alignment = b.add("Transpose", b.add("Cast", inside, to=TensorProto.FLOAT), perm=[0, 2, 1])

    def expanded(x: str) -> str:
        return b.add("Transpose", b.add("MatMul", alignment, b.add("Transpose", x, perm=[0, 2, 1])), perm=[0, 2, 1])

    mean = expanded(means)
    spread = b.add("Mul", b.add("RandomNormalLike", mean), b.add("Exp", expanded(deviations)))
    x = b.add("Add", mean, b.add("Mul", spread, noise_scale))

    # Flow: residual couplings with a flip between
    half = CHANNELS // 2
    for _ in range(3):
        x = b.cut(x, -1, -1000, 1, -1)
        kept, moved = b.add("Split", x, outputs=2, axis=1)
        hidden = b.add("Mul", b.conv(kept, half, CHANNELS, 1), mask)
        for _ in range(4):
            acted = heard(b.conv(hidden, CHANNELS, CHANNELS, 5))
            zeros = b.add("ConstantOfShape", b.add("Shape", acted))
            hidden = b.add("Mul", b.add("Add", hidden, b.add("Tanh", b.add("Add", acted, zeros))), mask)
        shift = b.add("Mul", b.conv(hidden, CHANNELS, half, 1), mask)
        x = b.add("Concat", kept, b.add("Sub", moved, shift), axis=1)

    # Decoder
    x = heard(b.conv(b.add("Mul", x, mask), CHANNELS, CHANNELS, 7))
    if mixes_times:
        x = b.add("Sub", x, b.add("ReduceMean", x, axes=[2], keepdims=1))
    for stride, kernel in ((4, 8), (2, 4)):
        pad = (kernel - stride) // 2
        x = b.add("LeakyRelu", x, alpha=0.1)
        x = b.add("ConvTranspose", x, b.weights(CHANNELS, CHANNELS, kernel), strides=[stride], pads=[pad, pad])
        x = b.add("Add", x, b.conv(b.add("LeakyRelu", x, alpha=0.1), CHANNELS, CHANNELS, 5, dilation=3))
    b.nodes.append(helper.make_node("Unsqueeze", [b.add("Tanh", b.conv(x, CHANNELS, 1, 7)), b.constant([1], np.int64)], ["output"]))

    inputs = [("input", TensorProto.INT64, [1, "phonemes"]), ("input_lengths", TensorProto.INT64, [1]), ("scales", TensorProto.FLOAT, [3])]
    inputs += [("sid", TensorProto.INT64, [1])] if speakers > 1 else []
    graph = helper.make_graph(
        b.nodes,
        "tiny",
        [helper.make_tensor_value_info(*item) for item in inputs],
        [helper.make_tensor_value_info("output", TensorProto.FLOAT, None)],
        b.constants,
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 15)], ir_version=8)


def renamed(model: ModelProto, seed: int = 0) -> ModelProto:
    """The same graph with every name but those of its inputs and outputs changed."""
    numbers = np.random.default_rng(seed).permutation(100_000)
    fixed = {item.name for item in (*model.graph.input, *model.graph.output)} | {""}
    names: dict[str, str] = {}

    def new(name: str) -> str:
        return name if name in fixed else names.setdefault(name, f"x{numbers[len(names)]}")

    out = ModelProto()
    out.CopyFrom(model)
    for node in out.graph.node:
        node.name = ""
        node.input[:] = [new(name) for name in node.input]
        node.output[:] = [new(name) for name in node.output]
    for item in out.graph.initializer:
        item.name = new(item.name)
    del out.graph.value_info[:]
    return out
