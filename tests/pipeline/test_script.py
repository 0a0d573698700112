from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from pipeline.events import Dropped, DropReason, Failure, SpeechFinished
from pipeline.protocol import Text
from pipeline.script import Done, Outcome, Retract, Script, ScriptLimits, Sentence, Tell, Wish
from tests.examples import examples

WISH = Wish("en")


def say(script: Script, text: str, *, sender: str = "a", now: float = 0.0, wish: Wish = WISH, **fields: Any) -> list[Outcome]:
    return script.on_text(sender, Text(text=text, **fields), wish, now=now)


def hand_out(script: Script, now: float = 0.0) -> list[Sentence]:
    found = []
    while (sentence := script.next(now)) is not None:
        found.append(sentence)
    return found


def texts(sentences: Iterable[Sentence]) -> list[str]:
    return [sentence.text for sentence in sentences]


def finish(script: Script, sentence: Sentence, characters: int | None = None) -> list[Outcome]:
    script.on_started(sentence.id, now=0.0)
    return script.on_finished(sentence.id, heard=1.0, characters=len(sentence.text) if characters is None else characters, now=0.0)


def dropped(text: str, why: DropReason, *, sender: str = "a", utterance: str = "u") -> Tell:
    return Tell(sender, Dropped(utterance, text, why))


def spoken(position: float, characters: int, *, sender: str = "a", utterance: str = "u", cut: bool = False) -> Tell:
    return Tell(sender, SpeechFinished(utterance, position, characters, cut))


def test_a_text_becomes_sentences() -> None:
    script, wish = Script(prefix="r1-"), Wish("en", voice="joe")
    assert say(script, "Hello there. How are you?\n\nFine.", utterance="u", stream="s", seq=0, expires_ms=5000, wish=wish, now=1.0) == []
    assert script.waiting_characters == 32
    first, second, third = hand_out(script, 1.5)
    assert first == Sentence("r1-1", "a", "u", "Hello there.", wish, 1.0, ending="sentence", arrived=(1.0, 1.0))
    assert (second.id, second.text, second.ending, third.text) == ("r1-2", "How are you?", "paragraph", "Fine.")
    assert (script.waiting_characters, script.is_idle) == (0, False)
    assert finish(script, first) == finish(script, second) == []
    assert finish(script, third) == [Done("a", "s", 0), spoken(3.0, 29)]
    assert script.is_idle and script.timer() is None


def test_a_sender_is_owed_until_its_last_sentence_has_ended() -> None:
    script = Script()
    say(script, "One.", sender="a")
    say(script, "Two", sender="b", utterance="u", final=False)
    assert script.owes("a") and script.owes("b") and not script.owes("c")
    [sentence] = hand_out(script)
    assert script.owes("a")
    finish(script, sentence)
    assert script.owes("b") and not script.owes("a")


def test_utterances_are_never_mixed() -> None:
    script = Script()
    say(script, "One. Tw", utterance="u", final=False)
    say(script, "Other.", sender="b")
    assert texts(hand_out(script)) == ["One."]
    say(script, "o. Three. ", utterance="u", final=False)
    assert texts(hand_out(script)) == ["Two."]
    say(script, "", utterance="u")
    assert texts(hand_out(script)) == ["Three.", "Other."]


def test_one_that_has_no_sentence_yet_keeps_its_place() -> None:
    script = Script()
    say(script, "One", utterance="u", final=False)
    say(script, "Other.", sender="b")
    assert script.next(0.0) is None
    say(script, " two.", utterance="u")
    assert texts(hand_out(script)) == ["One two.", "Other."]


def test_a_lower_priority_number_goes_first_among_those_not_begun() -> None:
    script = Script()
    for text, priority in [("Begun. Rest.", 5), ("Later.", 5), ("Soon.", 1), ("Urgent.", 0)]:
        say(script, text, priority=priority)
        if text.startswith("Begun"):
            assert texts([sentence for sentence in [script.next(0.0)] if sentence]) == ["Begun."]
    assert texts(hand_out(script)) == ["Rest.", "Urgent.", "Soon.", "Later."]


def test_senders_do_not_share_names() -> None:
    script = Script()
    say(script, "One ", utterance="u", final=False)
    say(script, "other.", utterance="u", sender="b")
    say(script, "two.", utterance="u")
    assert texts(hand_out(script)) == ["One two.", "other."]


def test_a_text_may_span_sentences_and_a_sentence_texts() -> None:
    script = Script()
    deltas = ["One", " and two. Thr", "", "ee. ", "Four."]
    for seq, delta in enumerate(deltas):
        assert say(script, delta, utterance="u", final=seq == 4, stream="s", seq=seq) == []
    first, second, third = hand_out(script)
    assert finish(script, first) == [Done("a", "s", 0)]
    assert finish(script, second) == [Done("a", "s", 1), Done("a", "s", 2), Done("a", "s", 3)]
    assert finish(script, third) == [Done("a", "s", 4), spoken(3.0, 23)]


