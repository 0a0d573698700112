"""English sentences by the phenomena of pysbd's “golden rules”, in words of our own: one case a rule, and what we cut otherwise."""

from __future__ import annotations

import pytest

from pipeline.segmenter import Segmenter

RULES = {
    "full stop": "The kettle boils.| We drink tea.",
    "question mark": "Where does the ferry leave?| My ticket says pier four.",
    "exclamation mark": "The bridge holds!| We can cross.",
    "an initial": "The letter is signed Harriet B. Lowell.",
    "a small letter": "The chart is on p. 12.",
    "small, in the middle": "Did Nora and co. bring the tents?",
    "capital, in the middle": "They bought the mill from Harker, Dunn & Co. in spring.",
    "small, at the end": "Call Nora and co.| They have the key.",
    "capital, at the end": "The mill belongs to Harker, Dunn & Co.| It shut last week.",
    "before a name": "From the terrace you see Mt. Etna smoke.",
    "before and after a name": "St. Anne's Hall stands on 3rd st. beside the pump.",
    "a genitive": "This was Sam Hill Jr.'s boat.",
    "dots inside, in the middle": "She toured the U.S.A. by train.",
    "dots inside, at the end": "Our office is in the E.U.| Where is yours?",
    "a country at the end": "They moved to the U.S.| Why did they?",
    "a country before a name": "He sued the U.S. Government over the fence.",
    "a country in the middle": "It was sold in the U.S. for ten years.",
    "hours": "At 7 a.m. Mr. Bell opened the shop.| He shut it at 8 P.M.| Mrs. Bell then swept the floor.",
    "a decimal": "The fine is $250.00 for each day.",
    "a decimal at the end": "He owes $250.00.| The bill is on the table.",
    "a sentence in brackets": "She plays cello (She began with the harp at 6.) in the town's orchestra.",
    "an e-mail address": "Write to Ada.Byron@example.org.| She reads it at night.",
    "a web address": "The map is at: https://www.example.7.org/old-map/river_delta.html.| Print it twice.",
    "single quotation marks inside": "He looked up, 'It is snowing.' he said.",
    "double quotation marks inside": 'He looked up, "It is snowing." he said.',
    "double quotation marks at the end": 'He looked up, "It is snowing."| He put his gloves on.',
    "two exclamation marks": "Run!!| The tide is here.",
    "two question marks": "Really??| Nobody told us.",
    "exclamation and question mark": "Sold!?| We only asked.",
    "question and exclamation mark": "Gone?!| It was here.",
    "a list: full stop and bracket, sentences": "1.) Fill the tank. |2.) Check the oil.",
    "a list: brackets, sentences": "1) Fill the tank. |2) Check the oil.",
    "a list: full stops, sentences": "1. Fill the tank. |2. Check the oil.",
    "a line that is wrapped": "We heard the owl in\nthe barn behind the house.",
    "a line that is wrapped behind a space": "We walked the long \nroad to the coast.",
    "coordinates": "The wreck lies at N°. 4071.332.118.| Nobody dives there.",
    "the pronoun and an initial": "There are only two of us, you and I.| Have you met Oscar I. Brandt?",
    "omission at the end of a quotation": "Her diary says that in the north, “the nights are never wholly dark. . . .”",
    "omission in brackets": '"Finch [...] kept a second set of books [...]" (Lamb 31).',
    "omission, then a full stop": "Where a line breaks off, we print three points and close with a fourth . . . .| The rest follows.",
    "four points": "I only asked him.... |He slammed the door.",
    "hesitation": "It was not ... well, how shall I put it...you know . . . the point is . . . I forgot it.",
    "four points apart": "The second tower . . . was pulled down with the wall. . . .| The gate was left. . . .",
}

OTHERWISE = {
    "a list: full stop and bracket": "1.) Fill the tank 2.) Check the oil",
    "a list: brackets": "1) Fill the tank 2) Check the oil",
    "a list: full stops": "1. Fill the tank 2. |Check the oil",
    "a list: bullets": "• 9. Fill the tank • 10. Check the oil",
    "a list: hyphens": "⁃9. Fill the tank ⁃10. |Check the oil",
    "a list: letters": "a. Fill the tank b. Check the oil c. Close the lid",
    "lines without full stops": "tools\nhammer and nails\nropes, pulleys\n",
    "a name with an exclamation mark": "He sings in Wham! |on Saturdays.",
    "no space between sentences": "The bell rang.Nobody came.Mr. Bell sold 1,000.That was all.",
}
"""What a reader would cut elsewhere, as we cut it, and why that is meant so:

- Items of a list that follow each other in one line without full stops. A number or a letter in the middle of a line is nearly always
  part of its sentence, and the cut would come where it is wrong. Lists come in lines of their own, where each item is cut off; a number
  with a full stop before a capital ends a sentence, as in “We have 2. Check the oil”.
- Lines in small letters. Text that is wrapped looks the same, and is more often sent to be spoken than a list without marks.
- A name with an exclamation mark. It would take a list of names; a pause is heard, no word is lost.
- A full stop without a space behind it. That is an address, a version or a number whose next digits are still on their way.
"""


def sentences(text: str) -> list[str]:
    segmenter = Segmenter("en")
    return [piece.text for piece in segmenter.feed(text, 0) + segmenter.flush(0)]


@pytest.mark.parametrize("rule", RULES)
def test_sentences_end_where_a_reader_ends_them(rule: str) -> None:
    assert sentences(RULES[rule].replace("|", "")) == [part.strip() for part in RULES[rule].split("|")]


@pytest.mark.parametrize("rule", OTHERWISE)
def test_what_is_cut_otherwise_is_cut_as_it_is_meant(rule: str) -> None:
    assert sentences(OTHERWISE[rule].replace("|", "")) == [part.strip() for part in OTHERWISE[rule].split("|")]


def test_every_rule_is_here_once() -> None:
    assert (len(RULES) + len(OTHERWISE), set(RULES) & set(OTHERWISE)) == (52, set())


@pytest.mark.parametrize(
    "marked", ["1. Fill the tank\n|2. Check the oil", "• 9. Fill the tank\n|• 10. Check the oil", "a. Fill the tank\n|b. Check the oil"]
)
def test_a_list_in_lines_of_its_own_is_cut_by_items(marked: str) -> None:
    assert sentences(marked.replace("|", "")) == [part.strip() for part in marked.split("|")]
