"""Takes out what is written for the eye: Markdown, HTML, emoji, control characters, runs of white space."""

from __future__ import annotations

import re
import unicodedata
from re import Match

from pipeline.normalize.spoken import Rewriting, rewrite

_EMOJI = (
    r"[0-9#*]\ufe0f?\u20e3|[\U0001f000-\U0001faff\u2600-\u27bf\u2b00-\u2bff\u2300-\u23ff\u2190-\u21ff\ufe0f\u20e3\U000e0020-\U000e007f]"
    r"(?:[\ufe0f\u200d\U0001f3fb-\U0001f3ff]|(?<=\u200d)[\u2600-\u27bf\U0001f000-\U0001faff])*"
)
_MARKUP = re.compile(
    r"(?P<gone>^[ \t]{0,12}(?:#{1,6}[ \t]+|>[ \t]?|[-*+•][ \t]+|```[^\n]{0,40}$|(?:[-*_=][ \t]?){3,80}$)"
    r"|</?[a-zA-Z][^<>\n]{0,200}>|[\u00ad\ufeff\u200b\u2060-\u2064\u200e\u200f\u202a-\u202e\u2066-\u2069©®™]|`+|(?<!\w)\*{1,3}(?=[^\s*])|(?<=[^\s*])\*{1,3}(?!\w)"
    r"|\*{2,3}|(?<!\w)_{1,3}(?=[^\W_])|(?<=[^\s_])_{1,3}(?!\w)|~~)"
    rf"|(?P<emoji>(?:{_EMOJI})+)"
    r"|!?\[(?P<label>[^\[\]\n]{0,300})\]\([^()\s]{0,1000}(?:[ ]\"[^\"\n]{0,100}\")?\)"
    r"|<(?P<link>https?://[^<>\s]{1,1000})>"
    r"|&(?P<entity>amp|lt|gt|quot|nbsp|apos|#39);"
    r"|(?P<blank>[\s\x00-\x1f\x7f-\x9f\ud800-\udfff\ufffd\ue000-\uf8ff|]+)",
    re.MULTILINE,
)
_ENTITIES = {"amp": "&", "lt": "<", "gt": ">", "quot": '"', "nbsp": " ", "apos": "'", "#39": "'"}
_WIDE = re.compile("[０-９Ａ-Ｚａ-ｚ％＆＋－]+|[٠-٩۰-۹०-९০-৯]+")
_DIGITS_READ = frozenset({"ar", "fa", "bn"})
"""Languages whose own digits can be put into words."""


def _plain(match: Match[str]) -> str:
    kind = match.lastgroup
    if kind == "gone":
        return ""
    if kind == "label":
        return match["label"]
    if kind == "link":
        return match["link"]
    if kind == "entity":
        return _ENTITIES[match["entity"]]
    return " "


def strip_markup(text: str) -> Rewriting:
    return rewrite(text, _MARKUP, _plain)


def unify_digits(text: str, language: str) -> Rewriting:
    """Full-width characters become narrow, and digits of other scripts 0-9 where the language's numbers can be read."""

    def narrow(match: Match[str]) -> str | None:
        run = match.group()
        if unicodedata.east_asian_width(run[0]) == "F":
            return unicodedata.normalize("NFKC", run)
        return "".join(str(unicodedata.decimal(digit)) for digit in run) if language in _DIGITS_READ else None

    return rewrite(text, _WIDE, narrow)
