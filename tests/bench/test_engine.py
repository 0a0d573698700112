from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from bench.engine import LIKE, Made, _figures, is_audible, likeness

RATE = 22_050
MADE = [Made(system, 13, 0.1, 0.2, 0.3, 1.0) for system in ("engine", "piper-tts")]


def test_sound_counts_when_any_ten_milliseconds_of_it_are_above_the_threshold() -> None:
    silence = np.zeros(RATE, dtype=np.int16)
    assert not is_audible(silence, RATE)
    late = silence.copy()
    late[-300:] = 200
    assert is_audible(late, RATE)
    faint = np.full(RATE, 100, dtype=np.int16)
    assert not is_audible(faint, RATE)
    assert not is_audible(late[:100], RATE)


def voice_and_engine(graph: Any, parts: Any) -> tuple[Any, Any]:
    """A voice whose graph gives this sound, and an engine that gives that one whatever it is compared with of its own."""
    session = SimpleNamespace(run=lambda names, feed: [graph[None, None]])
    voice = SimpleNamespace(phonemize=lambda text: [["a"]], phonemes_to_ids=lambda phonemes: [1, 2])
    voice.config, voice.session = SimpleNamespace(length_scale=1.0), session
    return SimpleNamespace(compare=lambda text, window, **options: (parts, parts)), voice


@pytest.mark.parametrize(("off", "missed"), [(0.0, 0), (1e-6, 0), (1e-3, 1)])
def test_windows_are_judged_by_the_voices_own_graph_and_not_by_their_own_parts(off: float, missed: int) -> None:
    graph = np.sin(np.arange(RATE) / 30, dtype=np.float32)
    found = likeness(*voice_and_engine(graph, graph + np.float32(off) * np.cos(np.arange(RATE), dtype=np.float32)), "a")
    assert found.noisy == np.inf
    assert (found.quiet >= LIKE) == (not missed)
    like = [figure for figure in _figures(MADE, [found]) if figure.unit == "dB" and figure.least is not None]
    assert [figure.is_met for figure in like] == [not missed]


def test_another_length_is_nothing_alike() -> None:
    found = likeness(*voice_and_engine(np.ones(RATE, np.float32), np.ones(RATE - 1, np.float32)), "a")
    assert (found.samples, found.whole_samples, found.quiet) == (RATE - 1, RATE, -np.inf)
