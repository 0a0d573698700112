"""Makes the voices of all engines about equally loud, so that a change of voice is no jump."""

from __future__ import annotations

import math
from copy import copy

import numpy as np
import numpy.typing as npt

from engines.base import NO_SAMPLES, Samples

TARGET = -21.0  # dBFS RMS of what is spoken: where most neural voices are already, with 18 dB left for their peaks
MOST = 9.0  # dB up or down: more would be a voice that is broken, and noise that is raised
BLOCK = 0.100  # seconds over which level is judged: a syllable or two
SILENT = -50.0  # dBFS: such blocks are no speech
PAUSE = 10.0  # dB below the mean of what is left: such blocks are pauses (as the relative gate of ITU-R BS.1770 takes them out)
PEAK = 32767 * 0.98  # no gain may bring the loudest sample above it
ENOUGH = 0.5  # seconds of speech before a measure is believed
SETTLED = 3.0  # seconds after which it stays as it is: a level that is followed for ever would pump
GLIDE = 6.0  # dB a second by which a gain may change while its voice is heard: far slower than speech itself
NEAR = 1.0  # dB between two sounds of one voice that nobody takes for a difference


class Loudness:
    """How loud one voice is. Pure.

    It learns from what the voice says, over as many sentences as it takes, and stays as it is once it has heard enough.
    """

    def __init__(self, rate: int, *, target: float = TARGET) -> None:
        """``rate``: hertz of what it hears. ``target``: dBFS to which the voice is to be brought."""
        self._size = max(1, round(BLOCK * rate))
        self._target = target
        self.gain: float | None = None
        """The factor that brings this voice to the target, bounded; None where too little of it has been heard."""
        self._powers: tuple[float, ...] = ()  # of blocks that are no silence, full scale squared is 1
        self._rest: Samples = NO_SAMPLES  # what fills no block yet
        self._peak = 0.0

    @property
    def is_settled(self) -> bool:
        return len(self._powers) * BLOCK >= SETTLED

    @property
    def level(self) -> float | None:
        """Of its speech, dBFS RMS, pauses left out; None where there was too little of it."""
        power = np.array(self._powers)
        speech = power[power > power.mean() / 10 ** (PAUSE / 10)] if len(power) else power
        return 10 * math.log10(float(speech.mean())) if len(speech) * BLOCK >= ENOUGH else None

    def learn(self, samples: Samples) -> None:
        """It has said this as well."""
        if self.is_settled:
            return
        samples = np.concatenate((self._rest, samples))
        count = len(samples) // self._size * self._size
        self._rest = samples[count:]
        heard = samples[:count].astype(np.float32)
        power = np.square(heard.reshape(-1, self._size) / 32768).mean(axis=1)
        self._powers += tuple(power[power > 10 ** (SILENT / 10)].tolist())
        self._peak = max(self._peak, float(np.abs(samples.astype(np.int32)).max(initial=0)))
        if (level := self.level) is not None:
            gain = 10 ** (min(MOST, max(-MOST, self._target - level)) / 20)
            self.gain = float(min(gain, max(PEAK / self._peak, 10 ** (-MOST / 20))))

    def copy(self) -> Loudness:
        """What it knows, for whoever learns from sound that may yet turn out to be none."""
        return copy(self)


class Gain:
    """The factor of one voice in one take. Pure.

    Where the voice has not been heard for long enough, it is learned from the very sound, and what is heard glides there; at its
    beginning nothing has been heard that it could jump from.
    """

    def __init__(self, rate: int, start: float = 1.0, loudness: Loudness | None = None) -> None:
        """``start``: what it begins with. ``loudness``: what is known of the voice so far; None when nothing is to be learned."""
        self.start = self.now = start
        self._loudness = loudness.copy() if loudness is not None else None
        self._rate = rate
        self._has_begun = False

    def feed(self, samples: Samples) -> Samples:
        """The next samples, as loud as they shall be."""
        if self._loudness is None or not len(samples):
            return amplify(samples, self.now)
        self._loudness.learn(samples)
        goal = self._loudness.gain or self.now
        most = 10 ** (GLIDE * len(samples) / self._rate / 20) if self._has_begun else math.inf
        before, self.now = self.now, min(max(goal, self.now / most), self.now * most)
        if not self._has_begun:
            before, self.start, self._has_begun = self.now, self.now, True
        return amplify(samples, np.linspace(before, self.now, len(samples), dtype=np.float32))


def amplify(samples: Samples, gain: float | npt.NDArray[np.float32]) -> Samples:
    """``gain``: one for all samples, or one for each, shape (n,)."""
    if not len(samples) or (isinstance(gain, float) and gain == 1.0):
        return samples
    amplified: Samples = np.clip(samples * np.asarray(gain, dtype=np.float32), -32768, 32767).astype(np.int16)
    return amplified


def is_near(one: float, other: float) -> bool:
    """Whether nobody hears which of two gains it was."""
    return abs(20 * math.log10(one / other)) <= NEAR


def fade_in(samples: Samples, count: int) -> Samples:
    """The first ``count`` samples rise from nothing, in place of a step."""
    faded = samples.copy()
    count = min(count, len(faded))
    faded[:count] = (faded[:count] * np.linspace(0, 1, count, dtype=np.float32)).astype(np.int16)
    return faded
