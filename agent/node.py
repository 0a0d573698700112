"""The node: one process with one studio, and a stage for every place in which it speaks."""

from __future__ import annotations

import asyncio
import dataclasses
import inspect
import itertools
import logging
from collections import Counter, deque
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from functools import partial
from importlib.metadata import entry_points
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, cast, get_args

from agent.config import Settings, SettingsError, cache_folder, own_section
from agent.content import FilterUnavailable, make_filter
from agent.failures import one_line
from agent.pump import Pump
from agent.recorder import Recorder
from engines.aliases import meaning
from engines.base import Engine, EngineError, EngineUnavailable, Samples
from engines.guard import Guarded
from engines.names import is_known
from pipeline.cache import Cache, CacheSettings
from pipeline.chain import Chain
from pipeline.events import Event
from pipeline.journey import NOWHERE, Origin
from pipeline.lanes import PATIENCE, Lanes, NoLane, StepGivenUp
from pipeline.normalize import normalize
from pipeline.protocol import TEXT_CHARACTERS, Config, Text
from pipeline.report import Report
from pipeline.segmenter import Segmenter
from pipeline.stage import Outlet, Stage, StageSettings
from pipeline.studio import Studio

if TYPE_CHECKING:
    from agent.tracing import Tracing

log = logging.getLogger(__name__)

DOORS = ("room", "http", "websocket", "peer", "own")
"""Where text is taken, as sessions are counted by; ``own``: :meth:`Node.say`."""
UNSEEN = ""  # door of what leaves no trace in the figures
ENGINES = "voicebooth.engines"  # the entry point group: one's own engine is a package that names itself there


LEVEL_EVERY = 1.0  # seconds between two looks at how degraded the node is: breakers open and close within seconds
SELF = "say"  # who sends what this process asks of itself
SAID_AHEAD = 4_000  # characters of a long text that its script holds at most: the rest follows as they are said
SAID_AT_ONCE = 200  # of them in one message then: said in a quarter of a minute, and a script that hears nothing for a minute gives up
TEXT_RULES = 10.0  # seconds that reading a language's rules may take, from a slow disk
MAKING = 30.0  # seconds that making an engine may take: its module may import a large library from a slow disk


def find_engine(name: str, settings: Settings) -> Engine:
    """The engine of that name, not loaded. Its constructor gets its section of the settings, if it wants one.

    One that is not ours is held to the contract by a guard. Raises :exc:`EngineUnavailable`.
    """
    found = next(iter(entry_points(group=ENGINES, name=name)), None)
    if found is None:
        known = ", ".join(installed_engines())
        raise EngineUnavailable(f"there is no engine {name!r}", remedy=f"installed engines: {known}")
    if found.value.startswith("engines."):
        make = found.load()
        section: Any = getattr(settings, name)
        if getattr(section, "cache", "") is None:  # engines do not read the environment, which may name another folder
            section = dataclasses.replace(section, cache=cache_folder() / name)
        return cast(Engine, make(section) if inspect.signature(make).parameters else make())
    try:
        engine = _make_own(found.load(), name, settings)
    except EngineUnavailable:
        raise
    except Exception as problem:
        raise EngineUnavailable(
            f"engine {name} cannot be made: {type(problem).__name__}: {problem}", remedy=f"see {found.value}"
        ) from problem
    if not isinstance(engine, Engine) or getattr(engine, "name", None) != name:
        raise EngineUnavailable(f"{found.value} is no engine called {name!r}", remedy="see docs/engines.md")
    return Guarded(engine)


def installed_engines() -> tuple[str, ...]:
    """The names of all that can be configured."""
    return tuple(sorted({entry.name for entry in entry_points(group=ENGINES)}))


