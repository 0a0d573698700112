"""What an engine is: a blocking generator of small steps that yields int16 samples and says which characters they speak.

Errors, all raised across this border by engines (a library's own errors never leave its file):

* :exc:`EngineError`
    * :exc:`EngineUnavailable`: it cannot be used here; its ``remedy`` says what mends that
        * :exc:`BadModel`: a model file is corrupt, truncated or of another kind
    * :exc:`UnknownVoice`: the request names a voice that this engine does not have
    * :exc:`BadReference`: a recording that no voice can be taken from
    * :exc:`SynthesisFailed`: it can be used, but this text could not be spoken
        * :exc:`BadSound`: what it gave is no speech (raised by whoever listens to it)
        * :exc:`ServiceFailed`: a service elsewhere did not speak it; its ``retry_after`` says how long to leave it alone
            * :exc:`Unreachable`: no connection came about, or nothing comes through it
            * :exc:`BrokenOff`: the connection ended before the sentence did
            * :exc:`Refused`: it answers, and will not; asking again does not help
            * :exc:`RateLimited`: it answers, and has been asked too much lately
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Generator, Mapping
from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np
import numpy.typing as npt

Samples = npt.NDArray[np.int16]
"""Mono PCM, shape (n,), full scale 32767."""


class EngineError(Exception):
    """Anything that keeps an engine from speaking. ``str()`` names the thing."""

    is_retryable: ClassVar[bool] = False
    """Whether the same engine may do better with the same request, without anybody mending anything."""

    def __init__(self, message: str, *, remedy: str = "") -> None:
        super().__init__(f"{message} ({remedy})" if remedy else message)
        self.remedy = remedy
        """What the operator can do about it, a command where there is one. May be empty."""


class EngineUnavailable(EngineError):
    """The engine cannot be used on this machine as it is."""


class BadModel(EngineUnavailable):
    """A model file is missing a part, damaged, or not what its name says."""


class UnknownVoice(EngineError):
    """The engine has no voice of that id."""


class BadReference(EngineError):
    """A recording that no voice can be taken from; ``str()`` says what is wrong with it and what mends it."""


class SynthesisFailed(EngineError):
    """This text could not be spoken; another one may well be."""

    is_retryable = True


class BadSound(SynthesisFailed):
    """What the engine gave cannot be this text: empty, silent, clipped, far too long or short, or not int16 mono at all."""


class ServiceFailed(SynthesisFailed):
    """A service elsewhere did not speak this text."""

    def __init__(self, message: str, *, remedy: str = "", retry_after: float = 0.0) -> None:
        super().__init__(message, remedy=remedy)
        self.retry_after = retry_after
        """Seconds for which to leave it alone; 0 when nobody says."""


class Unreachable(ServiceFailed):
    """No connection came about, or nothing comes through it."""


class BrokenOff(ServiceFailed):
    """The connection ended before the sentence did."""


class Refused(ServiceFailed):
    """It answers, and will not; asking again does not help before somebody mends something."""

    is_retryable = False


class RateLimited(ServiceFailed):
    """It answers, and has been asked too much lately."""


@dataclass(frozen=True, slots=True)
class Voice:
    """One voice of one engine."""

    id: str
    """Unique within the engine, for example ``en_US-joe-medium`` or ``en_US-libritts-high#12``."""
    engine: str
    language: str
    """BCP 47 tag, for example ``en-US``."""
    sample_rate: int
    """Hertz."""
    name: str = ""
    """For people."""
    gender: str = ""
    """``female``, ``male``, ``neutral`` or empty when nobody says."""
    description: str = ""
    tier: str = ""
    """``fast``, ``standard`` or ``premium``: how long its listeners are willing to wait; empty for the node's budget."""
    is_cloned: bool = False
    """Whether somebody has lent it for their own texts: what it says is not kept."""


@dataclass(frozen=True, slots=True)
class Mark:
    """Which characters of the request's text begin to sound at which sample."""

    start: int
    """Index of the first character."""
    end: int
    """Index after the last character."""
    sample: int
    """Samples from the beginning of this request's sound, at the voice's rate."""
    exact: bool
    """True when the engine knows it from its durations, False when it is a guess by proportion."""


@dataclass(frozen=True, slots=True)
class Chunk:
    """What one step made. It may hold no samples: a front that prepared the sentence has made progress, too."""

    samples: Samples
    marks: tuple[Mark, ...] = ()
    """Marks whose ``sample`` lies in this chunk or in a later one; in order, none twice."""


NO_SAMPLES: Samples = np.zeros(0, dtype=np.int16)


