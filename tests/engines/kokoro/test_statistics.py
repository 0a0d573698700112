from __future__ import annotations

import errno

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engines.kokoro.cut import Part
from engines.kokoro.sound import Factors
from engines.kokoro.statistics import BUCKETS, EPSILON, FILE, LENGTHS, Known, Measured, Moments, Pressed, bucket, frozen, write
from engines.kokoro.voices import LANGUAGES, Mixture


def moments(mean, deviation):
    return Moments(np.array(mean, np.float32), np.square(np.array(deviation, np.float32)))


def known(*items, lengths=LENGTHS, gain=0.0):
    return Measured(lengths, tuple(items * 3 if len(items) == 1 else items), gain)


def test_buckets_grow_with_length():
    assert [bucket(frames) for frames in (1, BUCKETS[0], BUCKETS[0] + 1, BUCKETS[1] + 1, 9999)] == [0, 0, 1, 2, 2]


def test_pooling_is_what_one_measurement_of_all_would_give():
    random = np.random.default_rng(5)
    one, two = random.normal(3, 2, (40, 6)), random.normal(-1, 0.5, (80, 6))
    pooled = Moments.pool([Moments(part.mean(0), part.var(0)) for part in (one, two)], [40, 80])
    both = np.concatenate([one, two])
    assert pooled.mean == pytest.approx(both.mean(0), abs=1e-5)
    assert pooled.variance == pytest.approx(both.var(0), abs=1e-4)


def test_mixing_lies_between():
    mixed = Moments.mix([moments([0.0], [1.0]), moments([4.0], [3.0])], [0.75, 0.25])
    assert mixed.mean == pytest.approx([1.0])
    assert np.sqrt(mixed.variance) == pytest.approx([1.5])


def test_frozen_norms_are_the_norms_of_these_statistics():
    """Two places of use share the second norm."""
    parts = [Part("a", ("x",), "", (2, 3), (0, 1, 1))]
    spread = moments([1, 2, 3, 4, 5], [1, 2, 1, 2, 1])
    gamma, beta = np.arange(1, 9, dtype=np.float32).reshape(1, 8, 1), np.linspace(-1, 1, 8, dtype=np.float32).reshape(1, 8, 1)
    (factors,) = frozen(parts, spread, [Factors(gamma, beta)])
    column = np.array([5, 6, 7, 8, 9, 7, 8, 9], np.float32).reshape(1, 8, 1)
    places = [0, 1, 2, 3, 4, 2, 3, 4]
    normed = (column.ravel() - spread.mean[places]) / np.sqrt(spread.variance[places] + EPSILON)
    assert (column * factors.first + factors.second).ravel() == pytest.approx(normed * gamma.ravel() + beta.ravel(), rel=1e-5)


def test_pressed_statistics_come_back(tmp_path):
    random = np.random.default_rng(2)
    base, directions = random.normal(size=50), random.normal(0, 0.2, (4, 50))
    measured = {
        f"af_{name}": known(
            *(moments(base + random.normal(size=4) @ directions, np.exp(0.1 * (random.normal(size=4) @ directions))) for _ in range(3)),
            lengths=(100.0, 200.0, 400.0 + number),
            gain=-0.5 * number,
        )
        for number, name in enumerate("abcdef")
    }
    file = tmp_path / "statistics.npz"
    Pressed.of(measured).write(file)
    pressed = Pressed.read(file)
    assert pressed.ids == tuple(sorted(measured))
    for id, one in measured.items():
        assert (pressed.measured(id).lengths, pressed.measured(id).gain) == (one.lengths, one.gain)
        for again, item in zip(pressed.measured(id).moments, one.moments, strict=True):
            assert again.mean == pytest.approx(item.mean, abs=0.02)
            assert again.variance == pytest.approx(item.variance, rel=0.03)


