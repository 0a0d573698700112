"""Recordings of a person whose voice is to be taken on: read, checked for what a voice needs, and converted to the model's rate."""

from __future__ import annotations

import importlib
import io
from typing import Any

import numpy as np
import numpy.typing as npt

from engines.base import BadReference, EngineUnavailable
from engines.windows import Floats

RATE = 22_050  # hertz: what XTTS hears
SHORTEST, LONGEST = 3.0, 10.0  # seconds of all recordings of one voice: less is no voice yet, more changes it no further
MOST_BYTES = 16 << 20  # of one recording: ten seconds of anything but nonsense
MOST_RECORDINGS = 8  # of one voice
RATES = (8_000, 192_000)  # hertz: from a telephone to a studio
MOST_CHANNELS = 8
FRAME = 0.020  # seconds over which level and pitch are looked at: shorter than any vowel
QUIETEST = -45.0  # dBFS RMS of the loudest frames: below that the noise of the room is as loud as the voice
SILENT = 1e-4  # of full scale, from the lowest sample to the highest: three steps of 16 bits
CLIPPED = 0.01  # share of samples at full scale from which on it is heard in the voice
FULL, FLAT = 0.97, 0.998  # of full scale, at which a peak may be a clipped one; of the peak, above which its samples are flat
SPOKEN = -30.0  # dB below the loudest frames: a frame above that belongs to speech
LEAST_SPOKEN = 1.5  # seconds of such frames
LEAST_LIVELY = 3.0  # dB between the frames: syllables make 6 and more, a tone or a hiss less than 1
PITCHES = (60.0, 450.0)  # hertz of voices
LEAST_VOICED = 0.2  # share of the spoken frames that have a pitch; speech has about 0.6, noise none
PERIODIC = 0.5  # of a frame's energy comes again after one period of its pitch

INSTALL = "pip install 'voicebooth[xtts]'"
GIVE = "give 3 to 10 seconds of one person speaking, as wav, flac, ogg or mp3"


def hear(*recordings: bytes) -> list[Floats]:
    """The recordings of one person as mono float32 at 22 050 Hz, shape (n,) each; stereo and other rates are converted.

    Raises :exc:`BadReference`, and :exc:`EngineUnavailable` where the library that reads sound is not here.
    """
    if not 1 <= len(recordings) <= MOST_RECORDINGS:
        raise BadReference(f"{len(recordings)} recordings of one voice", remedy=f"give 1 to {MOST_RECORDINGS}")
    heard = []
    for number, recording in enumerate(recordings, 1):
        name = f"reference {number} of {len(recordings)}" if len(recordings) > 1 else "the reference"
        sound, rate = _read(name, recording)
        _check_level(name, sound)
        heard.append(_convert(sound - sound.mean(), rate, RATE))
    seconds = sum(map(len, heard)) / RATE
    if not SHORTEST - FRAME <= seconds <= LONGEST + FRAME:
        wrong = "too short" if seconds < SHORTEST else "too long"
        raise BadReference(f"the reference is {wrong}: {seconds:.1f} s", remedy=GIVE)
    _check_speech(np.concatenate(heard))
    return heard


