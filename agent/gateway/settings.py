"""What can be set about the doors that people and programs call: where they listen, and how much one of them may ask."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, BeforeValidator, Field

from agent.content import Mode


def _net(value: str) -> str:
    """An address or a network, ``10.0.0.0/8``."""
    ipaddress.ip_network(value)  # a ValueError, which names it
    return value


def _number(value: object) -> object:
    """One of few numbers may be written as a word, where only words can be written."""
    return int(value) if isinstance(value, str) and value.isascii() and value.isdigit() else value


PRIVATE = ("127.0.0.0/8", "::1/128", "10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "fc00::/7")
"""This machine, and nets that no router passes on."""
Net = Annotated[str, AfterValidator(_net)]
Rate = Literal[8_000, 16_000, 22_050, 24_000, 32_000, 44_100, 48_000]
Format = Literal["wav", "mp3", "ogg", "opus", "flac", "aac", "pcm"]
Port = Annotated[int, Field(ge=0, le=65535)]
IceServer = Annotated[str, Field(pattern=r"^(stun:[^?\s<>\"]+|turns?:[^?\s<>\"]+(\?transport=(udp|tcp))?)$")]


@dataclass(frozen=True, slots=True)
class ServerSettings:
    """Where the node listens."""

    host: Annotated[str, Field(min_length=1)] = "127.0.0.1"
    """Address to listen at. The default is heard by this machine alone."""
    ports: tuple[Port, ...] = (8003,)
    """Ports for HTTP and WebSocket, the same on each; 0 takes a free one. ``none``: no such door is opened."""
    default_shape: Literal["bytes", "json"] = "bytes"
    """What ``/synthesize`` answers with when nothing in a request says it."""


@dataclass(frozen=True, slots=True)
class LimitSettings:
    """How much one caller, and all of them, may ask."""

    text_chars: Annotated[int, Field(ge=1, le=100_000)] = 5_000
    """Characters of text in one request, or in one message of a session (there at most 5 000)."""
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
    requests_per_minute: Annotated[int, Field(ge=0, le=1_000_000)] = 60
    """Requests for speech that one caller may make in a minute over HTTP; 0 for any number. Programs on this machine that need no key may
    make any number."""
    concurrent_per_caller: Annotated[int, Field(ge=0, le=10_000)] = 16
    """Requests for speech of one caller that are answered at once, likewise."""
    audio_seconds_per_minute: Annotated[int, Field(ge=0, le=1_000_000)] = 120
    """Seconds of speech that one caller's sessions may have in a minute, likewise."""
    session_s: Annotated[float, Field(ge=0, le=31_536_000)] = 86_400.0
    """Seconds that one session may last; 0 for any time."""
    queue_wait_s: Annotated[float, Field(ge=0, le=60)] = 2.0
    """Seconds for which a request beyond these waits for its turn."""
    sessions: Annotated[int, Field(ge=1, le=10_000)] = 250
    """WebSocket sessions and browsers without a server between, together, at once; those included whose client may still come back."""


@dataclass(frozen=True, slots=True)
class AudioSettings:
    """What sound is like where a request does not say it."""

    sample_rate: Annotated[Rate, BeforeValidator(_number)] = 24_000
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
    mos: bool = False
    """Whether DNSMOS marks what it said well, while nobody else speaks. Wants the extra ``mos``."""


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
class PeerSettings:
    """How browsers connect without a server between."""

    ice_servers: tuple[IceServer, ...] = ()
    """One STUN and one TURN server, for the node and for browsers: ``stun:host:port``, ``turn:host:port?transport=udp``, ``turns:host``."""
    ice_username: str = ""
    """Who the node is at the TURN server."""
    ice_credential: str = field(default="", repr=False)
    """The password that belongs to it; browsers that are let in are told it, too."""
    connect_wait: Annotated[float, Field(ge=1, le=300)] = 20.0
    """Seconds from the answer until a browser must have connected."""
    idle: Annotated[float, Field(ge=1, le=86_400)] = 300.0
    """Seconds without text, and without speech, after which a browser is let go; ``ping`` is no text."""


@dataclass(frozen=True, slots=True)
class SecuritySettings:
    """Who gets in."""

    open: bool = False
    """Whether everybody may come in from everywhere without a key."""
    keys: tuple[str, ...] = field(default=(), repr=False)
    """Keys that let their callers speak, beside those that ``voicebooth keys`` keeps. As soon as there is a key, everybody needs one."""
    admin_keys: tuple[str, ...] = field(default=(), repr=False)
    """Keys that let their callers change the node, too."""
    keys_file: Path | None = None
    """The file of ``voicebooth keys``. Empty: ``keys.json`` in this user's folder of settings."""
    admin_from: tuple[Net, ...] = PRIVATE
    """Networks from which the node may be changed without a key, as long as there is no admin key."""
    trusted_proxies: tuple[Net, ...] = ()
    """Networks of proxies whose ``X-Forwarded-For`` is believed."""
    cors_origins: tuple[str, ...] = ()
    """Origins whose pages may call this node from a browser, ``https://example.org``; ``*`` for all."""
    content_filter: Mode = "off"
    """``mask``: words that may not be said leave a pause. ``reject``: sentences that hold one are not said, and HTTP answers 422."""
    content_words: tuple[str, ...] = ()
    """Words and phrases that may not be said, in any case."""
    content_hook: str = ""
    """A filter of one's own, by its name in the entry point group ``voicebooth.filters``."""
