"""Engines for the bench that misbehave, and the folder by which a node finds them: as it would find anybody's own."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import logging
import os
import random
import re
import sys
import tempfile
from collections import deque
from collections.abc import Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, distribution
from itertools import count
from pathlib import Path

from engines.base import Chunk
from engines.scripted import Dice, Die, Fault, Hang, Late, Script, Scripted, Silent, Slow

log = logging.getLogger(__name__)

GROUP = "voicebooth.engines"
PACKAGE, DEALT = "bench-engines", "faults.json"
KINDS = (Late, Hang, Die, Slow, Silent)
SHARE = 0.3  # of all sentences in which the first engine goes wrong
FIRST_WORDS = 8  # of a sentence, before one of which it goes wrong; every other fault comes before any sound
WORD = 0.18  # seconds: faster than people speak, so that less is in hand when something goes wrong, and more is heard in the time
BETTER = Script(word=WORD, is_pitched=True, front=0.020, front_character=0.0008, step=0.040, jitter=0.2)
QUICK = Script(word=WORD, is_pitched=True, front=0.020, front_character=0.0004, step=0.020, jitter=0.2)
STEADY = Script(word=WORD, is_pitched=True, front=0.080, front_character=0.0002, step=0.040, jitter=0.3)
TOLD = re.compile(r"fault (\w+) at (\d+): (.*)")


@dataclass(frozen=True, slots=True)
class Told:
    """A fault, as an engine told it in its node's log."""

    kind: str
    at: int
    """The word from which on it was wrong."""
    text: str
    """What it was asked to say: a sentence, or the rest of one."""


def deal(groups: Sequence[Sequence[str]], chosen: random.Random) -> dict[str, Fault]:
    """What goes wrong in 30 % of each group of sentences: the kinds in even shares over all groups, which sentences ``chosen`` says."""
    dealt: dict[str, Fault] = {}
    numbers = count()
    for texts in groups:
        for text in chosen.sample(texts, round(SHARE * len(texts))):
            turn, kind = divmod(next(numbers), len(KINDS))
            is_inside = (turn + kind) % 2  # of each kind every other one
            dealt[text] = KINDS[kind](at=chosen.randrange(1, min(FIRST_WORDS, len(text.split()))) if is_inside else 0)
    return dealt


class Deal:
    """Faults by sentence; each strikes once, though its sentence may be asked for in parts."""

    def __init__(self, faults: Mapping[str, Fault]) -> None:
        self._left = dict(faults)

    def strike(self, asked: str) -> Fault | None:
        """What goes wrong in this sentence, or in this part of one, at a word of this part."""
        text = asked.strip()
        sentence = next((sentence for sentence in tuple(self._left) if text in sentence), None)
        if sentence is None:
            return None
        at = self._left[sentence].at - len(sentence[: sentence.index(text)].split())
        if at >= len(text.split()):
            return None  # in a part that is asked for later
        return dataclasses.replace(self._left.pop(sentence), at=max(at, 0))


def dealt() -> Deal:
    """What the package that this engine was found in says of its sentences."""
    try:
        told = distribution(PACKAGE).read_text(DEALT)
    except PackageNotFoundError:
        told = None
    kinds = {kind.__name__: kind for kind in KINDS}
    return Deal({text: kinds[kind](at=at) for text, (kind, at) in json.loads(told or "{}").items()})


def tell(fault: Fault, text: str) -> None:
    """In the log, where :func:`told` finds it."""
    log.info("fault %s at %d: %s", type(fault).__name__, fault.at, text)


class Outspoken(Scripted):
    """Tells in the log what goes wrong in which sentence. What was dealt out goes wrong besides what its faults say."""

    deal = Deal({})

    def _say(self, text: str, fault: Fault | None) -> Generator[Chunk, None, None]:
        fault = fault or self.deal.strike(text)
        if fault is not None:
            tell(fault, text)
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
    """Stalls, hangs, dies, is slow or goes silent in those sentences for which that was dealt out."""
    engine = Outspoken("faulty", BETTER)
    engine.deal = dealt()
    return _noted(engine)


def dicing() -> Scripted:
    """The same in 30 % of its sentences, whichever they are."""
    return _noted(Outspoken("dicing", BETTER, faults=Dice(1, share=SHARE, words=FIRST_WORDS, kinds=KINDS)))


@dataclass(frozen=True, slots=True)
class Behind(Late):
    """Its first sound is later than usual, and not by so much that something would be wrong."""

    seconds: float = 0.1


def wavering() -> Scripted:
    """A little late in 15 % of its sentences: what hedges are for."""
    return _noted(Outspoken("wavering", STEADY, faults=Dice(1, share=SHARE / 2, words=1, kinds=(Behind,))))


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


ENGINES = {"faulty": faulty, "dicing": dicing, "wavering": wavering, "hanging": hanging, "sound": sound}

REAL = {"faulty-kokoro": "bench.spoilt:kokoro"}
"""Those that are real: who looks for the others need not have them."""


@contextlib.contextmanager
def package(faults: Mapping[str, Fault] | None = None) -> Iterator[Path]:
    """A folder which, on its path, tells a node of these engines: with a package in it that names them, and says what goes wrong."""
    with tempfile.TemporaryDirectory(prefix="bench-engines-") as folder:
        about = Path(folder) / "bench_engines-1.dist-info"
        about.mkdir()
        (about / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {PACKAGE}\nVersion: 1\n")
        made_here = {name: f"{__name__}:{make.__name__}" for name, make in ENGINES.items()}
        points = "\n".join(f"{name} = {where}" for name, where in {**made_here, **REAL}.items())
        (about / "entry_points.txt").write_text(f"[{GROUP}]\n{points}\n")
        (about / DEALT).write_text(json.dumps({text: (type(fault).__name__, fault.at) for text, fault in (faults or {}).items()}))
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
