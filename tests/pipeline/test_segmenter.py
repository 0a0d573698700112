from itertools import pairwise

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from pipeline.segmenter import Piece, Segmenter, SegmenterSettings
from tests.examples import examples

LANGUAGES = ["en", "de", "fr", "ja", "zh", "hi", "ar", "xx"]


def pieces(text: str, language: str = "en", **options: int) -> list[Piece]:
    segmenter = Segmenter(language, SegmenterSettings(**options))
    return segmenter.feed(text, 0) + segmenter.flush(0)


def sentences(text: str, language: str = "en", **options: int) -> list[str]:
    return [piece.text for piece in pieces(text, language, **options)]


@pytest.mark.parametrize(
    ("language", "marked"),
    [
        ("en", "Dr. Smith paid $5.20 to J. R. Jones.|He left at 3 p.m. yesterday.|Where to?|Nobody knows!"),
        ("en", 'Then "Stop!" he said.|"Go."|Wait... what?|It weighs 3.5 kg, e.g. on Mondays.|See https://x.com/a?B=c.|Done.'),
        ("en", 'He said "Stop.|Go now." and left.|"Next one," he added.|"Why?"|Nobody knew.'),
        ("en", "Apples, pears, etc.|The rest is gone.|U.S. troops left.|(He was late.)|Then he came.|Hello! 🎉|How are you?"),
        ("de", "Das ist z. B. gut.|Am 3. März kam Dr. Müller um ca. 5 Uhr.|„Komm!“, rief er.|„Geh.“|Sie ging."),
        ("fr", "« Bonjour. » dit-il.|« Oui. »|Elle part !|Comment ça va ?|M. Dupont arrive."),
        ("es", "¿Qué?|¡Sí!|¿No vienes?|El Sr. Pérez paga 3,50 euros.|Adiós."),
        ("it", "Il sig. Rossi è qui.|Che cosa vuole?|Costa 3,50 euro.|Va bene!"),
        ("pt", "O Sr. Silva chegou.|São 3,50 euros.|E agora?|Não sei!"),
        ("ja", "これは本です。|「はい。」と言った！|今日は？|3.5キロです。|「では。」|３．５％です。|終わり"),
        ("zh", "你好。|他说：“走吧。”|我走了！|真的？！|3.5公里。|去看《摔跤吧！爸爸》好吗？|好"),
        ("hi", "यह एक वाक्य है।|दूसरा वाक्य है।|क्या?|हाँ!"),
        ("ar", "هذا كتاب.|ما هذا؟|شكرا لك."),
        ("ur", "یہ کتاب ہے۔|وہ کیا ہے؟"),
        ("ru", "Это книга.|А. С. Пушкин родился в 1799 году.|Что это?|Да!"),
        ("en", "# A title|It is wrapped\nin the middle.|- one|- two|1. First thing.|2. Second thing.\n---|The **end.**|Really."),
    ],
)
def test_sentences_of_a_language(language: str, marked: str) -> None:
    parts = marked.split("|")
    joint = "" if language in {"ja", "zh"} else "\n" if "\n" in marked else " "
    assert sentences(joint.join(parts), language) == parts


@pytest.mark.parametrize(
    "marked",
    [
        "Come, if you may.|Ships are waiting.|It was in May.|Peter came.|The may.|May nobody see it.",
        "Peter is ill.|Mary told me.|Parliament said no.|Ships wait.|That is ok.|“Tell me.”|Peter left.|(Ask me.)|Peter went.",
        "He lives at no. 5 in Bangor, Me. Peter knows it.|On May. 5 it ends.|Give it to me. please do.|See Sec. Peter.",
    ],
)
def test_a_word_that_only_looks_like_an_abbreviation_ends_a_sentence_before_a_capital(marked: str) -> None:
    parts = marked.split("|")
    assert sentences(" ".join(parts)) == parts


def test_in_other_languages_it_may_be_one() -> None:
    assert sentences("Il capitolo no. Uno è lungo.", "it") == ["Il capitolo no. Uno è lungo."]


def test_pieces_cover_the_text_and_tell_paragraphs() -> None:
    text = "  One. Two.\n\n# Three\nFour.\n\n"
    found = pieces(text)
    assert [(p.text, p.ending) for p in found] == [
        ("One.", "sentence"),
        ("Two.", "paragraph"),
        ("# Three", "paragraph"),
        ("Four.", "paragraph"),
    ]
    assert "".join(text[p.start : p.end] for p in found) == text


@pytest.mark.parametrize("text", ["", " ", "\n\n", "...", "?! —", "🎉🎉", "1️⃣"])
def test_nothing_to_say(text: str) -> None:
    assert not any(piece.speakable for piece in pieces(text))


def test_a_sentence_leaves_when_the_next_word_begins() -> None:
    segmenter = Segmenter("en")
    assert segmenter.feed("Hello there.", 0) == []
    assert segmenter.feed(" ", 0) == []
    assert [p.text for p in segmenter.feed("H", 0)] == ["Hello there."]
    assert segmenter.pending == "H"


