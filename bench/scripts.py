"""Engines for the bench that misbehave, and the folder by which a node finds them: as it would find anybody's own."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import re
import sys
import tempfile
from collections import deque
from collections.abc import Generator, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from engines.base import Chunk
from engines.scripted import Dice, Die, Fault, Hang, Late, Script, Scripted, Silent, Slow

log = logging.getLogger(__name__)

GROUP = "voicebooth.engines"
KINDS = (Late, Hang, Die, Slow, Silent)
SHARE = 0.3  # of all sentences in which the first engine goes wrong
FIRST_WORDS = 8  # of a sentence, before one of which it goes wrong; half of all faults come before any sound
WORD = 0.18  # seconds: faster than people speak, so that less is in hand when something goes wrong, and more is heard in the time
BETTER = Script(word=WORD, is_pitched=True, front=0.020, front_character=0.0008, step=0.040, jitter=0.2)
QUICK = Script(word=WORD, is_pitched=True, front=0.020, front_character=0.0004, step=0.020, jitter=0.2)
TOLD = re.compile(r"fault (\w+) at (\d+): (.*)")


@dataclass(frozen=True, slots=True)
class Told:
    """A fault, as an engine told it in its node's log."""

    kind: str
    at: int
    """The word from which on it was wrong."""
    text: str
    """What it was asked to say: a sentence, or the rest of one."""


class Outspoken(Scripted):
    """Tells in the log what goes wrong in which sentence."""

    def _say(self, text: str, fault: Fault | None) -> Generator[Chunk, None, None]:
        if fault is not None:
            log.info("fault %s at %d: %s", type(fault).__name__, fault.at, text)
        yield from super()._say(text, fault)


made: deque[Scripted] = deque(maxlen=16)
"""The engines that were made in this process, the newest last."""


class _Ever:
    """The same fault in every sentence."""

    def __init__(self, fault: Fault) -> None:
        self._fault = fault

    def get(self, sentence: int, /) -> Fault:
        return self._fault


def faulty() -> Scripted:
    """Stalls, hangs, dies, is slow or goes silent in 30 % of its sentences."""
    return _noted(Outspoken("faulty", BETTER, faults=Dice(1, share=SHARE, words=FIRST_WORDS, kinds=KINDS)))


def hanging() -> Scripted:
    """Hangs for ever in every sentence, but for those with which it was warmed up."""
    return _noted(Outspoken("hanging", BETTER, faults=_Ever(Hang())))


def ever_hanging() -> Scripted:
    """The same for a system that warms nothing up."""
    return Scripted("hanging", BETTER, faults=_Ever(Hang()), rehearsals=0)


def sound() -> Scripted:
    """Nothing goes wrong with it."""
    return _noted(Scripted("sound", QUICK))


def _noted(engine: Scripted) -> Scripted:
    made.append(engine)
    return engine


ENGINES = {"faulty": faulty, "hanging": hanging, "sound": sound}


@contextlib.contextmanager
def package() -> Iterator[Path]:
    """A folder which, on its path, tells a node of these engines: with a package in it that names them."""
    with tempfile.TemporaryDirectory(prefix="bench-engines-") as folder:
        about = Path(folder) / "bench_engines-1.dist-info"
        about.mkdir()
        (about / "METADATA").write_text("Metadata-Version: 2.1\nName: bench-engines\nVersion: 1\n")
        points = "\n".join(f"{name} = {__name__}:{make.__name__}" for name, make in ENGINES.items())
        (about / "entry_points.txt").write_text(f"[{GROUP}]\n{points}\n")
        yield Path(folder)


def environment(folder: Path) -> dict[str, str]:
    """In which a node of its own process finds them, and tells what goes wrong so that :func:`told` can read it."""
    return {"PYTHONPATH": os.pathsep.join((str(folder), str(Path(__file__).parent.parent))), "VOICEBOOTH_LOG__FORMAT": "json"}


@contextlib.contextmanager
def within() -> Iterator[deque[Scripted]]:
    """The same for nodes of this process. Gives the engines that are made meanwhile; what hangs in them ends with it."""
    with package() as folder:
        sys.path.insert(0, str(folder))
        made.clear()
        try:
            yield made
        finally:
            sys.path.remove(str(folder))
            for engine in made:
                engine.gate.set()


def told(output: str) -> list[Told]:
    """The faults in a node's log, in order."""
    found = []
    for line in output.splitlines():
        with contextlib.suppress(ValueError):
            entry = json.loads(line)
            match = TOLD.search(str(entry.get("message", ""))) if isinstance(entry, Mapping) else None
            if match:
                found.append(Told(match[1], int(match[2]), match[3]))
    return found
