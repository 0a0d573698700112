import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from pipeline.framer import EDGE
from pipeline.recording import PIECE, Recording
from pipeline.take import Word

RATE = 1000


def recording(count=2500, words=((0, 0, 4), (900, 5, 9), (1000, 10, 12), (2500, 13, 20)), audible=10):
    return Recording(np.arange(count, dtype=np.int16), tuple(Word(*word) for word in words), audible, 0.01)


def test_its_pieces_are_all_of_it_with_each_word_where_it_begins():
    pieces = list(recording().pieces(RATE))
    assert [len(piece.samples) for piece in pieces] == [round(PIECE * RATE), round(PIECE * RATE), 500]
    assert np.array_equal(np.concatenate([piece.samples for piece in pieces]), np.arange(2500))
    assert [[word.offset for word in piece.words] for piece in pieces] == [[0, 900], [0], [500]]
    assert [piece.audible for piece in pieces] == [10, None, None]


def test_it_ends_with_no_more_silence_than_the_pause_that_follows():
    made = Recording(np.array([5] * 100 + [0] * 300, dtype=np.int16), (Word(0, 0, 1), Word(400, 2, 3)), 0, 0.3)
    shorter = made.ending_within(0.12, RATE)
    assert len(shorter.samples) == 220 and round(shorter.trailing, 3) == 0.12 and [word.offset for word in shorter.words] == [0, 220]
    assert made.ending_within(0.3, RATE) is made is made.ending_within(0.7, RATE)
    assert len(made.ending_within(0.0, RATE).samples) == 100 + round(EDGE * RATE)


@given(
    count=st.integers(1, 5000),
    words=st.lists(st.tuples(st.integers(0, 5000), st.integers(0, 99), st.integers(0, 99)), max_size=9),
    audible=st.integers(0, 1),
)
def test_it_comes_back_as_it_was(count, words, audible):
    made = recording(count, sorted(words), audible)
    again = Recording.decode(made.encode())
    assert again is not None and len(made.encode()) == made.size
    assert np.array_equal(again.samples, made.samples) and again.words == made.words
    assert again.audible == made.audible and abs(again.trailing - made.trailing) < 1e-6
    words_of_pieces = [word for piece in made.pieces(RATE) for word in piece.words]
    assert len(words_of_pieces) == len(made.words)


@given(st.data())
def test_what_is_none_is_known(data):
    content = recording().encode()
    end = data.draw(st.integers(0, len(content) - 1))
    assert Recording.decode(content[:end]) is None
    assert Recording.decode(content + b"x") is None
    Recording.decode(data.draw(st.binary(max_size=200)))
