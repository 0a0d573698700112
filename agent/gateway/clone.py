"""A voice taken from a recording that came with a request."""

from __future__ import annotations

import asyncio
import base64
import binascii
import io
from dataclasses import replace

import av

from agent.gateway.errors import Refused
from agent.gateway.slots import Slots
from agent.gateway.speech import RELOAD, Plan
from agent.gateway.wanted import Wanted
from agent.node import Node
from engines.base import BadReference, EngineError
from pipeline.chain import primary

FIELD = "voice_clone_reference"
SHORTEST, LONGEST = 3.0, 10.0  # seconds of a reference
MOST_BYTES = 6 << 20  # of its file: 10 s of stereo at 96 kHz and 24 bit
MAGIC = {b"RIFF": "wav", b"fLaC": "flac", b"OggS": "ogg", b"ID3": "mp3", b"\xff\xfb": "mp3", b"\xff\xf3": "mp3", b"\xff\xf2": "mp3"}
TAKING = 60.0  # seconds that an engine may need for a voice where the caller names none: a slow processor takes a few
LOOK = 50  # frames that are decoded before the loop gets its turn


async def take_voice(node: Node, slots: Slots, wanted: Wanted, plan: Plan) -> Plan:
    """The same plan in the voice of the recording that came with it, taken by the first engine that can. Raises :exc:`Refused`.

    Nobody else speaks then. Where no engine takes it, whoever was planned does, if the caller allows that.
    """
    if not wanted.reference:
        return plan
    recording = decode(wanted.reference)
    seconds = await length_of(recording)
    if not SHORTEST <= seconds <= LONGEST:
        words = f"{FIELD}: {seconds:.1f} s of sound; {SHORTEST:g} to {LONGEST:g} s are needed"
        raise Refused("clone_reference_length", words, 422, field=FIELD)
    why, limit = "no engine here takes a voice from a request", wanted.timeout or TAKING
    for engine in _able(node, wanted, plan):
        try:
            async with slots.one(), asyncio.timeout(limit):
                voice = await node.studio.clone(engine, recording, plan.language)
        except TimeoutError:
            raise Refused("timeout", f"{FIELD}: its voice was not taken within {limit:g} s", 504, field=FIELD) from None
        except BadReference as error:
            raise Refused("bad_audio", f"{FIELD}: {error}", 422, field=FIELD) from error
        except EngineError as error:
            why = str(error)
            continue
        return replace(plan, config=plan.config.model_copy(update={"voice": voice.id, "engine": engine, "strict_engine": True}))
    if not wanted.may_fall_back:
        words = f"{FIELD}: {why}; `allow_voice_fallback` lets another voice speak"
        raise Refused("clone_unavailable", words, 503, field=FIELD, retry_after=RELOAD)
    return replace(plan, warnings=(*plan.warnings, f"{FIELD}: {why}; another voice speaks"))


def _able(node: Node, wanted: Wanted, plan: Plan) -> list[str]:
    """Engines that may take it, the one asked for first."""
    spoken = {name: {primary(voice.language) for voice in voices} for name, voices in node.studio.offers.items()}
    names = [name for name in node.studio.cloning if primary(plan.language) in spoken[name]]
    if wanted.is_strict and plan.config.engine:
        return [name for name in names if name == plan.config.engine]
    return sorted(names, key=lambda name: name != plan.config.engine)


def decode(reference: str) -> bytes:
    """The file behind base64, with or without a data URL before it. Raises :exc:`Refused`."""
    content = reference.partition(",")[2] if reference.startswith("data:") else reference
    if len(content) > MOST_BYTES * 4 // 3 + 4:
        words = f"{FIELD}: a reference has at most {MOST_BYTES} bytes"
        raise Refused("clone_reference_too_large", words, 413, field=FIELD)
    try:
        return base64.b64decode("".join(content.split()), validate=True)
    except (binascii.Error, ValueError) as error:
        words = f"{FIELD}: not base64: {error}"
        raise Refused("bad_base64", words, 422, field=FIELD) from None


async def length_of(file: bytes) -> float:
    """Seconds of sound in a wav, flac, ogg or mp3 file; what is longer than it may be is not read on. Raises :exc:`Refused`."""
    seconds = 0.0
    refused = Refused("bad_audio", f"{FIELD}: no sound that can be read; wav, flac, ogg and mp3 are", 422, field=FIELD)
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
