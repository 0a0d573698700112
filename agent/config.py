"""One typed value with every setting, and the only reader of the environment and of the settings file."""

from __future__ import annotations

import dataclasses
import difflib
import os
from collections.abc import Iterator, Mapping
from functools import cache, lru_cache, partial
from pathlib import Path
from typing import Annotated, Any, Literal, Self, get_origin, get_type_hints

import yaml
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PrivateAttr,
    TypeAdapter,
    ValidationError,
    model_validator,
)
from pydantic_settings import BaseSettings, InitSettingsSource, PydanticBaseSettingsSource, SettingsConfigDict

from agent import foreign
from agent.gateway.settings import (
    AudioSettings,
    CanarySettings,
    LimitSettings,
    PeerSettings,
    SecuritySettings,
    ServerSettings,
    StreamSettings,
    WsSettings,
)
from engines.catalog import default_folder
from engines.edge import EdgeSettings
from engines.kokoro import KokoroSettings
from engines.piper import PiperSettings
from engines.remote import RemoteSettings
from engines.tone import ToneSettings
from engines.xtts import XttsSettings
from pipeline.cache import CacheSettings
from pipeline.chain import QUALITY, ChainSettings
from pipeline.ingest import IngestLimits
from pipeline.lanes import LaneSettings
from pipeline.protocol import Strategy
from pipeline.script import ScriptLimits
from pipeline.segmenter import SegmenterSettings
from pipeline.speaker import SpeakerSettings

PREFIX = "VOICEBOOTH_"
FILE_VARIABLE = "VOICEBOOTH_SETTINGS"
LOWER = "(lower)"  # no setting can be called so
DERIVED = {
    "piper.folder": "models.root",
    "kokoro.folder": "models.root",
    "xtts.folder": "models.root",
    "chain.order": "selection.fallback_chain",
    "chain.strategy": "selection.strategy",
    "chain.budget": "selection.ttft_threshold_ms",
    "chain.quality": "selection.quality",
    "chain.quality_threshold": "selection.quality_threshold",
}
"""Fields of modules that are set under another key, and only there."""
SECTIONS = 256  # kinds of sections whose names are remembered: 30 of ours, each engine's own, and all that settings may hold
FILE_BYTES = 1 << 20  # a settings file is a page or two; more than this is some other file


class SettingsError(Exception):
    """The settings cannot be used; ``str()`` names the keys and what they may be, in one line."""


def _split(value: object) -> object:
    """A list may be written ``a, b`` where only strings can be written: in the environment, on the command line. ``none`` is one
    without anything in it: what is empty in the environment counts as not set."""
    if not isinstance(value, str):
        return value
    return [] if value.strip() == "none" else [part.strip() for part in value.split(",") if part.strip()]


def _rate(value: object) -> object:
    """Ratings may be written ``mine=4.1, other=3`` where only strings can be written; engines that are not named keep their rating."""
    if isinstance(value, str):
        parts = [part.partition("=") for part in value.replace(" ", "").split(",") if part]
        value = {name: rating for name, _, rating in parts}
    return {**QUALITY, **value} if isinstance(value, Mapping) else value


def _expand(value: object) -> object:
    """``~/`` is the user's folder, in a path and in the paths of a section."""
    if isinstance(value, Mapping):
        return {name: _expand(item) for name, item in value.items()}
    return os.path.expanduser(value) if isinstance(value, str) and value.startswith("~/") else value


def _check_web_url(value: str) -> str:
    if value and not value.startswith(("http://", "https://")):
        raise ValueError("begins with http:// or https://")
    return value


def _check_url(value: str) -> str:
    if value and not value.startswith(("ws://", "wss://", "http://", "https://")):
        raise ValueError("begins with ws://, wss://, http:// or https://")
    return value


