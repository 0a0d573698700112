import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.playout import Cue, PlayoutBuffer
from tests.examples import examples

RATE = 1000
FRAME = 10


def sound(value, count):
    return np.full(count, value, dtype=np.int16)


class Heard:
    """A listener that reads frame by frame in virtual time."""

    def __init__(self):
        self.cues = []
        self.buffer = PlayoutBuffer(RATE, on_cue=lambda cue, now: self.cues.append((cue.kind, cue.sentence)))
        self.now = 0.0

    def say(self, sentence, *parts):
        self.buffer.cue(Cue(sentence, "start"))
        for part in parts:
            self.buffer.write(sentence, part)
        self.buffer.cue(Cue(sentence, "end"))

    def read(self, frames=1):
        out = []
        for _ in range(frames):
            out.append(self.buffer.read(FRAME, self.now))
            self.now += FRAME / RATE
        return out


@pytest.fixture
def listener():
    return Heard()


def test_frames_are_exact_and_padded_with_silence(listener):
    listener.say("a", sound(1, 7), sound(2, 8))
    first, second, third = listener.read(3)
    assert first.tolist() == [1] * 7 + [2] * 3
    assert second.tolist() == [2] * 5 + [0] * 5
    assert third is None
    assert listener.cues == [("start", "a"), ("end", "a")]
    assert listener.buffer.underruns == 0


def test_in_hand_counts_what_is_not_read(listener):
    listener.say("a", sound(1, 25))
    assert listener.buffer.in_hand == pytest.approx(0.025)
    listener.read()
    assert listener.buffer.in_hand == pytest.approx(0.015)


def test_running_dry_inside_a_sentence_is_an_underrun(listener):
    listener.buffer.cue(Cue("a", "start"))
    listener.buffer.write("a", sound(1, 10))
    listener.read(4)
    listener.buffer.write("a", sound(1, 10))
    listener.read()
    assert listener.buffer.underruns == 1


def test_an_end_that_comes_late_is_no_underrun(listener):
    listener.buffer.cue(Cue("a", "start"))
    listener.buffer.write("a", sound(1, 10))
    listener.read(3)
    listener.buffer.cue(Cue("a", "end"))
    listener.say("b", sound(2, 10))
    listener.read(2)
    assert listener.buffer.underruns == 0


def test_retract_silences_the_next_frame_and_keeps_the_others(listener):
    listener.say("a", sound(1000, 100))
    listener.say("b", sound(7, 10))
    listener.read(2)
    heard = listener.buffer.retract({"a"})
    assert (heard.sentence, heard.seconds) == ("a", pytest.approx(0.020))
    (faded,) = listener.read()
    assert faded[7] == 0 and (np.diff(faded[:8]) <= 0).all()
    assert faded[8:].tolist() == [7, 7]
    listener.read(2)
    assert listener.cues == [("start", "a"), ("start", "b"), ("end", "b")]


def test_retract_of_a_sentence_that_waits_cuts_nothing(listener):
    listener.say("a", sound(1, 20))
    listener.say("b", sound(2, 20))
    listener.read()
    assert listener.buffer.retract({"b"}) is None
    assert listener.buffer.in_hand == pytest.approx(0.010)


def test_rewind_says_the_cut_sentence_again_from_its_start(listener):
    listener.say("a", sound(1, 10))
    listener.say("b", sound(2, 30))
    listener.read(2)
    listener.buffer.freeze()
    assert listener.read(3) == [None] * 3
    listener.buffer.rewind()
    listener.buffer.thaw()
    heard = np.concatenate(listener.read(3))
    assert heard.tolist() == [2] * 30
    assert listener.cues == [("start", "a"), ("end", "a"), ("start", "b"), ("start", "b"), ("end", "b")]
    assert listener.buffer.underruns == 0


