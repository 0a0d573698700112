"""An engine's own first sound, noted inside the node that it speaks in: for each sentence through a door, and alone, past every door.

What a listener waits beyond it is the door's. Both are taken in one process, as the same engine in two differs by milliseconds by itself.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import tempfile
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Generator, Iterable, Mapping
from pathlib import Path
from typing import Self

import numpy as np

from agent.cli import main
from bench.engine import is_audible
from bench.processes import Process
from engines.base import Chunk, Engine, Pace, Request
from engines.piper import PiperEngine
from engines.tone import ToneEngine

KINDS: tuple[type[Engine], ...] = (ToneEngine, PiperEngine)
ALONE, HEARD = "alone", "heard"  # kinds of notes
LATEST = 10.0  # seconds in which a first sound has come
EVERY = 0.002  # seconds between two looks at the notes

Synthesize = Callable[[Engine, Request, Pace], Generator[Chunk, None, None]]


def first_sound(engine: Engine, text: str, synthesize: Synthesize | None = None) -> float:
    """Seconds to the step that holds the first audible sample, with the window that a sentence gets when nobody else speaks.

    Raises :exc:`ValueError` when there is none.
    """
    found: list[float] = []
    steps = noted(synthesize or type(engine).synthesize, lambda text, seconds: found.append(seconds))(engine, Request(text), Pace())
    try:
        while not found and next(steps, None) is not None:
            pass
    finally:
        steps.close()
    if not found:
        raise ValueError(f"nothing was heard of {text!r}")
    return found[0]


def steady(pairs: Iterable[tuple[str, float, float]]) -> list[float]:
    """By text, how far the median of the second is above that of the first: an engine's first sound of one text varies by itself.

    ``pairs``: text and twice the seconds to its first sound.
    """
    found: dict[str, list[tuple[float, float]]] = defaultdict(list)
    for text, alone, there in pairs:
        found[text].append((alone, there))
    return [float(np.subtract(*np.median(both, axis=0)[::-1])) for both in found.values()]


def noted(synthesize: Synthesize, note: Callable[[str, float], None]) -> Synthesize:
    """The same; ``note`` gets each text and the seconds that the engine worked until it was heard, without those between its steps."""

    def noting(engine: Engine, request: Request, pace: Pace) -> Generator[Chunk, None, None]:
        rate, worked, is_heard = engine.choose(request).sample_rate, 0.0, False
        begun = time.perf_counter()
        chunks = synthesize(engine, request, pace)
        try:
            while (chunk := next(chunks, None)) is not None:
                worked += time.perf_counter() - begun
                if not is_heard and is_audible(chunk.samples, rate):
                    is_heard = True
                    note(request.text, worked)
                yield chunk
                begun = time.perf_counter()
        finally:
            chunks.close()

    return noting


class Noted:
    """`voicebooth run` with engines that note their first sounds, and that can be asked for one past every door; it ends with the block."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="bench-notes-")
        notes, asked = _files(self._folder.name)
        notes.touch()
        os.mkfifo(asked)
        self._notes = notes.open(encoding="utf-8")
        self._asked = os.fdopen(os.open(asked, os.O_RDWR), "w", buffering=1, encoding="utf-8")  # for both, so that it waits for nobody
        self._found: list[tuple[str, str, float]] = []
        self.process = Process("node", [sys.executable, "-m", "bench.own", self._folder.name], environment)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *problem: object) -> None:
        await self.process.stop()
        self._asked.close()
        self._notes.close()
        self._folder.cleanup()

    async def alone(self, text: str) -> float:
        """Seconds that its engine takes to the first sound of a text that has gone through no door; the node should have nothing to say.

        Raises ``TimeoutError`` and :exc:`ValueError`.
        """
        print(text, file=self._asked)
        async with asyncio.timeout(LATEST):
            while (found := self._take(ALONE, text)) is None:  # noqa: ASYNC110 - another process writes them
                await asyncio.sleep(EVERY)
        return found

    def take(self, text: str) -> float:
        """Seconds that its engine worked until the beginning of that text was heard, the last time that it was said.

        Raises :exc:`ValueError` when no engine has said it since this was last asked.
        """
        found = self._take(HEARD, text)
        if found is None:
            raise ValueError(f"no engine has said {text!r}")
        return found

    def _take(self, wanted: str, text: str) -> float | None:
        self._found += [(kind, said, seconds) for kind, said, seconds in map(json.loads, self._notes)]
        of = [seconds for kind, said, seconds in self._found if kind == wanted and _letters(text).startswith(_letters(said))]
        self._found = [note for note in self._found if note[0] != wanted]
        return of[-1] if of else None


def _letters(text: str) -> str:
    return "".join(filter(str.isalnum, text.casefold()))


def _files(folder: str) -> tuple[Path, Path]:
    """The notes, and the pipe of texts that an engine is to say alone."""
    return Path(folder) / "notes", Path(folder) / "asked"


def _run() -> None:
    notes, asked = _files(sys.argv[1])
    file = notes.open("a", buffering=1, encoding="utf-8")

    def note(kind: str, text: str, seconds: float) -> None:
        print(json.dumps([kind, text, seconds]), file=file)

    speaking: list[tuple[Engine, Synthesize]] = []

    def known(synthesize: Synthesize) -> Synthesize:
        """The same; who speaks can be asked alone from then on."""

        def speak(engine: Engine, request: Request, pace: Pace) -> Generator[Chunk, None, None]:
            speaking[:] = [(engine, synthesize)]
            return noted(synthesize, lambda text, seconds: note(HEARD, text, seconds))(engine, request, pace)

        return speak

    def answer() -> None:
        with asked.open(encoding="utf-8") as texts:
            for text in texts:
                engine, synthesize = speaking[0]
                note(ALONE, text.strip(), first_sound(engine, text.strip(), synthesize))

    for kind in KINDS:
        kind.synthesize = known(kind.synthesize)  # type: ignore[assignment,method-assign]
    threading.Thread(target=answer, daemon=True).start()
    sys.argv = ["voicebooth", "run"]
    main()


if __name__ == "__main__":
    _run()
