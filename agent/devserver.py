"""A LiveKit server of one's own: found or built, started on this machine only, stopped in order."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
import random
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self

import yaml

from agent.config import cache_folder, child_environment

MODULE = "github.com/livekit/livekit-server/cmd/server@v1.13.5"
_PAGE = Path(__file__).parent.parent / "livekit.yaml"
CONFIG = _PAGE if _PAGE.exists() else None  # an installed package has none: LiveKit's own defaults are the same
DEV_PORTS = (7880, 7881)  # signalling and media over TCP, as in livekit.yaml
DEV_UDP_PORT = 7882  # media over UDP, as there
BUILD_WAIT = 900.0  # seconds: two minutes on two cores, and a slow network before them
FETCHES_ITSELF = 21  # Go 1.21 is the first that fetches the toolchain a module asks for; Debian 12 has 1.19
VERSION_WAIT = 10.0  # seconds for Go to name its version: it takes 10 ms
READY_WAIT = 15.0  # seconds: it takes 50 ms on an idle machine
PROBE_WAIT = 1.0  # seconds for one answer to "are you there"
PROBE_PAUSE = 0.02  # seconds between two of those questions
INSIST_AFTER = 0.2  # seconds: with people in a room the first SIGTERM waits for them, the second does not
STOP_WAIT = 1.5  # seconds from the first SIGTERM to SIGKILL; Ctrl-C promises an end within 2
PORTS = range(20_000, 32_000)  # to choose from: below those that systems give to outgoing connections, one of which may come between
ATTEMPTS = 3  # a port that was free a moment ago may have been taken
REMEDY = (
    "install it (https://docs.livekit.io/home/self-hosting/local/ names a command for each system), "
    "or install Go 1.21 or newer so that it can be built, or name a running one: with LIVEKIT_URL for the node, with --url for the bench"
)


class ServerMissing(Exception):
    """There is no LiveKit server here and none can be made; ``str()`` says what mends that."""


class ServerFailed(Exception):
    """The server did not come up; ``str()`` holds its last words."""


def find_server(tell: Callable[[str], None] = lambda line: None) -> Path:
    """The program ``livekit-server``: from PATH, from this user's cache, or built into the cache with Go.

    Blocks, for minutes when it builds; ``tell`` hears a line before that. Raises :exc:`ServerMissing`.
    """
    return locate() or _build(_cached(), tell)


def locate() -> Path | None:
    """The program that is there already, from PATH or from this user's cache."""
    found = shutil.which("livekit-server") or shutil.which(_cached())
    return Path(found) if found else None


def can_build() -> bool:
    """Whether Go is here to build it with."""
    return shutil.which("go") is not None


class DevServer:
    """One LiveKit server process, reachable from this machine only; its keys are ``devkey`` and ``secret``.

    1. ``start`` returns when it answers, or raises :exc:`ServerFailed`.
    2. ``stop`` ends it within 1.5 seconds, whoever is still in a room. ``kill`` ends it as a crash would.
    3. ``restart``, and ``start`` after ``stop`` or ``kill``, keep the ports.
    4. On Linux it ends with the thread that started it, so that a process that is killed leaves none behind.
    """

    api_key = "devkey"
    api_secret = "secret"

    def __init__(self, binary: Path, *, port: int = 0, config: Path | None = CONFIG, log: Path | None = None) -> None:
        """``port`` 0 takes free ports for everything; otherwise the media ports are those of ``config``. ``log`` is appended to."""
        self._binary = binary
        self._any_port = port == 0
        self._port = port
        self._media_ports = (0, 0)
        self._config = config
        self._log = log
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"ws://127.0.0.1:{self._port}"

    @property
    def pid(self) -> int | None:
        """Its process, while it runs."""
        return self._process.pid if self.is_running and self._process else None

    @property
    def is_running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    async def start(self) -> None:
        """Cancelling it ends the process."""
        attempts = ATTEMPTS if self._any_port and not self._port else 1
        for attempt in range(1, attempts + 1):
            if attempt > 1 or not self._port:
                self._port, *media = free_ports(3)
                self._media_ports = (media[0], media[1])
            with self._open_log() as output:
                if not is_free(self._port):
                    if attempt == attempts:
                        raise ServerFailed(f"port {self._port} is in use already; LIVEKIT_URL can name the server that has it")
                    continue
                self._spawn(output)
                try:
                    await self._answer()
                    return
                except TimeoutError:
                    self.kill()
                    raise ServerFailed(f"the LiveKit server did not answer on {self.url} within {READY_WAIT:.0f} s") from None
                except ServerFailed:
                    words = _last_words(output)
                    if attempt == attempts:
                        raise ServerFailed(f"the LiveKit server did not start on {self.url}: {words}") from None
                except asyncio.CancelledError:
                    self.kill()
                    raise

    async def stop(self) -> None:
        """Does nothing when it is not running. Cancelling it kills the process."""
        if not self.is_running or not self._process:
            return
        try:
            async with asyncio.timeout(STOP_WAIT):
                self._process.send_signal(signal.SIGTERM)
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(INSIST_AFTER):
                        await self._ended()
                self._process.send_signal(signal.SIGTERM)
                await self._ended()
        except TimeoutError:
            pass
        finally:
            self.kill()

    async def restart(self) -> None:
        await self.stop()
        await self.start()

    def kill(self) -> None:
        """Ends it at once, as a crash would: its clients hear nothing."""
        if self._process:
            self._process.kill()
            self._process.wait(PROBE_WAIT)

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        await self.stop()

    def settings(self) -> dict[str, Any]:
        """What the server is started with: ``config`` with our ports, and this machine only, whatever it says."""
        settings: dict[str, Any] = yaml.safe_load(self._config.read_text(encoding="utf-8")) if self._config else {}
        rtc = settings.setdefault("rtc", {})
        settings |= {"port": self._port, "bind_addresses": ["127.0.0.1"], "development": True, "keys": {self.api_key: self.api_secret}}
        rtc |= {"node_ip": "127.0.0.1", "use_external_ip": False, "enable_loopback_candidate": True, "ips": {"includes": ["127.0.0.1/32"]}}
        if self._media_ports[0]:
            rtc["tcp_port"], rtc["udp_port"] = self._media_ports
        return settings

    def _spawn(self, output: IO[bytes]) -> None:
        # An environment of its own: variables such as UDP_PORT or LIVEKIT_KEYS would overrule the settings.
        # A session of its own: Ctrl-C in the terminal is for us, who end it in order.
        # And it shall not outlive us, should we be killed; util-linux has the program for that, other systems do without.
        leash = shutil.which("setpriv")
        self._process = subprocess.Popen(
            [leash, "--pdeathsig", "KILL", self._binary] if leash else [self._binary],
            env={"LIVEKIT_CONFIG": yaml.safe_dump(self.settings())},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )

    def _open_log(self) -> IO[bytes]:
        if self._log is None:
            return tempfile.TemporaryFile()  # it has no name: what the server writes into it is gone with the server
        self._log.parent.mkdir(parents=True, exist_ok=True)
        return self._log.open("ab+")

    async def _answer(self) -> None:
        async with asyncio.timeout(READY_WAIT):
            while not await is_answering("127.0.0.1", self._port):
                if not self.is_running:
                    raise ServerFailed
                await asyncio.sleep(PROBE_PAUSE)
            if not self.is_running:  # somebody else took that port just now, and answers
                raise ServerFailed

    async def _ended(self) -> None:
        while self.is_running:  # noqa: ASYNC110  an asyncio subprocess could be awaited, but only on the loop that started it
            await asyncio.sleep(PROBE_PAUSE)


