from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engines.continuing import Intake, go_on
from engines.graph import Unsplittable
from engines.windows import BEGINS, ENDS, GIVEN, KEPT
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

    def cut(self, name, start, end, step=1, axis=1):
        return self.add("Slice", name, *(self.constant(np.array([value])) for value in (start, end, axis, step)))

    def split(self, name, *sizes, **attributes):
        names = [f"{name}:{number}" for number in range(len(sizes) or attributes["num_outputs"])]
        given = [self.constant(np.array(sizes))] if sizes else []
        self.nodes.append(onnx.helper.make_node("Split", [name, *given], names, name=f"{name}:split", **{"axis": 1, **attributes}))
        return names

    def model(self, output, version=20):
        inputs = [onnx.helper.make_tensor_value_info(name, 1, [1, channels, None]) for name, channels in self.inputs.items()]
        outputs = [onnx.helper.make_tensor_value_info(output, 1, None)]
        graph = onnx.helper.make_graph(self.nodes, "g", inputs, outputs, self.constants)
        return onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", version)], ir_version=9)


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


def gates():
    """As a flow has them: half of the channels says how much of the other half is let through."""
    net = Network(x=CHANNELS)
    both = net.convolution("x", CHANNELS, 2 * CHANNELS, 5)
    through = net.add("Mul", net.add("Tanh", net.cut(both, 0, CHANNELS)), net.add("Sigmoid", net.cut(both, CHANNELS, 2**40)))
    grown = net.add("Exp", net.add("Neg", net.add("Identity", net.convolution(through, CHANNELS, CHANNELS, 3))))
    return net, net.convolution(net.add("Sub", "x", grown), CHANNELS, 2, 3)


def flips():
    """The channels the other way round, all of them and all but one, before what has to know how many they are."""
    net = Network(x=CHANNELS)
    whole = net.convolution(net.cut("x", -1, -1000, -1), CHANNELS, CHANNELS, 3)
    return net, net.convolution(net.cut(whole, -1, 0, -1), CHANNELS - 1, 2, 5)


def pieces():
    """By sizes, and in equal pieces of which the last is smaller."""
    net = Network(x=CHANNELS)
    kept, moved = net.split("x", 1, CHANNELS - 1)
    joined = net.add("Concat", net.convolution(kept, 1, 1, 3), net.convolution(moved, CHANNELS - 1, CHANNELS - 1, 5), axis=1)
    more, less = net.split(joined, num_outputs=2)
    return net, net.add("Add", net.convolution(more, 2, 1, 3), net.convolution(less, 1, 1, 3))


def axis_more():
    net = Network(x=CHANNELS)
    return net, net.add("Unsqueeze", net.convolution("x", CHANNELS, 1, 3), net.constant(np.array([1])))


SHAPES = {
    "residuals": residuals,
    "branches": branches,
    "rises": rises,
    "odd rise": odd_rise,
    "gates": gates,
    "flips": flips,
    "pieces": pieces,
    "an axis more": axis_more,
}
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


@pytest.mark.parametrize(
    ("operator", "attributes"), [("Slice", {}), ("Split", {"axis": 2, "num_outputs": 2}), ("Concat", {"axis": 2}), ("Concat", {"axis": -1})]
)
def test_what_takes_columns_apart_or_adds_some_is_refused(operator, attributes):
    net = Network(x=CHANNELS)
    if operator == "Slice":
        output = net.cut("x", 1, 5, axis=2)
    elif operator == "Split":
        output, _ = net.split("x", **attributes)
    else:
        output = net.add(operator, "x", "x", **attributes)
    with pytest.raises(Unsplittable, match=f"{operator} along axis"):
        go_on(net.model(output), {"x": CHANNELS}, output)


def test_channels_that_cannot_be_counted_are_refused():
    for operator in ("Slice", "Split"):
        net = Network(x=CHANNELS)
        made = net.add("Identity", net.constant(np.array([1, 2])))
        one = net.constant(np.array([1]))
        output = net.add("Slice", "x", made, made, one) if operator == "Slice" else net.add("Split", "x", made, axis=1)
        with pytest.raises(Unsplittable, match="channels are not known"):
            go_on(net.model(output), {"x": CHANNELS}, output)


def test_another_axis_is_added_at_the_end_only_and_before_the_columns():
    behind, between = Network(x=CHANNELS), Network(x=CHANNELS)
    output = behind.add("Unsqueeze", "x", behind.constant(np.array([3])))
    with pytest.raises(Unsplittable, match="an axis behind"):
        go_on(behind.model(output), {"x": CHANNELS}, output)
    output = between.add("Tanh", between.add("Unsqueeze", "x", between.constant(np.array([1]))))
    with pytest.raises(Unsplittable, match="Unsqueeze among"):
        go_on(between.model(output), {"x": CHANNELS}, output)


def test_weights_that_are_made_or_of_another_rank_are_refused():
    for weights in (lambda net: net.add("Identity", net.weights(2, CHANNELS, 3)), lambda net: net.weights(2, CHANNELS, 3, 3)):
        net = Network(x=CHANNELS)
        output = net.add("Conv", "x", weights(net))
        with pytest.raises(Unsplittable, match="whose weights are made, or of another rank"):
            go_on(net.model(output), {"x": CHANNELS}, output)


def test_a_convolution_need_not_say_how_wide_it_is():
    net = Network(x=CHANNELS)
    output = net.add("Conv", "x", net.weights(2, CHANNELS, 3), pads=[1, 1])
    assert go_on(net.model(output), {"x": CHANNELS}, output).lag == 1


def test_operators_of_an_older_version_are_refused():
    net, output = residuals()
    with pytest.raises(Unsplittable, match="version 14"):
        go_on(net.model(output, version=14), {"x": CHANNELS}, output)
