"""A text that was rewritten, and where each of its characters comes from."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable
from dataclasses import dataclass, field
from re import Match, Pattern


@dataclass(frozen=True, slots=True)
class Rewriting:
    """One pass over a text: its replaced spans, in order. Positions in between move along."""

    text: str
    """What came out."""
    starts: tuple[int, ...] = ()
    """Where each replacement begins in ``text``."""
    ends: tuple[int, ...] = ()
    """Where it ends there."""
    source_starts: tuple[int, ...] = ()
    """Where the replaced span began in what went in."""
    source_ends: tuple[int, ...] = ()

    def span(self, index: int) -> tuple[int, int]:
        """The source character of that index, or the whole span that was replaced by it."""
        at = bisect_right(self.starts, index) - 1
        if at < 0:
            return index, index + 1
        if index < self.ends[at]:
            return self.source_starts[at], self.source_ends[at]
        source = self.source_ends[at] + index - self.ends[at]
        return source, source + 1


@dataclass(frozen=True, slots=True)
class Spoken:
    """What is read aloud for a written text."""

    text: str
    """What the engine reads."""
    source: str
    """What was written."""
    passes: tuple[Rewriting, ...] = field(default=(), repr=False)

    def source_offset(self, index: int) -> int:
        """The written character that the spoken one stands for; the start of the span when a span was replaced.

        Monotone. The length of ``text`` gives the length of ``source``.
        """
        if index >= len(self.text):
            return len(self.source)
        index = max(0, index)
        for rewriting in reversed(self.passes):
            index = rewriting.span(index)[0]
        return min(index, len(self.source))

    def source_span(self, start: int, end: int) -> tuple[int, int]:
        """All written characters that the spoken ones from ``start`` to ``end`` stand for, whole numbers and names included."""
        if end <= start:
            return self.source_offset(start), self.source_offset(start)
        last = min(end, len(self.text)) - 1
        following = last + 1
        for rewriting in reversed(self.passes):
            following = rewriting.span(max(0, following - 1))[1]
        first = self.source_offset(start)
        return first, max(first, min(following, len(self.source)))


def rewrite(text: str, pattern: Pattern[str], replace: Callable[[Match[str]], str | None], *, apart: bool = False) -> Rewriting:
    """Replaces what matches, unless ``replace`` says None; ``apart`` puts blanks between a replacement and letters beside it."""
    parts: list[str] = []
    spans: list[tuple[int, int, int, int]] = []
    length = copied = 0
    for match in pattern.finditer(text):
        start, end = match.span()
        new = replace(match)
        if new is None or new == text[start:end] or start == end:
            continue
        if apart and new:
            before = text[start - 1 : start] if start > copied else parts[-1][-1:] if parts else ""
            new = (" " if before.isalnum() and new[0].isalnum() else "") + new
            new += " " if text[end : end + 1].isalnum() and new[-1].isalnum() else ""
        parts += (text[copied:start], new)
        length += start - copied
        spans.append((length, length + len(new), start, end))
        length += len(new)
        copied = end
    if not spans:
        return Rewriting(text)
    parts.append(text[copied:])
    starts, ends, source_starts, source_ends = zip(*spans, strict=True)
    return Rewriting("".join(parts), starts, ends, source_starts, source_ends)
