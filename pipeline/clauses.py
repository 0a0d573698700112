"""Where a long sentence may be cut: at a clause, at worst between words."""

from __future__ import annotations

import re
from itertools import pairwise

from pipeline.normalize import is_speakable

FIRST_CLAUSE = 8  # characters: less than that is over before the rest can be made
FAR = 1.5  # times its limit: a text as long has its front made for so long that it is cut between two phrases rather than nowhere
REST = 8  # times as long as the first clause the rest may be: for no longer does it keep the listener while its front is made
CLOSERS = "\"'”’»›」』）】》〉)]}*_`"
"""Quotation marks, brackets and Markdown that belong to what stands before them."""
_QUOTED = re.compile(
    r'"[^"]*(?:"|$)|“[^”]*(?:”|$)|«[^»]*(?:»|$)|„[^“”]*(?:[“”]|$)|「[^」]*(?:」|$)|『[^』]*(?:』|$)'
    r"|\([^)]*(?:\)|$)|（[^）]*(?:）|$)"
)
_STRONG = re.compile(rf"[;:\u2014\u2013\u061b][{re.escape(CLOSERS)}]*\s+|\s[-\u2013\u2014]\s+|[；：]|\u2014\u2014")
_COMMA = re.compile(rf"[,\u060c][{re.escape(CLOSERS)}]*\s+|[、，]")
_SPACE = re.compile(r"(?<!\d)\s+|\s+(?![\d\s])")
_PHRASE = re.compile("(?<=[ぁ-ん])(?=[一-龯ァ-ヶ])")
"""In Japanese a phrase ends with its particle, in hiragana."""
_UNBROKEN = re.compile(r"(?<=[^\W\da-zA-Z_])(?=[^\W\da-zA-Z_])|(?<=[^\w\s])(?=\w)")
_CONJUNCTIONS = {
    language: re.compile(rf"(?<=\s)(?=(?:{words})\s)", re.IGNORECASE)
    for language, words in {
        "en": "and|but|or|because|although|though|while|which|who|when|where|if|so|since|unless|until|that",
        "de": "und|aber|oder|sondern|denn|weil|obwohl|während|wenn|dass|damit|bis|bevor|nachdem",
        "fr": "et|mais|ou|donc|car|parce|puisque|quand|lorsque|qui|que|dont|où|si|tandis|alors",
        "es": "y|e|pero|o|u|sino|porque|aunque|mientras|cuando|donde|que|si|pues",
        "it": "e|ed|ma|o|oppure|perché|anche|mentre|quando|dove|che|se|quindi",
        "pt": "e|mas|ou|porque|embora|enquanto|quando|onde|que|se|pois|portanto",
        "nl": "en|maar|of|want|omdat|hoewel|terwijl|wanneer|als|dat|die|zodat",
        "ru": "и|а|но|или|потому|хотя|когда|если|чтобы|что|который|которая|которые|где|пока",
        "pl": "i|a|ale|lub|albo|ponieważ|chociaż|kiedy|gdy|jeśli|żeby|że|który|która|które|gdzie",
        "hi": "और|लेकिन|या|क्योंकि|जब|अगर|कि|जो|तो",
        "ar": "ولكن|لكن|أو|لأن|عندما|إذا|حيث|بينما|التي|الذي|ثم",
    }.items()
}
_OPENING = {
    language: tuple(frozenset(words.split()) for words in kinds)
    for language, kinds in {
        "en": (
            "about after against at before behind between by during for from in into near on over through under with within without",
            "a all an any each every her his its no of our some the their these this those to",
        ),
        "de": (
            "auf bei durch für gegen im in mit nach ohne seit unter vom von während zwischen über",
            "am an aus das dem den der des die diese dieser dieses ein eine einem einen einer eines ihr ihre kein keine sein seine "
            "unser unsere vor zu zum zur",
        ),
        "fr": (
            "après avant avec chez contre dans depuis entre par pendant pour sans sous sur vers",
            "au aux ce ces cette de des du la le les leur leurs nos notre sa ses son un une à",
        ),
        "es": (
            "con contra desde durante en entre hacia hasta para por sin sobre",
            "a al de del el esta estas este estos la las los su sus un una",
        ),
        "it": (
            "con contro dopo durante fra in nei nel nella nelle per senza su sul sulla tra verso",
            "a al alla alle da dal dalla degli dei del della delle di gli i il la le lo un una uno",
        ),
        "pt": (
            "até com contra desde durante em entre na nas no nos para por sem sobre",
            "a ao aos as da das de do dos o os seu sua um uma à às",
        ),
        "nl": (
            "bij door in met na naar onder op over sinds tegen tijdens tussen voor zonder",
            "aan de deze een haar het hun te van zijn",
        ),
        "ru": ("без в во для до из между на над около под после при с со через", "за к ко о об от у"),
        "pl": ("bez dla do między na nad od po pod przez przy w we z ze", "ku o u za"),
    }.items()
}
"""Prepositions, and articles and what else opens a phrase. A phrase ends where one of them follows a word that is none (Liberman and
Church, Text Analysis and Word Pronunciation in Text-to-Speech Synthesis, 1992)."""
_WORD = re.compile(r"\S+")