@pytest.mark.parametrize("text", ["", " \n", "...", "🙂", "!? -"])
def test_nothing_to_say_is_told(text: str) -> None:
    script = Script()
    outcomes = say(script, text, utterance="u", stream="s", seq=0)
    assert sorted(outcomes, key=str) == [Done("a", "s", 0), dropped(text.strip(), "nothing_to_say")]
    assert script.is_idle and script.waiting_characters == 0


def test_an_end_that_holds_nothing_needs_no_report() -> None:
    script = Script()
    say(script, "Hello.", utterance="u", final=False)
    assert say(script, "  ", utterance="u", stream="s", seq=0) == []
    [sentence] = hand_out(script)
    assert finish(script, sentence) == [Done("a", "s", 0), spoken(1.0, 6)]


def test_white_space_after_a_sentence_that_has_left() -> None:
    script = Script()
    say(script, "Hello.", utterance="u", final=False, stream="s", seq=0)
    assert script.timer() == 0.3
    assert script.on_timer(0.3) == []
    assert say(script, "\n", utterance="u", final=False, stream="s", seq=1) == [Done("a", "s", 1)]
    say(script, "Bye", utterance="u", stream="s", seq=2)
    first, second = hand_out(script)
    assert (first.text, first.completed, second.text) == ("Hello.", 0.3, "Bye")
    assert finish(script, first) == [Done("a", "s", 0)]


def test_flush_says_what_is_held_and_goes_on() -> None:
    script = Script()
    say(script, "Hello the", utterance="u", final=False)
    say(script, "Other", utterance="v", final=False)
    assert script.on_flush("a", "u", now=0.0) == []
    assert texts(hand_out(script)) == ["Hello the"]
    say(script, "re.", utterance="u")
    script.on_flush("b", None, now=0.0)
    assert texts(hand_out(script)) == ["re."]
    script.on_flush("a", None, now=0.0)
    assert texts(hand_out(script)) == ["Other"]


def test_end_makes_all_of_a_sender_final() -> None:
    script = Script()
    say(script, "One", utterance="u", final=False)
    say(script, "Two", utterance="v", final=False)
    say(script, "Three", sender="b", utterance="u", final=False)
    assert script.on_end("a", 0.0) == []
    assert texts(hand_out(script)) == ["One", "Two"]


def test_a_broken_off_stream_is_said_as_far_as_it_was_whole() -> None:
    script = Script()
    say(script, "One two. Thr", utterance="u", final=False, stream="s", seq=0)
    assert script.on_aborted("a", "u", now=0.0) == [dropped("Thr", "aborted")]
    [sentence] = hand_out(script)
    assert finish(script, sentence) == [Done("a", "s", 0), spoken(1.0, 8)]
    assert script.on_aborted("a", "u", now=0.0) == []


def test_cancel() -> None:
    script = Script()
    say(script, "One. Two. Three. Fo", utterance="u", final=False, stream="s", seq=0)
    say(script, "Other.", sender="b")
    first, second = script.next(0.0), script.next(0.0)
    assert first and second
    script.on_started(first.id, now=0.0)
    assert script.on_cancel("a", "u", now=0.0) == [
        Retract(frozenset({first.id})),
        Retract(frozenset({second.id})),
        dropped("Two.", "cancelled"),
        dropped("Three.", "cancelled"),
        dropped("Fo", "cancelled"),
    ]
    assert script.on_cancel("a", "u", now=0.0) == []
    assert texts(hand_out(script)) == ["Other."]
    assert script.on_started(second.id, now=0.0) == finish(script, second) == script.on_dropped(second.id, "failed", now=0.0) == []
    cut = script.on_finished(first.id, heard=0.1, characters=1, now=0.0)
    assert cut == [dropped("ne.", "cancelled"), Done("a", "s", 0), spoken(0.1, 1, cut=True)]


def test_cancel_all_of_a_sender() -> None:
    script = Script()
    for number in range(3):
        say(script, f"Number {number}.", utterance=f"u{number}")
    say(script, "Other.", sender="b")
    assert script.on_cancel("a", None, now=0.0) == [dropped(f"Number {n}.", "cancelled", utterance=f"u{n}") for n in range(3)]
    assert texts(hand_out(script)) == ["Other."]


