"""A passage of translated text through a real room: what was said, how soon, and what a listener heard of it."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from agent.devserver import DevServer
from agent.upstream import NoBooth, Upstream
from bench.hearing import Recording, onset, spans, write_wav
from bench.listener import EventLog, Listener, token
from bench.passages import Passage, passage
from bench.pauses import gaps_before
from bench.processes import node_in_room, running, server
from bench.scene import SETTLE, START, TRACK, milliseconds
from bench.sender import Sender

LAG = 120.0  # seconds beyond the passage's own length in which it must have been said
CHARACTER = 0.09  # seconds: nobody speaks slower
TAIL = 0.5  # seconds of silence recorded after the last word
LAST_WORDS = 2000  # characters of the node's output
SHOWN = 72  # characters of a sentence in the table
DEVELOPMENT = DevServer.api_key, DevServer.api_secret


@dataclass(frozen=True, slots=True)
class Row:
    """One sentence."""

    text: str
    engine: str
    ttfa: float | None
    """Milliseconds at the node; None when it was not spoken."""
    heard: float | None
    """Milliseconds from the node holding it, with nothing older to say, to its sound at the listener; None when none came."""
    gap: float | None
    """Milliseconds of silence before it, at the listener."""


async def run(out: Path, *, text: str = "passage.en", engine: str = "piper", url: str = "", keys: tuple[str, str] = DEVELOPMENT) -> bool:
    """Whether every sentence was spoken. Prints a row for each and writes the listener's recording to ``out``.

    ``url``: a server, and ``keys`` its key and secret, where they are not the development server's; empty starts one of our own.
    """
    asked = passage(text)
    room = f"demo-{os.getpid()}"
    key, secret = keys if url else DEVELOPMENT
    told = {"LIVEKIT_API_KEY": key, "LIVEKIT_API_SECRET": secret}
    async with server(url) as address, running(node_in_room(address, room, engine=engine, environment=told)) as node:
        print(f"a node and a listener are in room {room} on {address}; {len(asked.text)} characters are sent", flush=True)
        try:
            log, utterance, recording = await _speak(address, room, asked, key, secret)
        except (NoBooth, TimeoutError) as error:
            print(f"{error or 'it was not said in time'}; the node's last words:\n{node.output()[-LAST_WORDS:]}")
            return False
    found = rows(log, utterance, recording)
    write_wav(out, recording.samples)
    print(table(found))
    missing = unspoken(asked, found)
    for text in missing:
        print(f"not spoken: {text}")
    print(f"{len(found)} sentences spoken, {recording.seconds:.0f} s heard, in {out}")
    return not missing


async def _speak(url: str, room: str, asked: Passage, key: str, secret: str) -> tuple[EventLog, str, Recording]:
    """Sends the passage as a translation node does; what the node told, and what was heard."""
    hears, sends = (token(room, identity, key=key, secret=secret) for identity in ("listener", "upstream"))
    async with Listener(url, room, jwt=hears) as listener, Sender(url, room, jwt=sends) as sender, Upstream(sender.room) as upstream:
        await upstream.wait_ready(START)
        ear = await listener.ear(TRACK)
        await asyncio.sleep(SETTLE)
        at = time.monotonic()
        utterance = await upstream.say(asked.text, language="en")
        await upstream.drain(LAG + CHARACTER * len(asked.text))
        await asyncio.sleep(TAIL)
        return sender.log, utterance, ear.recording(after=at)


def rows(log: EventLog, utterance: str, recording: Recording) -> list[Row]:
    """A row for each sentence that the node chose an engine for, in that order."""
    mine = [note for note in log.notes if note.event.get("utterance") == utterance]
    started = {note.event["id"]: note for note in mine if note.event["type"] == "speech_started"}
    finished = {note.event["id"] for note in mine if note.event["type"] == "sentence_finished"}
    heard = spans(recording)
    found = []
    for note in mine:
        if note.event["type"] != "sentence":
            continue
        begun = started.get(note.event["id"])
        if begun is None or note.event["id"] not in finished:
            found.append(Row(note.event["text"], note.event["engine"], None, None, None))
            continue
        gap = gaps_before([begun.arrival], heard)[0]
        sound = onset(recording.loud, begun.arrival)
        travelled = None if sound is None else (sound - begun.arrival) * 1000
        ttfa = float(begun.event["ttft_ms"])
        found.append(
            Row(note.event["text"], begun.event["engine"], ttfa, None if travelled is None else ttfa + travelled, milliseconds(gap))
        )
    return found


def unspoken(asked: Passage, found: Sequence[Row]) -> list[str]:
    """Sentences of the passage whose words were not all heard, in order. The node may cut a long one, so letters are compared."""
    said = "".join("".join(row.text.split()) for row in found if row.heard is not None)
    missing, place = [], 0
    for sentence in asked.sentences:
        at = said.find("".join(sentence.split()), place)
        if at < 0:
            missing.append(sentence)
        else:
            place = at + len("".join(sentence.split()))
    return missing


def table(found: Sequence[Row]) -> str:
    """Milliseconds, and the beginning of each sentence."""
    lines = [f"{'characters':>10}  {'engine':<8}{'at node':>8}{'heard':>8}{'gap':>8}  sentence"]
    for row in found:
        figures = "".join(f"{'-' if value is None else f'{value:.0f}':>8}" for value in (row.ttfa, row.heard, row.gap))
        shown = row.text.strip() if len(row.text.strip()) <= SHOWN else row.text.strip()[: SHOWN - 1] + "…"
        lines.append(f"{len(row.text.strip()):>10}  {row.engine:<8}{figures}  {shown}")
    return "\n".join(lines)
