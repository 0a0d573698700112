import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.framer import Framer
from tests.examples import examples

RATE = 24_000
WINDOW = 240


def tone(seconds, rate=RATE, hertz=300):
    return (8000 * np.sin(2 * np.pi * hertz * np.arange(int(seconds * rate)) / rate)).astype(np.int16)


def quiet(seconds, rate=RATE):
    return np.zeros(int(seconds * rate), dtype=np.int16)


def run(framer, samples, sizes):
    out, audible, at = [], [], 0
    for size in [*sizes, len(samples)]:
        framed = framer.feed(samples[at : at + size])
        at += size
        if framed.audible is not None:
            audible.append(sum(map(len, out)) + framed.audible)
        out.append(framed.samples)
    framed = framer.feed(samples[:0], last=True)
    if framed.audible is not None:
        audible.append(sum(map(len, out)) + framed.audible)
    return np.concatenate([*out, framed.samples]), audible


def test_leading_silence_goes_and_an_edge_stays():
    framer = Framer(RATE, RATE, pause=0.3)
    out, audible = run(framer, np.concatenate([quiet(0.2), tone(0.5)]), [])
    assert len(out) == WINDOW + len(tone(0.5))
    assert audible == [WINDOW]
    assert framer.position(int(0.2 * RATE)) == WINDOW
    assert framer.position(0) == 0


def test_trailing_silence_is_told_and_cut_at_the_pause():
    framer = Framer(RATE, RATE, pause=0.1)
    out, _ = run(framer, np.concatenate([tone(0.5), quiet(0.4)]), [])
    assert framer.trailing == pytest.approx(0.1)
    assert len(out) == len(tone(0.5)) + int(0.1 * RATE)


def test_silence_inside_is_kept_to_the_sample():
    samples = np.concatenate([tone(0.2), quiet(0.5), tone(0.2)])
    framer = Framer(RATE, RATE, pause=0.1)
    out, _ = run(framer, samples, [3000, 7000])
    assert np.array_equal(out, samples)
    assert framer.trailing == pytest.approx(0.0, abs=0.011)


def test_silence_alone_gives_nothing_and_says_so():
    framer = Framer(RATE, RATE, pause=0.1)
    out, audible = run(framer, quiet(1.0), [100, 5000])
    assert len(out) == 0 and audible == [] and not framer.is_audible


def test_resampling_keeps_pitch_and_length():
    framer = Framer(22_050, RATE, pause=0.3)
    out, _ = run(framer, tone(1.0, rate=22_050), [1000, 9000])
    assert len(out) == pytest.approx(RATE, abs=WINDOW)
    peak = np.abs(np.fft.rfft(out.astype(float))).argmax() * RATE / len(out)
    assert peak == pytest.approx(300, abs=2)


@examples(50)
@given(
    st.lists(st.tuples(st.booleans(), st.integers(1, 60)), min_size=1, max_size=6),
    st.lists(st.integers(0, 4000), max_size=8),
    st.sampled_from([0.05, 0.3]),
)
def test_chunks_of_any_size_give_the_same_sound(parts, sizes, pause):
    samples = np.concatenate([tone(count / 100) if loud else quiet(count / 100) for loud, count in parts])
    whole, audible = run(Framer(RATE, RATE, pause=pause), samples, [])
    pieces, audible_in_pieces = run(Framer(RATE, RATE, pause=pause), samples, sizes)
    assert np.array_equal(whole, pieces)
    assert audible == audible_in_pieces
    assert (len(audible) == 1) == any(loud for loud, _ in parts)
