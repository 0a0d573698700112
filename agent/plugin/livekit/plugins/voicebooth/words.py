"""Words and where in an utterance's sound they begin and end."""

from __future__ import annotations

from livekit.agents.types import TimedString


class Words:
    """A word has ended where the next one begins, or its sentence does. Pure."""

    def __init__(self) -> None:
        self._open: tuple[str, float] | None = None

    def on_word(self, text: str, at: float) -> list[TimedString]:
        """Those that are known to have ended. ``at``: seconds of the utterance's sound before it."""
        ended = self.on_end(at)
        self._open = text, at
        return ended

    def on_end(self, at: float) -> list[TimedString]:
        """The sentence has ended."""
        word, self._open = self._open, None
        return [] if word is None else [TimedString(word[0], start_time=word[1], end_time=max(word[1], at))]
