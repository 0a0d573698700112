"""What can be set about the doors that people and programs call: where they listen, and how much one of them may ask."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Literal

from pydantic import Field

Rate = Literal[8_000, 16_000, 22_050, 24_000, 32_000, 44_100, 48_000]
Format = Literal["wav", "mp3", "ogg", "opus", "flac", "aac", "pcm"]
Port = Annotated[int, Field(ge=0, le=65535)]


@dataclass(frozen=True, slots=True)
class ServerSettings:
    """Where the node listens."""

    host: Annotated[str, Field(min_length=1)] = "127.0.0.1"
    """Address to listen at. The default is heard by this machine alone."""
    ports: tuple[Port, ...] = (8003,)
    """Ports for HTTP and WebSocket, the same on each; 0 takes a free one. Empty: no such door is opened."""
    default_shape: Literal["bytes", "json"] = "bytes"
    """What ``/synthesize`` answers with when nothing in a request says it."""


@dataclass(frozen=True, slots=True)
class LimitSettings:
    """How much one caller, and all of them, may ask."""

    text_chars: Annotated[int, Field(ge=1, le=100_000)] = 5_000
    """Characters of text in one request."""
    description_chars: Annotated[int, Field(ge=1, le=5_000)] = 500
    """Characters of a voice's description."""
    batch_items: Annotated[int, Field(ge=1, le=10_000)] = 64
    """Texts in one batch."""
    body_bytes: Annotated[int, Field(ge=1_024, le=1 << 30)] = 8 << 20
    """Bytes of a request's body."""
    body_wait_s: Annotated[float, Field(gt=0, le=3_600)] = 30.0
    """Seconds within which a request has to have arrived, its body included."""
    concurrent_requests: Annotated[int, Field(ge=1, le=10_000)] = 50
    """Requests for speech that are answered at once."""
    queue_wait_s: Annotated[float, Field(ge=0, le=60)] = 2.0
    """Seconds for which a request beyond these waits for its turn."""
    sessions: Annotated[int, Field(ge=1, le=10_000)] = 250
    """WebSocket sessions at once, those included whose client may still come back."""


@dataclass(frozen=True, slots=True)
class AudioSettings:
    """What sound is like where a request does not say it."""

    sample_rate: Rate = 24_000
    """Hertz."""
    format: Format = "wav"
    """What it is encoded as; the OpenAI routes have their own, mp3."""
    normalize: bool = True
    """Whether whole replies are brought to ``loudness``. Streams are as loud as the node's voices are: -21 dBFS."""
    loudness: Annotated[float, Field(ge=10, le=40)] = 18.0
    """How far below full scale a whole reply is, in LU: 18 is -18 LUFS (EBU R 128)."""
    trim_silence: bool = True
    """Whether whole replies lose the silence at their ends."""
    compression: bool = False
    """Whether quiet parts are made louder."""


@dataclass(frozen=True, slots=True)
class CanarySettings:
    """The sentence by which the node knows that it can speak."""

    text: Annotated[str, Field(max_length=500)] = ""
    """What it says to itself. Empty: a short sentence in its first language."""
    interval_s: Annotated[float, Field(ge=5, le=3_600)] = 30.0
    """Seconds between two."""


@dataclass(frozen=True, slots=True)
class StreamSettings:
    """How sound is sent while it is made."""

    chunk_bytes: Annotated[int, Field(ge=256, le=65_536)] = 4_096
    """Bytes in one piece, at the most."""
    stall_s: Annotated[float, Field(ge=1, le=3_600)] = 30.0
    """Seconds for which a client may leave unread what it was sent, before the connection is cut."""


@dataclass(frozen=True, slots=True)
class WsSettings:
    """How long a WebSocket may be silent, and what waits for it."""

    keepalive_s: Annotated[float, Field(ge=1, le=60)] = 5.0
    """Seconds between two signs of life."""
    first_message_s: Annotated[float, Field(ge=1, le=3_600)] = 10.0
    """Seconds within which its first message has to come."""
    idle_s: Annotated[float, Field(ge=1, le=3_600)] = 300.0
    """Seconds without text after which it is closed."""
    stall_s: Annotated[float, Field(ge=1, le=3_600)] = 30.0
    """Seconds for which a client may leave unread what it was sent."""
    max_queued: Annotated[int, Field(ge=1, le=1_000)] = 16
    """Utterances that wait for their turn in a dialect that answers in order."""
    send_queue_bytes: Annotated[int, Field(ge=4_096, le=1 << 28)] = 1 << 20
    """Bytes that wait for a client to read them; more are not made."""
    message_bytes: Annotated[int, Field(ge=1_024, le=1 << 28)] = 4 << 20
    """Bytes of a message."""
    resume_s: Annotated[float, Field(ge=0, le=3_600)] = 60.0
    """Seconds for which a session whose connection was lost waits for its client."""


@dataclass(frozen=True, slots=True)
class SecuritySettings:
    """Who gets in."""

    open: bool = False
    """Whether everybody may come in from everywhere without a key."""
    cors_origins: tuple[str, ...] = field(default=())
    """Origins whose pages may call this node from a browser; ``*`` for all."""
