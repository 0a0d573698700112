import time

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from pipeline.normalize import is_speakable, normalize
from tests.examples import examples

TABLE = {
    "en": """
        Dr. Smith paid $5.20 for 3 kg. > Doctor Smith paid five dollars and twenty cents for three kilograms.
        It cost €3m, £2.5bn, 20 £ or ¥500. > It cost three million euros, two point five billion pounds, twenty pounds or five hundred yen.
        $1, £0.50 and 1,234.5 USD > one dollar, fifty pence and one thousand two hundred and thirty-four point five dollars
        In 1984, since 2009, 1,500 people > In nineteen eighty-four, since two thousand and nine, one thousand five hundred people
        on 2024-03-04 at 14:30 > on March fourth, twenty twenty-four at fourteen thirty
        the 3 March 2024 and March 3, 2024 > the third of March, twenty twenty-four and March third, twenty twenty-four
        03/04/2024 or 25/12/2023 > March fourth, twenty twenty-four or December twenty-fifth, twenty twenty-three
        2:30 pm, 9:05, 12:00, 5 p.m. sharp > two thirty p m, nine oh five, twelve o'clock, five p m sharp
        the 21st, 3–5 km, 10-20%, -5 °C > the twenty-first, three to five kilometres, ten to twenty percent, minus five degrees Celsius
        100 km/h, 30 m², 1 kg > one hundred kilometres per hour, thirty square metres, one kilogram
        1/2, 3 1/2, 2½, 24/7 > one half, three and one half, two and one half, twenty-four seven
        555-0199 > five five five, zero one nine nine
        +44 20 7946 0958 > plus four four, two zero, seven nine four six, zero nine five eight
        Louis XIV and World War II > Louis the fourteenth and World War two
        https://www.example.com/docs?x=1. > example dot com slash docs.
        Ask joe.doe@example.com or see go.dev/doc, please. > Ask joe dot doe at example dot com or see go dot dev slash doc, please.
        #HelloWorld and @maria_s > hashtag Hello World and at maria s
        MP3, H2O, COVID-19, v1.2.3, 007 > MP three, H two O, COVID-nineteen, v one dot two dot three, zero zero seven
        AT&T, 2 + 2 = 4, #5, No. 5 > AT and T, two plus two equals four, number five, number five
        St. John's is on Baker St. in the U.S. > Saint John's is on Baker Street in the U S.
        e.g. apples, pears, etc. > for example apples, pears, et cetera.
        **Bold**, _it_, `code`, [a link](http://x.y/z) and ~~gone~~ > Bold, it, code, a link and gone
        A <b>tag</b> &amp; snake_case, 3 * 4 > A tag and snake case, three * four
        Nice 😀👍🏽! > Nice!
        It's fine. > It's fine.
        9999999999999999999 > nine nine nine nine nine nine nine nine nine nine nine nine nine nine nine nine nine nine nine
    """,
    "en-GB": """
        03/04/2024 > the third of April, twenty twenty-four
    """,
    "de": """
        Dr. Müller zahlt z. B. 5,20 € am 3. März. > Doktor Müller zahlt zum Beispiel fünf Euro zwanzig am dritten März.
        Der 3. März 1984 um 14:30 Uhr > Der dritte März neunzehnhundertvierundachtzig um vierzehn Uhr dreißig
        1.234,5 km, 3,14 und 1 Haus > eintausendzweihundertvierunddreißig Komma fünf Kilometer, drei Komma eins vier und ein Haus
        3 Mio. €, 50 %, 3–5 kg, 1 h > drei Millionen Euro, fünfzig Prozent, drei bis fünf Kilogramm, eine Stunde
        das 19. Jahrhundert, 04.05.2023 > das neunzehnte Jahrhundert, vierter Mai zweitausenddreiundzwanzig
        Ludwig XIV. kam, d. h. usw. > Ludwig der Vierzehnte kam, das heißt und so weiter.
        Es gab 1 Stunde Pause. > Es gab eine Stunde Pause.
    """,
    "fr": """
        M. Dupont paie 5,20 € à 14h30 le 1er mars. > Monsieur Dupont paie cinq euros vingt à quatorze heures trente le premier mars.
        Mme Roy a 3 M€ et 1 000 000 km. > Madame Roy a trois millions d'euros et un million de kilomètres.
        le XXe siècle, Louis XIV, François I > le vingtième siècle, Louis quatorze, François premier
        50 %, 3,14, 21 heures, 1 heure, la 2e > cinquante pour cent, trois virgule quatorze, vingt et une heures, une heure, la deuxième
        le 3 avril 2024 > le trois avril deux mille vingt-quatre
    """,
    "fr-BE": "71 > septante et un",
    "es": """
        El Sr. Pérez paga 21 € y 5,20 €. > El señor Pérez paga veintiún euros y cinco euros con veinte céntimos.
        el 3 de marzo de 2024 a las 14:30 > el tres de marzo de dos mil veinticuatro a las catorce y treinta
        1ª, 2.º, 3er, siglo XX, Felipe VI > primera, segundo, tercer, siglo veinte, Felipe sexto
        3 M€, 1.234 m², 1 libro > tres millones de euros, mil doscientos treinta y cuatro metros cuadrados, un libro
    """,
    "it": """
        Il sig. Rossi paga 5,20 € il 1 marzo 2024. > Il signor Rossi paga cinque euro e venti centesimi il primo marzo duemilaventiquattro.
        3 mln €, 1 km, 50%, alle 14:30 > tre milioni di euro, un chilometro, cinquanta per cento, alle quattordici e trenta
        la 2ª, Luigi XIV, il XX secolo > la seconda, Luigi quattordicesimo, il ventesimo secolo
    """,
    "pt": """
        O Sr. Silva paga 2 £ e 5,20 €. > O senhor Silva paga duas libras e cinco euros e vinte cêntimos.
        1 de março de 2024 às 14:30 > primeiro de março de dois mil e vinte e quatro às catorze e trinta
        a 1ª, Pedro II, século XX, 50% > a primeira, Pedro segundo, século vinte, cinquenta por cento
        16 > dezasseis
    """,
    "pt-BR": "16, R$ 5,50 > dezesseis, cinco reais e cinquenta centavos",
    "ru": "У меня 25 книг и 50%. > У меня двадцать пять книг и 50%.",
    "nl": "Ik heb 25 boeken. > Ik heb vijfentwintig boeken.",
    "ar": "عندي ٢٥ كتابا. > عندي خمسة و عشرون كتابا.",
    "ja": "３本、25%です。 > 3本、25%です。",
    "hi": "25 किताबें > 25 किताबें",
    "xx": "25 *things* > 25 things",
    "": "25 things > 25 things",
}
ROWS = [(language, *map(str.strip, row.split(" > "))) for language, rows in TABLE.items() for row in rows.strip().splitlines()]