def test_what_was_on_its_way_when_it_was_cancelled_is_not_said() -> None:
    script = Script()
    say(script, "One", utterance="u", final=False)
    script.on_cancel("a", "u", now=0.0)
    assert say(script, "two", utterance="u", final=False) == [dropped("two", "cancelled")]
    assert say(script, "three.", utterance="u", stream="s", seq=0) == [dropped("three.", "cancelled"), Done("a", "s", 0)]
    assert say(script, "Four.", utterance="u") == []
    assert texts(hand_out(script)) == ["Four."]


def test_a_revision_of_what_was_cancelled_is_said_as_a_whole() -> None:
    script = Script()
    say(script, "One. Two.", utterance="u")
    one, _ = hand_out(script)
    script.on_started(one.id, now=0.0)
    script.on_cancel("a", "u", now=0.0)
    assert say(script, "One. Two.", utterance="u", revision=1) == []
    assert texts(hand_out(script)) == ["One.", "Two."]


def test_a_name_used_again_begins_anew() -> None:
    script = Script()
    say(script, "One.", utterance="u")
    finish(script, hand_out(script)[0])
    say(script, "Two", utterance="u", final=False)
    assert say(script, "Three. Four.", utterance="u", revision=1) == [dropped("Two", "superseded")]
    assert texts(hand_out(script)) == ["Three.", "Four."]


def test_a_higher_revision_replaces_what_was_not_started() -> None:
    script = Script()
    say(script, "I saw a cat. It was black. And f", utterance="u", final=False, stream="s", seq=0)
    say(script, "Other.", sender="b")
    first, second = hand_out(script)
    script.on_started(first.id, now=0.0)
    outcomes = say(script, "I saw a cat. It was grey. And fat.", utterance="u", revision=1, stream="s", seq=1)
    assert outcomes == [Retract(frozenset({second.id})), dropped("It was black.", "superseded"), dropped("And f", "superseded")]
    third, fourth, _ = handed = hand_out(script)
    assert texts(handed) == ["It was grey.", "And fat.", "Other."]
    assert finish(script, first) == [Done("a", "s", 0)]
    assert finish(script, third) == []
    assert finish(script, fourth) == [Done("a", "s", 1), spoken(3.0, 32)]


def test_a_revision_that_rewrites_what_was_started_leaves_out_as_many_sentences() -> None:
    script = Script()
    say(script, "A cat. It slept.", utterance="u")
    first, _ = hand_out(script)
    script.on_started(first.id, now=0.0)
    outcomes = say(script, "The cat. It woke.", utterance="u", revision=3)
    assert outcomes[1:] == [dropped("It slept.", "superseded"), dropped("The cat.", "superseded")]
    assert texts(hand_out(script)) == ["It woke."]


def test_a_started_beginning_ends_where_its_word_does() -> None:
    script = Script()
    say(script, "Hello", utterance="u", final=False)
    script.on_flush("a", "u", now=0.0)
    [sentence] = hand_out(script)
    script.on_started(sentence.id, now=0.0)
    assert say(script, "Helloween. Night.", utterance="u", revision=1) == [dropped("Helloween.", "superseded")]
    assert texts(hand_out(script)) == ["Night."]


def test_a_revision_takes_back_what_was_handed_out_after_it() -> None:
    script = Script()
    say(script, "One. Two.", utterance="u")
    say(script, "Other. More.", sender="b")
    say(script, "Last.", sender="b")
    handed = hand_out(script)
    script.on_started(handed[0].id, now=0.0)
    retract, _ = say(script, "One. New.", utterance="u", revision=1)
    assert retract == Retract(frozenset(sentence.id for sentence in handed[1:]))
    assert script.waiting_characters == len(" New.") + len("Other. More.") + len("Last.")
    again = hand_out(script)
    assert texts(again) == ["New.", "Other.", "More.", "Last."]
    assert not {sentence.id for sentence in again} & {sentence.id for sentence in handed}


def test_a_revision_leaves_what_still_reads_the_same() -> None:
    script = Script()
    say(script, "One. Two. Three.", utterance="u", stream="s", seq=0)
    one, two, three = hand_out(script)
    script.on_started(one.id, now=0.0)
    outcomes = say(script, "One. Two. Four.", utterance="u", revision=1, stream="s", seq=1, expires_ms=1000)
    assert outcomes == [Retract(frozenset({three.id})), dropped("Three.", "superseded")]
    [four] = hand_out(script)
    assert finish(script, one) == []
    assert script.on_timer(1.0) == [
        Retract(frozenset({two.id})),
        dropped("Two.", "expired"),
        Done("a", "s", 0),
        Retract(frozenset({four.id})),
        dropped("Four.", "expired"),
        Done("a", "s", 1),
        spoken(1.0, 4),
    ]


