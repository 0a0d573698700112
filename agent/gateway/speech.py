"""One text on its way through a session: what was asked for becomes a plan, the plan becomes sound, and its facts are kept."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncGenerator
from dataclasses import dataclass, field, replace
from typing import Any

from pydantic import ValidationError

from agent.gateway import notes
from agent.gateway.description import Role, describe
from agent.gateway.effects import Effects
from agent.gateway.errors import Refused
from agent.gateway.fields import clip, refuse
from agent.gateway.wanted import ENGINE_SPEEDS, Wanted
from agent.node import Node
from agent.recorder import Recorder
from engines import names
from engines.aliases import DEFAULT, find_alias
from engines.base import Samples, Voice
from pipeline.chain import find_voice, primary
from pipeline.events import Dropped, Event, Failure, SentenceChosen, SpeechStarted, Switched
from pipeline.protocol import TEXT_CHARACTERS, Config, Text

CALLER = "caller"  # the one sender of a session for one request
RELOAD = 2.0  # seconds after which whoever came before an engine was ready may come again
NAMED = 20  # voices and languages that an answer lists
FALLBACKS = 64  # engines that could not go on, of one text, that are kept
STATUSES = {
    "bad_json": 422,
    "unknown_type": 422,
    "bad_field": 422,
    "bad_text": 422,
    "not_supported": 501,
    "text_too_long": 422,
    "too_large": 413,
    "seq_too_far": 422,
    "too_many_streams": 429,
    "not_finished": 409,
    "unknown_language": 422,
    "unknown_voice": 422,
    "unknown_engine": 422,
    "too_many_senders": 503,
    "too_many_tracks": 422,
    "forbidden": 403,
    "overloaded": 503,
    "draining": 503,
    "rate_limited": 429,
    "session_over": 401,
    "unauthorized": 401,
    "idle": 408,
    "track_failed": 500,
    "internal": 500,
}
"""HTTP's number for each code that docs/protocol.md lists."""
MUTE = re.compile(r"(facebook/)?bart(-(large|base))?|(google/)?(flan-)?t5.*", re.IGNORECASE)
"""Models that make no sound at all."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What is said to the stage, and what is done to what comes back."""

    text: str
    config: Config
    priority: int = 1
    effects: Effects = field(default_factory=Effects)
    language: str = ""
    fallback: tuple[tuple[str, str], ...] = ()
    """Engines that were asked for and are not here, each with the reason."""
    warnings: tuple[str, ...] = ()


@dataclass(slots=True)
class Facts:
    """What has become of it; complete when the sound has ended."""

    language: str = ""
    engine: str = ""
    voice: str = ""
    sentences: int = 0
    letters: int = 0
    """Of those sentences, as they were written."""
    cached: int = 0
    age: float = 0.0
    """Seconds since the oldest of these was said, when it was chosen."""
    ttft: float | None = None
    """Seconds from the request to its first audible sample."""
    fallback: list[tuple[str, str]] = field(default_factory=list)
    """Engines that could not go on, in order, each with the reason."""
    warnings: list[str] = field(default_factory=list)
    samples: int = 0
    rate: int = 24_000
    """Hertz of them."""
    utterance: str | None = None
    """Whose sentence was chosen last."""
    is_next: bool = False
    """Whether a text came since."""

    @property
    def is_cached(self) -> bool:
        return 0 < self.sentences == self.cached

    @property
    def model(self) -> str:
        return self.voice

    def on_text(self) -> None:
        """A further text of a session: with its first sentence all but the sound, which is counted for the session, begins anew."""
        self.is_next = True

    def _begin(self, language: str) -> None:
        self.language, self.is_next, self.ttft = language, False, None
        self.sentences = self.letters = self.cached = 0
        self.age = 0.0
        self.fallback, self.warnings = [], []

    def on_event(self, event: Event, ttft: float | None = None) -> None:
        """``ttft``: seconds since it was asked for, should this be its first sound; None: as the event has it."""
        match event:
            case SentenceChosen():
                if self.is_next or self.utterance not in (None, event.utterance):
                    self._begin(event.language)
                self.utterance = event.utterance
                self.sentences += 1
                self.letters += letters(event.text)
                self.cached += event.cached
                self.age = max(self.age, event.age)
                self.engine, self.voice = event.engine, event.voice
            case SpeechStarted() if self.ttft is None and event.utterance == self.utterance:
                self.ttft = event.ttft if ttft is None else ttft
            case Switched() if len(self.fallback) < FALLBACKS:
                self.fallback.append((event.old, event.why))

    def line(self) -> dict[str, Any]:
        """For the log."""
        return {
            "engine": self.engine,
            "voice": self.voice,
            "language": self.language,
            "ttfa_ms": None if self.ttft is None else round(1000 * self.ttft, 1),
            "duration": round(self.samples / self.rate, 3),
            "cached": self.is_cached,
            "fallback": [f"{engine}: {why}" for engine, why in self.fallback],
        }