@pytest.mark.parametrize(("language", "written", "spoken"), ROWS)
def test_reading(language: str, written: str, spoken: str) -> None:
    assert normalize(written, language).text == spoken


@pytest.mark.parametrize(
    ("written", "spoken"),
    [
        ("# A title", "A title"),
        ("- an item", "an item"),
        ("> a quote\nof two lines", "a quote of two lines"),
        ("a\x00b\u200b\u00adc\n\n d", "a bc d"),
    ],
)
def test_markup_of_lines(written: str, spoken: str) -> None:
    assert normalize(written, "en").text == spoken


def test_the_way_back_to_what_was_written() -> None:
    written = "**Now** it costs $5.20 in all."
    spoken = normalize(written, "en")
    assert spoken.text == "Now it costs five dollars and twenty cents in all."
    assert spoken.source == written

    def back(words: str) -> str:
        at = spoken.text.index(words)
        start, end = spoken.source_span(at, at + len(words))
        return written[start:end]

    assert [back(words) for words in ("Now", "costs", "five", "twenty cents", "in all.")] == ["Now", "costs", "$5.20", "$5.20", "in all."]
    assert spoken.source_offset(spoken.text.index("dollars")) == written.index("$")
    assert spoken.source_offset(len(spoken.text)) == len(written)


@pytest.mark.parametrize("text", ["", " ", "?!", "😀", "1️⃣", "—", "\x00"])
def test_nothing_to_say(text: str) -> None:
    assert not is_speakable(text)
    assert not is_speakable(normalize(text, "en").text)


@pytest.mark.parametrize("text", ["a", "5", "本", "।क", "½"])
def test_something_to_say(text: str) -> None:
    assert is_speakable(text)


LANGUAGES = ["en", "en-US", "de", "fr", "fr-CH", "es", "it", "pt", "pt-BR", "nl", "ru", "ja", "hi", "ar", "am", "xx", "", "-", "en" * 50]
PARTS = (
    "1 12 1984 0 00 , . : / - – ( ) % $ € £ ¥ + # @ & * _ ** [a](b) ` \n ' \" a Dr. e.g. km kg m² °C XIV Louis St. No. "
    "março März March 3. st th º ½ ٣ ５ www. http:// .com 😀 \ud800"
).split(" ")
TEXTS = st.one_of(st.text(max_size=50), st.lists(st.sampled_from([*PARTS, " ", " "]), max_size=25).map("".join))


@examples(200)
@given(TEXTS, st.sampled_from(LANGUAGES))
@example("0th 0. März 00:00 99/99/9999 0/0 VX Louis IIII", "en")
@example("0. März, 0º, siglo IIII, 31.02.2024", "de")
def test_any_text_can_be_read(text: str, language: str) -> None:
    spoken = normalize(text, language)
    assert len(spoken.text) <= 400 + 60 * len(text)
    offsets = [spoken.source_offset(index) for index in range(len(spoken.text) + 1)]
    assert offsets == sorted(offsets)
    assert offsets[0] >= 0 and offsets[-1] == len(text)
    assert is_speakable(spoken.text) or not is_speakable(text)
    start, end = spoken.source_span(0, len(spoken.text))
    assert 0 <= start <= end <= len(text)


@pytest.mark.long
@pytest.mark.parametrize(
    "part",
    [
        "1",
        "1,",
        "1.",
        "1 ",
        "1-",
        "1/",
        "a.",
        "a@",
        "a-",
        "*",
        "_",
        "[",
        "[a](",
        "(1",
        "<a",
        "#",
        "+1 ",
        "$1",
        "http://",
        "www.",
        "A.",
        "1:1",
        " ",
        "\n",
        "- ",
        "😀",
        "X",
        "`",
        "&",
        "1\u00a0",
        "٣",
    ],
)
def test_time_grows_with_the_text_only(part: str) -> None:
    def cost(length: int) -> float:
        text = part * (length // len(part))
        return min(_worked(text) for _ in range(3))

    normalize(part * 10, "en")
    assert cost(4_000) < max(10 * cost(1_000), 0.05)  # four times the text; squared it would be 16. The floor is a clock's coarseness


def _worked(text: str) -> float:
    """Seconds of this process alone: what others do beside it is not counted."""
    started = time.process_time()
    normalize(text, "en")
    return time.process_time() - started