Ratings = Annotated[Mapping[str, Annotated[float, Field(ge=1, le=5)]], BeforeValidator(_rate)]
Names = Annotated[tuple[str, ...], BeforeValidator(_split)]
UserPath = Annotated[Path, BeforeValidator(_expand)]
Url = Annotated[str, AfterValidator(_check_url)]
WebUrl = Annotated[str, AfterValidator(_check_web_url)]
Level = Annotated[
    Literal["DEBUG", "INFO", "WARNING", "ERROR"], BeforeValidator(lambda value: value.upper() if isinstance(value, str) else value)
]


class Section(BaseModel):
    """Values that belong together; never changed once made."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True, validate_default=True)


class LiveKitSettings(Section):
    url: Url = ""
    """The LiveKit server, for example ``wss://rooms.example.org``. Empty: none is named."""
    public_url: Url = ""
    """The same server as browsers reach it, where that is another way than the node's. Empty: ``url``."""
    api_key: str = "devkey"
    """Its key; the default is the development server's."""
    api_secret: str = Field(default="secret", repr=False)
    """The secret that belongs to the key."""
    agent_name: str = ""
    """Name for explicit dispatch. Empty: the node is sent to every room."""
    identity: Annotated[str, Field(min_length=1, max_length=128)] = "voicebooth"
    """Who the node is in its rooms. The same on every node of a deployment, so that a room never has two of it."""
    load_threshold: Annotated[float, Field(gt=0, le=1)] = 0.75
    """Part of the lanes' time that may be taken before further rooms are refused."""
    senders: Names = ("*",)
    """Identities whose text is spoken; ``*`` for all. Participants with the attribute ``voicebooth.role=upstream`` always may."""
    transcriptions: bool = False
    """Whether text streams of topic ``lk.transcription`` are spoken, too."""
    captions: bool = True
    """Whether captions go out in step with the sound; false leaves them to upstream."""
    encryption_key: str = Field(default="", repr=False)
    """The shared key of end-to-end encrypted rooms. Empty: rooms are not encrypted."""
    reconnect_wait: Annotated[float, Field(ge=0, le=3600)] = 60.0
    """Seconds for which a lost room is tried again before it is given up."""
    first_word_wait: Annotated[float, Field(ge=0, le=60)] = 3.0
    """Seconds for which the first word on a new track waits until somebody is subscribed."""


class NodeSettings(Section):
    name: Annotated[str, Field(min_length=1, max_length=64)] = "voicebooth"
    """How this node calls itself in ``ready`` and in its log."""
    languages: Annotated[Names, Field(min_length=1)] = ("en",)
    """Languages it speaks, as BCP 47 tags; their tracks are published as soon as the node is in a room."""
    drain_wait: Annotated[float, Field(ge=0, le=3600)] = 30.0
    """Seconds that SIGTERM leaves for speaking what has been accepted."""


class SelectionSettings(Section):
    strategy: Strategy = "auto"
    """``auto``: the first engine that is in time. ``quality_first``: the best-sounding one that can keep up. ``speed_first``: the one
    that is heard first. ``manual``: only the first one, or the one asked for. In all but ``manual`` the next one goes on when one fails."""
    ttft_threshold_ms: Annotated[int, Field(ge=20, le=10_000)] = 250
    """Milliseconds from a complete sentence to its first audible sample."""
    fallback_chain: Annotated[Names, Field(min_length=1)] = ("kokoro", "piper", "xtts")
    """Engines that are loaded, in order of preference. Left as it is, it means those of them that are installed and have what they need.
    ``edge`` speaks only where it is named here: every text goes to Microsoft's service then."""
    quality: Ratings = Field(default_factory=lambda: dict(QUALITY))
    """How good each engine sounds, 1 to 5; others count as 3. ``quality_first`` goes by it."""
    quality_threshold: Annotated[float, Field(ge=1, le=5)] = 3.0
    """Engines rated below it are tried last."""


class ModelSettings(Section):
    root: UserPath = Field(default_factory=default_folder)
    """Folder into which voices are installed and in which engines find them."""
    offline: bool = False
    """Whether nothing may be downloaded."""


