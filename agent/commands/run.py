"""``voicebooth run``: the node with its doors: HTTP and WebSocket, and an agent worker where there is a LiveKit server."""

from __future__ import annotations

import asyncio
import shlex
import shutil
import sys
from contextlib import AsyncExitStack
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from agent import heap
from agent.commands import options

if TYPE_CHECKING:
    from agent.config import Settings
    from agent.devserver import DevServer
    from agent.node import Node
    from agent.worker import Worker

PATIENCE = 5.0  # seconds without the server's answer until that is said
IMPORTING = 6.0  # seconds from a warm disk; ten times as much is a cold one, and more an import that hangs
LOOK = 1.0  # seconds between two looks whether the development server still runs
PAGE = "https://meet.livekit.io/custom"  # LiveKit's page for one's own server; a browser may reach this machine from it


def run(
    dev: Annotated[bool, typer.Option("--dev", help="Start a LiveKit server on this machine, unless LIVEKIT_URL names one.")] = False,
    url: Annotated[str | None, typer.Option(help="The LiveKit server; LIVEKIT_URL by default.", metavar="URL", show_default=False)] = None,
    agent_name: Annotated[
        str | None, typer.Option(metavar="NAME", help="Go only to rooms that ask for an agent of this name.", show_default=False)
    ] = None,
    languages: Annotated[
        str | None, typer.Option(metavar="EN,FR", help="Languages to speak, the first by default.", show_default=False)
    ] = None,
    transcriptions: Annotated[
        bool | None, typer.Option("--transcriptions", help="Speak what translators publish as lk.transcription, too.", show_default=False)
    ] = None,
    settings: options.SettingsFile = None,
    assignments: options.Assignments = None,
) -> None:
    """Run the node: it speaks what it is asked to over HTTP and WebSocket, and in the rooms that LiveKit sends it into.

    \b
    voicebooth run
        a node at http://127.0.0.1:8003 (server.host, server.ports), without any rooms
    voicebooth run --dev
        the same, and a LiveKit server on this machine
    LIVEKIT_URL=wss://rooms.example.org LIVEKIT_API_KEY=... LIVEKIT_API_SECRET=... voicebooth run --languages fr,de
        a node for that server's rooms

    Ctrl-C ends everything in order, at once. SIGTERM takes no new rooms and no new text, lets what was accepted be heard
    (node.drain_wait bounds that), then ends.
    """
    with options.one_line():
        from agent import log

        found = options.read(
            settings,
            assignments,
            livekit__url=url,
            livekit__agent_name=agent_name,
            node__languages=languages,
            livekit__transcriptions=transcriptions,
        )
        log.configure(found.log)
        server = None
        if dev and not found.livekit.url:
            found, server = _with_server(found)
        if not found.livekit.url and not found.server.ports:
            raise options.Refusal("there is no door: name a LiveKit server (LIVEKIT_URL) or a port (server.ports)")
        asyncio.run(_serve(found, server, is_tried=dev))


def _with_server(settings: Settings) -> tuple[Settings, DevServer]:
    import warnings

    from jwt.warnings import InsecureKeyLengthWarning

    from agent.devserver import DEV_PORTS, DevServer, find_server

    warnings.simplefilter("ignore", InsecureKeyLengthWarning)  # the development server's secret is short, and known to everybody
    server = DevServer(find_server(typer.echo), port=DEV_PORTS[0])
    livekit = {"url": server.url, "api_key": server.api_key, "api_secret": server.api_secret}
    return settings.model_copy(update={"livekit": settings.livekit.model_copy(update=livekit)}), server


async def _serve(settings: Settings, server: DevServer | None, *, is_tried: bool) -> None:
    """``is_tried``: somebody sits before it, and wants to know what to do next."""
    from agent.commands.serving import drain, tell, tell_report
    from agent.ending import Ending
    from agent.node import Node

    with Ending() as ending:
        async with AsyncExitStack() as stack:
            if server is not None:
                await stack.enter_async_context(server)
                tell("ready", f"LiveKit server on {server.url}, key {server.api_key}, secret {server.api_secret}")
            node = await stack.enter_async_context(Node(settings))
            if settings.server.ports:
                await _open_doors(node, stack)
            # A second and a half of imports, while engines load.
            rooms = settings.livekit.url
            importing = asyncio.create_task(_import("agent.worker", node)) if rooms else None
            if not await ending.unless_asked(node.ready()):
                return
            for status in node.studio.status:
                tell(status.state, f"engine {status.name}: {status.reason or f'voices: {status.voices}'}")
            if importing is None:
                tell("ready", f"node {settings.node.name}; it speaks {', '.join(settings.node.languages)}")
                tell("alone", "no LiveKit server is named (LIVEKIT_URL, or --dev): there are no rooms")
                heap.settle()
                await ending.asked.wait()
            else:
                await importing
                worker = _worker(settings, node)
                working = asyncio.create_task(worker.run())
                stack.push_async_callback(_close, worker, working)
                if await ending.unless_asked(_until_registered(worker, working, settings)):
                    tell("ready", f"node {settings.node.name} for {_whereto(settings)}; it speaks {', '.join(settings.node.languages)}")
                    if is_tried:
                        _suggest(server)
                    heap.settle()
                    await ending.unless_asked(_watch(working, server))
                worker.drain()
            await drain(node, ending)
        tell("ended", "all rooms are left")
        tell_report(node)


