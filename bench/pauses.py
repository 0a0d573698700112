"""A passage of twenty sentences at a listener: every one, in order, and between them the pauses that the settings name."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from agent.config import Settings
from bench.hearing import AUDIBLE, Recording, Span, spans
from bench.listener import Note
from bench.passages import Passage, passage
from bench.processes import counted, server
from bench.results import Figure, Result, Table, machine, moment, versions
from bench.scene import NODE, Scene, milliseconds, scene

TEXT = "twenty.en"
READINGS = 3
TRANSPORT = 0.090  # seconds from the node's event to the sound at the listener: what LiveKit takes on one machine
NEAR = 0.250  # seconds off that at which a sound is still taken for the event's
CODEC = 3.0  # decibels by which a codec changes a faint sound: the release of a last consonant may be audible before it and not after it


@dataclass(frozen=True, slots=True)
class Told:
    """A passage as the node told it and as it was heard."""

    in_order: int
    """Sentences begun, in the order of the passage, before the first that was out of order."""
    lost: int
    """Sentences of the passage that never began."""
    dropped: int
    concealed: float
    """Seconds of sound that the listener's decoder had to invent."""
    worst_pause: float | None
    """Seconds by which the worst pause differs from its setting; None when a sentence's sound could not be found."""
    rows: tuple[tuple[str | float | None, ...], ...]


async def run(readings: int, url: str = "") -> Result:
    """``readings`` of the passage, a minute and a quarter each. ``url`` names a server with the development keys; empty starts one."""
    busy, when = os.getloadavg()[0], moment()
    async with server(url) as address, scene(address, f"bench-{os.getpid()}", engine="piper", systems=()) as stage:
        told = [await _read(stage, passage(TEXT)) for _ in range(readings)]
    underruns = counted(stage.processes[NODE].output(), "underruns")
    load = f"One room, one listener; the passage {readings} times"
    return Result("pauses", 0, load, tuple(_figures(told, underruns)), (_table(told[-1]),), machine(), versions(), when, busy)


async def _read(stage: Scene, asked: Passage) -> Told:
    heard = await stage.say(NODE, asked.text, hold=2.0)
    log = stage.sender.log
    await log.wait("speech_finished", utterance=heard.utterance)
    starts = [note for note in log.of("speech_started") if note.event["utterance"] == heard.utterance]
    chosen = {note.event["id"]: note.event["text"] for note in log.of("sentence") if note.event["utterance"] == heard.utterance}
    dropped = sum(note.event["utterance"] == heard.utterance for note in log.of("dropped"))
    return judge(asked, [(note, chosen.get(note.event["id"], "")) for note in starts], dropped, heard.recording, heard.reception.concealed)


def judge(asked: Passage, begun: Sequence[tuple[Note, str]], dropped: int, recording: Recording, concealed: float) -> Told:
    """Holds what was told and heard against the passage. ``begun``: each ``speech_started`` with its sentence's text."""
    said = [text.strip() for _, text in begun]
    in_order = next((n for n, (want, got) in enumerate(zip(asked.sentences, said, strict=False)) if want != got), len(said))
    lost = sum(sentence not in said for sentence in asked.sentences)
    settings = Settings().speech
    meant = [settings.paragraph_pause if n in asked.ends else settings.sentence_pause for n in range(len(asked.sentences) - 1)]
    starts = [note.arrival for note, _ in begun]
    heard = [gaps_before(starts, spans(recording, audible=AUDIBLE + more))[1:] for more in (0.0, -CODEC, CODEC)]
    gaps = [_nearest(found, want) for *found, want in zip(*heard, meant, strict=False)]
    off = [abs(gap - want) for gap, want in zip(gaps, meant, strict=False) if gap is not None]
    worst = max(off) if len(off) == len(meant) else None
    rows = tuple(
        (n, len(text), note.event["ttft_ms"], note.event["lag_ms"], milliseconds(gap))
        for n, ((note, text), gap) in enumerate(zip(begun, (None, *gaps), strict=True), 1)
    )
    return Told(in_order, lost, dropped, concealed, worst, rows)


def gaps_before(starts: Sequence[float], heard: Sequence[Span]) -> list[float | None]:
    """Seconds of silence before the sound that belongs to each ``speech_started`` (by arrival); None where no sound is near."""
    found: list[float | None] = []
    for start in starts:
        near = [n for n, span in enumerate(heard) if abs(span.onset - start - TRANSPORT) <= NEAR]
        if not near:
            found.append(None)
            continue
        # A pause inside a sentence may be as near; the silence between two sentences is the longest there.
        silence = [heard[n].start - heard[n - 1].end if n else float("inf") for n in near]
        found.append(max(silence) if max(silence) < float("inf") else None)
    return found


def _nearest(found: Sequence[float | None], want: float) -> float | None:
    return min((gap for gap in found if gap is not None), key=lambda gap: abs(gap - want), default=None)


def _figures(told: Sequence[Told], underruns: float | None) -> Iterable[Figure]:
    count, pauses = float(len(passage(TEXT).sentences)), [one.worst_pause for one in told]
    worst = max((pause for pause in pauses if pause is not None), default=None) if None not in pauses else None
    in_order = float(min(one.in_order for one in told))
    yield Figure("20-sentence passage: sentences begun in order", in_order, "", most=count, least=count)
    yield Figure("20-sentence passage: sentences lost or dropped", float(sum(one.lost + one.dropped for one in told)), "", most=0.0)
    yield Figure("20-sentence passage: underruns", underruns, "", most=0.0)
    invented = max(one.concealed for one in told)
    yield Figure("20-sentence passage: sound that the listener's decoder had to invent", milliseconds(invented), "ms")
    yield Figure("20-sentence passage: worst pause, off its setting by", milliseconds(worst), "ms", most=20.0)


def _table(told: Told) -> Table:
    title = "The 20-sentence passage, milliseconds"
    return Table(title, ("sentence", "characters", "TTFA at the node", "lag at the node", "silence before it at the listener"), told.rows)
