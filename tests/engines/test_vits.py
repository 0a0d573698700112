from __future__ import annotations

import numpy as np
import onnx
import onnxruntime
import pytest

from engines.graph import Unsplittable
from engines.vits import CORRUPT, FAITHFUL, FRONT, PLAN, UNSPLITTABLE, Plan, check, cut, decibels, expand, main
from tests.engines.tiny_vits import renamed, tiny_vits


@pytest.mark.parametrize("speakers", [1, 3])
def test_the_parts_give_the_samples_of_the_whole(speakers):
    model = tiny_vits(speakers)
    plan, parts = cut(model)
    assert check(model, plan, parts) >= FAITHFUL
    assert plan.hop == 8
    assert plan.speakers == (speakers > 1)
    assert [channels for _, channels in plan.noises] == [2]
    assert any(stage.conditions for stage in plan.stages) == (speakers > 1)
    assert len(plan.stages) >= 3  # three couplings of 8 frames each, and the decoder
    assert [stage.reach for stage in plan.stages[:3]] == [8, 8, 8]


@pytest.mark.parametrize("seed", [1, 2])
def test_names_mean_nothing(seed):
    model = renamed(tiny_vits(3, seed=seed), seed)
    assert check(model, *cut(model)) >= FAITHFUL


def test_a_decoder_that_mixes_times_is_left_whole():
    with pytest.raises(Unsplittable, match="ReduceMean may mix times"):
        cut(tiny_vits(mixes_times=True))


def test_a_graph_of_another_kind_is_left_whole():
    model = tiny_vits()
    for node in model.graph.node:
        if node.op_type == "Ceil":
            node.op_type = "Floor"
    with pytest.raises(Unsplittable, match="durations"):
        cut(model)
    model = tiny_vits()
    for node in model.graph.node:
        if node.op_type == "RandomNormalLike":
            node.op_type = "Identity"
    with pytest.raises(Unsplittable, match="noise"):
        cut(model)


def test_a_reach_that_is_too_short_is_noticed():
    model = tiny_vits()
    plan, parts = cut(model)
    short = [{**vars_of(stage), "reach": stage.reach // 4} for stage in plan.stages]
    cramped = Plan(plan.hop, tuple(type(plan.stages[0])(**fields) for fields in short), plan.noises, plan.speakers)
    assert check(model, cramped, parts) < FAITHFUL


def vars_of(stage):
    return {name: getattr(stage, name) for name in stage.__slots__}


def test_the_parts_hold_each_weight_once(tmp_path):
    model = tiny_vits()
    _, parts = cut(model)
    whole = sum(np.prod(item.dims) for item in model.graph.initializer)
    assert sum(np.prod(item.dims) for part in parts.values() for item in part.graph.initializer) <= whole + 100


def test_files_and_exit_status(tmp_path, capsys):
    onnx.save(tiny_vits(), tmp_path / "good.onnx")
    onnx.save(tiny_vits(mixes_times=True), tmp_path / "odd.onnx")
    (tmp_path / "bad.onnx").write_bytes((tmp_path / "good.onnx").read_bytes()[:500])
    (tmp_path / "parts").mkdir()
    assert main(str(tmp_path / "odd.onnx"), str(tmp_path / "parts")) == UNSPLITTABLE
    assert main(str(tmp_path / "bad.onnx"), str(tmp_path / "parts")) == CORRUPT
    assert not list((tmp_path / "parts").iterdir())
    assert main(str(tmp_path / "good.onnx"), str(tmp_path / "parts")) == 0
    plan = Plan.read(tmp_path / "parts" / PLAN)
    assert plan == cut(tiny_vits())[0]
    for name in (FRONT, *(stage.file for stage in plan.stages)):
        onnxruntime.InferenceSession(tmp_path / "parts" / name, providers=["CPUExecutionProvider"])


def test_expand_repeats_each_phoneme():
    values = np.array([[[1.0, 2.0, 3.0]]], np.float32)
    assert expand(np.array([[[2.0, 0.0, 1.0]]], np.float32), values).tolist() == [[[1.0, 1.0, 3.0]]]


def test_decibels():
    signal = np.ones(10, np.float32)
    assert decibels(signal, signal) == float("inf")
    assert decibels(signal, signal * 0.9) == pytest.approx(20, abs=0.01)
