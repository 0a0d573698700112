from __future__ import annotations

import pytest

from bench.engine import Made
from bench.kokoro import LENGTHS, LONGEST, SHORTEST, UNBROKEN, Footprint, figures, room_figures, runtime_of
from bench.passages import passage
from pipeline.clauses import first_clause

GOOD = {"float32": Footprint("openvino-bf16", 700.0), "int8": Footprint("onnxruntime", 300.0)}


def made(first, whole):
    """Our sentences beside a peer that takes one second a second of its five."""
    ours = [Made("engine", length, first, whole, whole, 5.0) for length in LENGTHS]
    return ours + [Made("kokoro-onnx", length, 5.0, 5.0, 10.0, 5.0) for length in LENGTHS]


def missed(found):
    return [figure.name for figure in found if not figure.is_met]


def test_a_tenth_of_the_wait_and_half_of_the_work_will_do():
    assert missed(figures(made(0.4, 2.5), GOOD, fast=False)) == []


def test_ratios_are_to_the_peer():
    values = [figure.value for figure in figures(made(0.4, 2.5), GOOD, fast=False)]
    assert values[:5] == pytest.approx([0.08, 0.08, 0.08, 0.5, 0.25])


def test_a_late_first_sound_a_processor_with_bfloat16_and_too_much_memory_are_seen():
    assert [name.split(", ")[1] for name in missed(figures(made(0.6, 2.5), GOOD, fast=False))] == ["158 characters"]
    assert any("whole work" in name for name in missed(figures(made(0.4, 4.0), GOOD, fast=True)))
    heavy = GOOD | {"int8": Footprint("onnxruntime", 500.0)}
    assert missed(figures(made(0.4, 2.5), heavy, fast=False)) == ["Kokoro in memory, int8 on onnxruntime"]


def test_the_lengths_are_those_that_have_something_to_reach():
    names = [figure.name for figure in figures(made(0.4, 2.5), GOOD, fast=False) if "characters" in figure.name and figure.target]
    assert [name.split(", ")[1] for name in names] == ["12 characters", "54 characters", "158 characters"]


def test_a_build_tells_its_runtime():
    assert runtime_of("kokoro-1.3 float32 openvino-bf16 6e742170d309016e onnxruntime-1.31.1 onnxruntime-gpu-none") == "openvino-bf16"
    assert any(figure.name == "Kokoro in memory, float32 on openvino-bf16" for figure in figures(made(0.4, 2.5), GOOD, fast=False))


def test_in_a_room_the_sound_is_due_at_the_listener_however_a_sentence_begins():
    soon, late = (0.2, 0.15), (0.4, 0.35)
    due = "text to sound at the listener, p95"
    assert missed(room_figures([soon] * 39 + [late], [soon] * 12, 0.0)) == []
    for heard, unbroken in (([soon] * 8 + [late] * 2, [soon] * 12), ([soon] * 40, [late] * 12)):
        assert [name.split(": ")[1] for name in missed(room_figures(heard, unbroken, 1.0))] == [due, "underruns"]
    assert len(missed(room_figures([], [], None))) == 3, "nothing heard is nothing met"


def test_sentences_without_an_early_clause_have_none():
    for text in passage(UNBROKEN).sentences:
        assert SHORTEST + 96 < len(text) <= LONGEST and "," not in text[:48]
        at = first_clause(text, 48, "en")
        assert not at or text[at:].split()[0] not in ("and", "but", "or", "that", "which", "when", "where", "while")
