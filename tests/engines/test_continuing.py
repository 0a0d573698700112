from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engines.continuing import BEGINS, ENDS, GIVEN, KEPT, Intake, go_on
from engines.graph import Unsplittable
from tests.examples import examples

onnx = pytest.importorskip("onnx")
runtime = pytest.importorskip("onnxruntime")

CHANNELS, COLUMNS, STEPS = 3, 60, 6


class Network:
    """A graph of convolutions that is written down operator by operator."""

    def __init__(self, seed=0, **inputs):
        self.random = np.random.default_rng(seed)
        self.inputs, self.nodes, self.constants = inputs, [], []

    def add(self, operator, *inputs, **attributes):
        name = f"{operator}{len(self.nodes)}"
        self.nodes.append(onnx.helper.make_node(operator, inputs, [name], name=name, **attributes))
        return name

    def constant(self, value):
        name = f"constant{len(self.constants)}"
        self.constants.append(onnx.numpy_helper.from_array(value, name))
        return name

    def weights(self, *shape):
        return self.constant(self.random.normal(0, 0.4, shape).astype(np.float32))

    def convolution(self, name, channels, made, kernel, dilation=1):
        pad = (kernel - 1) // 2 * dilation
        weights = self.weights(made, channels, kernel), self.weights(made)
        return self.add("Conv", name, *weights, kernel_shape=[kernel], dilations=[dilation], pads=[pad, pad])

    def rise(self, name, channels, made, kernel, stride, pad, more=0):
        weights = self.weights(channels, made, kernel), self.weights(made)
        shape = {"kernel_shape": [kernel], "strides": [stride], "pads": [pad, pad], "output_padding": [more]}
        return self.add("ConvTranspose", name, *weights, **shape)

    def residual(self, name, channels, kernel, dilation=1):
        return self.add("Add", name, self.convolution(self.add("LeakyRelu", name), channels, channels, kernel, dilation))

    def model(self, output):
        inputs = [onnx.helper.make_tensor_value_info(name, 1, [1, channels, None]) for name, channels in self.inputs.items()]
        outputs = [onnx.helper.make_tensor_value_info(output, 1, None)]
        graph = onnx.helper.make_graph(self.nodes, "g", inputs, outputs, self.constants)
        return onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 20)], ir_version=9)


def session(model):
    return runtime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])


def in_windows(going, inputs, ends, source=None, factor=1):
    """What the graph gives in windows that end at these columns; the last is the whole's."""
    running = session(going.model)
    states = [np.zeros((1, state.channels, state.columns), np.float32) for state in going.states]
    made, start, taken = [], 0, 0
    for end in ends:
        feed = {name: columns[..., start:end] for name, columns in inputs.items()}
        feed |= {BEGINS: np.array([int(start == 0)]), ENDS: np.array([int(end == ends[-1])])}
        feed |= {f"{GIVEN}{number}": state for number, state in enumerate(states)}
        if source is not None:
            until = min(end * factor + going.intake.ahead, ends[-1] * factor)
            first, last = going.intake.span(taken, until)
            padded = np.pad(source, ((0, 0), (0, 0), (STEPS, STEPS)))
            feed["source"], taken = padded[..., first + STEPS : last + STEPS], until
        out = running.run(None, feed)
        made.append(out[0])
        states, start = out[1:], end
    return made


def columns(channels, count=COLUMNS, seed=1):
    return np.random.default_rng(seed).normal(size=(1, channels, count)).astype(np.float32)


def residuals():
    net = Network(x=CHANNELS)
    return net, net.residual(net.residual(net.residual("x", CHANNELS, 3), CHANNELS, 7, 3), CHANNELS, 5)


def branches():
    """Of different reach, added to each other and to what was there before them."""
    net = Network(x=CHANNELS)
    near, far = net.residual("x", CHANNELS, 3), net.residual(net.residual("x", CHANNELS, 7, 2), CHANNELS, 3)
    joined = net.add("Add", net.add("Add", near, far), "x")
    return net, net.convolution(net.add("Concat", joined, near, axis=1), 2 * CHANNELS, 2, 3)


def rises():
    net = Network(x=CHANNELS)
    first = net.rise(net.residual("x", CHANNELS, 3), CHANNELS, CHANNELS, 20, 10, 5)
    return net, net.residual(first, CHANNELS, 5)


