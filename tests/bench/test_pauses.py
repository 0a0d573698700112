from __future__ import annotations

import numpy as np
import pytest

from agent.config import Settings
from bench.hearing import FRAME, FRAME_SAMPLES, Recording, spans
from bench.listener import Note
from bench.passages import Passage
from bench.pauses import TRANSPORT, gaps_before, judge

PASSAGE = Passage((("One here.", "Two here."), ("Three here.",)))
SETTINGS = Settings().speech


def recording(*parts: tuple[float, bool]) -> Recording:
    levels = [loud for seconds, loud in parts for _ in range(round(seconds / FRAME))]
    samples = np.repeat(np.where(levels, 5000, 0).astype(np.int16), FRAME_SAMPLES)
    return Recording(samples, FRAME * np.arange(len(levels)))


def begun(at: float, text: str) -> tuple[Note, str]:
    return Note(at, {"type": "speech_started", "ttft_ms": 40, "lag_ms": 50}), text


SPOKEN = recording((0.5, False), (1.0, True), (SETTINGS.sentence_pause, False), (1.0, True), (SETTINGS.paragraph_pause, False), (1.0, True))
STARTS = [0.5, 1.5 + SETTINGS.sentence_pause, 2.5 + SETTINGS.sentence_pause + SETTINGS.paragraph_pause]


def told(texts: list[str], heard: Recording = SPOKEN, dropped: int = 0):
    notes = [begun(at - TRANSPORT + 0.02, text) for at, text in zip(STARTS, texts, strict=False)]
    return judge(PASSAGE, notes, dropped, heard, 0.0)


def test_a_passage_spoken_as_it_was_written_is_whole_and_its_pauses_are_right() -> None:
    found = told(["One here.", " Two here.", "Three here."])
    assert (found.in_order, found.lost, found.dropped) == (3, 0, 0)
    assert found.worst_pause == pytest.approx(0.0, abs=1e-6)
    assert found.rows[1] == (2, 10, 40, 50, pytest.approx(SETTINGS.sentence_pause * 1000))


def test_sentences_out_of_order_count_up_to_the_first_wrong_one() -> None:
    found = told(["One here.", "Three here.", "Two here."])
    assert (found.in_order, found.lost) == (1, 0)


def test_a_sentence_that_never_began_is_lost() -> None:
    found = told(["One here.", "Two here."])
    assert (found.in_order, found.lost, found.worst_pause) == (2, 1, None)


def test_a_pause_that_is_too_long_is_found() -> None:
    heard = recording((0.5, False), (1.0, True), (SETTINGS.sentence_pause + 0.1, False), (0.9, True), (0.7, False), (1.0, True))
    assert told(["One here.", "Two here.", "Three here."], heard).worst_pause == pytest.approx(0.1)


def test_a_pause_inside_a_sentence_is_not_taken_for_the_one_before_it() -> None:
    heard = spans(recording((1.0, True), (0.3, False), (0.1, True), (0.1, False), (1.0, True)))
    assert gaps_before([1.3 - TRANSPORT + 0.1], heard) == [pytest.approx(0.3)]


def test_an_event_without_sound_near_it_has_no_gap() -> None:
    heard = spans(recording((1.0, True), (0.3, False), (1.0, True)))
    assert gaps_before([5.0], heard) == [None]


def test_a_last_consonant_that_a_codec_has_made_too_faint_ends_its_sentence_all_the_same() -> None:
    sentence, paragraph = (SETTINGS.sentence_pause, 0), (SETTINGS.paragraph_pause, 0)
    parts = [(0.5, 0), (1.0, 5000), (0.14, 0), (0.02, 95), sentence, (1.0, 5000), paragraph, (1.0, 5000)]
    levels = [level for seconds, level in parts for _ in range(round(seconds / FRAME))]
    heard = Recording(np.repeat(np.array(levels, np.int16), FRAME_SAMPLES), FRAME * np.arange(len(levels)))
    starts = [0.5, 1.66 + SETTINGS.sentence_pause, 2.66 + SETTINGS.sentence_pause + SETTINGS.paragraph_pause]
    texts = ("One here.", "Two here.", "Three here.")
    notes = [begun(at - TRANSPORT + 0.02, text) for at, text in zip(starts, texts, strict=True)]
    assert judge(PASSAGE, notes, 0, heard, 0.0).worst_pause == pytest.approx(0.0, abs=1e-6)
