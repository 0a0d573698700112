"""XTTS-v2 as an engine: 17 languages, the model's own speakers, and those whose recordings it was given."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import logging
import math
import re
import threading
import unicodedata
import zlib
from collections.abc import Generator, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from engines.base import (
    NO_SAMPLES,
    BadReference,
    Chunk,
    Engine,
    EngineError,
    EngineUnavailable,
    Pace,
    Request,
    Samples,
    SynthesisFailed,
    UnknownVoice,
    Voice,
)
from engines.tiers import tier_of
from engines.windows import Floats
from engines.xtts.files import RECORDINGS, cache_folder, check_licence, digest, find_model, recordings
from engines.xtts.latents import Kept, Latents, key
from engines.xtts.model import HOP, RATE, Network, Sentence
from engines.xtts.reading import LIMITS, Guess, Tempo, pieces, primary
from engines.xtts.reference import INSTALL, MOST_BYTES, hear

log = logging.getLogger(__name__)

ENGINE = "xtts"
VERIFY = "voicebooth models verify xtts says whether it is whole"
LISTED_BY = "voicebooth voices --engine xtts"
LIBRARIES = ("torch", "TTS")  # without these nothing can be spoken
FORMAT = 1  # of what this code makes of the same model
CLONE = "clone-"  # before the key of a voice that was taken from a recording
SMALLEST = 12  # frames of the first window: 0.13 s, which the decoder makes in less
LARGEST = 48  # frames, 0.5 s: seams cost a third there, and a longer step would keep others waiting
GROWTH = 1.5  # from a window to the next: while one is heard, the next is made
FRAMES = RATE / HOP  # a second
TEMPERATURES = (0.05, 1.5)  # below, the model repeats itself; above, it babbles
OFFERED = 2  # of the model's own speakers, unless settings name them: a list of all, in every language, would help nobody
SEEDS = 1 << 32
MOST_TEMPI = 2_000  # voices whose tempo is remembered: all speakers in all languages, and then some
WARM_UP = "One, two, three."

WOMEN = """Claribel Dervla|Daisy Studious|Gracie Wise|Tammie Ema|Alison Dietlinde|Ana Florence|Annmarie Nele|Asya Anara|Brenda Stern
Gitta Nikolina|Henriette Usha|Sofia Hellen|Tammy Grit|Tanja Adelina|Vjollca Johnnie|Nova Hogarth|Maja Ruoho|Uta Obando
Lidiya Szekeres|Chandra MacFarland|Szofi Granger|Camilla Holmström|Lilya Stainthorpe|Zofija Kendrick|Narelle Moon
Barbora MacLean|Alexandra Hisakawa|Alma María|Rosemary Okafor"""
MEN = """Andrew Chipper|Badr Odhiambo|Dionisio Schuyler|Royston Min|Viktor Eka|Abrahan Mack|Adde Michal|Baldur Sanjin|Craig Gutsy
Damien Black|Gilberto Mathias|Ilkin Urbano|Kazuhiko Atallah|Ludvig Milivoj|Torcull Diarmuid|Viktor Menelaos|Zacharie Aimilios
Ige Behringer|Filip Traverse|Damjan Chapman|Wulf Carlevaro|Aaron Dreschner|Kumar Dahl|Eugenio Mataracı|Ferran Simen
Xavier Hayasaka|Luis Moray|Marcos Rudaski"""
GENDERS = {name: gender for names, gender in ((WOMEN, "female"), (MEN, "male")) for name in re.split(r"[|\n]", names)}
"""Of the speakers that come with XTTS-v2."""


@dataclass(frozen=True, slots=True)
class XttsSettings:
    """Where XTTS lies and how it runs."""

    folder: Path | None = None
    """Folder of voices; the model lies in ``xtts`` inside it. None for ``~/.local/share/voicebooth/voices``."""
    cache: Path | None = None
    """Where voices that were taken from recordings are kept; None for ``~/.cache/voicebooth/xtts``."""
    keep_voices: bool = True
    """Whether they are kept on disk at all; else each start takes them anew, and an id of the last run is unknown."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """What it runs on; ``auto`` is CUDA where torch finds it."""
    threads: int = 0
    """Threads that torch may use for one step on the CPU; 0 for the number of cores, at most 4."""
    speakers: tuple[str, ...] = ()
    """Names of the speakers to offer, the default one first; empty for a woman and a man of the model's own, and all recordings in
    its folder ``speakers``. Others can still be asked for."""
    languages: tuple[str, ...] = ()
    """Languages to offer, the default one first; empty for all that the model speaks."""
    temperature: float = 0.75
    """How freely it speaks, 0.05 to 1.5: less is more even, more is livelier and errs more."""
    seed: int = 0
    """Another number gives the same texts another delivery. The same number gives the same one."""

    def __post_init__(self) -> None:
        if not TEMPERATURES[0] <= self.temperature <= TEMPERATURES[1]:
            raise ValueError(f"temperature: {TEMPERATURES[0]} to {TEMPERATURES[1]}")


class XttsEngine(Engine):
    """Speaks with XTTS-v2. The same request to the same voice sounds the same, unless its option ``seed`` says otherwise.

    1. A voice is a speaker in a language: ``en-claribel-dervla``, ``fr-claribel-dervla``. A request's language goes before the
       voice's, so everybody speaks every language.
    2. :meth:`clone` takes a voice from recordings; the id that it gives speaks here, and after a restart if voices are kept.

    Options of a request are ``seed`` and ``temperature``.
    """

    name = ENGINE
    can_clone = True

    def __init__(self, settings: XttsSettings | None = None) -> None:
        self._settings = settings or XttsSettings()
        self._loading = threading.Lock()
        self._loaded: _Loaded | None = None

    @property
    def build(self) -> str:
        libraries = " ".join(f"{name}-{_version(name)}" for name in ("coqui-tts", "torch", "transformers"))
        made = self._loaded.build if self._loaded is not None else "not loaded"
        return f"xtts-{FORMAT} {made} {libraries}"

    def missing(self) -> str:
        if not all(importlib.util.find_spec(name) for name in LIBRARIES):
            return INSTALL
        try:
            check_licence(find_model(self._settings.folder))
        except EngineUnavailable as problem:
            return problem.remedy
        return ""

    def load(self) -> None:
        """A recording in the folder of speakers that is no use is left out with a warning."""
        with self._loading:
            if self._loaded is None:
                loaded = _Loaded(self._settings)
                try:
                    for _ in loaded.speak(Request(WARM_UP), loaded.voices[0], Pace()):
                        pass
                except SynthesisFailed as problem:
                    raise EngineUnavailable(f"the XTTS model cannot speak: {problem}", remedy=VERIFY) from problem
                self._loaded, self.cores = loaded, loaded.cores

    def unload(self) -> None:
        with self._loading:
            self._loaded = None

    def voices(self) -> tuple[Voice, ...]:
        return self._loaded.voices if self._loaded is not None else ()

    def voice(self, id: str) -> Voice:
        """Any speaker in any language, offered or not; a speaker alone speaks the default language."""
        return super().voice(id) if self._loaded is None or not id else self._loaded.voice(id)

    def clone(self, *recordings: bytes, language: str = "") -> Voice:
        """3 to 10 seconds in all; the same recordings give the same voice, at once. Its id without the language (``clone-...``) speaks
        any language. Blocks, for a step as long as a sentence's front."""
        loaded = self._loaded
        if loaded is None:
            raise _unloaded()
        return loaded.clone(recordings, loaded.spoken(language))

    def synthesize(self, request: Request, pace: Pace) -> Generator[Chunk, None, None]:
        loaded = self._loaded
        if loaded is None:
            raise _unloaded()
        yield from loaded.speak(request, loaded.choose(request), pace)