def test_a_revision_that_changes_nothing_takes_nothing_back() -> None:
    script = Script()
    say(script, "One. Two.", utterance="u")
    say(script, "Other. More.", sender="b")
    handed = [script.next(0.0) for _ in range(3)]
    assert say(script, "One. Two.", utterance="u", revision=1, stream="s", seq=0) == []
    assert texts(hand_out(script)) == ["More."]
    assert [bool(sentence and finish(script, sentence)) for sentence in handed] == [False, True, False]


def test_a_revision_that_changes_nothing_but_may_grow_goes_before_what_was_handed_out_after_it() -> None:
    script = Script()
    say(script, "One.", utterance="u")
    say(script, "Other.", sender="b")
    _, other = hand_out(script)
    assert say(script, "One.", utterance="u", revision=1, final=False) == [Retract(frozenset({other.id}))]
    assert script.next(0.0) is None
    say(script, " Two.", utterance="u", revision=1)
    assert texts(hand_out(script)) == ["Two.", "Other."]


def test_a_revision_in_another_voice_is_made_again() -> None:
    script = Script()
    say(script, "One.", utterance="u")
    [one] = hand_out(script)
    assert say(script, "One.", utterance="u", revision=1, wish=Wish("en", voice="joe"))[0] == Retract(frozenset({one.id}))
    assert [sentence.wish.voice for sentence in hand_out(script)] == ["joe"]


def test_half_a_sentence_is_not_kept_when_it_goes_on() -> None:
    script = Script()
    say(script, "One", utterance="u", final=False)
    script.on_flush("a", None, now=0.0)
    [one] = hand_out(script)
    assert say(script, "One two.", utterance="u", revision=1)[0] == Retract(frozenset({one.id}))
    assert texts(hand_out(script)) == ["One two."]


def test_a_revision_goes_before_one_whose_beginning_failed() -> None:
    script = Script()
    say(script, "One. Two.", utterance="u")
    say(script, "Other. More.", sender="b", utterance="v")
    one, _, other = [sentence for sentence in [script.next(0.0) for _ in range(3)] if sentence]
    script.on_started(one.id, now=0.0)
    script.on_dropped(other.id, "failed", now=0.0)
    say(script, "One. New.", utterance="u", revision=1)
    assert texts(hand_out(script)) == ["New.", "More."]


def test_a_revision_waits_behind_what_has_begun_to_sound() -> None:
    script = Script()
    say(script, "One.", utterance="u")
    say(script, "Other. More.", sender="b")
    one, other, _ = hand_out(script)
    script.on_started(one.id, now=0.0)
    script.on_started(other.id, now=0.0)
    assert say(script, "One. New.", utterance="u", revision=1) == []
    assert texts(hand_out(script)) == ["New."]


def test_an_ended_utterance_can_be_revised_but_not_outdone_by_an_older_revision() -> None:
    script = Script()
    say(script, "One. Two.", utterance="u", revision=4)
    for sentence in hand_out(script):
        finish(script, sentence)
    assert script.is_idle
    assert say(script, "Old.", utterance="u", revision=3, stream="s", seq=0) == [dropped("Old.", "superseded"), Done("a", "s", 0)]
    assert say(script, "One. Two.", utterance="u", revision=5, stream="s", seq=1) == [Done("a", "s", 1)]
    say(script, "One. Two. Three.", utterance="u", revision=6)
    assert texts(hand_out(script)) == ["Three."]
    say(script, "One.", utterance="u", revision=6)
    assert texts(hand_out(script)) == ["One."]


def test_a_forgotten_utterance_may_be_said_again() -> None:
    script = Script(ScriptLimits(remembered=2))
    for number in range(3):
        say(script, f"Number {number}.", utterance=f"u{number}", revision=1)
        for sentence in hand_out(script):
            finish(script, sentence)
    assert say(script, "Number 0.", utterance="u0") == []
    assert say(script, "Number 2.", utterance="u2") == [dropped("Number 2.", "superseded", utterance="u2")]


def test_what_is_not_started_in_time_expires() -> None:
    script = Script()
    say(script, "One. Two.", utterance="u", expires_ms=1000, stream="s", seq=0)
    say(script, "Other.", sender="b")
    first = script.next(0.0)
    assert first and script.timer() == 1.0
    assert script.next(1.0) is None
    outcomes = script.on_timer(1.0)
    assert outcomes == [Retract(frozenset({first.id})), dropped("One.", "expired"), dropped("Two.", "expired"), Done("a", "s", 0)]
    assert texts(hand_out(script, 1.0)) == ["Other."]


def test_a_revision_has_an_expiry_of_its_own() -> None:
    script = Script()
    say(script, "One", utterance="u", final=False, expires_ms=1000)
    say(script, "Two.", utterance="u", revision=1)
    assert script.on_timer(2.0) == []
    assert texts(hand_out(script, 2.0)) == ["Two."]