def test_what_was_measured_here_goes_before_the_package_s(tmp_path):
    pressed = Pressed.of({"af_a": known(moments([1.0, 2.0], [1.0, 1.0])), "af_b": known(moments([2.0, 3.0], [1.0, 1.0]))})
    write(tmp_path, "af_b", known(moments([7.0, 8.0], [2.0, 2.0]), gain=-1.5))
    write(tmp_path, "af_new", known(moments([5.0, 6.0], [1.0, 1.0])))
    here = Known(pressed, tmp_path)
    assert here.of(Mixture.parse("af_a")).at(0).mean == pytest.approx([1.0, 2.0], abs=0.01)
    assert here.of(Mixture.parse("af_b")).at(2).mean == pytest.approx([7.0, 8.0])
    assert here.of(Mixture.parse("af_b")).gain == -1.5
    assert here.of(Mixture.parse("af_b+af_new")).at(1).mean == pytest.approx([6.0, 7.0])
    assert here.of(Mixture.parse("af_a+af_nobody")) is None


def test_a_voice_that_was_found_worse_is_known_as_such(tmp_path):
    pressed = Pressed.of({f"af_{name}": known(moments([1.0], [1.0])) for name in "abc"}, worse=["af_b"])
    pressed.write(tmp_path / "pressed.npz")
    here = Known.read(tmp_path / "pressed.npz", tmp_path)
    assert [here.is_good(Mixture.parse(id)) for id in ("af_a", "af_b", "af_a+af_b", "af_a+af_c")] == [True, False, False, True]
    write(tmp_path, "af_b", known(moments([1.0], [1.0])))
    write(tmp_path, "af_c", known(moments([1.0], [1.0])), good=False)
    assert [here.is_good(Mixture.parse(id)) for id in ("af_b", "af_c")] == [True, False]


def test_a_mixture_that_was_measured_is_not_reckoned(tmp_path):
    pressed = Pressed.of({f"af_{name}": known(moments([1.0], [1.0])) for name in "ab"})
    mixture = Mixture.parse("af_a:3+af_b:1")
    write(tmp_path, mixture.id, known(moments([9.0], [1.0])))
    assert Known(pressed, tmp_path).of(mixture).at(1).mean == pytest.approx([9.0])
    assert Known(pressed, tmp_path).of(Mixture.parse("af_a+af_b")).at(1).mean == pytest.approx([1.0], abs=0.01)


def test_a_missing_or_older_file_knows_nobody(tmp_path, caplog):
    assert Known.read(tmp_path / "none.npz", tmp_path).of(Mixture.parse("af_heart")) is None
    old = tmp_path / "old.npz"
    np.savez(old, version=0)
    assert Known.read(old, tmp_path).of(Mixture.parse("af_heart")) is None
    assert "of version 0" in caplog.text


def empty(data: bytes) -> bytes:
    return b""


