"""Makes the voices of all engines about equally loud, so that a change of voice is no jump."""

from __future__ import annotations

import math

import numpy as np

from engines.base import Samples

TARGET = -21.0  # dBFS RMS of what is spoken: where most neural voices are already, with 18 dB left for their peaks
MOST = 9.0  # dB up or down: more would be a voice that is broken, and noise that is raised
BLOCK = 0.100  # seconds over which level is judged: a syllable or two
SILENT = -50.0  # dBFS: such blocks are no speech
PAUSE = 10.0  # dB below the mean of what is left: such blocks are pauses (as the relative gate of ITU-R BS.1770 takes them out)
PEAK = 32767 * 0.98  # no gain may bring the loudest sample above it
ENOUGH = 0.5  # seconds of speech before a measure is believed


def integrated(samples: Samples, rate: int) -> float | None:
    """Level of the speech in it, dBFS RMS, pauses left out; None where there is not enough of it."""
    size = max(1, round(BLOCK * rate))
    count = len(samples) // size
    if count * BLOCK < ENOUGH:
        return None
    power = np.square(samples[: count * size].astype(np.float32).reshape(count, size) / 32768).mean(axis=1)
    loud = power[power > 10 ** (SILENT / 10)]
    if not len(loud):
        return None
    speech = loud[loud > loud.mean() / 10 ** (PAUSE / 10)]
    return 10 * math.log10(float(speech.mean())) if len(speech) * BLOCK >= ENOUGH else None


def gain_for(samples: Samples, rate: int, *, target: float = TARGET) -> float:
    """The factor that brings this speech to the target, bounded; 1 where there is too little of it."""
    level = integrated(samples, rate)
    if level is None:
        return 1.0
    gain = 10 ** (min(MOST, max(-MOST, target - level)) / 20)
    return float(min(gain, max(PEAK / float(np.abs(samples.astype(np.int32)).max()), 10 ** (-MOST / 20))))


def amplify(samples: Samples, gain: float) -> Samples:
    if gain == 1.0 or not len(samples):
        return samples
    amplified: Samples = np.clip(samples * np.float32(gain), -32768, 32767).astype(np.int16)
    return amplified


def fade_in(samples: Samples, count: int) -> Samples:
    """The first ``count`` samples rise from nothing, in place of a step."""
    faded = samples.copy()
    count = min(count, len(faded))
    faded[:count] = (faded[:count] * np.linspace(0, 1, count, dtype=np.float32)).astype(np.int16)
    return faded