def test_alarms_of_what_was_started_are_forgotten() -> None:
    script = Script()
    for _ in range(1000):
        say(script, "One.", expires_ms=86_400_000)
        finish(script, hand_out(script)[0])
    assert len(script._alarms) <= 64


def test_what_is_started_does_not_expire() -> None:
    script = Script()
    say(script, "One.", utterance="u", expires_ms=1000)
    [sentence] = hand_out(script)
    script.on_started(sentence.id, now=0.9)
    assert script.timer() is None and script.on_timer(1.0) == []


def test_a_failed_sentence_is_told() -> None:
    script = Script()
    say(script, "One. Two. Three.", utterance="u", stream="s", seq=0)
    first, second, third = hand_out(script)
    assert script.on_dropped(first.id, "failed", now=0.0) == [dropped("One.", "failed")]
    assert finish(script, second, 2) == [dropped("o.", "failed")]
    assert finish(script, third) == [Done("a", "s", 0), spoken(2.0, 8, cut=True)]


def test_an_utterance_of_which_nothing_sounded_has_no_end() -> None:
    script = Script()
    say(script, "One.", utterance="u")
    [sentence] = hand_out(script)
    assert script.on_dropped(sentence.id, "unheard", now=0.0) == [dropped("One.", "unheard")]


def test_clear() -> None:
    script = Script()
    say(script, "One. Two", utterance="u", final=False)
    say(script, "Three.", sender="b", utterance="v")
    sentence = script.next(0.0)
    assert sentence and script.on_started(sentence.id, now=0.0) == []
    told = [dropped("Two", "shutdown"), dropped("Three.", "shutdown", sender="b", utterance="v")]
    assert script.clear("shutdown") == [Retract(frozenset({sentence.id})), *told]
    assert script.on_finished(sentence.id, heard=0.0, characters=0, now=0.0) == [dropped("One.", "shutdown"), spoken(0.0, 0, cut=True)]
    assert script.is_idle


def unfinished(name: str, quiet: int) -> Tell:
    words = f"utterance: {name!r} never ended and is closed, {quiet} s after its last text; what comes later begins a new one"
    return Tell("a", Failure("not_finished", words))


def test_one_that_never_ends_is_closed_when_others_wait() -> None:
    script = Script(ScriptLimits(quiet=10.0, alone=60.0))
    say(script, "One. Thr", utterance="u", final=False, now=0.0)
    [sentence] = hand_out(script)
    assert script.on_timer(10.0) == [] and script.next(10.0) is None
    say(script, "Other.", sender="b", now=20.0)
    assert script.timer() == 10.0
    assert script.on_timer(20.0) == [unfinished("u", 20)]
    assert texts(hand_out(script)) == ["Thr", "Other."]
    assert say(script, "ee. Four", utterance="u", final=False, now=21.0) == []
    finish(script, sentence)
    assert say(script, "", utterance="u", now=21.0) == []
    assert texts(hand_out(script)) == ["ee.", "Four"]


def test_one_that_never_ends_is_closed_after_a_longer_time_alone() -> None:
    script = Script()
    say(script, "One. Tw", utterance="u", final=False, now=0.0)
    assert texts(hand_out(script)) == ["One."]
    assert script.on_timer(59.0) == [] and script.next(59.0) is None
    assert script.on_timer(60.0) == [unfinished("u", 60)]
    assert texts(hand_out(script)) == ["Tw"]


def test_one_that_grows_for_ever_does_not_starve_the_others() -> None:
    script = Script(ScriptLimits(longest=30.0))
    say(script, "Other.", sender="b", priority=9)
    told = []
    for second in range(31):
        say(script, "word ", utterance="u", final=False, now=float(second))
        told += script.on_timer(float(second))
    assert texts(hand_out(script))[-1] == "Other."
    assert told == [unfinished("u", 0)]


def test_a_final_one_may_grow_in_a_revision() -> None:
    script = Script()
    say(script, "One. Two.", utterance="u")
    one, _ = hand_out(script)
    script.on_started(one.id, now=0.0)
    say(script, "One. Th", utterance="u", final=False, revision=1)
    script.on_timer(60.0)
    say(script, "ree.", utterance="u", revision=1, now=61.0)
    assert say(script, "One. Four.", utterance="u", revision=2, now=61.0) == [dropped("ree.", "superseded"), dropped("Th", "superseded")]
    assert texts(hand_out(script)) == ["Four."]


def test_the_end_of_one_that_was_closed_for_being_quiet_needs_no_report() -> None:
    script = Script()
    say(script, "One. Tw", utterance="u", final=False)
    script.on_timer(60.0)
    assert say(script, "", utterance="u", stream="s", seq=0, now=61.0) == [Done("a", "s", 0)]


