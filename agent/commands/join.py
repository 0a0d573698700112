"""``voicebooth join``: the node in one room, without dispatch."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Annotated

import typer

from agent import heap
from agent.commands import options

if TYPE_CHECKING:
    from agent.config import Settings


def join(
    url: Annotated[str, typer.Argument(help="The LiveKit server, for example ws://127.0.0.1:7880.", metavar="URL")],
    room: Annotated[str, typer.Argument(help="The room's name.", metavar="ROOM")],
    token: Annotated[
        str | None,
        typer.Option(metavar="TOKEN", help="A token made by somebody else, in place of LIVEKIT_API_KEY and _SECRET.", show_default=False),
    ] = None,
    identity: Annotated[
        str | None, typer.Option(metavar="NAME", help="Who it is in the room, which lets one of a name in.", show_default=False)
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
    """Join one room and speak there, without the server's dispatch.

    \b
    voicebooth join ws://127.0.0.1:7880 lobby
    voicebooth join wss://rooms.example.org lobby --token "$TOKEN" --languages fr,de

    It stays until the room is closed, Ctrl-C (at once), or SIGTERM (when what was accepted has been heard).
    """
    with options.one_line():
        from agent import log
        from agent.room import JoinFailed

        found = options.read(
            settings,
            assignments,
            livekit__url=url,
            livekit__identity=identity,
            node__languages=languages,
            livekit__transcriptions=transcriptions,
        )
        log.configure(found.log)
        try:
            asyncio.run(_join(found, room, token or ""))
        except JoinFailed as error:
            raise options.Refusal(str(error)) from None


async def _join(settings: Settings, room: str, token: str) -> None:
    """Raises :exc:`agent.room.JoinFailed`."""
    from agent.commands.serving import drain, room_settings, tell, tell_report
    from agent.ending import Ending
    from agent.node import Node
    from agent.room import RoomLink, Ticket

    livekit = settings.livekit
    key, secret = ("", "") if token else (livekit.api_key, livekit.api_secret)  # a key that did not make the token may be another server's
    ticket = Ticket(livekit.url, room, key, secret, livekit.identity, token)
    with Ending() as ending:
        async with Node(settings) as node:
            if not await ending.unless_asked(node.ready()):
                return
            heap.settle()
            link = RoomLink(node, ticket, settings.node.languages, room_settings(settings))
            staying = asyncio.create_task(link.run())
            joined, asked = asyncio.create_task(link.joined.wait()), asyncio.create_task(ending.asked.wait())
            await asyncio.wait((staying, joined, asked), return_when=asyncio.FIRST_COMPLETED)
            if joined.done():
                tell("ready", f"{livekit.identity} speaks {', '.join(settings.node.languages)} in room {room} on {livekit.url}")
                await asyncio.wait((staying, asked), return_when=asyncio.FIRST_COMPLETED)
            for waiting in (joined, asked):
                waiting.cancel()
            if not staying.done():
                await drain(node, ending)
                link.leave()
            tell("ended", await staying)
            tell_report(node)