async def is_answering(host: str, port: int) -> bool:
    """Whether a LiveKit server (or another HTTP server that is well) answers there within a second."""
    try:
        async with asyncio.timeout(PROBE_WAIT):
            reader, writer = await asyncio.open_connection(host, port)
            try:
                writer.write(f"GET / HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode())
                return b" 200 " in await reader.readline()
            finally:
                writer.close()
    except (OSError, TimeoutError, ValueError):
        return False


def free_ports(count: int) -> list[int]:
    """Ports of 127.0.0.1 that are free for TCP and UDP alike; they stay free only until somebody takes them.

    Raises :exc:`ServerFailed` when there are not as many.
    """
    likely = random.SystemRandom().sample(PORTS, len(PORTS))
    ports = list(itertools.islice((port for port in likely if is_free(port) and is_udp_free(port)), count))
    if len(ports) < count:
        raise ServerFailed(f"of the ports from {PORTS.start} to {PORTS.stop - 1}, {len(ports)} are free: {count} are needed")
    return ports


def is_free(port: int) -> bool:
    """Whether a server could listen on that port of this machine."""
    try:
        with socket.create_server(("127.0.0.1", port)):
            return True
    except OSError:
        return False


def is_udp_free(port: int) -> bool:
    """The same for datagrams."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True


def _cached() -> Path:
    return cache_folder() / "bin" / "livekit-server"


def _build(target: Path, tell: Callable[[str], None]) -> Path:
    go = shutil.which("go")
    if not go:
        raise ServerMissing(f"no LiveKit server: {REMEDY}")
    tell(f"building the LiveKit server from its Go module into {target}: two or three minutes, once")
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent) as folder:
        # Debian sets Go so that it would not fetch the newer toolchain that the module may ask for.
        environment = child_environment(GOBIN=folder, GOTOOLCHAIN="auto")
        try:
            made = subprocess.run([go, "install", MODULE], env=environment, capture_output=True, text=True, timeout=BUILD_WAIT, check=False)
        except subprocess.TimeoutExpired:
            raise ServerMissing(f"building the LiveKit server took more than {BUILD_WAIT / 60:.0f} minutes: {REMEDY}") from None
        if made.returncode:
            raise ServerMissing(f"the LiveKit server could not be built ({_why_not_built(go, made.stderr)}): {REMEDY}")
        os.replace(Path(folder) / "server", target)
    return target


def _why_not_built(go: str, words: str) -> str:
    """An old Go fails with words about the module's files that name anything but its age."""
    try:
        version = subprocess.run([go, "version"], capture_output=True, text=True, timeout=VERSION_WAIT, check=False).stdout
    except subprocess.TimeoutExpired:
        version = ""
    found = re.search(r"\bgo1\.(\d+)", version)
    if found and int(found[1]) < FETCHES_ITSELF:
        return f"Go 1.{found[1]} is too old"
    return (words.strip().splitlines() or ["no reason given"])[-1].strip()


def _last_words(output: IO[bytes]) -> str:
    output.seek(0, os.SEEK_END)
    output.seek(max(0, output.tell() - 2000))
    lines = output.read().decode(errors="replace").strip().splitlines()
    return lines[-1] if lines else "it said nothing"


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def main() -> int:
    """``python -m agent.devserver``: has the server at hand, and says where."""
    try:
        _say(f"LiveKit server: {find_server(_say)}")
    except ServerMissing as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