def _make_own(make: Callable[..., object], name: str, settings: Settings) -> object:
    """An engine that is not ours; the type of its one argument says what may stand in its section, ``own.<name>``."""
    section = settings.own.get(name, {})
    kinds = [parameter.annotation for parameter in inspect.signature(make, eval_str=True).parameters.values()]
    kind = next((one for kind in kinds for one in (kind, *get_args(kind)) if dataclasses.is_dataclass(one)), None)
    if kind is None and section:
        raise EngineUnavailable(f"engine {name} takes no settings", remedy=f"leave out own.{name}")
    if kind is None:
        return make()
    try:
        return make(own_section(cast(type[object], kind), name, section))
    except SettingsError as error:
        raise EngineUnavailable(f"engine {name} is not made: {error}") from error


def find_engines(settings: Settings) -> tuple[list[Engine], dict[str, str]]:
    """The engines of the chain, not loaded, and the others by name: why each is left out.

    Where nobody has set the chain, what cannot be loaded as things are is left out. Where somebody has, such an engine tells by itself
    what it lacks.
    """
    names = settings.selection.fallback_chain
    return _sorted(names, [_find(name, settings) for name in names])


async def find_engines_in_lanes(settings: Settings, lanes: Lanes) -> tuple[list[Engine], dict[str, str]]:
    """The same, and nobody waits for ever for one that hangs while it is made: it is left out."""

    async def find(name: str) -> Engine | str:
        try:
            return await lanes.run(partial(_find, name, settings), due=0.0, loads=True, allowance=MAKING / PATIENCE, owner=name)
        except StepGivenUp:
            return f"it was not made within {MAKING:.0f} s: its constructor, or its missing(), hangs"
        except NoLane as error:
            return str(error)

    names = settings.selection.fallback_chain
    return _sorted(names, await asyncio.gather(*map(find, names)))


def _find(name: str, settings: Settings) -> Engine | str:
    """The engine, or why it is left out."""
    try:
        engine = find_engine(name, settings)
    except EngineUnavailable as error:
        return str(error)
    remedy = "" if is_chain_set(settings) else engine.missing()
    return f"it is not installed: {remedy}" if remedy else engine


def _sorted(names: Sequence[str], found: Sequence[Engine | str]) -> tuple[list[Engine], dict[str, str]]:
    left_out = {name: one for name, one in zip(names, found, strict=True) if isinstance(one, str)}
    return [one for one in found if isinstance(one, Engine)], left_out


def is_chain_set(settings: Settings) -> bool:
    """Whether somebody has named the engines, or the chain is what it is by default."""
    return "fallback_chain" in settings.selection.model_fields_set