class OtelSettings(Section):
    endpoint: WebUrl = Field(default="", repr=False)
    """Collector of OpenTelemetry that is sent traces, by OTLP over HTTP: ``http://127.0.0.1:4318``. Empty: none is."""


class LogSettings(Section):
    level: Level = "INFO"
    """The least that is written. What is said in a room appears at DEBUG only."""
    format: Literal["auto", "json", "text"] = "auto"
    """``json``: one object a line; ``auto``: text on a terminal, json elsewhere."""
    file: UserPath | None = None
    """File that is appended to. None: standard error."""


class Settings(Section):
    """Everything that can be set. Made directly it is the defaults and what is passed; :func:`load` reads the sources."""

    livekit: LiveKitSettings = LiveKitSettings()
    node: NodeSettings = NodeSettings()
    server: ServerSettings = ServerSettings()
    limits: LimitSettings = LimitSettings()
    audio: AudioSettings = AudioSettings()
    stream: StreamSettings = StreamSettings()
    ws: WsSettings = WsSettings()
    peer: PeerSettings = PeerSettings()
    security: Annotated[SecuritySettings, BeforeValidator(_expand)] = SecuritySettings()
    canary: CanarySettings = CanarySettings()
    selection: SelectionSettings = Field(default_factory=SelectionSettings)
    chain: ChainSettings = ChainSettings()
    models: ModelSettings = Field(default_factory=ModelSettings)
    piper: Annotated[PiperSettings, BeforeValidator(_expand)] = PiperSettings()
    kokoro: Annotated[KokoroSettings, BeforeValidator(_expand)] = KokoroSettings()
    edge: EdgeSettings = EdgeSettings()
    remote: RemoteSettings = RemoteSettings()
    xtts: Annotated[XttsSettings, BeforeValidator(_expand)] = XttsSettings()
    tone: ToneSettings = ToneSettings()
    own: dict[str, dict[str, Any]] = Field(default_factory=dict, repr=False)
    """Settings of engines of one's own, by the engine's name: its own dataclass says what may stand there."""
    speech: SpeakerSettings = SpeakerSettings()
    segmenter: SegmenterSettings = SegmenterSettings()
    script: ScriptLimits = ScriptLimits()
    ingest: IngestLimits = IngestLimits()
    lanes: LaneSettings = LaneSettings()
    cache: Annotated[CacheSettings, BeforeValidator(_expand)] = CacheSettings()
    otel: OtelSettings = OtelSettings()
    log: LogSettings = LogSettings()
    _origins: Mapping[str, str] = PrivateAttr(default_factory=dict)

    def origin(self, key: str) -> str:
        """Where it was set: ``command line``, ``environment`` or ``file``, as far as :func:`load` knows; else empty."""
        found = (origin for name, origin in self._origins.items() if name == key or name.startswith(f"{key}."))
        return next(found, "")

    @model_validator(mode="before")
    @classmethod
    def _name_unknown_keys(cls, data: Any) -> Any:
        """Dataclasses ignore what they do not know; here every unknown key is named, with the nearest known one."""
        unknown = list(_unknown(cls, data))
        if unknown:
            raise ValueError("; ".join(unknown))
        for key, instead in DERIVED.items():
            section, name = key.split(".")
            if name in (data.get(section) or {} if isinstance(data.get(section), Mapping) else {}):
                raise ValueError(f"{key}: set {instead} instead")
        return {name: _split_lists(cls.model_fields[name].annotation, section) for name, section in data.items()}

    @model_validator(mode="after")
    def _derive(self) -> Self:
        negative = list(_negative(self))
        if negative:
            raise ValueError("; ".join(negative))
        selection = self.selection
        chain = dataclasses.replace(
            self.chain,
            order=selection.fallback_chain,
            strategy=selection.strategy,
            budget=selection.ttft_threshold_ms / 1000,
            quality=selection.quality,
            quality_threshold=selection.quality_threshold,
        )
        folder = self.models.root
        piper, xtts = (dataclasses.replace(engine, folder=folder) for engine in (self.piper, self.xtts))
        kokoro = dataclasses.replace(self.kokoro, folder=folder / "kokoro")
        vars(self).update(chain=chain, piper=piper, xtts=xtts, kokoro=kokoro)  # it is frozen, and not handed out yet
        return self


