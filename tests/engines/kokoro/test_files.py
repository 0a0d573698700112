from __future__ import annotations

import hashlib
import http.server
import io
import tarfile
import threading

import numpy as np
import pytest

from engines.base import BadModel, EngineUnavailable
from engines.kokoro import files
from engines.kokoro.voices import Styles


@pytest.fixture
def packages(tmp_path, monkeypatch):
    """Two installed packages that hold the model's bytes."""
    for number, content in enumerate((b"first", b"second")):
        folder = tmp_path / "site" / f"kk_part_{number}"
        folder.mkdir(parents=True)
        (folder / "__init__.py").touch()
        (folder / "part.bin").write_bytes(content)
    monkeypatch.syspath_prepend(tmp_path / "site")
    monkeypatch.setattr(files, "MODEL_PACKAGES", ("kk_part_0", "kk_part_1"))
    monkeypatch.setattr(files, "MODEL_DIGEST", hashlib.sha256(b"firstsecond").hexdigest())
    return tmp_path / "site"


def test_the_model_is_put_together_from_packages_once(packages, tmp_path):
    cache = tmp_path / "cache"
    model = files.find_model(tmp_path, cache)
    assert model.read_bytes() == b"firstsecond"
    (packages / "kk_part_0" / "part.bin").write_bytes(b"other")
    assert files.find_model(tmp_path, cache) == model
    assert [path.name for path in cache.iterdir()] == [files.MODEL]


def test_other_bytes_are_refused_and_leave_nothing(packages, tmp_path):
    (packages / "kk_part_1" / "part.bin").write_bytes(b"other")
    with pytest.raises(BadModel, match="kk_part_0"):
        files.find_model(tmp_path, tmp_path / "cache")
    assert list((tmp_path / "cache").iterdir()) == []


def test_one_s_own_model_goes_first(packages, tmp_path):
    own = tmp_path / files.MODEL
    own.write_bytes(b"mine")
    assert files.find_model(tmp_path, tmp_path / "cache") == own


def test_voices_are_found_in_the_folder_and_in_the_cache(tmp_path):
    with pytest.raises(EngineUnavailable, match=r"python -m engines\.kokoro"):
        files.find_voices(tmp_path, tmp_path / "cache")
    for folder in (tmp_path / "cache" / "voices", tmp_path / "voices"):
        folder.mkdir(parents=True)
        (folder / "af_heart.bin").write_bytes(bytes(files.SPOKEN))
        (folder / f"af_{folder.parent.name[:5]}.bin").write_bytes(bytes(files.SPOKEN))
        assert files.find_voices(tmp_path, tmp_path / "cache")[0] == folder
    assert len(Styles(*files.find_voices(tmp_path, tmp_path / "cache")).ids) == 3


def test_what_is_missing_is_told_by_the_command_that_brings_it(packages, tmp_path, monkeypatch):
    monkeypatch.setattr(files, "LIBRARIES", ("json",))
    cache = tmp_path / "cache"
    assert files.missing(tmp_path, cache) == files.FETCH  # the voices
    (cache / "voices").mkdir(parents=True)
    (cache / "voices" / "af_heart.bin").write_bytes(bytes(files.SPOKEN))
    assert files.missing(tmp_path, cache) == ""
    monkeypatch.setattr(files, "MODEL_PACKAGES", ("kk_nobody",))
    assert files.missing(tmp_path, cache) == files.INSTALL
    (cache / files.MODEL).touch()
    assert files.missing(tmp_path, cache) == ""
    monkeypatch.setattr(files, "LIBRARIES", ("json", "kk_nobody"))
    assert files.missing(tmp_path, cache) == files.INSTALL


def test_only_voices_are_unpacked(tmp_path):
    archive = tmp_path / "voices.tgz"
    with tarfile.open(archive, "w:gz") as packed:
        for name, size in (("package/voices/af_heart.bin", files.SPOKEN), ("package/voices/af_cut.bin", 10), ("package/x.js", 5)):
            member = tarfile.TarInfo(name)
            member.size = size
            packed.addfile(member, io.BytesIO(bytes(size)))
    assert [name for name, _ in files._packed_voices(archive)] == ["af_heart.bin"]
    archive.write_bytes(b"no archive")
    with pytest.raises(ValueError):
        list(files._packed_voices(archive))


@pytest.fixture
def release():
    """A server with one file, whatever is asked for."""

    class Handler(http.server.BaseHTTPRequestHandler):
        content = b""

        def do_GET(self):
            self.send_response(200 if self.content else 404)
            self.end_headers()
            self.wfile.write(self.content)

        def log_message(self, *arguments): ...

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        Handler.url = f"http://127.0.0.1:{server.server_address[1]}"
        yield Handler
        server.shutdown()
        thread.join()


def test_without_npm_voices_come_from_the_release(tmp_path, monkeypatch, release):
    monkeypatch.setattr(files.shutil, "which", lambda name: None)
    packed = io.BytesIO()
    np.savez(packed, af_heart=np.zeros((510, 1, 256), np.float32))
    release.content = packed.getvalue()
    target = files.fetch_voices(tmp_path / "cache" / "voices", release.url)
    assert Styles(target).ids == ("af_heart",)
    release.content = b""
    assert files.fetch_voices(target, release.url) == target  # they are there
    assert [path.name for path in target.parent.iterdir()] == ["voices"]


@pytest.mark.parametrize("content", [b"", b"no archive"])
def test_when_nothing_brings_the_voices_the_way_by_hand_is_told(tmp_path, monkeypatch, release, content):
    monkeypatch.setattr(files.shutil, "which", lambda name: None)
    release.content = content
    with pytest.raises(EngineUnavailable, match=r"npm, .*is no archive.*put .*|npm, .*404.*put .*voices-v1\.0\.bin into"):
        files.fetch_voices(tmp_path / "voices", release.url)
    assert list(tmp_path.iterdir()) == []


def test_an_npm_that_fails_is_told(tmp_path, monkeypatch, release):
    npm = tmp_path / "npm"
    npm.write_text("#!/bin/sh\nexit 1\n")
    npm.chmod(0o755)
    monkeypatch.setattr(files.shutil, "which", lambda name: str(npm))
    with pytest.raises(EngineUnavailable, match="npm could not bring"):
        files.fetch_voices(tmp_path / "voices", release.url)


def test_a_model_that_is_none_is_told_by_its_name(tmp_path):
    model = tmp_path / "model.onnx"
    model.write_bytes(b"not a graph")
    with pytest.raises(BadModel, match=r"model\.onnx"):
        files.find_parts(model, "0" * 64, "float32", "frozen", tmp_path / "cache")
    assert list((tmp_path / "cache").iterdir()) == []