def primary(language: str) -> str:
    """The language without region and script."""
    return re.split("[-_]", language.lower(), maxsplit=1)[0]


def first_clause(text: str, limit: int, language: str = "") -> int:
    """Where a text longer than ``limit`` may be cut so that its beginning can be spoken first; 0 when there is no such place.

    Behind its first clause; in one that is much longer and has none, between two phrases, as late as may be, or soon behind ``limit``.
    """
    if len(text) <= limit:
        return 0
    found = [
        match.end()
        for pattern in (_STRONG, _COMMA)
        for match in pattern.finditer(text, 0, limit)
        if match.end() < limit or not match.group()[-1].isspace()
    ]
    conjunction = _CONJUNCTIONS.get(primary(language))
    cuts = [sorted(found), [match.end() for match in conjunction.finditer(text, 0, limit)] if conjunction else []]
    if len(text) > FAR * limit:
        cuts += _phrases(text, limit, language)
    quoted = [match.span() for match in _QUOTED.finditer(text)]
    for candidates in cuts:
        for cut in candidates:
            left = len(text) - cut
            enough = is_speakable(text[:cut]) and cut >= max(FIRST_CLAUSE, left / REST) and left >= FIRST_CLAUSE
            if enough and not any(start < cut < end for start, end in quoted):
                return cut
    return 0


def _phrases(text: str, limit: int, language: str) -> list[list[int]]:
    """Where phrases begin, the last ones first, and not in the first third: those with a preposition, the others; what comes too late."""
    found: list[list[int]] = []
    late: list[int] = []
    kinds = _OPENING.get(primary(language), ())
    words = [(match.group().lower(), match.start()) for match in _WORD.finditer(text)]
    for kind in kinds:
        places = [at for (before, _), (word, at) in pairwise(words) if word in kind and not any(before in other for other in kinds)]
        found.append([at for at in reversed(places) if limit // 3 <= at <= limit])
        late += [at for at in places if limit < at <= FAR * limit]
    return [*found, sorted(late)]


def last_clause(text: str, limit: int, language: str = "") -> int:
    """The best place up to ``limit`` to cut a sentence that is too long, and not in its first third. There always is one."""
    patterns = [_STRONG, _COMMA, *filter(None, [_CONJUNCTIONS.get(primary(language))]), _SPACE, _PHRASE]
    quoted = [match.span() for match in _QUOTED.finditer(text)]
    inside = 0
    for pattern in patterns:
        outside = 0
        for match in pattern.finditer(text, 0, limit):
            cut = match.end()
            if cut < limit // 3:
                continue
            if not any(start < cut < end for start, end in quoted):
                outside = cut
            elif not inside or pattern not in (_SPACE, _PHRASE):
                inside = cut
        if outside:
            return outside
    if inside:
        return inside
    unbroken = [match.start() for match in _UNBROKEN.finditer(text, 1, limit)]
    return unbroken[-1] if unbroken else limit
