"""What the four dialects have in common, and how a client says which one it speaks."""

from __future__ import annotations

import base64
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

from agent.gateway.errors import Refused
from agent.gateway.settings import AudioSettings, LimitSettings, StreamSettings, WsSettings
from agent.gateway.socket.orders import BINARY, NOT_TEXT, Close, Order, Refuse, Send
from agent.gateway.socket.wishes import Settle, read_object
from agent.gateway.speech import Plan
from pipeline.events import Event
from pipeline.playout import Sound
from pipeline.protocol import TEXT_CHARACTERS, ProtocolError, Text
from pipeline.speaker import Caption, TrackKey

NATIVE, ONESHOT, INCREMENTAL, SPEAK = "native", "oneshot", "incremental", "speak"
PREFIX = "voicebooth."  # of a subprotocol that names a dialect
KEYS = ("token", "bearer")  # subprotocols behind which a browser puts its key, for it can set no header
SPEAKING = ("Speak", "Flush", "Clear", "Close")


@dataclass(frozen=True, slots=True)
class Terms:
    """What a dialect is told of the node."""

    rate: int
    """Hertz of the samples that the stage gives."""
    settle: Settle
    fresh: Callable[[], str]
    """A new id."""
    node: str = "voicebooth"
    version: str = "0"
    query: Mapping[str, str] = field(default_factory=dict)
    ws: WsSettings = field(default_factory=WsSettings)
    limits: LimitSettings = field(default_factory=LimitSettings)
    stream: StreamSettings = field(default_factory=StreamSettings)
    audio: AudioSettings = field(default_factory=AudioSettings)
    request_id: str = ""
    """Of the upgrade; empty where nobody has named it."""

    @property
    def text_characters(self) -> int:
        return min(self.limits.text_chars, TEXT_CHARACTERS)


def named(subprotocols: Sequence[str], query: Mapping[str, str]) -> str | None:
    """The dialect that the upgrade names; None: the first message tells. Raises :exc:`Refused` for one that nobody here speaks."""
    offered = [name.removeprefix(PREFIX) for name in subprotocols if name.startswith(PREFIX)]
    known = next((name for name in offered if name in (NATIVE, ONESHOT, INCREMENTAL, SPEAK)), None)
    if known is not None:
        return known
    asked = query.get("dialect")
    if asked is not None and asked not in (NATIVE, ONESHOT, INCREMENTAL, SPEAK):
        raise Refused("bad_field", "dialect is one of native, oneshot, incremental, speak", 422, field="dialect")
    return asked


def answer(subprotocols: Sequence[str]) -> str | None:
    """The subprotocol that is accepted: never the key."""
    ours = [name for name in subprotocols if name.startswith(PREFIX) and name.removeprefix(PREFIX) in (NATIVE, ONESHOT, INCREMENTAL, SPEAK)]
    return next(iter([*ours, *(name for name in subprotocols if name in KEYS)]), None)


def spoken_in(first: Mapping[str, Any]) -> str:
    """The dialect of a first message."""
    if first.get("type") in SPEAKING:
        return SPEAK
    text = first.get("text")
    return ONESHOT if isinstance(text, str) and text else INCREMENTAL


def to_base64(sound: bytes) -> str:
    return base64.b64encode(sound).decode("ascii")


class Dialect(ABC):
    """One client's language: turns its messages into orders, and what the stage tells into its messages. Pure: no socket, no clock.

    Every message is answered, if by an error in the dialect's own shape; a :exc:`Refused` in here becomes one.
    """

    name: ClassVar[str]
    keepalive: ClassVar[dict[str, Any] | None] = None
    """What is sent every few seconds; None: WebSocket's own pings are enough."""

    def __init__(self, terms: Terms) -> None:
        self._terms = terms

    def on_open(self, now: float) -> list[Order]:
        """The connection is there, and speaks this dialect."""
        try:
            return self._begin(now)
        except Refused as refused:
            return self.refuse(refused)

    def on_text(self, raw: str, now: float) -> list[Order]:
        try:
            return self._take(read_object(raw), now)
        except Refused as refused:
            return self.refuse(refused)

    def on_binary(self) -> list[Order]:
        refused = Refused("binary_input", "messages are text; binary ones are not understood", 400)
        return [Send(self.error(refused, is_last=True)), Close(BINARY, refused.message)]

    def refuse(self, refused: Refused) -> list[Order]:
        """What a message is answered with that cannot be taken."""
        if refused.code == "bad_json":
            return [Send(self.error(refused, is_last=True)), Close(NOT_TEXT, "not JSON")]
        return [Send(self.error(refused, is_last=False))]

    def on_refused(self, text: Text, refused: Refused) -> list[Order]:
        """A text that was taken is not said: for now its client has had enough. What is being said goes on."""
        return [Refuse(ProtocolError(refused.code, refused.message, stream=text.stream, seq=text.seq, field=refused.field))]

    @property
    @abstractmethod
    def encoding(self) -> str:
        """What sound is sent as now; empty while nobody has said."""

    @abstractmethod
    def error(self, refused: Refused, *, is_last: bool) -> dict[str, Any]:
        """An error in this dialect's shape. ``is_last``: the connection ends with it."""

    def _begin(self, now: float) -> list[Order]:
        return []

    @abstractmethod
    def _take(self, message: dict[str, Any], now: float) -> list[Order]:
        """Raises :exc:`Refused`."""

    @abstractmethod
    def on_event(self, event: Event, now: float) -> list[Order]:
        """What the stage tells."""

    @abstractmethod
    def on_sound(self, track: TrackKey, sound: Sound) -> list[Order]:
        """A piece of one sentence."""

    def on_voice(self, found: Plan | Refused) -> list[Order]:
        """What has become of a :class:`TakeVoice`."""
        return []

    def timer(self) -> float | None:
        """When :meth:`on_timer` has something to do, in seconds of the loop's clock."""
        return None

    def on_timer(self, now: float) -> list[Order]:
        return []

    def on_caption(self, caption: Caption) -> list[Order]:
        """Words begin to sound: those of the piece that follows."""
        return []


UNDECIDED_ERROR = {"type": "error", "is_final": True, "recoverable": False}


def undecided_error(refused: Refused) -> dict[str, Any]:
    """An error for a client that has not said yet how it speaks: what both dialects with an `error` look for is in it."""
    named = {} if refused.field is None else {"field": refused.field}
    return {**UNDECIDED_ERROR, "message": refused.message, "code": refused.code, **named}
