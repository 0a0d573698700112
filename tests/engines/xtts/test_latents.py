from __future__ import annotations

import os

import numpy as np
import pytest

from engines.xtts import latents
from engines.xtts.latents import KEY, Kept, Latents, key


def voice(number: float) -> Latents:
    return Latents(np.full((1, 4, 8), number, np.float32), np.full((1, 6, 1), number, np.float32))


def never() -> Latents:
    raise AssertionError("it was made again")


def test_a_voice_is_made_once_and_kept_for_the_next_start(tmp_path):
    id = key("model", [b"one"])
    made = Kept(tmp_path).take(id, lambda: voice(1.0))
    assert len(id) == KEY
    again = Kept(tmp_path)
    found = again.take(id, never)
    assert np.array_equal(found.prompt, made.prompt) and np.array_equal(found.speaker, made.speaker)
    assert again.get(id) is found
    assert [path.name for path in tmp_path.iterdir()] == [f"{id}.npz"]


def test_without_a_folder_nothing_is_written():
    kept = Kept(None)
    assert kept.take("0" * KEY, lambda: voice(1.0)) is kept.get("0" * KEY)
    assert Kept(None).get("0" * KEY) is None


def test_other_content_is_another_voice():
    keys = {
        key("model", [b"one"]),
        key("other", [b"one"]),
        key("model", [b"two"]),
        key("model", [b"one", b"two"]),
        key("model", [b"onetwo"]),
    }
    assert len(keys) == 5


def test_memory_and_disk_are_bounded_and_the_last_used_stay(tmp_path, monkeypatch):
    monkeypatch.setattr(latents, "IN_MEMORY", 2)
    monkeypatch.setattr(latents, "ON_DISK", 3)
    kept, keys = Kept(tmp_path), [key("model", [bytes([number])]) for number in range(4)]
    for number, id in enumerate(keys[:3]):
        kept.take(id, lambda: voice(1.0))
        os.utime(tmp_path / f"{id}.npz", (number, number))
    assert len(kept) == 2
    assert kept.get(keys[0]) is not None  # from the disk, and now the youngest there
    kept.take(keys[3], lambda: voice(1.0))
    assert {path.stem for path in tmp_path.iterdir()} == {keys[0], keys[2], keys[3]}


@pytest.mark.parametrize("garbage", [b"", b"not an archive", b"PK\x03\x04 and then nothing", b"\x93NUMPY\x01\x00\x02\x00{}"])
def test_garbage_on_disk_costs_only_the_work(tmp_path, garbage):
    id = key("model", [b"one"])
    (tmp_path / f"{id}.npz").write_bytes(garbage)
    assert Kept(tmp_path).get(id) is None
    Kept(tmp_path).take(id, lambda: voice(1.0))
    assert Kept(tmp_path).take(id, never) is not None


def test_a_voice_that_is_none_is_not_taken_from_the_disk(tmp_path):
    id = key("model", [b"one"])
    Kept(tmp_path).take(id, lambda: voice(float("nan")))
    assert Kept(tmp_path).get(id) is None


def test_a_disk_that_cannot_be_written_is_no_reason_to_fail(tmp_path):
    (tmp_path / "file").touch()
    kept = Kept(tmp_path / "file" / "voices")
    assert kept.take("0" * KEY, lambda: voice(1.0)) is kept.get("0" * KEY)


@pytest.mark.parametrize("id", ["../secret", "", "0" * (KEY - 1), "A" * KEY, f"{'0' * KEY}\n"])
def test_nothing_but_a_key_names_a_file(tmp_path, id):
    kept = Kept(tmp_path / "voices")
    kept.take(id, lambda: voice(1.0))
    assert not (tmp_path / "voices").exists()
    assert not list(tmp_path.rglob("*.npz"))