def letters(text: str) -> int:
    """All but white space."""
    return sum(map(len, text.split()))


def make_plan(node: Node, wanted: Wanted, *, unknown_engine: int = 422) -> Plan:
    """``unknown_engine``: the status for a name that nobody knows. Raises :exc:`Refused`."""
    offers = node.studio.offers
    if node.is_draining:
        raise Refused("draining", "this node is about to end and takes no more text", 503, retry_after=RELOAD)
    if not offers:
        reasons = "; ".join(f"{one.name}: {one.reason or one.state}" for one in node.studio.status) or "none is configured"
        raise Refused("no_engine", f"no engine can speak here: {reasons}", 503, retry_after=RELOAD)
    if node.allow(wanted.text) is None:
        raise _filtered()
    wanted, fallback = _with_engine(node, wanted, unknown_engine)
    role = _cast(node, wanted)
    language = role.language or node.settings.node.languages[0]
    if not node.studio.speaks(language):
        known = ", ".join(node.studio.languages())
        raise Refused("unsupported_language", f"language: nobody here speaks {clip(language)}; there are: {known}", 422, field="language")
    if wanted.is_strict and wanted.engine and not _speaks(node, wanted.engine, language):
        words = f"language: engine {wanted.engine} does not speak {clip(language)}"
        raise Refused("unsupported_language", words, 422, field="language")
    speed = wanted.speed * role.pace
    slowest, fastest = ENGINE_SPEEDS
    spoken = min(fastest, max(slowest, speed))
    config = _config(
        language=language,
        voice=role.voice or None,
        engine=wanted.engine or None,
        strict_engine=wanted.is_strict or None,
        strategy=wanted.strategy,
        budget_ms=wanted.budget,
        speed=spoken,
        use_cache=wanted.use_cache,
    )
    effects = Effects(speed / spoken, wanted.pitch, wanted.energy, bool(wanted.compress), wanted.enhance)
    warnings = [*wanted.warnings]
    if wanted.voice and role.voice and (found := find_voice(role.voice, _voices(node))) and primary(found.language) != primary(language):
        warnings.append(f"voice_id: {found.id} does not speak {language}; the nearest voice does")
    return Plan(wanted.text, config, wanted.priority, effects, language, tuple(fallback), tuple(warnings))


def _config(**fields: Any) -> Config:
    """What a door takes and the protocol does not is refused in the door's own words. Raises :exc:`Refused`."""
    try:
        return Config(**fields)
    except ValidationError as error:
        refused = refuse(error)
        named = Refused(refused.code, refused.message, refused.status, field=refused.field)
        raise named.renamed({"voice": "voice_id"}) from None


def _with_engine(node: Node, wanted: Wanted, unknown: int) -> tuple[Wanted, list[tuple[str, str]]]:
    """The engine that was asked for, as the chain calls it; and if it is not here, why."""
    asked = names.SYNONYMS.get(wanted.engine.lower(), wanted.engine)
    offers = node.studio.offers
    if not asked or asked in offers:
        return replace(wanted, engine=asked), []
    voice = find_voice(asked, _voices(node))
    if voice is not None:
        return replace(wanted, engine=voice.engine, voice=wanted.voice or voice.id), []
    if MUTE.fullmatch(asked):
        raise Refused("not_a_voice_model", f"engine: {clip(asked)} writes text and makes no sound", 422, field="engine")
    statuses = {status.name: status for status in node.studio.status}
    name = asked if asked in statuses else names.known(asked)
    if name in offers:
        return replace(wanted, engine=name), []
    if not name:
        there = ", ".join(offers)
        raise Refused("unknown_engine", f"engine: nobody knows {clip(asked)!r}; there are: {there}", unknown, field="engine")
    reason = statuses[name].reason or statuses[name].state if name in statuses else "not installed here"
    if wanted.is_strict:
        raise Refused("engine_unavailable", f"engine: {name} cannot speak here: {reason}", 404, field="engine")
    return replace(wanted, engine=""), [(name, reason)]