def odd_rise():
    """As the decoder has it: doubled beside a repetition of its columns."""
    net = Network(x=CHANNELS)
    smooth = net.convolution("x", CHANNELS, CHANNELS, 3)
    doubled = net.rise(smooth, CHANNELS, CHANNELS, 3, 2, 1, more=1)
    scales = net.constant(np.array([1.0, 1.0, 2.0], np.float32))
    settings = {"mode": "nearest", "coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}
    return net, net.add("Add", doubled, net.add("Resize", "x", "", scales, **settings))


SHAPES = {"residuals": residuals, "branches": branches, "rises": rises, "odd rise": odd_rise}
windows = st.lists(st.integers(1, 20), min_size=1, max_size=8)


def ends_of(lag, sizes):
    """Windows of these sizes, of which the first is long enough for something to come of it."""
    ends = [max(lag, 0) + sizes[0]]
    for size in sizes[1:]:
        ends.append(ends[-1] + size)
    return [*(end for end in ends if end < COLUMNS), COLUMNS]


@pytest.mark.parametrize("shape", SHAPES)
@examples(20)
@given(windows)
def test_any_windows_give_the_columns_of_one_pass(shape, sizes):
    net, output = SHAPES[shape]()
    model, x = net.model(output), columns(CHANNELS)
    (whole,) = session(model).run(None, {"x": x})
    going = go_on(model, {"x": CHANNELS}, output)
    ends = ends_of(going.lag, sizes)
    made = in_windows(going, {"x": x}, ends)
    factor = whole.shape[-1] // COLUMNS
    behind = [end * factor - going.lag for end in ends[:-1]]
    assert np.cumsum([piece.shape[-1] for piece in made]).tolist() == [*behind, whole.shape[-1]]
    np.testing.assert_allclose(np.concatenate(made, axis=-1), whole, atol=1e-5)


def test_no_column_is_made_twice():
    net, output = residuals()
    going = go_on(net.model(output), {"x": CHANNELS}, output)
    made = in_windows(going, {"x": columns(CHANNELS)}, [20, 30, 40, 60])
    assert [piece.shape[-1] for piece in made] == [20 - going.lag, 10, 10, 20 + going.lag]


def test_several_inputs_go_on_together():
    net = Network(x=CHANNELS, pitch=1)
    smooth = net.convolution("x", CHANNELS, CHANNELS, 5)
    output = net.convolution(net.add("Concat", smooth, "pitch", axis=1), CHANNELS + 1, 2, 3)
    model, inputs = net.model(output), {"x": columns(CHANNELS), "pitch": columns(1, seed=2)}
    (whole,) = session(model).run(None, inputs)
    made = in_windows(go_on(model, {"x": CHANNELS, "pitch": 1}, output), inputs, [10, 13, 40, 60])
    np.testing.assert_allclose(np.concatenate(made, axis=-1), whole, atol=1e-5)


def with_source():
    net = Network(x=CHANNELS, source=2)
    strided = net.add("Conv", "source", net.weights(CHANNELS, 2, 12), kernel_shape=[12], strides=[STEPS], pads=[3, 3])
    beside = net.residual(net.residual(strided, CHANNELS, 7), CHANNELS, 7, 3)
    return net, net.residual(net.add("Add", net.rise("x", CHANNELS, CHANNELS, 20, 10, 5), beside), CHANNELS, 3)


@examples(20)
@given(windows)
def test_a_source_comes_as_far_ahead_as_it_is_wanted(sizes):
    net, output = with_source()
    model, x, source = net.model(output), columns(CHANNELS), columns(2, COLUMNS * 60 + 1, seed=3)
    (whole,) = session(model).run(None, {"x": x, "source": source})
    going = go_on(model, {"x": CHANNELS}, output, "source")
    assert going.intake == Intake(steps=STEPS, kernel=12, pad=3, ahead=12 - 5)
    ends = [end for end in ends_of(going.lag, sizes) if end == COLUMNS or end * 10 + going.intake.ahead <= COLUMNS * 10]
    made = in_windows(going, {"x": x}, ends, source, factor=10)
    np.testing.assert_allclose(np.concatenate(made, axis=-1), whole, atol=1e-5)


def test_a_quantised_graph_goes_on_as_well(tmp_path):
    """Each window is rounded by its own extremes, so not the same to the bit."""
    from onnxruntime.quantization import QuantType, quantize_dynamic

    net, output = residuals()
    onnx.save(net.model(output), tmp_path / "float.onnx")
    kinds = {"op_types_to_quantize": ["Conv"], "weight_type": QuantType.QUInt8}
    quantize_dynamic(tmp_path / "float.onnx", tmp_path / "int8.onnx", **kinds)
    model, x = onnx.load(tmp_path / "int8.onnx"), columns(CHANNELS)
    assert "ConvInteger" in {node.op_type for node in model.graph.node}
    (whole,) = session(model).run(None, {"x": x})
    going = go_on(model, {"x": CHANNELS}, output)
    made = np.concatenate(in_windows(going, {"x": x}, [20, 30, 45, 60]), axis=-1)
    assert made.shape == whole.shape
    assert np.mean((made - whole) ** 2) < 0.002 * np.mean(whole**2)
    assert {node.output[0] for node in going.model.graph.node} >= {f"{KEPT}{number}" for number in range(len(going.states))}


@pytest.mark.parametrize(
    ("operator", "attributes"),
    [
        ("Conv", {"kernel_shape": [3], "strides": [2], "pads": [1, 1]}),
        ("Conv", {"kernel_shape": [3], "pads": [0, 0]}),
        ("Conv", {"kernel_shape": [4], "pads": [1, 2]}),
        ("ConvTranspose", {"kernel_shape": [2], "strides": [2]}),
        ("ConvTranspose", {"kernel_shape": [4], "strides": [2], "pads": [0, 1]}),
    ],
)
def test_convolutions_of_other_kinds_are_refused(operator, attributes):
    net = Network(x=CHANNELS)
    output = net.add(operator, "x", net.weights(CHANNELS, CHANNELS, attributes["kernel_shape"][0]), **attributes)
    with pytest.raises(Unsplittable, match="of another kind"):
        go_on(net.model(output), {"x": CHANNELS}, output)


def test_what_looks_along_the_columns_is_refused():
    net = Network(x=CHANNELS)
    output = net.add("ReduceMean", "x", net.constant(np.array([2])))
    with pytest.raises(Unsplittable, match="ReduceMean"):
        go_on(net.model(output), {"x": CHANNELS}, output)