def test_a_revision_that_only_repeats_is_done_when_it_is_heard() -> None:
    script = Script()
    say(script, "One. Two.", utterance="u", final=False)
    [one] = hand_out(script)
    script.on_started(one.id, now=0.0)
    script.on_timer(60.0)
    say(script, "Three.", utterance="u", now=61.0)
    told = [dropped("Three.", "superseded"), dropped("Two.", "superseded")]
    assert say(script, "One.", utterance="u", revision=1, stream="s", seq=0, now=61.0) == told
    assert finish(script, one) == [Done("a", "s", 0), spoken(1.0, 4)]


def test_a_revision_after_it_was_closed_for_being_quiet_replaces_all_of_it() -> None:
    script = Script()
    say(script, "One. Two. Thr", utterance="u", final=False)
    script.on_timer(60.0)
    say(script, "ee. Four.", utterance="u", final=False, now=61.0)
    first = script.next(61.0)
    assert first and script.on_started(first.id, now=61.0) == []
    outcomes = say(script, "One. Two. Three and four.", utterance="u", revision=1, now=62.0)
    assert outcomes == [dropped(text, "superseded") for text in ("ee.", "Four.", "Two.", "Thr")]
    assert texts(hand_out(script, 62.0)) == ["Two.", "Three and four."]


def test_too_many_characters_are_refused() -> None:
    script = Script(ScriptLimits(characters=20))
    assert say(script, "0123456789 12345678.", utterance="u", final=False) == []
    assert say(script, "More.", utterance="u", stream="s", seq=0) == [dropped("More.", "overflow"), Done("a", "s", 0)]
    assert texts(hand_out(script)) == ["0123456789 12345678."]
    assert say(script, "More.", utterance="u") == []


def test_ten_thousand_utterances_at_once() -> None:
    script = Script(ScriptLimits(utterances=1000))
    begun = time.perf_counter()
    refused = 0
    for number in range(10_000):
        outcomes = say(script, "A few words.", stream="s", seq=number, expires_ms=60_000, final=number % 2 == 0, utterance=f"u{number}")
        refused += len(outcomes) == 2
        script.timer()
    assert refused == 9000
    handed = hand_out(script)
    assert len(handed) == 1
    assert len(script.on_cancel("a", None, now=1.0)) == 2001
    assert script.is_idle and script.waiting_characters == 0 and not script._names.keys() - {("a", f"u{n}") for n in range(1000)}
    assert len(script._names) <= ScriptLimits().remembered and script.timer() is None
    assert time.perf_counter() - begun < 5.0


