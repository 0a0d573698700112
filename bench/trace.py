"""Which real engine a listener heard when, and why it changed: what the picture of the chain is drawn from."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence
from dataclasses import dataclass

from bench import scripts
from bench.listener import Line, Note
from bench.passages import made_up
from bench.results import Piece
from bench.scene import NODE, Scene, rest, scene
from bench.spoilt import KOKORO

CHAIN = (KOKORO, "piper")
NAMES = {KOKORO: "kokoro"}
"""By which engines are known that have another name here."""
ORDER = tuple(NAMES.get(name, name) for name in CHAIN)
DRAIN = 0.5  # seconds after the node's last event until the last caption is in the listener's hands
SHORT, LENGTHS = 13, (41, 54, 81)  # characters of the first sentence of a paragraph, and of the others
PAUSE = (0.5, 1.0)  # seconds of silence after it, and the drain's: long enough for a voice to go back that load has moved
WARM, KNOWN = 20, 3  # short sentences at the most before all that, until the first engine has said so many of them on end
SPOKEN = 0.1  # seconds a character: nobody speaks slower
SENTENCE = "lk.segment_id"


@dataclass(frozen=True, slots=True)
class Heard:
    """One sentence, as its captions and its events told it."""

    text: str
    words: tuple[float, ...]
    """When each of its words began to be heard."""
    end: float
    """When its last sample went out. Both in seconds on the listener's clock."""
    engine: str
    """Who began it."""
    switched: tuple[Note, ...]
    """The changes of voice in it, or at its beginning."""


async def run(paragraphs: int, url: str, room: str, chosen: random.Random) -> tuple[Piece, ...]:
    """So many paragraphs in a real room, by Kokoro, which goes wrong in some of their sentences, and Piper behind it."""
    story = [[made_up(chosen, length) for length in (SHORT, *chosen.sample(LENGTHS, 3))] for _ in range(paragraphs)]
    texts = [text for paragraph in story for text in paragraph]
    with scripts.package(scripts.deal([texts], chosen)) as folder:
        async with scene(url, room, engine=",".join(CHAIN), environment=scripts.environment(folder)) as stage:
            await _warm(stage, chosen)
            for paragraph in story:
                await _say(stage, " ".join(paragraph))
                await rest(chosen, *PAUSE)
            notes, lines = list(stage.sender.log.notes), list(stage.listener.lines)
            return pieces(heard(texts, notes, lines), scripts.told(stage.processes[NODE].output()))


async def _warm(stage: Scene, chosen: random.Random) -> None:
    """Until the chain knows how soon the first engine is: it begins with a margin, and what would be late is not asked."""
    for _ in range(WARM):
        await _say(stage, made_up(chosen, SHORT))
        await rest(chosen, *PAUSE)
        last = [note.event["engine"] for note in stage.sender.log.of("speech_started")][-KNOWN:]
        if last == [KOKORO] * KNOWN:
            return


async def _say(stage: Scene, text: str) -> None:
    """Returns when all of it has been heard, its captions included."""
    sent = await stage.send(NODE, text)
    await stage.sender.log.wait("speech_finished", utterance=sent.utterance, timeout=60.0 + SPOKEN * len(text))
    await asyncio.sleep(DRAIN)


def heard(texts: Sequence[str], notes: Sequence[Note], lines: Sequence[Line]) -> list[Heard]:
    """Those of these sentences that were said; captions and events are told apart by their ids."""
    captions = {line.attributes.get(SENTENCE): line for line in lines}
    found = []
    for id, text in ((note.event["id"], note.event["text"].strip()) for note in notes if note.event["type"] == "sentence"):
        mine = [note for note in notes if note.event.get("id") == id]
        by = {note.event["type"]: note for note in mine}
        if text in texts and id in captions and {"speech_started", "sentence_finished"} <= by.keys():
            switched = tuple(note for note in mine if note.event["type"] == "switched")
            engine = by["speech_started"].event["engine"]
            found.append(Heard(text, _words(captions[id]), by["sentence_finished"].arrival, engine, switched))
    return found


def _words(line: Line) -> tuple[float, ...]:
    """When each began; several may come at once."""
    return tuple(arrival for arrival, part in line.parts for _ in part.split())


def pieces(spoken: Sequence[Heard], faults: Sequence[scripts.Told]) -> tuple[Piece, ...]:
    """In order, in seconds from the first word; in two where the voice changed inside a sentence."""
    found: list[Piece] = []
    began = min((sentence.words[0] for sentence in spoken), default=0.0)
    for sentence in spoken:
        start, end = sentence.words[0] - began, sentence.end - began
        fault = next((fault for fault in faults if fault.text.strip() in sentence.text), None)
        last = sentence.switched[-1] if sentence.switched else None
        why = "" if last is None else fault.kind.lower() if fault is not None else _named(last.event["why"])
        first, second = (NAMES.get(name, name) for name in (sentence.engine, last.event["to"] if last else sentence.engine))
        if last is None or first == second:
            found.append(Piece(start, end, second, why))
            continue
        cut = min(max(_cut(sentence, fault, last) - began, start), end)
        found += [Piece(start, cut, first), Piece(cut, end, second, why)]
    return tuple(found)


def _cut(sentence: Heard, fault: scripts.Told | None, switched: Note) -> float:
    """When the next engine was heard: from the word that went wrong on; where nothing was made to, about when that was told."""
    if fault is None:
        return switched.arrival
    before = len(sentence.text[: sentence.text.index(fault.text.strip())].split())
    return sentence.words[min(before + fault.at, len(sentence.words) - 1)]


def _named(why: str) -> str:
    for name, known in NAMES.items():
        why = why.replace(name, known)
    return why