@dataclass(slots=True)
class Pace:
    """How large the engine's next step may be, and how broad; the scheduler sets it before each step."""

    window: float = 0.0
    """Seconds of sound the next step may make at the most; 0 asks for the smallest that the engine can make."""
    is_alone: bool = True
    """False while other sentences are being made, too: threads beyond the step's own would only stand in their way."""


@dataclass(frozen=True, slots=True)
class Request:
    """One sentence to speak."""

    text: str
    """Normalised: numbers and abbreviations are words already."""
    voice: str = ""
    """A voice id of the engine; empty for its default."""
    language: str = ""
    """BCP 47 tag; empty for the voice's own."""
    speed: float = 1.0
    """1 is the voice's own pace, 2 twice as fast. 0.5 to 2."""
    options: Mapping[str, float] = field(default_factory=dict)
    """What only some engines know, for example ``noise_scale``. Unknown names are ignored."""
    traceparent: str = ""
    """W3C Trace Context of whoever wants it said, for engines that ask somebody else; empty for none."""
    request_id: str = ""
    """How the node calls the request or the session that it is part of, likewise. May be a caller's own words."""


class Engine(ABC):
    """A way to make speech. Loaded once a process, used by all rooms, from any thread.

    Guarantees that an implementation owes:

    1. ``synthesize`` may be running several times at once, in different threads.
    2. Each step of its generator does about 50 ms of work on two cores, except one front a sentence.
    3. ``close()`` on the generator between two steps frees what the sentence held.
    4. Only :exc:`EngineError` leaves it.
    """

    name: str
    """How settings and events call it: lower case, stable."""
    network: bool = False
    """True when its steps wait for a network rather than a processor: it gets lanes of its own."""
    cores: float = 1.0
    """Cores that one of its steps keeps busy; known once it is loaded."""
    comfort: int = 100
    """Characters that it begins soon enough. A longer sentence for which its listener waits is begun with its first clause, since
    fronts need all of their text."""
    can_clone: bool = False
    """Whether :meth:`clone` takes voices from recordings."""

    def missing(self) -> str:
        """The command that brings what it cannot be loaded without; empty when nothing is known to be missing.

        It only looks whether things are there: a chain that nobody has set leaves out such an engine at no cost.
        """
        return ""

    @abstractmethod
    def load(self) -> None:
        """Make it ready to speak. Blocks; idempotent. Raises :exc:`EngineUnavailable`."""

    @abstractmethod
    def unload(self) -> None:
        """Give the memory back. Blocks; idempotent; no synthesis is running."""

    @abstractmethod
    def voices(self) -> tuple[Voice, ...]:
        """The voices that can be spoken now, the default one first; empty before ``load``."""

    @property
    @abstractmethod
    def build(self) -> str:
        """Changes whenever the same request may sound different: library, model and code version. Part of cache keys."""

    @abstractmethod
    def synthesize(self, request: Request, pace: Pace) -> Generator[Chunk, None, None]:
        """Speak one sentence step by step; nothing is done before the first ``next()``.

        Raises :exc:`UnknownVoice` or :exc:`SynthesisFailed` from ``next()``.
        """

    def clone(self, *recordings: bytes, language: str = "") -> Voice:
        """The voice in these recordings of one person, as it speaks that language; empty for the default one.

        Each is a file's content: wav, flac, ogg or mp3. The same recordings give the same id, other recordings another one; as long as the
        engine remembers it, it speaks under that id. Blocks. Raises :exc:`BadReference`, :exc:`UnknownVoice` for a language that it does
        not speak, :exc:`EngineUnavailable`.
        """
        raise EngineUnavailable(f"engine {self.name} takes no voice from recordings")

    def voice(self, id: str) -> Voice:
        """The voice of that id, the default one for an empty id. Raises :exc:`UnknownVoice`."""
        voices = self.voices()
        for voice in voices:
            if voice.id == id or not id:
                return voice
        known = ", ".join(voice.id for voice in voices) or "none loaded"
        raise UnknownVoice(f"engine {self.name} has no voice {id!r}; it has: {known}", remedy=self._listed_by)

    def choose(self, request: Request) -> Voice:
        """The voice that a request asks for, else the first one of its language, and of its region where there is one.

        Raises :exc:`UnknownVoice`.
        """
        if request.voice or not request.language:
            return self.voice(request.voice)
        voices, wanted = self.voices(), request.language.lower()
        for match in (wanted, wanted.split("-")[0]):
            for voice in voices:
                if match in (voice.language.lower(), voice.language.lower().split("-")[0]):
                    return voice
        known = ", ".join(dict.fromkeys(voice.language for voice in voices)) or "none loaded"
        raise UnknownVoice(f"engine {self.name} has no voice for {request.language!r}; it speaks: {known}", remedy=self._listed_by)

    @property
    def _listed_by(self) -> str:
        return f"voicebooth voices --engine {self.name}"
