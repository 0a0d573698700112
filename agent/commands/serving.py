"""What commands that run a node have in common: what it is made from, what is told, and how it ends."""

from __future__ import annotations

import dataclasses
import logging

import typer

from agent.config import Settings
from agent.ending import Ending
from agent.inbound import InboundSettings
from agent.node import Node
from agent.pump import TrackSettings
from agent.room import RoomSettings

log = logging.getLogger(__name__)


def room_settings(settings: Settings) -> RoomSettings:
    """How rooms are served."""
    livekit = settings.livekit
    return RoomSettings(
        inbound=InboundSettings(livekit.senders, livekit.transcriptions),
        track=TrackSettings(first_word_wait=livekit.first_word_wait),
        captions=livekit.captions,
        encryption_key=livekit.encryption_key,
        reconnect_wait=livekit.reconnect_wait,
    )


async def drain(node: Node, ending: Ending) -> None:
    """After SIGTERM what was accepted is heard; after Ctrl-C it is not waited for."""
    if not ending.now.is_set():
        tell("ending", f"what was accepted is spoken, for at most {node.settings.node.drain_wait:g} s; Ctrl-C ends it now")
        await ending.unless_now(node.drain())
    await node.close_stages()  # what will not be heard is told before the rooms are left


def tell(what: str, text: str) -> None:
    """One line for whoever started the command."""
    typer.echo(f"{what:<8}{text}")


def tell_report(node: Node) -> None:
    """What became of the text, as the log's last line."""
    report = node.report.snapshot()
    figures = {name: {engine: dataclasses.asdict(summary) for engine, summary in report[name].items()} for name in ("ttft", "lag")}
    log.info("the node has ended", extra={"counts": report["counts"], **figures})