async def _open_doors(node: Node, stack: AsyncExitStack) -> None:
    """Open from the start, so that whoever asks is told that the node is not ready yet."""
    from agent.commands.serving import tell

    try:
        await _import("agent.gateway.app", node)
        from agent.gateway.access import check_start
        from agent.gateway.app import make_app
        from agent.gateway.keyring import KeyringError
        from agent.gateway.serving import DoorFailed, Doors
    except ModuleNotFoundError as error:
        raise options.Refusal(f"the HTTP door needs {error.name}: pip install 'voicebooth[gateway]', or set server.ports=none") from None
    try:
        await node.studio.lanes.run(partial(check_start, node.settings), due=0.0, disk=True)
        doors = await stack.enter_async_context(Doors(make_app(node), node.settings.server, node.settings.ws))
    except (DoorFailed, KeyringError) as error:
        raise options.Refusal(str(error)) from None
    for address in doors.addresses:
        tell("open", address)


async def _import(name: str, node: Node) -> None:
    """In a lane for loads: the node's loop goes on, and the node does not count as full afterwards, when its first rooms are offered."""
    await node.studio.lanes.run(partial(import_module, name), due=0.0, loads=True, allowance=IMPORTING)


def _worker(settings: Settings, node: Node) -> Worker:
    from agent.commands.serving import room_settings
    from agent.worker import Worker, WorkerSettings

    livekit = settings.livekit
    what = WorkerSettings(livekit.url, livekit.api_key, livekit.api_secret, livekit.agent_name, livekit.identity, livekit.load_threshold)
    return Worker(node, what, settings.node.languages, room_settings(settings))


async def _close(worker: Worker, working: asyncio.Task[None]) -> None:
    await worker.aclose()
    await asyncio.wait((working,))


async def _until_registered(worker: Worker, working: asyncio.Task[None], settings: Settings) -> None:
    """Raises :exc:`options.Refusal` when the worker has ended instead."""
    from agent.commands.serving import tell

    registered = asyncio.create_task(worker.registered.wait())
    try:
        await asyncio.wait((registered, working), timeout=PATIENCE, return_when=asyncio.FIRST_COMPLETED)
        if not registered.done() and not working.done():
            tell("waiting", f"{settings.livekit.url} does not take this node yet; `voicebooth doctor` says why")
            await asyncio.wait((registered, working), return_when=asyncio.FIRST_COMPLETED)
        if not registered.done():
            await _watch(working, None)
    finally:
        registered.cancel()


async def _watch(working: asyncio.Task[None], server: DevServer | None) -> None:
    """Returns never. Raises :exc:`options.Refusal` when something that should run has ended."""
    from agent.worker import WorkerFailed

    while not working.done():
        await asyncio.wait((working,), timeout=LOOK)
        if server is not None and not server.is_running:
            raise options.Refusal("the LiveKit server has ended")
    try:
        await working
    except WorkerFailed as error:
        raise options.Refusal(f"the worker has ended: {error}") from None
    raise options.Refusal("the worker has ended")


def _whereto(settings: Settings) -> str:
    name = settings.livekit.agent_name
    return f"rooms of {settings.livekit.url} that ask for {name}" if name else f"every room of {settings.livekit.url}"


def _started_as() -> str:
    """What was typed to start this program, so that the same words start it again."""
    program = sys.argv[0]
    if program.endswith(".py"):
        return f"{shlex.quote(sys.executable)} -m agent.cli"
    name = Path(program).name
    return name if shutil.which(name) == program else shlex.quote(program)


def _suggest(server: DevServer | None) -> None:
    """What to try next. ``server``: the one of our own, whose keys everybody knows."""
    from livekit import api

    from agent.commands.serving import tell

    tell("try", f'{_started_as()} say --room lobby "Good morning, and welcome."')
    if server is not None:
        grants = api.VideoGrants(room_join=True, room="lobby")
        token = api.AccessToken(server.api_key, server.api_secret).with_identity("listener").with_grants(grants).to_jwt()
        tell("listen", f"{PAGE}?liveKitUrl={server.url}&token={token}")
    tell("end", "Ctrl-C")