class Node:
    """Owns the studio and the stages. ``async with Node(settings) as node``: engines load in the background.

    Everything in it runs on the loop that entered it.
    """

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        security = settings.security
        try:
            self.allow = make_filter(security.content_filter, security.content_words, security.content_hook)
            """Gives what may be said here of a text; None when it may not be said."""
        except FilterUnavailable as error:
            raise SettingsError(str(error)) from error
        self.report = Report()
        self.tracing: Tracing | None = None
        """Where traces are sent."""
        self.is_draining = False
        """It is about to end, and no new text should be brought."""
        self._stages: dict[str, Stage] = {}
        self._doors: dict[str, str] = {}  # of those stages that are sessions
        self._numbers = itertools.count()
        self._endings: list[Callable[[], Awaitable[None]]] = []

    async def __aenter__(self) -> Self:
        self.loop = asyncio.get_running_loop()
        self.pump = Pump()
        settings = self.settings
        lanes = Lanes(settings.lanes)
        try:
            engines, self._left_out = await find_engines_in_lanes(settings, lanes)
        except BaseException:
            lanes.close()
            raise
        level = logging.WARNING if is_chain_set(settings) else logging.DEBUG
        for name, why in self._left_out.items():
            log.log(level, "engine %s is left out: %s", name, why)
        cache = Cache(settings.cache, lanes, folder=_speech_folder(settings.cache)) if settings.cache.enabled else None
        self.studio = Studio(engines, Chain(settings.chain), lanes, cache=cache, meaning=meaning)
        if settings.otel.endpoint:
            from agent.tracing import Tracing  # with libraries that a node without traces does without

            self.tracing = Tracing(settings.otel.endpoint, settings.node.name)
            self.report.watch(self.tracing)
        self._loading = asyncio.create_task(self._load(), name="load engines")
        self._looking = asyncio.create_task(self._look(), name="look at the level")
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        await self.aclose()

    async def ready(self) -> None:
        """Returns when every engine has been loaded and has spoken, or is known to be unavailable.

        Raises :exc:`EngineUnavailable` when none is left.
        """
        await asyncio.shield(self._loading)
        if not self.studio.offers:
            reasons = {status.name: status.reason for status in self.studio.status} | self._left_out
            told = "; ".join(f"{name}: {why}" for name, why in reasons.items())
            raise EngineUnavailable(f"no engine can speak here: {told}", remedy="see `voicebooth doctor`")

    async def _load(self) -> None:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self.studio.load())
            for language in self.settings.node.languages:
                tasks.create_task(self._read_rules(language))

    async def _read_rules(self, language: str) -> None:
        """Of a text in that language: its first one would wait for them else. Who hangs there keeps no engine from being loaded."""
        try:
            call = partial(_warm_up_text, language)
            await self.studio.lanes.run(call, due=0.0, loads=True, allowance=TEXT_RULES / PATIENCE)
        except (StepGivenUp, NoLane) as error:
            log.warning("the rules for texts in %s could not be read beforehand: %s", language, error)

    async def _look(self) -> None:
        while True:
            await asyncio.sleep(LEVEL_EVERY)
            for stage in self._stages.values():
                stage.look_at_level()

    async def load_engine(self, name: str) -> None:
        """Makes an engine of the chain ready while others speak; returns at once when it is. Raises :exc:`EngineError`.

        ``node.studio.status`` tells at any time which engines are.
        """
        await self.studio.load_engine(name)

    async def unload_engine(self, name: str) -> None:
        """Gives an engine's memory back while others speak: who speaks with it finishes the sentence, and the next engine of the chain says
        the following ones. It stays away until :meth:`load_engine`. Raises :exc:`EngineError` when a sentence does not end in time.
        """
        await self.studio.unload_engine(name)

    def load(self) -> float:
        """What part of the node is taken, 0 to 1: of the lanes' time, for that is what runs out first."""
        return self.studio.lanes.load()

    def stage(self, name: str, outlet: Outlet) -> Stage:
        """The living stage of that name, its tracks opened again at this outlet; or a new one."""
        stage = self._stages.get(name)
        if stage is None:
            stage = self._stages[name] = self._make_stage(name, outlet, self.report, Origin("room"))
            stage.open()
        else:
            stage.attach(outlet)
        return stage

    @asynccontextmanager
    async def session(
        self, outlet: Outlet, *, door: str = "own", report: Report | None = None, origin: Origin = NOWHERE
    ) -> AsyncIterator[Stage]:
        """A stage of its own for one client, closed with it; its tracks open with the first text for each, none before.

        ``door``: the family under which it is counted. ``report``: where its figures go, when not to the node's. ``origin``: the request,
        and the trace, of all that is said there.
        """
        stage = self.open_session(outlet, door=door, report=report, origin=origin)
        try:
            yield stage
        finally:
            await self.close_stage(stage.name)

    def open_session(self, outlet: Outlet, *, door: str = "own", report: Report | None = None, origin: Origin = NOWHERE) -> Stage:
        """The same, for a client whose end comes later; :meth:`close_stage` is owed."""
        name = f"session-{next(self._numbers)}"
        stage = self._make_stage(name, outlet, report or self.report, dataclasses.replace(origin, door=door))
        self._stages[name] = stage
        self._doors[name] = door if report is None else UNSEEN
        return stage

    def sessions(self) -> Counter[str]:
        """How many places take text now, by door."""
        doors = (self._doors.get(name, "room") for name in self._stages)
        return Counter(door for door in doors if door != UNSEEN)

    def find_stage(self, name: str) -> Stage | None:
        return self._stages.get(name)

    async def close_stage(self, name: str) -> None:
        """Silence there; what was not heard is reported."""
        stage = self._stages.pop(name, None)
        self._doors.pop(name, None)
        if stage is not None:
            await stage.aclose()

    async def close_stages(self) -> None:
        """Silence everywhere; what was not heard is reported."""
        for name in list(self._stages):
            await self.close_stage(name)

    async def drain(self) -> None:
        """Refuse new text; return when everything accepted has been heard, or when the setting's time is over."""
        self.is_draining = True
        tasks = [asyncio.create_task(stage.drain()) for stage in self._stages.values()]
        if tasks:
            _, late = await asyncio.wait(tasks, timeout=self.settings.node.drain_wait)
            for task in late:
                task.cancel()

    def before_end(self, end: Callable[[], Awaitable[None]]) -> None:
        """Has a door that keeps connections say goodbye while everything else still lives."""
        self._endings.append(end)

    async def aclose(self) -> None:
        """End everything at once."""
        self._loading.cancel()
        self._looking.cancel()
        for end in self._endings:
            await end()
        await self.close_stages()
        if self.tracing is not None:
            await self.tracing.aclose(self.studio.lanes)
        await self.studio.aclose()

    async def say(
        self,
        text: str,
        *,
        language: str | None = None,
        voice: str | None = None,
        engine: str | None = None,
        speed: float | None = None,
        use_cache: bool | None = None,
        report: Report | None = None,
        on_event: Callable[[Event], None] | None = None,
    ) -> AsyncGenerator[Samples, None]:
        """Say text to whoever iterates, as fast as it is made: int16 samples at ``node.studio.rate``.

        Goes the way of every text, through a session, as long as it may be. Raises :exc:`EngineError` when something was not said.
        """
        outlet = Recorder(on_event)
        parts = deque(text_parts(text, self.settings.script.characters))
        async with self.session(outlet, report=report) as stage:
            stage.on_message(SELF, Config(language=language, voice=voice, engine=engine, speed=speed, use_cache=use_cache))

            def feed() -> bool:
                """True when all has been said."""
                ahead = min(SAID_AHEAD, self.settings.script.characters)
                while parts and (not stage.waiting_characters or stage.waiting_characters + len(parts[0]) <= ahead):
                    part = parts.popleft()
                    stage.on_message(SELF, Text(text=part, utterance="text", final=not parts))
                return not parts and stage.is_idle

            async for samples in outlet.samples(feed):
                yield samples
                feed()
        if outlet.problems:
            raise EngineError(one_line(outlet.problems))

    def _make_stage(self, name: str, outlet: Outlet, report: Report, origin: Origin) -> Stage:
        return Stage(name, self.studio, self._stage_settings(), outlet, node=self.settings.node.name, report=report, origin=origin)

    def _stage_settings(self) -> StageSettings:
        settings = self.settings
        return StageSettings(
            languages=settings.node.languages,
            speaker=settings.speech,
            script=settings.script,
            ingest=settings.ingest,
            segmenter=settings.segmenter,
            allow=self.allow,
            is_engine=is_known,
        )


def text_parts(text: str, room: int = SAID_AHEAD) -> list[str]:
    """Text in messages for a script that has room for so many characters: a long one in small parts, to be sent as they are said."""
    small = max(1, min(SAID_AT_ONCE, room // 2))  # what is no sentence yet stays in the script
    size = len(text) if len(text) <= min(TEXT_CHARACTERS, room) else small
    return [text[start : start + size] for start in range(0, len(text), size or 1)] or [""]


def _speech_folder(settings: CacheSettings) -> Path | None:
    """Where sentences are kept on the disk; None where they are not."""
    if settings.dir == "none":
        return None
    return settings.dir or cache_folder() / "speech"


def _warm_up_text(language: str) -> None:
    """Rules and number words are read at first use; that must not be a listener's first sentence."""
    for piece in Segmenter(language).feed("It is 1. It was 2.", 0.0):
        normalize(piece.text, language)