def test_a_frozen_buffer_is_not_dry(listener):
    listener.buffer.cue(Cue("a", "start"))
    listener.buffer.write("a", sound(1, 10))
    listener.read()
    listener.buffer.freeze()
    listener.read(5)
    listener.buffer.rewind()
    listener.buffer.thaw()
    listener.read()
    assert listener.buffer.underruns == 0


def test_writing_and_rousing_wake_the_track(listener):
    woken = []
    listener.buffer.on_ready = lambda: woken.append(1)
    listener.buffer.rouse()
    listener.buffer.write("a", sound(1, 1))
    listener.buffer.thaw()
    assert len(woken) == 3


@examples(60)
@given(st.lists(st.lists(st.integers(0, 35), max_size=4), max_size=6), st.integers(1, 17))
def test_everything_written_is_read_once_and_in_order(sentences, frame):
    """Values number the samples, so order and loss show."""
    listener = Heard()
    written = 0
    for index, parts in enumerate(sentences):
        chunks = []
        for count in parts:
            chunks.append(np.arange(written + 1, written + 1 + count, dtype=np.int16))
            written += count
        listener.say(str(index), *chunks)
    heard = []
    while (read := listener.buffer.read(frame, 0.0)) is not None:
        heard += [value for value in read.tolist() if value]
    assert heard == list(range(1, written + 1))
    assert listener.cues == [(kind, str(i)) for i in range(len(sentences)) for kind in ("start", "end")]


@pytest.mark.parametrize(("read_first", "left", "taken"), [(0, 15, 15), (1, 5, 15), (2, 0, 10)])
def test_cut_back_takes_the_last_samples_that_are_unread(listener, read_first, left, taken):
    listener.buffer.write("a", sound(9, 10))  # the pause before it stays
    listener.buffer.cue(Cue("a", "start"))
    listener.buffer.write("a", sound(100, 10))
    listener.buffer.write("a", sound(200, 20))
    listener.read(1 + read_first)
    assert listener.buffer.cut_back("a", 15) == taken
    assert listener.buffer.in_hand == left / RATE
    listener.buffer.cue(Cue("a", "end"))
    rest = [frame for frame in listener.read(4) if frame is not None]
    assert sum(np.count_nonzero(frame) for frame in rest) == max(0, left - 1), "the last one has faded"
    assert listener.buffer.in_hand == 0
    assert listener.cues[-1] == ("end", "a")


def test_thawing_rouses_nobody_when_there_is_nothing_to_hear():
    roused: list[bool] = []
    buffer = PlayoutBuffer(RATE, on_cue=lambda cue, now: None)
    buffer.on_ready = lambda: roused.append(True)
    buffer.freeze()
    buffer.thaw()
    assert roused == []
    buffer.write("a", np.ones(10, dtype=np.int16))
    buffer.freeze()
    buffer.thaw()
    assert len(roused) == 2


def test_cut_back_takes_the_cues_of_what_is_gone_and_leaves_other_sentences(listener):
    buffer = listener.buffer
    for sentence in "ab":
        buffer.write(sentence, sound(9, 10))
        for cue, value in [("start", 1), ("word", 2)]:
            buffer.cue(Cue(sentence, cue))
            buffer.write(sentence, sound(value, 10))
    assert buffer.cut_back("b", 10) == 10
    assert buffer.cut_back("b", 0) == 0
    buffer.cue(Cue("b", "end"))
    listener.read(6)
    assert listener.cues == [("start", "a"), ("word", "a"), ("start", "b"), ("end", "b")]
    buffer.write("c", sound(9, 10))
    buffer.cue(Cue("c", "start"))
    buffer.write("c", sound(1, 10))
    assert buffer.cut_back("c", 99) == 10
    assert buffer.in_hand == 10 / RATE


