"""An engine's own first sound: alone, and inside a node that notes it for each sentence. What a listener waits beyond it is the door's."""

from __future__ import annotations

import json
import sys
import tempfile
import time
from collections.abc import Callable, Generator, Mapping
from pathlib import Path

from agent.cli import main
from bench.engine import is_audible
from bench.processes import Process, voice_model
from engines.base import Chunk, Engine, Pace, Request
from engines.piper import PiperEngine, PiperSettings
from engines.tone import ToneEngine

KINDS: tuple[type[Engine], ...] = (ToneEngine, PiperEngine)

Synthesize = Callable[[Engine, Request, Pace], Generator[Chunk, None, None]]


def make_engine(name: str) -> Engine:
    """Loaded, as the node has it."""
    engine: Engine = ToneEngine() if name == ToneEngine.name else PiperEngine(PiperSettings(voices=(voice_model().stem,)))
    engine.load()
    return engine


def first_sound(engine: Engine, text: str) -> float:
    """Seconds to the step that holds the first audible sample, with the window that a sentence gets when nobody else speaks.

    Raises :exc:`ValueError` when there is none.
    """
    found: list[float] = []
    steps = noted(type(engine).synthesize, lambda text, seconds: found.append(seconds))(engine, Request(text), Pace())
    try:
        while not found and next(steps, None) is not None:
            pass
    finally:
        steps.close()
    if not found:
        raise ValueError(f"nothing was heard of {text!r}")
    return found[0]


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
    """`voicebooth run` with engines that note their first sounds."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        self._file = tempfile.NamedTemporaryFile(prefix="bench-notes-", mode="r")
        self.process = Process("node", [sys.executable, "-m", "bench.own", self._file.name], environment)

    def take(self, text: str) -> float:
        """Seconds that its engine worked until the beginning of that text was heard, since this was last asked.

        Raises :exc:`ValueError` when none of them has said it.
        """
        notes = [json.loads(line) for line in self._file]
        found = [seconds for said, seconds in notes if _letters(text).startswith(_letters(said))]
        if not found:
            raise ValueError(f"no engine has said {text!r}")
        return float(found[0])


def _letters(text: str) -> str:
    return "".join(filter(str.isalnum, text.casefold()))


def _run() -> None:
    file = Path(sys.argv[1]).open("a", buffering=1, encoding="utf-8")
    for kind in KINDS:
        kind.synthesize = noted(kind.synthesize, lambda text, seconds: print(json.dumps([text, seconds]), file=file))  # type: ignore[assignment,method-assign]
    sys.argv = ["voicebooth", "run"]
    main()


if __name__ == "__main__":
    _run()