class Booth:
    """Two senders and a shell around one script, in virtual time. Every word is used once, but in revisions, which repeat some."""

    LIMITS = ScriptLimits(characters=160, utterances=4, quiet=3.0, alone=8.0, longest=12.0)

    def __init__(self) -> None:
        self.script = Script(self.LIMITS)
        self.now = 0.0
        self.words = 0
        self.seq = 0
        self.said: dict[tuple[str, str], list[str]] = {}  # by name: its words so far, as a revision would repeat them
        self.revision: Counter[tuple[str, str]] = Counter()
        self.final: set[tuple[str, str]] = set()
        self.accepted: Counter[str] = Counter()
        self.heard: Counter[str] = Counter()
        self.told: Counter[str] = Counter()
        self.owed: dict[int, list[str]] = {}  # by seq: its words
        self.out: list[Sentence] = []
        self.started: list[Sentence] = []
        self.retracted: set[str] = set()
        self.order: list[int] = []
        self.ends: Counter[tuple[str, str]] = Counter()
        self.sounded: set[tuple[str, str, int]] = set()
        self.heard_seconds = self.told_seconds = 0.0
        self.heard_characters = self.told_characters = 0

    def new_words(self, count: int) -> list[str]:
        found = []
        for _ in range(count):
            self.words += 1
            number, letters = self.words, ""
            while number:
                number, digit = divmod(number, 20)
                letters += "bcdfghjklmnpqrstvwxz"[digit] + "a"
            found.append(f"K{letters}" + ("." if self.words % 3 == 0 else ""))
        return found

    def text(self, sender: str, name: str, count: int, *, final: bool, keep: int | None = None, expires: int | None = None) -> None:
        """A further text; or, where ``keep`` is given, a revision that keeps so many words."""
        key, words = (sender, name), self.new_words(count)
        if keep is not None:
            self.revision[key] += 1
            words = self.said.get(key, [])[:keep] + words
        fields: dict[str, Any] = {"final": final, "expires_ms": expires, "revision": self.revision[key]}
        if name:
            fields["utterance"] = name
        text = " ".join(words) + ("" if final else " ")
        self.seq += 1
        self.accepted.update(words)
        self.owed[self.seq] = words
        outcomes = self.script.on_text(sender, Text(text=text, stream="s", seq=self.seq, **fields), WISH, now=self.now)
        first = outcomes[0].event if outcomes and isinstance(outcomes[0], Tell) else None
        is_refused = isinstance(first, Dropped) and first.text == text and first.why in ("overflow", "cancelled", "superseded")
        if not is_refused:
            anew = keep is not None or key in self.final
            self.said[key] = words if anew else self.said.get(key, []) + words
            self.final.discard(key)
        if final:
            self.final.add(key)
        self.take(outcomes)

    def cancel(self, sender: str, name: str | None) -> None:
        for key in [key for key in self.said if key[0] == sender and name in (None, key[1])]:
            self.said.pop(key)
        self.take(self.script.on_cancel(sender, name, now=self.now))

    def end(self, sender: str) -> None:
        self.final |= {key for key in self.said if key[0] == sender}
        self.take(self.script.on_end(sender, self.now))

    def abort(self, sender: str, name: str) -> None:
        self.final.add((sender, name))
        self.take(self.script.on_aborted(sender, name, now=self.now))

    def tick(self, delay: float) -> None:
        until = self.now + delay
        while (due := self.script.timer()) is not None and due <= until:
            self.now = max(self.now, due)
            self.take(self.script.on_timer(self.now))
        self.now = until

    def next(self) -> None:
        sentence = self.script.next(self.now)
        if sentence is not None:
            self.out.append(sentence)

    def start(self) -> None:
        """The listener hears one sentence at a time, in the order in which they were handed out."""
        if self.out and not self.started:
            sentence = self.out.pop(0)
            line = self.script._out[sentence.id]
            assert line.expires is None or line.expires > self.now
            number = line.utterance.number
            self.order.append(number)
            self.sounded.add((sentence.sender, sentence.utterance, number))
            self.started.append(sentence)
            self.take(self.script.on_started(sentence.id, now=self.now))

    def finish(self, *, whole: bool = True) -> None:
        if not self.started:
            return
        sentence = self.started.pop()
        words = sentence.text.split()
        if not whole or sentence.id in self.retracted:
            words = words[: len(words) // 2]
        characters = len(" ".join(words))
        self.heard.update(words)
        self.heard_seconds += 1.0
        self.heard_characters += characters
        self.take(self.script.on_finished(sentence.id, heard=1.0, characters=characters, now=self.now))

    def fail(self) -> None:
        if self.out:
            self.take(self.script.on_dropped(self.out.pop(self.words % len(self.out)).id, "failed", now=self.now))

    def take(self, outcomes: list[Outcome]) -> None:
        for outcome in outcomes:
            match outcome:
                case Retract(ids):
                    assert ids <= {sentence.id for sentence in [*self.out, *self.started]}
                    self.out = [sentence for sentence in self.out if sentence.id not in ids]
                    self.retracted |= ids
                case Tell(_, Dropped(text=text)):
                    self.told.update(text.split())
                case Tell(_, Failure(code="not_finished")):
                    pass  # what it holds is said
                case Tell(sender, SpeechFinished(name, position, characters)):
                    self.ends[sender, name] += 1
                    self.told_seconds += position
                    self.told_characters += characters
                case Done("a" | "b", "s", seq):
                    words = self.owed.pop(seq)
                    assert all(self.heard[word] or self.told[word] for word in words), "done too soon"
                case _:
                    raise AssertionError(outcome)
        live = self.script._live.values()
        waiting = sum(sum(piece.size for piece in found.waiting) + found.fed - found.covered for found in live)
        assert self.script.waiting_characters == waiting
        assert set(self.script._out) == {sentence.id for sentence in [*self.out, *self.started]}
        assert sum(not found.is_begun for found in live) == self.script._unbegun

    def drain(self) -> None:
        for sender in "ab":
            self.end(sender)
        for _ in range(1000):
            if self.script.is_idle:
                break
            self.tick(0.1)
            self.next()
            self.start()
            self.finish()


SENDERS = st.sampled_from("ab")
NAMES = st.sampled_from(["", "u", "v"])
ACTIONS = st.one_of(
    st.tuples(st.just("text"), SENDERS, NAMES, st.integers(0, 7), st.booleans(), st.none(), st.sampled_from([None, None, 500, 5000])),
    st.tuples(st.just("text"), SENDERS, st.sampled_from("uv"), st.integers(1, 4), st.just(False), st.none(), st.none()),
    st.tuples(st.just("revise"), SENDERS, st.sampled_from("uv"), st.integers(0, 5), st.booleans(), st.integers(0, 9)),
    st.tuples(st.sampled_from(["cancel", "abort", "flush"]), SENDERS, st.sampled_from("uv")),
    st.tuples(st.sampled_from(["cancel_all", "flush_all", "end"]), SENDERS),
    st.tuples(st.just("tick"), st.sampled_from([0.1, 0.5, 3.0, 9.0])),
    st.tuples(st.sampled_from(["next", "play", "start", "finish", "cut", "fail"])),
    st.tuples(st.sampled_from(["next", "next", "next", "start", "play"])),
    st.tuples(st.just("text"), SENDERS, st.sampled_from("uv"), st.integers(3, 6), st.just(True), st.none(), st.none()),
)


def act(booth: Booth, action: tuple[Any, ...]) -> None:
    match action:
        case ("text", sender, name, count, final, _, expires):
            booth.text(sender, name, count, final=final or not name, expires=expires)
        case ("revise", sender, name, count, final, keep):
            booth.text(sender, name, count, final=final, keep=keep)
        case ("cancel", sender, name):
            booth.cancel(sender, name)
        case ("cancel_all", sender):
            booth.cancel(sender, None)
        case ("abort", sender, name):
            booth.abort(sender, name)
        case ("flush", sender, name):
            booth.take(booth.script.on_flush(sender, name, now=booth.now))
        case ("flush_all", sender):
            booth.take(booth.script.on_flush(sender, None, now=booth.now))
        case ("end", sender):
            booth.end(sender)
        case ("tick", delay):
            booth.tick(delay)
        case ("next",):
            booth.next()
        case ("start",):
            booth.start()
        case ("play",):
            booth.next()
            booth.start()
            booth.finish()
        case ("finish",):
            booth.finish()
        case ("cut",):
            booth.finish(whole=False)
        case ("fail",):
            booth.fail()


@examples(120)
@given(st.lists(ACTIONS, max_size=40))
@example([("text", "a", "u", 7, False, None, None), ("next",), ("start",), ("revise", "a", "u", 2, True, 4), ("next",)])
@example([("text", "a", "v", 4, False, None, 500), ("next",), ("revise", "a", "v", 0, False, 3), ("tick", 0.5)])
@example([("text", "a", "v", 4, False, None, None), ("next",), ("flush_all", "a"), ("fail",), ("play",), ("revise", "a", "v", 0, False, 4)])
def test_every_word_is_heard_once_and_in_order_or_is_told(actions: list[tuple[Any, ...]]) -> None:
    booth = Booth()
    for action in actions:
        act(booth, action)
    booth.drain()
    assert booth.script.is_idle and booth.script.waiting_characters == 0 and booth.script.timer() is None
    assert not booth.owed, "never done"
    assert booth.order == sorted(booth.order), "mixed, or out of order"
    assert booth.ends == Counter((sender, name) for sender, name, _ in booth.sounded)
    assert (booth.told_seconds, booth.told_characters) == (booth.heard_seconds, booth.heard_characters)
    for word, count in booth.accepted.items():
        assert booth.heard[word] <= 1, "heard twice"
        assert booth.heard[word] + booth.told[word] >= 1, "lost"
        if count == 1:
            assert booth.heard[word] + booth.told[word] == 1, "heard and told"


def test_texts_without_words_are_neither_kept_for_ever_nor_a_sign_of_life() -> None:
    script = Script(ScriptLimits(parts=3, alone=60.0))
    say(script, "Not yet", utterance="u", stream="s", seq=0, final=False)
    for seq in (1, 2):
        assert say(script, "", utterance="u", stream="s", seq=seq, final=False, now=50.0) == []
    for seq in (3, 4):
        assert say(script, "", utterance="u", stream="s", seq=seq, final=False, now=50.0) == [dropped("", "overflow"), Done("a", "s", seq)]
    assert script.on_timer(61.0) == [unfinished("u", 61)]
    [sentence] = hand_out(script, 61.0)
    assert sentence.text == "Not yet"
    assert finish(script, sentence)[:3] == [Done("a", "s", seq) for seq in range(3)]


def test_a_full_sentence_is_still_ended_by_its_sender() -> None:
    script = Script(ScriptLimits(parts=2))
    for seq, text in enumerate(["Not", " yet"]):
        say(script, text, utterance="u", stream="s", seq=seq, final=False)
    assert say(script, "", utterance="u", stream="s", seq=2) == []
    assert texts(hand_out(script)) == ["Not yet"]


def test_revisions_of_what_is_being_said_are_not_kept_for_ever() -> None:
    script = Script(ScriptLimits(parts=3))
    refused = 0
    say(script, "Hello there.", utterance="u", stream="s", seq=0)
    script.on_started(hand_out(script)[0].id, now=0.0)
    for n in range(1, 20):
        refused += dropped("Hello there.", "overflow") in say(script, "Hello there.", utterance="u", stream="s", seq=n, revision=n)
    assert refused >= 15
