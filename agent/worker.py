"""LiveKit's dispatch: an agent worker whose jobs are threads of this process, each with one room's link."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

from livekit.rtc._ffi_client import FfiClient

from agent.config import before_livekit_agents
from agent.inbound import BOOTH, ROLE
from agent.room import Host, JoinFailed, RoomLink, RoomSettings, Ticket

before_livekit_agents()

from livekit.agents import AgentServer, JobContext, JobExecutorType, JobRequest  # noqa: E402 - it reads the environment when imported

HEALTH_HOST = "127.0.0.1"  # its health page is this machine's business; the node has a door of its own for probes
LOAD_WAIT = 1.0  # seconds for the node's loop to say how much it has to do
LEAVE_WAIT = 2.0  # seconds for a job's goodbye, before its thread is left behind

log = logging.getLogger(__name__)


class WorkerFailed(Exception):
    """The worker cannot go on; ``str()`` says why."""


class JobHost(Host, Protocol):
    """What the worker needs of the node."""

    def load(self) -> float: ...

    async def close_stage(self, name: str) -> None: ...


@dataclass(frozen=True, slots=True)
class WorkerSettings:
    url: str
    api_key: str
    api_secret: str = field(repr=False)
    agent_name: str = ""
    """Name for explicit dispatch. Empty: the node is sent to every room."""
    identity: str = "voicebooth"
    """Who the node is in its rooms. The same on every node of a deployment, so that a room never has two of it."""
    load_threshold: float = 0.75
    """Part of the node that may be taken before it refuses further rooms, 0 to 1."""


class Worker:
    """Takes rooms that the server offers, until it is drained or closed. On the node's loop.

    1. A room that has a living link in this node is not taken again: the link comes back by itself.
    2. No signal is caught and no program ended here: that is the node's part.
    """

    def __init__(self, host: JobHost, settings: WorkerSettings, languages: Sequence[str], room: RoomSettings) -> None:
        self._host = host
        self._settings = settings
        self._languages = tuple(languages)
        self._room = room
        self._links: dict[str, tuple[asyncio.AbstractEventLoop, RoomLink | None]] = {}
        self._closing: set[asyncio.Task[None]] = set()
        self._is_draining = False
        self.registered = asyncio.Event()
        """Set once the server knows this worker."""
        FfiClient.instance  # noqa: B018 - made here and once: two jobs that begin together would make two, and lose each other's events
        _quieten()
        self._server = AgentServer(
            job_executor_type=JobExecutorType.THREAD,
            multiprocessing_context="spawn",  # no process is ever started; the other choice preloads modules for them
            num_idle_processes=0,
            load_fnc=self._load,
            load_threshold=settings.load_threshold,
            max_retry=sys.maxsize,  # a node without its server waits for it: 10 s between two tries
            ws_url=settings.url,
            api_key=settings.api_key,
            api_secret=settings.api_secret,
            host=HEALTH_HOST,
            port=0,
            shutdown_process_timeout=LEAVE_WAIT,
        )
        self._server.rtc_session(self._job, agent_name=settings.agent_name, on_request=self._on_request)
        self._server.on("worker_registered", lambda *_: self.registered.set())

    @property
    def rooms(self) -> tuple[str, ...]:
        """Names of the rooms that have a link."""
        return tuple(self._links)

    async def run(self) -> None:
        """Until :meth:`aclose`. Cancelling it closes the worker. Raises :exc:`WorkerFailed`."""
        if not (self._settings.url and self._settings.api_key and self._settings.api_secret):
            raise WorkerFailed("a LiveKit server's url, key and secret are needed")  # the library would look into the environment
        try:
            await self._server.run()
        except (RuntimeError, ValueError, OSError) as error:
            raise WorkerFailed(str(error)) from error
        finally:
            await self.aclose()

    def drain(self) -> None:
        """Take no further rooms; the present ones go on until they are closed."""
        self._is_draining = True

    async def aclose(self) -> None:
        """Leave all rooms and the server, in about two seconds at the most."""
        self._is_draining = True
        for loop, link in self._links.values():
            if link is not None:
                with contextlib.suppress(RuntimeError):  # its loop has ended already
                    loop.call_soon_threadsafe(link.leave)
        await self._server.aclose()

    def _load(self) -> float:
        """On a thread of the library. A node that does not answer has no room for more."""

        async def look() -> float:
            return 1.0 if self._is_draining else self._host.load()

        try:
            return asyncio.run_coroutine_threadsafe(look(), self._host.loop).result(LOAD_WAIT)
        except TimeoutError:
            return 1.0

    async def _on_request(self, request: JobRequest) -> None:
        room = request.room.name
        if self._is_draining or room in self._links:
            has_link = room in self._links
            log.info("room %s: not taken: %s", room, "it has a link in this node" if has_link else "this node is about to end")
            await request.reject(terminate=has_link)  # nor by another node, or the room would have two
            return
        self._links[room] = (self._host.loop, None)
        is_accepted = False
        try:
            await request.accept(name="voicebooth", identity=self._settings.identity, attributes={ROLE: BOOTH})
            is_accepted = True
        finally:
            if not is_accepted:
                del self._links[room]

    async def _job(self, job: JobContext) -> None:
        """A job's beginning, on its own loop; it lasts until the link ends, or the server or the node ends the job."""
        settings = self._settings
        name = job.job.room.name
        ticket = Ticket(settings.url, name, settings.api_key, settings.api_secret, settings.identity, agent_name=settings.agent_name)
        link = RoomLink(self._host, ticket, self._languages, self._room)
        self._links[name] = (asyncio.get_running_loop(), link)
        staying = asyncio.create_task(self._stay(job, link), name=f"room {name}")

        async def leave(reason: str) -> None:
            link.leave()
            await asyncio.wait({staying}, timeout=LEAVE_WAIT)

        job.add_shutdown_callback(leave)

    async def _stay(self, job: JobContext, link: RoomLink) -> None:
        room = link.ticket.room
        try:
            ended = await link.run()
        except JoinFailed as error:
            ended = str(error)
        finally:
            self._host.loop.call_soon_threadsafe(self._on_ended, room, link)
        log.info("room %s: ended: %s", room, ended)
        job.shutdown(ended)

    def _on_ended(self, room: str, link: RoomLink) -> None:
        if self._links.get(room, (None, None))[1] is link:
            del self._links[room]
            closing = self._host.loop.create_task(self._host.close_stage(room))
            self._closing.add(closing)
            closing.add_done_callback(self._closing.discard)


class _Expected(logging.Filter):
    """The library expects jobs to use its own room, which cannot come back; ours joins by itself."""

    def filter(self, record: logging.LogRecord) -> bool:
        words = str(record.msg)
        return not (words.startswith("The room connection was not established") or words.startswith("The job task completed without"))


def _quieten() -> None:
    logger = logging.getLogger("livekit.agents")
    if not any(isinstance(known, _Expected) for known in logger.filters):
        logger.addFilter(_Expected())
