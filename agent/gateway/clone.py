"""A voice taken from a recording that came with a request."""

from __future__ import annotations

import asyncio
import base64
import binascii
import io
from dataclasses import replace

import av

from agent.gateway.errors import Refused
from agent.gateway.wanted import Wanted
from agent.node import Node

SHORTEST, LONGEST = 3.0, 10.0  # seconds of a reference
MOST_BYTES = 6 << 20  # of its file: 10 s of stereo at 96 kHz and 24 bit
MAGIC = {b"RIFF": "wav", b"fLaC": "flac", b"OggS": "ogg", b"ID3": "mp3", b"\xff\xfb": "mp3", b"\xff\xf3": "mp3", b"\xff\xf2": "mp3"}
LOOK = 50  # frames that are decoded before the loop gets its turn


async def reference_of(node: Node, wanted: Wanted) -> Wanted:
    """The same wish, once its recording has been judged. Raises :exc:`Refused`."""
    if not wanted.reference:
        return wanted
    seconds = await length_of(decode(wanted.reference))
    if not SHORTEST <= seconds <= LONGEST:
        words = f"voice_clone_reference: {seconds:.1f} s of sound; {SHORTEST:g} to {LONGEST:g} s are needed"
        raise Refused("clone_reference_length", words, 422, field="voice_clone_reference")
    if not wanted.may_fall_back:
        words = "voice_clone_reference: no engine here takes a voice from a request; `allow_voice_fallback` lets another voice speak"
        raise Refused("clone_unavailable", words, 503, field="voice_clone_reference")
    return replace(wanted, warnings=(*wanted.warnings, "voice_clone_reference: no engine here can take its voice; another one speaks"))


def decode(reference: str) -> bytes:
    """The file behind base64, with or without a data URL before it. Raises :exc:`Refused`."""
    content = reference.partition(",")[2] if reference.startswith("data:") else reference
    if len(content) > MOST_BYTES * 4 // 3 + 4:
        words = f"voice_clone_reference: a reference has at most {MOST_BYTES} bytes"
        raise Refused("clone_reference_too_large", words, 413, field="voice_clone_reference")
    try:
        return base64.b64decode("".join(content.split()), validate=True)
    except (binascii.Error, ValueError) as error:
        words = f"voice_clone_reference: not base64: {error}"
        raise Refused("bad_base64", words, 422, field="voice_clone_reference") from None


async def length_of(file: bytes) -> float:
    """Seconds of sound in a wav, flac, ogg or mp3 file; what is longer than it may be is not read on. Raises :exc:`Refused`."""
    seconds = 0.0
    refused = Refused(
        "bad_audio", "voice_clone_reference: no sound that can be read; wav, flac, ogg and mp3 are", 422, field="voice_clone_reference"
    )
    if not _kind(file):
        raise refused
    try:
        with av.open(io.BytesIO(file), "r", format=_kind(file), metadata_errors="ignore") as container:
            for number, frame in enumerate(container.decode(audio=0)):
                seconds += frame.samples / frame.sample_rate
                if seconds > 2 * LONGEST:
                    break
                if number % LOOK == LOOK - 1:
                    await asyncio.sleep(0)
    except (av.error.FFmpegError, IndexError, ValueError, ZeroDivisionError) as error:
        raise refused from error
    return seconds


def _kind(file: bytes) -> str:
    """By its first bytes. Nothing else is opened: there are formats that are lists of other files, and of addresses."""
    return next((kind for magic, kind in MAGIC.items() if file.startswith(magic)), "")
