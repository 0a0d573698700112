import numpy as np
import pytest

from agent.gateway.effects import CEILING, Chain, Effects, faded, finish, levelled, loudness_of, trimmed

RATE = 24_000


def tone(seconds, level=6_000, pitch=330):
    return (np.sin(2 * np.pi * pitch * np.arange(round(seconds * RATE)) / RATE) * level).astype(np.int16)


def silence(seconds):
    return np.zeros(round(seconds * RATE), dtype=np.int16)


def through(effects, samples):
    chain = Chain(effects.filters(RATE), RATE)
    parts = [chain.feed(samples[start : start + 2_400]) for start in range(0, len(samples), 2_400)]
    return np.concatenate([*parts, chain.finish()])


def peak(samples):
    spectrum = np.abs(np.fft.rfft(samples * np.hanning(len(samples))))
    return np.argmax(spectrum) * RATE / len(samples)


def test_nothing_asked_is_nothing_done():
    assert Effects().filters(RATE) == []
    assert np.array_equal(through(Effects(), tone(1)), tone(1))


def test_pitch_moves_and_length_stays():
    for pitch in (0.5, 0.8, 1.5, 2.0):
        changed = through(Effects(pitch=pitch), tone(2))
        assert len(changed) / RATE == pytest.approx(2, abs=0.15)
        assert peak(changed[RATE // 2 : -RATE // 2]) == pytest.approx(330 * pitch, rel=0.03)


def test_tempo_changes_the_length_and_leaves_the_pitch():
    for tempo in (0.25, 0.5, 2.0):
        changed = through(Effects(tempo=tempo), tone(2))
        assert len(changed) / RATE == pytest.approx(2 / tempo, rel=0.1)
        assert peak(changed[RATE // 4 : -RATE // 4]) == pytest.approx(330, rel=0.03)


def test_energy_is_loudness_and_never_clips():
    assert np.abs(through(Effects(energy=2.0), tone(1, 6_000))[2_400:-2_400]).max() == pytest.approx(12_000, rel=0.05)
    assert np.abs(through(Effects(energy=2.0), tone(1, 30_000))[2_400:-2_400]).max() <= 32_767 * CEILING * 1.02


def test_compression_lifts_what_is_quiet():
    quiet, loud = tone(1, 300), tone(1, 15_000)
    changed = through(Effects(compress=True), np.concatenate([quiet, loud]))
    before = np.abs(loud).max() / np.abs(quiet).max()
    assert np.abs(changed[-RATE // 2 :]).max() / np.abs(changed[RATE // 4 : RATE // 2]).max() < 0.7 * before


def test_enhancement_takes_rumble_out():
    rumble = tone(2, 3_000, 25)
    kept = through(Effects(enhance=True), rumble)
    assert np.abs(kept[RATE:]).max() < 0.4 * 3_000


async def test_silence_is_cut_at_both_ends_and_nowhere_else():
    samples = np.concatenate([silence(0.5), tone(1), silence(0.3), tone(1), silence(0.8)])
    cut = await trimmed(samples, RATE)
    assert len(cut) / RATE == pytest.approx(2.3, abs=0.1)
    assert np.abs(cut[: RATE // 5]).max() > 5_000
    assert len(await trimmed(silence(1), RATE)) == RATE


async def test_a_whole_reply_is_as_loud_as_it_should_be():
    for level in (800, 3_000, 20_000):
        changed = await levelled(tone(3, level), RATE, -18.0)
        assert await loudness_of(changed, RATE) == pytest.approx(-18, abs=0.5)
        assert len(changed) == 3 * RATE
    short = tone(0.2)
    assert np.array_equal(await levelled(short, RATE, -18.0), short)


async def test_it_rises_from_nothing_and_ends_in_it():
    changed = await faded(tone(1, pitch=440), RATE)
    assert abs(int(changed[0])) < 50 and np.abs(changed[-3:]).max() < 400
    assert np.array_equal(changed[480:-480], tone(1, pitch=440)[480:-480])
    assert len(await faded(silence(0), RATE)) == 0


async def test_all_of_it_together():
    samples = np.concatenate([silence(0.5), tone(2, 1_000), silence(0.5)])
    done = await finish(samples, RATE, trim=True, loudness=-18.0)
    assert await loudness_of(done, RATE) == pytest.approx(-18, abs=0.5)
    assert len(done) / RATE == pytest.approx(2, abs=0.1)
    as_it_is = await finish(samples, RATE, trim=False, loudness=None)
    assert len(as_it_is) == len(samples)