@cache
def _sources() -> type[BaseSettings]:
    """Reads ``VOICEBOOTH_SECTION__KEY``. What is given to it counts more, and the dictionaries that are given as :data:`LOWER` less."""

    class Sources(BaseSettings, Settings):
        model_config = SettingsConfigDict(
            env_prefix=PREFIX, env_nested_delimiter="__", env_ignore_empty=True, enable_decoding=False, extra="forbid", frozen=True
        )

        @classmethod
        def settings_customise_sources(
            cls,
            settings_cls: type[BaseSettings],
            init_settings: PydanticBaseSettingsSource,
            env_settings: PydanticBaseSettingsSource,
            dotenv_settings: PydanticBaseSettingsSource,
            file_secret_settings: PydanticBaseSettingsSource,
        ) -> tuple[Any, ...]:
            assert isinstance(init_settings, InitSettingsSource)
            lower = init_settings.init_kwargs.pop(LOWER)
            return init_settings, env_settings, *(partial(dict, found) for found in lower)

    return Sources


def load(path: Path | None = None, overrides: Mapping[str, Any] | None = None) -> Settings:
    """The settings in effect: ``overrides`` (nested, from the command line), ``VOICEBOOTH_SECTION__KEY``, the variables of LiveKit and
    of other services, the YAML file (``path``, or the one that ``VOICEBOOTH_SETTINGS`` names), defaults.

    Raises :exc:`SettingsError`.
    """
    named = path or (Path(os.environ[FILE_VARIABLE]) if os.environ.get(FILE_VARIABLE) else None)
    file = _read(named) if named else {}
    theirs = foreign.from_environment(os.environ)
    variables = {PREFIX + section.upper() for section in Settings.model_fields}
    for variable in os.environ:
        if variable.startswith(PREFIX) and variable != FILE_VARIABLE and variable.split("__")[0] not in variables:
            raise SettingsError(f"{variable}: unknown setting{_nearest(variable.split('__')[0], variables)}")

    given: dict[str, Any] = {**(overrides or {}), LOWER: (theirs, file)}
    try:
        read = _sources()(**given)
    except ValidationError as error:
        details = error.errors(include_url=False, include_context=False)
        raise SettingsError("; ".join(_line(detail) + _whose(detail) for detail in details)) from error
    settings = Settings.model_construct(**{name: getattr(read, name) for name in Settings.model_fields})
    ours = {_key(name): "environment" for name, value in os.environ.items() if name.startswith(PREFIX) and value}
    settings._origins = {  # what counts more comes later
        **dict.fromkeys(foreign.leaves(file), "file"),
        **dict.fromkeys(foreign.leaves(theirs), "environment"),
        **ours,
        **dict.fromkeys(foreign.leaves(overrides or {}), "command line"),
    }
    return settings


def own_section(kind: type[object], name: str, section: Mapping[str, Any]) -> object:
    """The settings of an engine of one's own, ``own.<name>``, as its dataclass declares them. Raises :exc:`SettingsError`."""
    place = f"own.{name}."
    if unknown := list(_unknown(kind, section, place)):
        raise SettingsError("; ".join(unknown))
    try:
        return TypeAdapter(kind).validate_python(_expand(_split_lists(kind, section)))
    except ValidationError as error:
        details = error.errors(include_url=False, include_context=False)
        raise SettingsError("; ".join(place + _line(detail) for detail in details)) from error


def before_livekit_agents() -> None:
    """Call this before the first import of ``livekit.agents``. Values that the operator has set stay.

    Its first job would load end-of-turn weights, about 240 MB, that a node which only speaks never uses. And each job would watch
    its loop 50 times a second from a thread of its own, which costs an idle room more than its connection does.
    """
    for name in ("LIVEKIT_AGENTS_PRELOAD_LOCAL_INFERENCE", "LIVEKIT_AGENTS_LOOP_BLOCK_WARN_MS"):
        os.environ.setdefault(name, "0")


