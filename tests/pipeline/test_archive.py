import os
import signal
import sqlite3
import subprocess
import sys
import threading

import pytest

from pipeline.archive import FILE, Archive, ArchiveBusy, ArchiveFailed

WRITER = """
import hashlib, itertools, sys
from pathlib import Path
from pipeline.archive import Archive

archive = Archive(Path(sys.argv[1]))
kept = [place.key for place in archive.open()]
for number in itertools.count():
    content = hashlib.sha256(str(number).encode()).digest() * 10_000
    key = hashlib.sha256(content).digest()
    gone = [kept.pop(0)] if len(kept) > 20 else []
    archive.write(key, content, stored=float(number), gone=gone, used={})
    kept.append(key)
    print(number, flush=True)
"""


@pytest.fixture
def archive(tmp_path):
    archive = Archive(tmp_path)
    assert archive.open() == []
    yield archive
    archive.close()


def write(archive, key, content=b"sound", *, stored=1.0, gone=(), used=None):
    archive.write(key, content, stored=stored, gone=gone, used=used or {})


def test_it_gives_what_it_was_given_in_this_life_and_the_next(archive, tmp_path):
    write(archive, b"a", b"one")
    write(archive, b"b", b"two", stored=2.0, used={b"a": 5.0})
    assert archive.read(b"a") == b"one" and archive.read(b"c") is None
    archive.close()
    again = Archive(tmp_path)
    assert sorted((place.key, place.size, place.stored, place.used) for place in again.open()) == [(b"a", 3, 1.0, 5.0), (b"b", 3, 2.0, 2.0)]
    assert again.read(b"b") == b"two"
    again.tidy(gone=[b"b"], used={})
    assert again.read(b"b") is None
    again.close()


def test_nobody_else_may_read_it(archive):
    assert archive.path.stat().st_mode & 0o077 == 0


def test_room_is_given_back_when_it_is_cleared(archive):
    for number in range(50):
        write(archive, bytes([number]), os.urandom(100_000))
    archive.clear()
    assert archive.read(b"\x01") is None
    assert archive.path.stat().st_size < 100_000


@pytest.mark.parametrize("content", [b"no database at all" * 1000, b""], ids=["damaged", "empty"])
def test_a_file_that_is_no_archive_is_begun_anew(tmp_path, content):
    (tmp_path / FILE).write_bytes(content)
    archive = Archive(tmp_path)
    assert archive.open() == []
    write(archive, b"a")
    assert archive.read(b"a") == b"sound"
    archive.close()


def test_what_another_version_has_written_is_forgotten(archive, tmp_path):
    write(archive, b"a")
    archive.close()
    with sqlite3.connect(tmp_path / FILE) as database:
        database.execute("PRAGMA user_version = 99")
    database.close()
    assert Archive(tmp_path).open() == []


def test_damage_inside_is_told_and_the_next_start_begins_anew(archive, tmp_path):
    write(archive, b"a", b"x" * 500_000)
    archive.close()
    with (tmp_path / FILE).open("r+b") as file:
        file.seek(4096)
        file.write(os.urandom(4096 * 20))
    broken = Archive(tmp_path)
    try:
        broken.open()
        content = broken.read(b"a")
        assert content is None or content != b"x" * 500_000
    except ArchiveFailed:
        pass
    broken.close()
    after = Archive(tmp_path)
    after.open()
    write(after, b"b")
    assert after.read(b"b") == b"sound"
    after.close()


def test_what_cannot_be_had_is_an_error_of_ours(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ArchiveFailed, match="file"):
        Archive(tmp_path / "file").open()
    with pytest.raises(ArchiveFailed, match="not open"):
        Archive(tmp_path).read(b"a")


def test_two_processes_may_share_a_folder(archive, tmp_path):
    other = Archive(tmp_path)
    other.open()
    write(archive, b"a", b"one")
    write(other, b"b", b"two")
    assert archive.read(b"b") == b"two" and other.read(b"a") == b"one"
    other.close()


def test_while_another_process_takes_its_time_nothing_is_written_and_all_is_read(archive, monkeypatch, tmp_path):
    write(archive, b"a", b"one")
    archive.close()
    monkeypatch.setattr("pipeline.archive.BUSY", 0.01)
    mine = Archive(tmp_path)
    mine.open()
    other = sqlite3.connect(tmp_path / FILE, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(ArchiveBusy):
        write(mine, b"b")
    assert mine.read(b"a") == b"one"
    other.execute("COMMIT")
    other.close()
    write(mine, b"b")
    assert mine.read(b"b") == b"sound"
    mine.close()


def test_it_may_be_used_from_another_thread_than_the_one_that_opened_it(archive):
    thread = threading.Thread(target=write, args=(archive, b"a"))
    thread.start()
    thread.join()
    assert archive.read(b"a") == b"sound"


@pytest.mark.shell
@pytest.mark.parametrize("blobs", [3, 40, 41, 57])
def test_a_killed_process_leaves_no_half_blob(tmp_path, blobs):
    """It is killed while it writes, wherever that finds it."""
    import hashlib

    writer = subprocess.Popen([sys.executable, "-c", WRITER, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    assert writer.stdout is not None
    last = -1
    for line in writer.stdout:
        last = int(line)
        if last >= blobs:
            writer.send_signal(signal.SIGKILL)
            break
    told = [int(line) for line in writer.stdout.read().split("\n")[:-1]]
    assert writer.wait() == -signal.SIGKILL
    writer.stdout.close()
    last = max([last, *told])
    archive = Archive(tmp_path)
    places = archive.open()
    assert 0 < len(places) <= 22
    for place in places:
        content = archive.read(place.key)
        assert content is not None and hashlib.sha256(content).digest() == place.key and len(content) == place.size == 320_000
    assert {place.stored for place in places} >= {float(number) for number in range(max(0, last - 19), last)}, "what was told is there"
    archive.close()