def test_sound_as_data_comes_sentence_by_sentence_and_cues_before_what_follows_them(listener):
    buffer = listener.buffer
    buffer.is_live = False
    listener.say("a", sound(1, 30))
    listener.say("b", sound(2, 10))
    taken = []
    while not buffer.is_empty:
        piece = buffer.take(20, 0.0)
        taken.append((piece.sentence, len(piece.samples)) if piece else list(listener.cues))
    starts = [("start", "a"), ("end", "a"), ("start", "b"), ("end", "b")]
    assert taken == [starts[:1], ("a", 20), ("a", 10), starts[:3], ("b", 10), starts]
    assert buffer.take(20, 0.0) is None


def test_cues_within_a_crumb_pass_together_and_its_sound_goes_with_what_follows(listener):
    buffer = listener.buffer
    buffer.is_live = False
    buffer.cue(Cue("a", "start"))
    for kind, value, count in (("word", 1, 10), ("audible", 2, 10), ("word", 3, 30), ("word", 4, 8)):
        buffer.write("a", sound(value, count))
        buffer.cue(Cue("a", kind))
    buffer.cue(Cue("a", "end"))
    assert buffer.take(200, 0.0) is None
    assert [kind for kind, _ in listener.cues] == ["start", "word", "audible"]
    assert buffer.take(200, 0.0).samples.tolist() == [1] * 10 + [2] * 10 + [3] * 30
    assert buffer.take(200, 0.0) is None
    assert [kind for kind, _ in listener.cues[3:]] == ["word", "word"]
    assert buffer.take(200, 0.0).samples.tolist() == [4] * 8
    assert buffer.take(200, 0.0) is None and listener.cues[-1] == ("end", "a")


@given(st.lists(st.lists(st.integers(1, 40), max_size=6), min_size=1, max_size=4), st.integers(5, 60))
@examples(200)
def test_as_data_all_sound_comes_once_and_no_cue_passes_long_before_its_sound(sentences, most):
    listener = Heard()
    buffer, value, due = listener.buffer, 0, []
    buffer.is_live = False
    for number, pieces in enumerate(sentences):
        buffer.cue(Cue(str(number), "start"))
        due.append(value)
        for count in pieces:
            buffer.write(str(number), np.arange(value, value + count, dtype=np.int16))
            value += count
            buffer.cue(Cue(str(number), "word"))
            due.append(value)
        buffer.cue(Cue(str(number), "end"))
        due.append(value)
    taken = []
    while not buffer.is_empty:
        known = len(listener.cues)
        piece = buffer.take(most, 0.0)
        taken += piece.samples.tolist() if piece else []
        assert all(at - 2 * FRAME <= len(taken) <= at for at in due[known : len(listener.cues)])
    assert taken == list(range(value))
    assert len(listener.cues) == len(due) and [kind for kind, _ in listener.cues].count("start") == len(sentences)
    assert buffer.in_hand == 0


def test_what_was_given_away_faster_than_it_is_heard_is_still_in_hand(listener):
    buffer = listener.buffer
    buffer.write("a", sound(1, 1500))
    assert buffer.lasts(10.0) == pytest.approx(1.5)
    buffer.is_live = False
    buffer.take(1000, 10.0)
    assert (buffer.in_hand, buffer.lasts(10.0), buffer.lasts(10.4)) == pytest.approx((0.5, 1.5, 1.1))
    buffer.take(500, 10.4)
    assert buffer.lasts(11.0) == pytest.approx(0.5)
    assert buffer.lasts(12.0) == 0.0
    buffer.write("b", sound(1, 1000))
    buffer.take(1000, 20.0)
    buffer.hush()
    assert buffer.lasts(20.0) == 0.0


def test_what_is_taken_back_while_it_is_given_away_leaves_nothing(listener):
    buffer = listener.buffer
    buffer.is_live = False
    listener.say("a", sound(1, 100))
    assert buffer.take(50, 0.0) is None
    buffer.take(50, 0.0)
    assert buffer.retract({"a"}).seconds == pytest.approx(0.05)
    assert buffer.take(50, 0.0) is None and buffer.is_empty and buffer.lasts(0.0) == 0.0
