"""Where spoken text goes when no room is named: a WAV file, or the loudspeaker of this machine."""

from __future__ import annotations

import asyncio
import shutil
import wave
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, Protocol

from engines.base import Samples

PLAYERS: dict[str, Callable[[int], list[str]]] = {
    "aplay": lambda rate: ["-q", "-t", "raw", "-f", "S16_LE", "-c", "1", "-r", str(rate)],
    "paplay": lambda rate: ["--raw", "--format=s16le", "--channels=1", f"--rate={rate}"],
    "play": lambda rate: ["-q", "-t", "raw", "-e", "signed", "-b", "16", "-c", "1", "-r", str(rate), "-"],
    "ffplay": lambda rate: ["-nodisp", "-autoexit", "-loglevel", "error", "-f", "s16le", "-ar", str(rate), "-i", "-"],
}
"""Programs that play int16 mono from their standard input, with what they want to be told."""
LATENCY = 0.1  # seconds that a sound card may buffer: less than anybody notices in a command
LOOK = 0.01  # seconds between two looks at the room left in the card's buffer
GONE_WAIT = 2.0  # seconds for a player to end once it has been told to


class NoLoudspeaker(Exception):
    """Nothing here can play sound; ``str()`` says what could."""


class Ear(Protocol):
    """Takes sound as it is made."""

    async def write(self, samples: Samples) -> None:
        """Returns when it may be given more."""

    async def finish(self) -> None:
        """Returns when all of it has been heard, or is on the disk."""

    async def abort(self) -> None:
        """Ends it at once; what is unheard stays unheard. After :meth:`finish` it does nothing."""


class WavFile:
    """A WAV file that grows as the sound comes; what there is of it can be played at any time after ``finish`` or ``abort``."""

    def __init__(self, path: Path, rate: int) -> None:
        """Raises :exc:`OSError`."""
        self._raw = path.open("wb")
        self._file = wave.open(self._raw, "wb")
        self._file.setnchannels(1)
        self._file.setsampwidth(2)
        self._file.setframerate(rate)

    async def write(self, samples: Samples) -> None:
        self._file.writeframes(samples.tobytes())

    async def finish(self) -> None:
        self._file.close()
        self._raw.close()

    async def abort(self) -> None:
        await self.finish()


class Player:
    """A program that plays what it reads; its pipe is the pace."""

    def __init__(self, process: asyncio.subprocess.Process, name: str) -> None:
        assert process.stdin
        self._process, self._name, self._pipe = process, name, process.stdin

    @classmethod
    async def open(cls, rate: int) -> Player:
        """Raises :exc:`NoLoudspeaker`."""
        for name, arguments in PLAYERS.items():
            if program := shutil.which(name):
                process = await asyncio.create_subprocess_exec(
                    program, *arguments(rate), stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.DEVNULL
                )
                return cls(process, name)
        raise NoLoudspeaker("nothing here can play sound: install alsa-utils (aplay) or sounddevice, or name a file with --wav")

    async def write(self, samples: Samples) -> None:
        try:
            self._pipe.write(samples.tobytes())
            await self._pipe.drain()
        except ConnectionError:
            raise NoLoudspeaker(f"{self._name} has ended; is there a sound card? A file can be named with --wav") from None

    async def finish(self) -> None:
        self._pipe.close()
        if await self._process.wait():
            raise NoLoudspeaker(f"{self._name} could not play it; is there a sound card? A file can be named with --wav")

    async def abort(self) -> None:
        self._pipe.close()
        if self._process.returncode is None:
            with suppress(ProcessLookupError):
                self._process.terminate()
            async with asyncio.timeout(GONE_WAIT):
                await self._process.wait()


class SoundCard:
    """The default output, by the library ``sounddevice``."""

    def __init__(self, stream: Any, rate: int) -> None:
        self._stream, self._rate = stream, rate

    @classmethod
    def open(cls, rate: int) -> SoundCard | None:
        """None where the library, PortAudio or an output is missing."""
        try:
            import sounddevice as library
        except (ImportError, OSError):
            return None
        try:
            sounddevice: Any = library  # it carries no types
            stream = sounddevice.RawOutputStream(samplerate=rate, channels=1, dtype="int16", latency=LATENCY)
            stream.start()
        except (library.PortAudioError, ValueError):
            return None
        return cls(stream, rate)

    async def write(self, samples: Samples) -> None:
        while len(samples):
            room = self._stream.write_available
            if room:
                self._stream.write(samples[:room].tobytes())
                samples = samples[room:]
            else:
                await asyncio.sleep(LOOK)

    async def finish(self) -> None:
        await asyncio.sleep(self._stream.latency)
        self._stream.stop()
        self._stream.close()

    async def abort(self) -> None:
        if not self._stream.closed:
            self._stream.abort()
            self._stream.close()


async def loudspeaker(rate: int) -> Ear:
    """What plays sound here. Raises :exc:`NoLoudspeaker`."""
    return SoundCard.open(rate) or await Player.open(rate)