def _cast(node: Node, wanted: Wanted) -> Role:
    """Who shall speak, and in which language. What an id means that is no voice's is left to the studio. Raises :exc:`Refused`."""
    id, language, studio = wanted.voice, wanted.language, node.studio
    if not id or id == DEFAULT:
        if not wanted.description:
            return Role(language=language)
        voices = sorted(_voices(node), key=lambda voice: voice.engine != wanted.engine)
        return describe(wanted.description, voices, language=language, default=node.settings.node.languages[0])
    is_known = studio.has_voice(id)  # some are mixed when they are asked for
    if is_known and (found := find_voice(id, _voices(node))) is not None:
        return Role(id, language or found.language)
    if is_known and (alias := find_alias(id)) is not None:
        return Role(id, language or alias.language)
    known = ", ".join(voice.id for voice in _voices(node)[:NAMED])
    raise Refused("unknown_voice", f"voice_id: nobody knows {clip(id)!r}; there are: {known}", 422, field="voice_id")


def _voices(node: Node) -> list[Voice]:
    return [voice for voices in node.studio.offers.values() for voice in voices]


def _speaks(node: Node, engine: str, language: str) -> bool:
    return any(primary(voice.language) == primary(language) for voice in node.studio.offers.get(engine, ()))


class Speech:
    """The sound of one plan, as fast as it is made and no faster than it is taken."""

    def __init__(self, node: Node, plan: Plan) -> None:
        self._node = node
        self._plan = plan
        self._loop = asyncio.get_running_loop()
        self._begun = self._loop.time()
        self._problems: list[Refused] = []
        self.facts = Facts(plan.language, fallback=list(plan.fallback), warnings=list(plan.warnings), rate=node.studio.rate)
        notes.on_text(len(plan.text), self.facts)

    @property
    def seconds(self) -> float:
        """Since it was asked for."""
        return self._loop.time() - self._begun

    @property
    def is_known(self) -> bool:
        """Whether the facts are already those of the whole text."""
        return self.facts.letters >= letters(self._plan.text)

    async def sound(self) -> AsyncGenerator[Samples, None]:
        """Pieces of at most 0.1 s. Iterate it with :func:`contextlib.aclosing`. Raises :exc:`Refused` when something was not said."""
        outlet = Recorder(self._on_event)
        plan = self._plan
        async with self._node.session(outlet, door="http", origin=notes.origin()) as stage:
            stage.on_message(CALLER, plan.config)
            for start in range(0, len(plan.text), TEXT_CHARACTERS):
                part = plan.text[start : start + TEXT_CHARACTERS]
                is_last = start + len(part) >= len(plan.text)
                stage.on_message(CALLER, Text(text=part, utterance="text", final=is_last, priority=plan.priority))
            async for samples in outlet.samples(lambda: stage.is_idle):
                self.facts.samples += len(samples)
                yield samples
        if self._problems:
            raise self._problems[0]
        if not self.facts.samples:
            raise Refused("nothing_to_say", "text: there is nothing in it that can be said", 422, field="text")

    def _on_event(self, event: Event) -> None:
        self.facts.on_event(event, self.seconds)
        match event:
            case Dropped() if event.why != "nothing_to_say":
                self._problems.append(refusal_of(event))
            case Failure():
                self._problems.append(failure_of(event))


def refusal_of(event: Dropped) -> Refused:
    """How every door tells that something was not said."""
    match event.why:
        case "overflow":
            return Refused("text_too_long", "text: more than the node keeps (script.characters)", 422, field="text")
        case "filtered":
            return _filtered()
        case "shutdown":
            return Refused("draining", "the node has ended", 503, retry_after=RELOAD)
        case why:
            return Refused("synthesis_failed", f"Synthesis error: no engine could say {clip(event.text)!r} ({why})", 500)


def _filtered() -> Refused:
    return Refused("content_filtered", "text: this node does not say all of it (security.content_filter)", 422, field="text")


def failure_of(event: Failure) -> Refused:
    """How every door tells that something could not be taken, or has failed."""
    status = STATUSES.get(event.code, 500)
    message = event.message if status != 500 else f"Synthesis error: {event.message}"
    return Refused(event.code, message, status, retry_after=RELOAD if status == 503 else None)