def child_environment(**changes: str) -> dict[str, str]:
    """The environment for a program that the node starts."""
    return {**os.environ, **changes}


def settings_folder() -> Path:
    """This user's folder for what the node is told once (XDG base directory specification)."""
    return Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config") / "voicebooth"


def cache_folder() -> Path:
    """This user's folder for what can be fetched or built again (XDG base directory specification)."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "voicebooth"


def _read(path: Path) -> dict[str, Any]:
    try:
        if path.stat().st_size > FILE_BYTES:
            raise SettingsError(f"{path}: a settings file holds at most {FILE_BYTES} bytes")
        found = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise SettingsError(f"{path}: cannot be read: {error.strerror}") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise SettingsError(f"{path}: not YAML in UTF-8: {' '.join(str(error).split())}") from error
    if found is None:
        return {}
    if not isinstance(found, dict) or not all(isinstance(key, str) for key in found):
        raise SettingsError(f"{path}: a settings file holds sections, such as `node:` with `languages: [en]` under it")
    try:
        return foreign.from_file(found)
    except ValueError as error:
        raise SettingsError(f"{path}: {error}") from error


def keys(kind: Any) -> Mapping[str, Any]:
    """The names in a section, each with its type; empty when it is no section."""
    return _keys(kind) if isinstance(kind, type) else {}


@lru_cache(SECTIONS)
def _keys(kind: type) -> Mapping[str, Any]:
    if issubclass(kind, BaseModel):
        return {name: field.annotation for name, field in kind.model_fields.items()}
    if dataclasses.is_dataclass(kind):
        hints = get_type_hints(kind)
        return {field.name: hints[field.name] for field in dataclasses.fields(kind)}
    return {}


def _split_lists(kind: Any, section: object) -> object:
    """The lists in a module's own section, where only strings could be written; sections of ours say so themselves."""
    if not dataclasses.is_dataclass(kind) or not isinstance(section, Mapping):
        return section
    known = keys(kind)
    return {name: _split(value) if get_origin(known[name]) is tuple else value for name, value in section.items()}


def _unknown(kind: Any, data: object, place: str = "") -> Iterator[str]:
    known = keys(kind)
    if not known or not isinstance(data, Mapping):
        return
    for name, value in data.items():
        if name not in known:
            told = [f"{leaf}: {why}" for leaf in foreign.leaves({name: value}, place) if (why := foreign.why_not(leaf))]
            yield from told or [f"{place}{name}: unknown setting{_nearest(str(name), known)}"]
        else:
            yield from _unknown(known[name], value, f"{place}{name}.")


def _negative(section: Any, place: str = "") -> Iterator[str]:
    """No setting of ours means anything below zero, whether or not its module says so."""
    for name in keys(type(section)):
        value = getattr(section, name)
        if isinstance(value, int | float) and value < 0:
            yield f"{place}{name}: must not be negative"
        yield from _negative(value, f"{place}{name}.")


def _nearest(name: str, known: Any) -> str:
    near = difflib.get_close_matches(name, list(known), n=1)
    return f" (is {near[0]} meant?)" if near else f" (known: {', '.join(sorted(known))})"


def _key(variable: str) -> str:
    """What one of our variables sets."""
    return variable.removeprefix(PREFIX).lower().replace("__", ".")


def _whose(detail: Any) -> str:
    """The variable of somebody else's that may have set it, for who does not know that we read it."""
    name = foreign.variable_of(".".join(str(part) for part in detail["loc"][:2]), os.environ)
    return f" ({name})" if name else ""


def _line(detail: Any) -> str:
    place = ".".join(str(part) for part in detail["loc"])
    message = detail["msg"].removeprefix("Value error, ")
    return f"{place}: {message[0].lower()}{message[1:]}" if place else message
