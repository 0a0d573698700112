from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import onnx
import onnxruntime
import pytest

from engines import vits
from engines.graph import Unsplittable
from engines.vits import CORRUPT, FAITHFUL, FRONT, PLAN, UNSPLITTABLE, Plan, check, cut, decibels, expand, main
from engines.windows import BEGINS, ENDS
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
    assert all(stage.lag is not None for stage in plan.stages)


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


@pytest.fixture
def overlapping(monkeypatch):
    """No stage continues."""

    def refuse(*arguments):
        raise Unsplittable("of another kind")

    monkeypatch.setattr(vits, "go_on", refuse)


@pytest.mark.usefixtures("overlapping")
def test_stages_that_cannot_go_on_overlap():
    model = tiny_vits(3)
    plan, parts = cut(model)
    assert {(stage.lag, stage.states) for stage in plan.stages} == {(None, ())}
    assert check(model, plan, parts) >= FAITHFUL


@pytest.mark.usefixtures("overlapping")
def test_a_reach_that_is_too_short_is_noticed():
    model = tiny_vits()
    plan, parts = cut(model)
    cramped = replace(plan, stages=tuple(replace(stage, reach=stage.reach // 4) for stage in plan.stages))
    assert check(model, cramped, parts) < FAITHFUL


def test_one_stage_may_overlap_among_those_that_go_on(monkeypatch):
    asked = []

    def refuse_second(model, columns, end):
        asked.append(end)
        if len(asked) == 2:
            raise Unsplittable("of another kind")
        return going(model, columns, end)

    model, going = tiny_vits(), vits.go_on
    monkeypatch.setattr(vits, "go_on", refuse_second)
    plan, parts = cut(model)
    assert [stage.lag is None for stage in plan.stages[:3]] == [False, True, False]
    assert check(model, plan, parts) >= FAITHFUL


def test_a_stage_of_short_reach_overlaps(monkeypatch):
    """The last one's is 7 columns, of which there are 4 in a frame."""
    model = tiny_vits()
    monkeypatch.setattr(vits, "NARROW", 1.8)
    plan, parts = cut(model)
    assert [stage.lag is None for stage in plan.stages] == [False] * 4 + [True]
    assert check(model, plan, parts) >= FAITHFUL


def test_a_state_that_is_not_handed_on_is_noticed(monkeypatch):
    def forget(session, conditions):
        run, first = bind(session, conditions), {}

        def forgetful(columns, going):
            given = {name: value for name, value in going.items() if name not in (BEGINS, ENDS)}
            first.update({name: np.zeros_like(value) for name, value in given.items()})
            return run(columns, {**going, **first})

        return forgetful

    bind = vits.bind
    model = tiny_vits()
    plan, parts = cut(model)
    monkeypatch.setattr(vits, "bind", forget)
    assert check(model, plan, parts) < FAITHFUL


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


@pytest.mark.parametrize(
    "damage",
    [
        lambda stage: stage.pop("states"),
        lambda stage: stage.pop("lag"),
        lambda stage: stage.update(states=[{"channels": 4}]),
        lambda stage: stage.update(states=[3]),
        lambda stage: stage.update(states=None),
        lambda stage: stage.update(lag="far"),
        lambda stage: stage.update(nobody=1),
    ],
)
def test_a_plan_of_another_shape_is_refused(tmp_path, damage):
    plan, path = cut(tiny_vits())[0], tmp_path / PLAN
    plan.write(path)
    assert Plan.read(path) == plan
    fields = json.loads(path.read_text())
    damage(fields["stages"][1])
    path.write_text(json.dumps(fields))
    with pytest.raises((ValueError, KeyError, TypeError)):
        Plan.read(path)


def test_expand_repeats_each_phoneme():
    values = np.array([[[1.0, 2.0, 3.0]]], np.float32)
    assert expand(np.array([[[2.0, 0.0, 1.0]]], np.float32), values).tolist() == [[[1.0, 1.0, 3.0]]]


def test_decibels():
    signal = np.ones(10, np.float32)
    assert decibels(signal, signal) == float("inf")
    assert decibels(signal, signal * 0.9) == pytest.approx(20, abs=0.01)