class _Loaded:
    """The model in memory and the voices beside it."""

    def __init__(self, settings: XttsSettings) -> None:
        """Raises :exc:`EngineUnavailable`."""
        place = find_model(settings.folder)
        check_licence(place)
        self._settings = settings
        self._network = Network(place, settings.device, settings.threads)
        self._digest = digest(place)
        self._kept = Kept((settings.cache or cache_folder()) / "voices" if settings.keep_voices else None)
        self._languages = self._wanted_languages()
        self._speakers = {_slug(name): _Speaker(name, latents, GENDERS.get(name, "")) for name, latents in self._network.speakers.items()}
        recorded = dict(self._recorded(place))
        self._speakers |= recorded
        if not self._speakers:
            raise EngineUnavailable("XTTS has no speaker", remedy=f"put a recording of 3 to 10 seconds into {place / RECORDINGS}")
        offered = self._offered(recorded)
        self.voices = tuple(self._describe(language, slug) for language in self._languages for slug in offered)
        self._tempi: dict[tuple[str, str], Tempo] = {}
        self.cores = self._network.cores
        self.build = f"{self._digest[:16]} {settings.seed} {settings.temperature:g} {self._network.device}"

    def _wanted_languages(self) -> tuple[str, ...]:
        known = self._network.languages
        for wanted in self._settings.languages:
            if primary(wanted) not in known:
                raise EngineUnavailable(f"XTTS cannot speak {wanted!r} here; it speaks: {', '.join(known)}", remedy="set xtts.languages")
        return tuple(dict.fromkeys(map(primary, self._settings.languages))) or known

    def _recorded(self, place: Path) -> Iterator[tuple[str, _Speaker]]:
        for name, paths in recordings(place):
            try:
                yield _slug(name), _Speaker(name, self._take([_content(path) for path in paths]), "")
            except EngineError as problem:
                log.warning("speaker %s is left out: %s", name, problem)

    def _offered(self, recorded: Mapping[str, _Speaker]) -> tuple[str, ...]:
        for name in self._settings.speakers:
            if _slug(name) not in self._speakers:
                raise EngineUnavailable(f"XTTS has no speaker {name!r}; it has: {self._names()}", remedy="set xtts.speakers")
        if self._settings.speakers:
            return tuple(dict.fromkeys(map(_slug, self._settings.speakers)))
        own = [slug for slug in self._speakers if slug not in recorded]
        firsts = {self._speakers[slug].gender: slug for slug in reversed(own)}
        chosen = [firsts[gender] for gender in ("female", "male") if gender in firsts]
        return (*(chosen or own[:OFFERED]), *recorded)

    def _names(self) -> str:
        return ", ".join(speaker.name for speaker in self._speakers.values())

    def _describe(self, language: str, slug: str) -> Voice:
        speaker = self._speakers.get(slug)
        name, gender = (speaker.name, speaker.gender) if speaker is not None else (slug, "")
        tag, is_cloned = "zh-CN" if language == "zh" else language, slug.startswith(CLONE)
        return Voice(f"{language}-{slug}", ENGINE, tag, RATE, name, gender, tier=tier_of(ENGINE), is_cloned=is_cloned)

    def voice(self, id: str) -> Voice:
        """Raises :exc:`UnknownVoice`."""
        for voice in self.voices:
            if voice.id == id:
                return voice
        language, _, slug = id.partition("-")
        if language not in self._languages:
            language, slug = self._languages[0], id
        self._latents(slug)
        return self._describe(language, slug)

    def _latents(self, slug: str) -> Latents:
        """Raises :exc:`UnknownVoice`."""
        if slug in self._speakers:
            return self._speakers[slug].latents
        if slug.startswith(CLONE):
            found = self._kept.get(slug.removeprefix(CLONE))
            if found is not None and self._network.fits(found):
                return found
            raise UnknownVoice(f"engine xtts does not remember the voice {slug[:60]!r}", remedy="send its reference again")
        there = f"it has these, in {', '.join(self._languages)}: {self._names()}"
        raise UnknownVoice(f"engine xtts has no voice {slug[:60]!r}; {there}", remedy=LISTED_BY)

    def choose(self, request: Request) -> Voice:
        """Raises :exc:`UnknownVoice`."""
        language = self.spoken(request.language) if request.language else ""
        voice = self.voice(request.voice) if request.voice else self.voices[0]
        return self._describe(language, voice.id.partition("-")[2]) if language else voice

    def spoken(self, language: str) -> str:
        """As the model calls it, the default one for none. Raises :exc:`UnknownVoice`."""
        found = primary(language) if language else self._languages[0]
        if found not in self._languages:
            raise UnknownVoice(f"engine xtts has no voice for {language!r}; it speaks: {', '.join(self._languages)}", remedy=LISTED_BY)
        return found

    def clone(self, references: tuple[bytes, ...], language: str) -> Voice:
        self._take(references)
        return self._describe(language, CLONE + key(self._digest, references))

    def _take(self, references: list[bytes] | tuple[bytes, ...]) -> Latents:
        return self._kept.take(key(self._digest, references), lambda: self._network.condition(hear(*references)))

    def speak(self, request: Request, voice: Voice, pace: Pace) -> Generator[Chunk, None, None]:
        language, _, slug = voice.id.partition("-")
        latents, text = self._latents(slug), request.text
        tempo = self._tempo(slug, language)
        position, said = 0, False
        for start, end in self._pieces(text, 0, len(text), LIMITS[language], language):
            said = True
            sentence = self._begin(text[start:end], language, latents, request)
            guess = Guess(text[start:end], start, position, tempo.expected / request.speed * RATE)
            longest = tempo.longest(end - start) / request.speed
            begun = position
            for sound in _sound(sentence, pace):
                if not len(sound):
                    yield Chunk(NO_SAMPLES)
                    continue
                samples = _pcm(sound, voice.id)
                position += len(samples)
                if position - begun > longest * RATE:
                    raise SynthesisFailed(f"voice {voice.id} came to no end after {longest:.0f} s for {end - start} characters")
                yield Chunk(samples, guess.marks(position))
            yield Chunk(NO_SAMPLES, guess.marks(position, last=True))
            tempo.on_spoken(end - start, (position - begun) / RATE * request.speed)
        if not said:
            raise SynthesisFailed(f"voice {voice.id} finds nothing to say in {len(text)} characters")

    def _tempo(self, slug: str, language: str) -> Tempo:
        if len(self._tempi) >= MOST_TEMPI:
            self._tempi.clear()
        return self._tempi.setdefault((slug, language), Tempo(language))

    def _pieces(self, text: str, first: int, last: int, limit: int, language: str) -> Iterator[tuple[int, int]]:
        """Parts that the model takes, in characters and in tokens."""
        for start, end in pieces(text[first:last], limit):
            if self._network.tokens(text[first + start : first + end], language) is None and limit > 1:
                yield from self._pieces(text, first + start, first + end, limit // 2, language)
            else:
                yield first + start, first + end

    def _begin(self, text: str, language: str, latents: Latents, request: Request) -> Sentence:
        tokens = self._network.tokens(text, language)
        if tokens is None:
            raise SynthesisFailed(f"XTTS cannot take {len(text)} characters at once, and it cannot be cut")
        seed = _option(request, "seed", zlib.crc32(f"{self._settings.seed} {language} {text}".encode(errors="replace")))
        temperature = _option(request, "temperature", self._settings.temperature)
        return self._network.sentence(
            tokens,
            latents,
            seed=int(seed) % SEEDS,
            speed=min(max(request.speed, 0.5), 2.0),
            temperature=min(max(temperature, TEMPERATURES[0]), TEMPERATURES[1]),
        )


@dataclass(frozen=True, slots=True)
class _Speaker:
    name: str
    latents: Latents
    gender: str


def _sound(sentence: Sentence, pace: Pace) -> Iterator[Floats]:
    """Windows as soon as their frames are settled, and nothing after each token: there, too, somebody else may have a turn."""
    nothing: Floats = np.zeros(0, dtype=np.float32)
    start, grown = 0, float(SMALLEST)
    while True:
        size = int(max(min(pace.window * FRAMES, grown, LARGEST), SMALLEST))
        left = sentence.settled - start
        if left >= size or (sentence.is_over and left > 0):
            if sentence.is_over and left < 2 * size:  # the last two are equal: a crumb would cost a whole seam
                size = -(-left // -(-left // size))
            yield sentence.pull(start, start + size)
            start, grown = start + size, grown * GROWTH
        elif sentence.is_over:
            return
        else:
            sentence.advance()
            yield nothing


def _unloaded() -> EngineUnavailable:
    return EngineUnavailable("engine xtts is not loaded", remedy="load it, and ask again")


def _option(request: Request, name: str, usual: float) -> float:
    """What the request says, unless that is no number."""
    value = float(request.options.get(name, usual))
    return value if math.isfinite(value) else usual


def _pcm(sound: Floats, id: str) -> Samples:
    if not np.isfinite(sound).all():
        raise SynthesisFailed(f"voice {id} made samples that are no numbers")
    return (np.clip(sound, -1.0, 1.0) * 32767).astype(np.int16)


def _slug(name: str) -> str:
    """``eugenio-mataraci`` of ``Eugenio Mataracı``; a name in another script keeps its letters."""
    plain = unicodedata.normalize("NFKD", name.casefold().replace("ı", "i"))
    return re.sub(r"[^\w]+", "-", "".join(c for c in plain if not unicodedata.combining(c))).strip("-")


def _content(path: Path) -> bytes:
    """Raises :exc:`BadReference`."""
    try:
        with path.open("rb") as file:
            return file.read(MOST_BYTES + 1)
    except OSError as problem:
        raise BadReference(f"{path} cannot be read: {problem}", remedy="let it be read, or remove it") from problem


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "none"
