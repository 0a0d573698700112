"""From text that grows to sentences: each leaves as soon as its end is certain.

The rules of languages are sentencex's; this layer decides when there is enough text to ask it, and keeps what is pending short.
Every decision is made on the same characters however the text was dealt out, so that the pieces do not depend on the deltas.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from sentencex import segment  # type: ignore[attr-defined]  # a compiled module without stubs

from pipeline.clauses import CLOSERS, first_clause, last_clause, primary
from pipeline.normalize import is_speakable
from pipeline.normalize.speakable import SPEAKABLE

__all__ = ["Piece", "Segmenter", "SegmenterSettings", "first_clause"]

WIDE_LANGUAGES = frozenset({"zh", "ja", "ko", "yue", "wuu"})
"""Written in syllables or words a character: a line of them takes three times as long to say."""
NEXT_WORD = 30  # characters: sentencex looks no further behind a full stop
LAST_MARKS = 20  # characters of punctuation and white space that may follow a last word: quotes, brackets, an emoji
SLACK = 4  # a sentence may be longer than comfortable by one part in so many before it is cut

_WIDE_STOPS = "。！？｡"
_TERMINATORS = ".!?…．‼‽⁇⁈⁉।॥؟۔؞։።፧፨။។᠃" + _WIDE_STOPS
"""Latin, Devanagari, Arabic, Armenian, Ethiopic, Burmese, Khmer, Mongolian; Chinese and Japanese."""
_OPENERS = "\"'“‘„‚«‹「『（【《〈([{¿¡*_`#-–—•"
_BRACKETS = {")": "(", "]": "[", "）": "（"}
_EVENT = re.compile(f"[{_TERMINATORS}]+|\n")
_BLANK_LINE = re.compile(r"\n[ \t\r]*\n|\u2029")
_CLOSING = re.compile(f"[{re.escape(CLOSERS)}]*")
_LEADING_OPENERS = re.compile(rf"(?:(?<=\s)[{re.escape(_OPENERS)}]+\s+)+$")
_HEADING = re.compile(r"[ \t]{0,3}#{1,6}[ \t]")
_LIST_MARK = re.compile(r"\W*(?:\d{1,3}|[^\W\d_]|[ivxIVX]{1,4})$")
_LIST_ITEM = re.compile(r"[^\W_]{1,3}[.)]$")
_UNSURE_WORD = re.compile(r"(?:\d|(?:^|[\s.(\[\"'“«])[^\W\d_])$")
"""Before a full stop: a number (an ordinal?) or an initial. The whole next word tells."""
_WHOLE_WORD = {"en": re.compile(r"(?:^|[\s(\[\"'“«])(?:[Mm]ay|me|no|ill|ok|miss|fed|ore|ark|con)$")}
"""Before a full stop: words of which the library thinks that they are cut off (Maine, number, illustrated) however they are written."""
_OPEN_NUMBER = re.compile(r"(?<![\d.,])\d{1,3}$")
_LAST_WORD = re.compile(r"[^\W_](?=[\W_]*$)")
_SURROGATES = re.compile("[\ud800-\udfff]")


@dataclass(frozen=True, slots=True)
class SegmenterSettings:
    quiet: float = 0.3
    """Seconds without a delta after which a text that ends like a sentence is taken for one."""
    unsure: float = 1.0
    """The same where its full stop may be none: behind a number, an initial, an abbreviation."""
    comfortable: int = 220
    """Characters; a sentence that is a quarter longer is cut at a clause before this length."""
    comfortable_wide: int = 80
    """The same for Chinese, Japanese and Korean."""

    def __post_init__(self) -> None:
        if min(self.quiet, self.unsure) < 0 or min(self.comfortable, self.comfortable_wide) < 20:
            raise ValueError("quiet and unsure must not be negative, and the comfortable lengths at least 20 characters")


Ending = Literal["clause", "sentence", "paragraph"]


@dataclass(frozen=True, slots=True)
class Piece:
    """One sentence, or a part of a long one. All pieces together cover what was fed."""

    text: str
    """As written, without the white space around it."""
    start: int
    """Index of its first character in all that was fed."""
    end: int
    """Index after its last character; white space belongs to the piece before it."""
    ending: Ending
    """What ends after it: a long sentence may be cut at a clause."""
    speakable: bool
    """False when it holds nothing to say."""
    last: int
    """Index after its last character that is no white space."""


class Segmenter:
    """Takes one utterance's text as it comes, gives sentences. Holds a sentence and a quarter at the most."""

    def __init__(self, language: str, settings: SegmenterSettings = SegmenterSettings()) -> None:
        self._language = primary(language)
        self._settings = settings
        self._comfortable = settings.comfortable_wide if self._language in WIDE_LANGUAGES else settings.comfortable
        self._longest = self._comfortable + self._comfortable // SLACK
        self._text = ""
        """What has not left, and while feeding also what has, up to ``_at``."""
        self._at = 0
        self._start = 0
        """How much has left, in characters."""
        self._looked = 0
        """Ends of sentences before this index of the pending text are ruled out."""
        self._quote = ""
        """The opening quotation mark, when the pending text begins inside a quotation."""
        self._due: float | None = None

    @property
    def pending(self) -> str:
        """The text that is held."""
        return self._text

    def timer(self) -> float | None:
        """When :meth:`on_timer` wants to be called."""
        return self._due

    def feed(self, text: str, now: float) -> list[Piece]:
        if not text:
            return []
        self._text += text
        pieces = self._cut_all(final=False)
        wait = self._wait()
        self._due = None if wait is None else now + wait
        return pieces

    def flush(self, now: float) -> list[Piece]:
        """All that is held, complete or not."""
        pieces = self._cut_all(final=True)
        self._due = None
        return [*pieces, self._take_rest()] if self._text else pieces

    def on_timer(self, now: float) -> list[Piece]:
        if self._due is None or now < self._due:
            return []
        self._due = None
        return [self._take_rest()]

    def _cut_all(self, *, final: bool) -> list[Piece]:
        pieces = []
        while self._at < len(self._text):
            view = self._text[self._at : self._at + self._longest]
            ending: Ending = "sentence"
            cut = self._find_end(view, final=final and len(view) < self._longest)
            if not cut and len(view) == self._longest:
                ending, cut = "clause", last_clause(view, self._comfortable, self._language)
            if not cut:
                break
            pieces.append(self._take(view[:cut], ending))
        self._text, self._at = self._text[self._at :], 0
        return pieces

    def _take_rest(self) -> Piece:
        piece = self._take(self._text, "sentence")
        self._text, self._at = "", 0
        return piece

    def _take(self, text: str, ending: Ending) -> Piece:
        stripped = text.strip()
        gap = text[len(text.rstrip()) :]
        if _BLANK_LINE.search(gap) or ("\n" in gap and _HEADING.match(stripped)):
            ending = "paragraph"
        last = self._start + len(text) - len(gap)
        piece = Piece(stripped, self._start, self._start + len(text), ending, is_speakable(stripped), last)
        self._start, self._at, self._looked = piece.end, self._at + len(text), 0
        mark = text.rfind('"')
        if ending == "paragraph":
            self._quote = ""
        elif mark >= 0:
            opens = (not mark or not text[mark - 1].isalnum()) and text[mark + 1 : mark + 2].isalnum()
            self._quote = '"' if opens else ""
        return piece

    def _find_end(self, view: str, *, final: bool) -> int:
        """The length of the first sentence, 0 when that is not certain yet."""
        word = SPEAKABLE.search(view)
        if word is None:
            return 0  # what says nothing goes with what follows
        self._looked = max(self._looked, word.end())
        while event := _EVENT.search(view, self._looked):
            cut = self._judge(view, event, final=final)
            if cut != 0:
                return cut or 0
            self._looked = event.end()
        self._looked = len(view)
        return 0

    def _judge(self, view: str, event: re.Match[str], *, final: bool) -> int | None:
        """Where the sentence ends that may end with this event: 0 when it does not, None when more text is needed to know."""
        mark = event.group()
        after = event.end()
        word = SPEAKABLE.search(view, after)
        following = word.start() if word else len(view)
        if mark == "\n" and _HEADING.match(view[: event.start()].rpartition("\n")[2]):
            return after
        if blank := _BLANK_LINE.search(view, after - 1 if mark == "\n" else after, following):
            return blank.end()
        if word is None:
            return None
        line = view.rfind("\n", after - 1, following) + 1
        if mark == "\n":
            return self._judge_line(view, line, following, final=final)
        if _LIST_MARK.match(view[: event.start()]):
            return 0
        gap = view[after:following]
        spaced = re.search(r"\s", gap)
        if mark.isascii() and not spaced and view[following] < "\u2e80":
            return 0  # inside a number, an address, an abbreviation
        if mark == "．" and view[following].isdigit() and not spaced:
            return 0
        if view.rfind("《", 0, after) > view.rfind("》", 0, after):
            return 0  # inside a title
        if mark[-1] in _WIDE_STOPS and not spaced:
            closing = _CLOSING.match(view, after, following)
            quoted = closing and closing.group()
            return 0 if quoted and view[following] == "と" else after + len(quoted or "")
        unsure = mark == "." and _UNSURE_WORD.search(view[: event.start()])
        whole = mark == "." and view[following].isupper() and self._is_whole_word(view[: event.start()])
        if not whole and (unsure or not self._ends(view[: following + 1], after, following)):
            end = _word_end(view, following, final=final)
            if end is None:
                return None
            if not self._ends(view[:end], after, following) and not (line and view[line:following].strip()):
                return 0
        if line:
            return line
        if not spaced:
            closing = _CLOSING.match(view, after, following)
            return closing.end() if closing else after
        cut = after + max(gap.rfind(space) for space in set(gap) if space.isspace()) + 1
        openers = _LEADING_OPENERS.search(view, after, cut)
        return openers.start() if openers else cut

    def _judge_line(self, view: str, line: int, following: int, *, final: bool) -> int | None:
        """A line ends a sentence unless the next one goes on in the middle of it, as wrapped text does."""
        if view[line:following].strip() or not view[following].islower() or view[:line].lstrip().startswith(("- ", "* ", "+ ", "> ", "|")):
            return line
        end = _word_end(view, following, final=final)
        if end is None:
            return None
        return line if _LIST_ITEM.match(view[following:end].rstrip()) else 0

    def _ends(self, text: str, after: int, following: int) -> bool:
        """Does the library see a sentence end between these two indexes?"""
        if text[after : after + 1] in _BRACKETS and text.lstrip().startswith(_BRACKETS.get(text[after : after + 1], "\0")):
            return not text[following].islower()  # a sentence in brackets of its own; the library never ends one inside brackets
        position = -len(self._quote)
        for sentence in segment(self._language, _SURROGATES.sub("\ufffd", self._quote + text)):
            position += len(sentence)
            if position >= after:
                return position <= following
        return False

    def _is_whole_word(self, head: str) -> bool:
        """Does this text end with a word that only looks like an abbreviation?"""
        known = _WHOLE_WORD.get(self._language)
        return known is not None and known.search(head) is not None

    def _wait(self) -> float | None:
        """Seconds without a delta after which the pending text is a sentence; None when it does not end like one."""
        word = _LAST_WORD.search(self._text, max(0, len(self._text) - LAST_MARKS - 1))
        event = _EVENT.search(self._text, word.end()) if word else None
        if event is None:
            return None
        return self._settings.quiet if event.group() != "." or self._is_sure(event) else self._settings.unsure

    def _is_sure(self, stop: re.Match[str]) -> bool:
        """Does the pending text end a sentence with this full stop, whatever follows?"""
        head = self._text[: stop.start()]
        if _UNSURE_WORD.search(head) and (not head[-1].isdigit() or _OPEN_NUMBER.search(head)):
            return False
        text = self._text.rstrip()
        return self._is_whole_word(head) or self._ends(text + " Xq", stop.end(), len(text) + 1)


def _word_end(view: str, start: int, *, final: bool) -> int | None:
    """The index after the white space that ends the word, None when the word may go on."""
    space = re.compile(r"\s").search(view, start, start + NEXT_WORD)
    if space:
        return space.end()
    if final or len(view) >= start + NEXT_WORD:
        return min(len(view), start + NEXT_WORD)
    return None
