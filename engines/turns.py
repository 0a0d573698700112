"""How often an engine lets others have a turn."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import closing

from engines.base import NO_SAMPLES, Chunk, Mark, Pace


def unbroken(chunks: Generator[Chunk, None, None], pace: Pace) -> Generator[Chunk, None, None]:
    """While no other sentence is made, what an engine prepares comes in one step with the sound that it is for.

    A step that ends has its way to the loop and back, a millisecond of idle cores; that is worth it where somebody waits for a turn.
    """
    marks: tuple[Mark, ...] = ()
    with closing(chunks):
        for chunk in chunks:
            marks += chunk.marks
            if len(chunk.samples) or not pace.is_alone:
                yield Chunk(chunk.samples, marks)
                marks = ()
        if marks:
            yield Chunk(NO_SAMPLES, marks)
