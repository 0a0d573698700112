"""A listener's mark without a listener: DNSMOS."""

from __future__ import annotations

import functools
from collections.abc import Generator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import soxr

from engines.windows import Floats

INSTALL = "pip install 'voicebooth[mos]'"
RATE = 16_000  # hertz: what DNSMOS hears
HEARD = 9.01  # seconds that DNSMOS hears at once
OVERALL = (-0.06766283, 1.11546468, 0.04602535)  # the polynomial by which DNSMOS maps its third output to a listener's scale


def missing() -> str:
    """What installs what is not here; empty when all is."""
    return "" if _package() is not None and find_spec("onnxruntime") is not None else INSTALL


def _package() -> Path | None:
    """Where ``speechmos`` lies. It carries the network, and is not imported: that would take more than it asks to be installed."""
    found = find_spec("speechmos")
    return Path(found.submodule_search_locations[0]) if found is not None and found.submodule_search_locations else None


@functools.cache
def _judge() -> Any:
    """DNSMOS's network on one thread: whoever speaks beside it has the others."""
    package = _package()
    if package is None:
        raise ModuleNotFoundError(f"DNSMOS is missing: {INSTALL}", name="speechmos")
    import onnxruntime

    runtime: Any = onnxruntime
    options = runtime.SessionOptions()
    options.intra_op_num_threads = 1
    options.enable_cpu_mem_arena = False  # or it would keep 200 MB between two marks
    path = package / "dnsmos_models" / "sig_bak_ovr.onnx"
    return runtime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def marks(sound: Floats, rate: int) -> Generator[float, None, None]:
    """DNSMOS overall, 1 to 5, of each nine seconds, a second apart; a shorter sound is repeated, as its authors do.

    Each step blocks for as long as the network takes for its nine seconds; the first one loads it.
    """
    heard = soxr.resample(sound, rate, RATE)
    size = int(HEARD * RATE)
    while len(heard) < size:
        heard = np.concatenate([heard, heard])
    for start in range(0, len(heard) - size + 1, RATE):
        (outputs,) = _judge().run(None, {"input_1": np.clip(heard[start : start + size], -1, 1).astype(np.float32)[None]})
        yield float(np.polyval(OVERALL, float(outputs[0][2])))


def score(sound: Floats, rate: int) -> float:
    """The mean of its :func:`marks`."""
    return float(np.mean(list(marks(sound, rate))))
