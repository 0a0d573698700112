"""One file: where it comes from, when it counts as here, and what stands in its way."""

from __future__ import annotations

import hashlib
import http.server
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from engines import download
from engines.download import Busy, DiskFull, File, NoNetwork, Source, check_room, locked, part_of, size_of

CONTENT = bytes(range(256)) * 40
SHA256 = File("models/weights.bin", len(CONTENT), hashlib.sha256(CONTENT).hexdigest())
MD5 = File("models/weights.bin", len(CONTENT), hashlib.md5(CONTENT).hexdigest())


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        start = int(self.headers.get("Range", "bytes=0-")[6:-1])
        self.server.asked.append((self.path, start))  # type: ignore[attr-defined]
        self.send_response(206 if start else 200)
        self.send_header("Content-Range", f"bytes {start}-{len(CONTENT) - 1}/{len(CONTENT)}")
        self.send_header("Content-Length", str(len(CONTENT) - start))
        self.end_headers()
        self.wfile.write(CONTENT[start:])

    def log_message(self, *arguments: Any) -> None: ...


@pytest.fixture
def publisher() -> Iterator[Any]:
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.asked = []  # type: ignore[attr-defined]
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def source(publisher: Any) -> Source:
    return Source(f"http://127.0.0.1:{publisher.server_address[1]}/", pause=0.0)


@pytest.mark.parametrize("file", [SHA256, MD5])
def test_a_file_is_here_when_every_byte_of_it_is(file: File, tmp_path: Path) -> None:
    path = tmp_path / "x"
    assert not file.is_at(path)
    path.write_bytes(CONTENT[:-1])
    assert not file.is_at(path)
    path.write_bytes(CONTENT[:-1] + b"!")
    assert not file.is_at(path)
    path.write_bytes(CONTENT)
    assert file.is_at(path)
    assert (file.name, file.algorithm) == ("weights.bin", "sha256" if file is SHA256 else "md5")


def test_it_is_brought_whole_and_told_as_it_comes(publisher: Any, tmp_path: Path) -> None:
    target, told = tmp_path / "weights.bin", list[int]()
    source(publisher).bring(SHA256, target, told.append)
    assert target.read_bytes() == CONTENT
    assert (told[-1], publisher.asked) == (len(CONTENT), [("/models/weights.bin", 0)])
    assert not part_of(target).exists()
    source(publisher).bring(SHA256, target, told.append)
    assert len(publisher.asked) == 1


def test_what_is_here_is_not_fetched_again(publisher: Any, tmp_path: Path) -> None:
    target = tmp_path / "weights.bin"
    part_of(target).write_bytes(CONTENT[:1000])
    source(publisher).bring(SHA256, target, lambda here: None)
    assert publisher.asked == [("/models/weights.bin", 1000)]
    assert size_of(target) == len(CONTENT)


def test_offline_nothing_is_asked_for(publisher: Any, tmp_path: Path) -> None:
    offline = Source(f"http://127.0.0.1:{publisher.server_address[1]}", offline=True)
    with pytest.raises(NoNetwork, match="this is offline"):
        offline.bring(SHA256, tmp_path / "weights.bin", lambda here: None)
    assert not publisher.asked


def test_what_does_not_fit_is_told_before_it_is_fetched(publisher: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = shutil.disk_usage(tmp_path)._replace(free=len(CONTENT) - 1000)
    monkeypatch.setattr(download.shutil, "disk_usage", lambda folder: usage)
    target = tmp_path / "weights.bin"
    with pytest.raises(DiskFull, match="MB are needed"):
        source(publisher).bring(SHA256, target, lambda here: None)
    assert not publisher.asked
    part_of(target).write_bytes(CONTENT[:1000])
    source(publisher).bring(SHA256, target, lambda here: None)  # what is here already needs no room
    assert target.exists()


def test_room_is_counted_in_bytes(tmp_path: Path) -> None:
    check_room(tmp_path, 0)
    with pytest.raises(DiskFull):
        check_room(tmp_path, shutil.disk_usage(tmp_path).free + (1 << 40))


def test_one_that_holds_the_lock_for_ever_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(download, "LOCKED", -1.0)
    with locked(tmp_path, "anna"), pytest.raises(Busy, match="anna"), locked(tmp_path, "anna"):
        pytest.fail("two hold it")
    with locked(tmp_path, "anna"), locked(tmp_path, "bob"):
        pass