def test_a_doubtful_stop_waits_for_the_whole_next_word() -> None:
    segmenter = Segmenter("de")
    assert segmenter.feed("Am 3. M", 0) == []
    assert segmenter.feed("ärz war es.", 0) == []
    assert [p.text for p in segmenter.feed(" Da", 0)] == ["Am 3. März war es."]


@pytest.mark.parametrize(
    ("text", "wait"),
    [
        ("Hello there.", 0.3),
        ("In 2024.", 0.3),
        ('He said "Go."', 0.3),
        ("Well...", 0.3),
        ("A title\n", 0.3),
        ("Great! 🎉", 0.3),
        ("これは本です。", 0.3),
        ("यह है।", 0.3),
        ("Come, if you may.", 0.3),
        ("Tell me.", 0.3),
        ("I met Dr.", 1.0),
        ("It costs 3.", 1.0),
        ("It was J.", 1.0),
        ("In the U.S.", 1.0),
        ("Hello there", None),
        ("🎉!", None),
    ],
)
def test_the_quiet_timer(text: str, wait: float | None) -> None:
    segmenter = Segmenter("en")
    assert segmenter.feed(text, 5.0) == []
    assert segmenter.timer() == (None if wait is None else pytest.approx(5 + wait))
    assert segmenter.on_timer(4.9 + (wait or 0)) == []
    assert [p.text for p in segmenter.on_timer(6.01)] == ([] if wait is None else [text.strip()])
    assert segmenter.timer() is None
    assert [p.text for p in segmenter.flush(7)] == ([text] if wait is None else [])


def test_what_goes_on_puts_the_timer_off() -> None:
    segmenter = Segmenter("en")
    segmenter.feed("It is 12.50.", 1.0)
    segmenter.feed(" ", 1.2)
    assert segmenter.timer() == pytest.approx(1.5)
    segmenter.feed("b", 1.3)
    assert segmenter.timer() is None


def test_a_long_sentence_is_cut_at_a_clause() -> None:
    clause = "we waited for a very long time in the rain"
    found = sentences(f"{clause}, {clause}; {clause}, {clause}, {clause}, {clause}.", comfortable=100)
    assert [len(text) <= 125 for text in found] == [True] * len(found)
    assert found[0].endswith(";") and all(text[-1] in ",;." for text in found)


def test_a_long_sentence_is_not_cut_in_a_word_a_number_or_a_quotation() -> None:
    assert sentences("abcdefghij " * 20, comfortable=40) == ["abcdefghij abcdefghij abcdefghij"] * 6 + ["abcdefghij abcdefghij"]
    assert sentences('one two three four "five, six, seven eight nine" ten', comfortable=40)[0] == "one two three four"
    assert len(max(sentences("あ" * 900, "ja"), key=len)) <= 100


def test_settings_are_checked() -> None:
    with pytest.raises(ValueError, match="comfortable"):
        SegmenterSettings(comfortable=3)


FRAGMENTS = st.sampled_from(
    [
        "Hello",
        " ",
        ". ",
        "Dr. ",
        "3",
        ".",
        "5",
        "!",
        "? ",
        '"',
        "“",
        "”",
        "\n",
        "\n\n",
        "- ",
        "# ",
        "e.g. ",
        "The ",
        "the ",
        "。",
        "」",
        "と",
        "本",
        "।",
        "؟",
        *["🎉", ", ", "; ", "(", ")", "…", "U.S. ", "März ", "1. ", "\r\n", "J. ", "*", "\ud800", "\x00", "etc. "],
    ]
)
TEXTS = st.one_of(st.lists(FRAGMENTS, max_size=60).map("".join), st.text(max_size=60))


@examples(150)
@given(TEXTS, st.sampled_from(LANGUAGES), st.data())
@example("A. B. C. D.", "en", None)
def test_pieces_do_not_depend_on_the_deltas(text: str, language: str, data: st.DataObject | None) -> None:
    options = SegmenterSettings(comfortable=30, comfortable_wide=20)
    whole = Segmenter(language, options)
    expected = whole.feed(text, 0) + whole.flush(0)
    assert "".join(text[p.start : p.end] for p in expected) == text
    assert all(p.text == text[p.start : p.end].strip() for p in expected)
    assert all(before.end == after.start for before, after in pairwise(expected))
    cuts = sorted(data.draw(st.sets(st.integers(0, len(text)), max_size=8))) if data else range(len(text))
    dealt, found = Segmenter(language, options), []
    for start, end in pairwise([0, *cuts, len(text)]):
        found += dealt.feed(text[start:end], 0)
        assert len(dealt.pending) <= 38
    assert found + dealt.flush(0) == expected


def test_a_long_text_a_character_at_a_time_is_linear() -> None:
    class Counting(Segmenter):
        asked = 0

        def _ends(self, text: str, after: int, following: int) -> bool:
            self.asked += len(text)
            return super()._ends(text, after, following)

    for text in ("Mr. X. saw it. " * 100, "a. " * 600, "word " * 400, "." * 2000, " " * 2000, '"' * 2000, "\n" * 2000):
        segmenter = Counting("en")
        found = [piece for character in text for piece in segmenter.feed(character, 0)] + segmenter.flush(0)
        assert found[-1].end == len(text)
        assert segmenter.asked < 400 * len(text)