def _read(name: str, recording: bytes) -> tuple[Floats, int]:
    """Mono samples as they were recorded, and their rate."""
    if not recording:
        raise BadReference(f"{name} is empty", remedy=GIVE)
    if len(recording) > MOST_BYTES:
        raise BadReference(f"{name} is too large: {len(recording) / 1e6:.0f} MB, at most {MOST_BYTES / 1e6:.0f}", remedy=GIVE)
    soundfile = _import("soundfile")
    try:
        with soundfile.SoundFile(io.BytesIO(recording)) as file:
            rate, channels = int(file.samplerate), int(file.channels)
            if not RATES[0] <= rate <= RATES[1] or not 1 <= channels <= MOST_CHANNELS:
                raise BadReference(f"{name} has {channels} channels at {rate} Hz", remedy="convert it to mono at 24 000 Hz")
            sound = file.read(int((LONGEST + 1.0) * rate), dtype="float32", always_2d=True)
            left = file.frames - len(sound)
    except (soundfile.SoundFileError, RuntimeError, ValueError, TypeError, OSError) as problem:
        why = str(problem).rpartition(": ")[2].rstrip(".")
        raise BadReference(f"{name} is no sound that can be read: {why}", remedy=GIVE) from problem
    if not len(sound):
        raise BadReference(f"{name} is empty", remedy=GIVE)
    if left > 0:
        raise BadReference(f"{name} is too long: {(len(sound) + left) / rate:.1f} s", remedy=GIVE)
    if not np.isfinite(sound).all():
        raise BadReference(f"{name} holds samples that are no numbers", remedy="record it again")
    mono: Floats = sound.mean(axis=1, dtype=np.float32)
    return mono, rate


def _check_level(name: str, sound: Floats) -> None:
    loudest = float(np.abs(sound).max())
    if float(np.ptp(sound)) < SILENT:
        raise BadReference(f"{name} is silent", remedy=GIVE)
    if loudest > FULL and float(np.mean(np.abs(sound) >= FLAT * loudest)) > CLIPPED:
        raise BadReference(f"{name} is clipped: too many of its samples are at full scale", remedy="record it with less gain")


def _check_speech(sound: Floats) -> None:
    """All recordings of a voice, at 22 050 Hz: whether somebody speaks in them, loud enough."""
    frame = round(FRAME * RATE)
    frames = sound[: len(sound) // frame * frame].reshape(-1, frame)
    levels = 10 * np.log10(np.mean(np.square(frames, dtype=np.float64), axis=1) + 1e-12)
    top = float(np.percentile(levels, 95))
    if top < QUIETEST:
        raise BadReference(f"the reference is too quiet: {top:.0f} dBFS where it is loudest", remedy="record it closer, or with more gain")
    spoken = levels > top + SPOKEN
    if spoken.sum() * FRAME < LEAST_SPOKEN:
        raise BadReference(f"the reference holds {spoken.sum() * FRAME:.1f} s of speech, at least {LEAST_SPOKEN} s are needed", remedy=GIVE)
    if float(np.std(levels[spoken])) < LEAST_LIVELY or _voiced(frames, spoken) < LEAST_VOICED:
        raise BadReference("nobody seems to speak in the reference: it has neither syllables nor a voice's pitch", remedy=GIVE)


def _voiced(frames: Floats, spoken: npt.NDArray[np.bool_]) -> float:
    """Share of the spoken frames that repeat themselves at a voice's pitch; two frames at a time, so that a low voice fits in."""
    pairs = np.concatenate([frames[:-1], frames[1:]], axis=1)[spoken[:-1] & spoken[1:]].astype(np.float64)
    if not len(pairs):
        return 0.0
    width = pairs.shape[1]
    spectrum = np.abs(np.fft.rfft(pairs - pairs.mean(axis=1, keepdims=True), 2 * width)) ** 2
    again = np.fft.irfft(spectrum)[:, :width] / (np.arange(width, 0, -1) / width)  # a frame overlaps itself less, the later it is
    first, last = int(RATE / PITCHES[1]), int(RATE / PITCHES[0])
    strength = again[:, first:last].max(axis=1) / np.maximum(again[:, 0], 1e-12)
    return float(np.mean(strength > PERIODIC))


def _convert(sound: Floats, rate: int, to: int) -> Floats:
    if rate == to:
        return sound
    soxr = _import("soxr")
    converted: Floats = np.asarray(soxr.resample(sound, rate, to, quality="HQ"), dtype=np.float32)
    return converted


def _import(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except (ImportError, OSError) as problem:
        raise EngineUnavailable(f"{name}, which reads and converts sound, is not here: {problem}", remedy=INSTALL) from problem
