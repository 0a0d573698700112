"""A listener's mark without a listener: DNSMOS."""

from __future__ import annotations

import functools
import importlib.util
from pathlib import Path
from typing import Any

import numpy as np
import soxr

from bench.recognition import INSTALL, RATE
from engines.windows import Floats

HEARD = 9.01  # seconds that DNSMOS hears at once
OVERALL = (-0.06766283, 1.11546468, 0.04602535)  # the polynomial by which DNSMOS maps its third output to a listener's scale


@functools.cache
def _judge() -> Any:
    """DNSMOS's network, as the package ``speechmos`` carries it."""
    found = importlib.util.find_spec("speechmos")
    if found is None or not found.submodule_search_locations:
        raise ModuleNotFoundError(f"DNSMOS is missing: {INSTALL}")
    import onnxruntime

    runtime: Any = onnxruntime
    path = Path(found.submodule_search_locations[0], "dnsmos_models", "sig_bak_ovr.onnx")
    return runtime.InferenceSession(str(path), providers=["CPUExecutionProvider"])


def score(sound: Floats, rate: int) -> float:
    """DNSMOS overall, 1 to 5: of each nine seconds, a second apart; a shorter sound is repeated, as its authors do."""
    heard = soxr.resample(sound, rate, RATE)
    size = int(HEARD * RATE)
    while len(heard) < size:
        heard = np.concatenate([heard, heard])
    raw = []
    for start in range(0, len(heard) - size + 1, RATE):
        (outputs,) = _judge().run(None, {"input_1": np.clip(heard[start : start + size], -1, 1).astype(np.float32)[None]})
        raw.append(float(outputs[0][2]))
    return float(np.mean(np.polyval(OVERALL, raw)))