def truncated(data: bytes) -> bytes:
    return data[: len(data) // 2]


def flipped(data: bytes) -> bytes:
    """In the middle of what it holds first."""
    return data[:100] + bytes([data[100] ^ 0x55]) + data[101:]


def encrypted(data: bytes) -> bytes:
    """One bit of the archive's list says so."""
    place = data.index(b"PK\1\2") + 8
    return data[:place] + bytes([data[place] | 1]) + data[place + 1 :]


@pytest.mark.parametrize("damage", [empty, truncated, flipped, encrypted])
def test_a_damaged_file_of_the_package_knows_nobody(tmp_path, caplog, damage):
    file = tmp_path / "pressed.npz"
    Pressed.of({"af_a": known(moments([1.0, 2.0], [1.0, 1.0]))}).write(file)
    file.write_bytes(damage(file.read_bytes()))
    here = Known.read(file, tmp_path)
    assert here.of(Mixture.parse("af_a")) is None and here.is_good(Mixture.parse("af_a"))
    assert str(file) in caplog.text


@pytest.mark.parametrize("damage", [empty, truncated, flipped, encrypted])
def test_a_voice_s_own_file_that_is_damaged_is_told_once_and_the_package_s_statistics_count(tmp_path, caplog, damage):
    pressed = Pressed.of({"af_a": known(moments([1.0, 2.0], [1.0, 1.0])), "af_b": known(moments([2.0, 3.0], [1.0, 1.0]))}, worse=["af_b"])
    for name in ("af_a", "af_b", "af_new"):
        file = write(tmp_path, name, known(moments([7.0, 8.0], [2.0, 2.0])))
        file.write_bytes(damage(file.read_bytes()))
    here = Known(pressed, tmp_path)
    assert here.of(Mixture.parse("af_a")).at(0).mean == pytest.approx([1.0, 2.0], abs=0.01)
    assert here.of(Mixture.parse("af_new")) is None
    for _ in range(2):
        assert [here.is_good(Mixture.parse(id)) for id in ("af_a", "af_b", "af_a+af_b")] == [True, False, False]
        assert here.of(Mixture.parse("af_a+af_b")) is not None
    assert sorted(record.args[0].stem for record in caplog.records) == ["af_a", "af_b", "af_new"]
    assert "voicebooth models calibrate kokoro af_new --again" in caplog.text


def test_a_full_disk_leaves_no_draft_behind(tmp_path, monkeypatch):
    def full(file, **arrays):
        file.write(b"x")
        raise OSError(errno.ENOSPC, "No space left on device")

    kept = write(tmp_path, "af_a", known(moments([1.0], [1.0]))).read_bytes()
    monkeypatch.setattr(np, "savez", full)
    with pytest.raises(OSError, match="No space"):
        write(tmp_path, "af_a", known(moments([2.0], [1.0])))
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {"af_a.npz": kept}


def test_between_two_lengths_lies_what_is_between_their_statistics():
    measured = known(moments([0.0], [1.0]), moments([4.0], [3.0]), moments([8.0], [5.0]), lengths=(100.0, 400.0, 800.0))
    for frames, mean, deviation in ((1, 0.0, 1.0), (100, 0.0, 1.0), (200, 2.0, 2.0), (400, 4.0, 3.0), (800, 8.0, 5.0), (9999, 8.0, 5.0)):
        found = measured.at(frames)
        assert found.mean == pytest.approx([mean], abs=1e-5), frames
        assert np.sqrt(found.variance) == pytest.approx([deviation], abs=1e-5), frames


@given(st.lists(st.floats(20.0, 900.0), min_size=3, max_size=3).map(sorted), st.integers(1, 2000))
def test_what_lies_between_is_never_outside(lengths, frames):
    measured = known(*(moments([float(number)], [1.0]) for number in range(3)), lengths=tuple(lengths))
    place = float(measured.at(frames).mean[0])
    low = max((number for number in range(3) if lengths[number] <= frames), default=0)
    assert low - 1e-3 <= place <= min(low + 1, 2) + 1e-3


def test_mixtures_lie_between_in_length_and_gain_as_well():
    one = known(moments([0.0], [1.0]), lengths=(1.0, 2.0, 3.0), gain=-2.0)
    mixed = Measured.mix([one, known(moments([4.0], [3.0]), lengths=(5.0, 6.0, 7.0))], [3, 1])
    assert (mixed.lengths, mixed.gain) == ((2.0, 3.0, 4.0), -1.5)
    assert mixed.moments[2].mean == pytest.approx([1.0])


def test_a_mixture_that_was_measured_and_found_worse_is_known_as_such(tmp_path):
    mixture = Mixture.parse("af_a+af_b")
    write(tmp_path, mixture.id, known(moments([1.0], [1.0])), good=False)
    assert not Known(None, tmp_path).is_good(mixture)


def test_a_file_without_lengths_has_those_of_all_voices_and_no_gain(tmp_path):
    np.savez(tmp_path / "af_old.npz", mean=np.zeros((3, 2)), variance=np.ones((3, 2)), good=True)
    old = Known(None, tmp_path).of(Mixture.parse("af_old"))
    assert (old.lengths, old.gain) == (LENGTHS, 0.0)


def test_the_package_s_file_is_small_and_holds_every_channel():
    assert FILE.stat().st_size < 2_000_000
    pressed = Pressed.read(FILE)
    assert len(pressed.ids) == 54
    assert {id[0] for id in pressed.ids} == set(LANGUAGES)
    assert set(pressed.worse) < set(pressed.ids)
    assert (np.diff(pressed.lengths, axis=1) >= 0).all()  # equal where a voice has no sentence of its own in a bucket
    assert pressed.measured("af_heart").moments[0].mean.shape == (17930,)
