"""``voicebooth say``: speak text to a file, into a room, or aloud."""

from __future__ import annotations

import asyncio
import sys
from contextlib import aclosing
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from agent.commands import options

if TYPE_CHECKING:
    from agent.config import Settings
    from agent.say import Ear

TEXT_BYTES = 1 << 20  # of standard input: a book holds about as much


def say(
    text: Annotated[list[str], typer.Argument(help="What to say; `-` reads standard input.", metavar="TEXT...")],
    wav: Annotated[Path | None, typer.Option("--wav", metavar="FILE", help="Write a WAV file.", show_default=False)] = None,
    room: Annotated[
        str | None,
        typer.Option(metavar="ROOM", help="Have the node in this LiveKit room say it, and wait for the end.", show_default=False),
    ] = None,
    language: Annotated[
        str | None, typer.Option(help="Its language, as a BCP 47 tag; the node's first by default.", show_default=False)
    ] = None,
    voice: Annotated[str | None, typer.Option(help="A voice; `voicebooth voices` lists them.", show_default=False)] = None,
    engine: Annotated[str | None, typer.Option(help="The engine that is tried first.", show_default=False)] = None,
    url: Annotated[
        str | None,
        typer.Option(
            help="The LiveKit server of --room; LIVEKIT_URL by default, else one on this machine.", metavar="URL", show_default=False
        ),
    ] = None,
    speed: Annotated[float | None, typer.Option(min=0.5, max=2.0, help="1 is the voice's own pace.", show_default=False)] = None,
    settings: options.SettingsFile = None,
    assignments: options.Assignments = None,
) -> None:
    """Say text: aloud, into a WAV file, or in a room.

    \b
    voicebooth say "Good morning, everybody."
    voicebooth say --wav hello.wav "Good morning, everybody."
    voicebooth say --room demo --language fr "Bonjour à tous."
    voicebooth say --wav chapter.wav - < chapter.txt

    Without --room it needs neither a server nor a running node. With --room, a node has to serve that room: start one with
    `voicebooth run` or `voicebooth join`.
    """
    with options.one_line():
        if room and wav:
            raise options.Refusal("--room and --wav do not go together: the room's listeners hear it, not this machine")
        words = _read_text(text)
        found = options.read(settings, assignments, livekit__url=url)
        options.log_quietly(found)
        if room:
            from agent.commands.say_room import say_in_room

            asyncio.run(say_in_room(found, room, words, language=language, voice=voice, engine=engine, speed=speed))
        else:
            if engine and engine not in found.selection.fallback_chain:
                from agent.node import find_engines

                names = (engine, *(one.name for one in find_engines(found)[0]))
                found = options.read(settings, assignments, selection__fallback_chain=names)
            asyncio.run(_say_here(found, words, wav, language=language, voice=voice, engine=engine, speed=speed))


async def _say_here(
    settings: Settings, text: str, wav: Path | None, *, language: str | None, voice: str | None, engine: str | None, speed: float | None
) -> None:
    from agent.node import Node
    from agent.say import NoLoudspeaker, WavFile, loudspeaker

    async with Node(settings) as node:
        ear: Ear
        try:
            ear = WavFile(wav, node.studio.rate) if wav else await loudspeaker(node.studio.rate)
        except OSError as error:
            raise options.Refusal(f"{wav}: cannot be written: {error.strerror}") from None
        except NoLoudspeaker as error:
            raise options.Refusal(str(error)) from None
        seconds = 0.0
        try:
            await node.ready()
            async with aclosing(node.say(text, language=language, voice=voice, engine=engine, speed=speed)) as sound:
                async for samples in sound:
                    await ear.write(samples)
                    seconds += len(samples) / node.studio.rate
            await ear.finish()
        except NoLoudspeaker as error:
            raise options.Refusal(str(error)) from None
        finally:
            await ear.abort()
        if wav:
            typer.echo(f"{wav}: {seconds:.1f} s")


def _read_text(words: list[str]) -> str:
    if words != ["-"]:
        return " ".join(words)
    raw = sys.stdin.buffer.read(TEXT_BYTES + 1)
    if len(raw) > TEXT_BYTES:
        raise options.Refusal(f"standard input holds more than {TEXT_BYTES} bytes; say it in parts")
    try:
        return raw.decode()
    except UnicodeDecodeError:
        raise options.Refusal("standard input is not UTF-8") from None
