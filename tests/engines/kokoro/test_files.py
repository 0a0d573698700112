from __future__ import annotations

import errno
import hashlib
import http.server
import io
import json
import tarfile
import threading
from types import SimpleNamespace

import pytest

import engines.catalog as catalog_module
import engines.download as download
from engines import parts
from engines.base import BadModel, EngineUnavailable
from engines.catalog import Catalog, Entry, File, known_kokoro, known_models
from engines.kokoro import cut, files
from engines.kokoro.voices import Styles, describe


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
    monkeypatch.setattr(files, "MODEL_SIZE", 11)
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


def test_a_truncated_model_in_the_cache_is_put_together_again(packages, tmp_path):
    model = files.find_model(tmp_path, tmp_path / "cache")
    model.write_bytes(b"firstsec")
    assert files.find_model(tmp_path, tmp_path / "cache").read_bytes() == b"firstsecond"


def test_a_full_disk_under_the_model_is_told_with_what_mends_it(packages, tmp_path, monkeypatch):
    monkeypatch.setattr(files.shutil, "copyfileobj", full)
    with pytest.raises(EngineUnavailable, match=r"model cannot be kept in .*No space left.*make room there, 0\.4 GB") as told:
        files.find_model(tmp_path, tmp_path / "cache")
    assert told.value.remedy and list((tmp_path / "cache").iterdir()) == []


def full(*arguments, **more):
    raise OSError(errno.ENOSPC, "No space left on device")


def test_one_s_own_model_goes_first(packages, tmp_path):
    own = tmp_path / files.MODEL
    own.write_bytes(b"mine")
    assert files.find_model(tmp_path, tmp_path / "cache") == own


def test_voices_are_found_in_the_folder_and_in_the_cache(tmp_path):
    with pytest.raises(EngineUnavailable, match="voicebooth models install kokoro-voices"):
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
    assert files.missing(tmp_path, cache) == files.FETCH_MODEL
    (cache / files.MODEL).write_bytes(b"firstsecond")
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


VOICES = {f"{id}.bin": id.encode().ljust(files.SPOKEN, b".") for id in ("af_heart", "bm_lewis")}
GRAPH = bytes(range(256)) * 50


@pytest.fixture
def source(monkeypatch):
    """A place that publishes two voices and a graph, which are all that the catalog knows; ``content`` is what it has, by name."""

    class Handler(http.server.BaseHTTPRequestHandler):
        content = {**VOICES, files.MODEL: GRAPH}
        asked = []

        def do_GET(self):
            self.asked.append(self.path[1:])
            found = self.content.get(self.path[1:])
            self.send_response(404 if found is None else 200)
            self.end_headers()
            self.wfile.write(found or b"")

        def log_message(self, *arguments): ...

    known = {name: File(name, len(content), hashlib.sha256(content).hexdigest()) for name, content in Handler.content.items()}
    single = {name[:-4]: Entry(name[:-4], "kokoro", ("en-US",), (known[name],), "Apache-2.0", tier="A") for name in VOICES}
    models = {
        files.MODEL_ID: Entry(files.MODEL_ID, "kokoro", ("en",), (known[files.MODEL],), "Apache-2.0"),
        catalog_module.KOKORO_VOICES: Entry(
            catalog_module.KOKORO_VOICES, "kokoro", ("en-US",), tuple(known[name] for name in VOICES), "Apache-2.0"
        ),
    }
    for module in (catalog_module, files):
        monkeypatch.setattr(module, "known_models", lambda: models)
    monkeypatch.setattr(catalog_module, "known_kokoro", lambda: single)
    monkeypatch.setattr(files.shutil, "which", lambda name: None)
    monkeypatch.setattr(download.time, "sleep", lambda seconds: None)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        Handler.url = f"http://127.0.0.1:{server.server_address[1]}"
        yield Handler
        server.shutdown()
        thread.join()


def test_what_is_installed_is_what_the_engine_finds(source, tmp_path):
    root, cache = tmp_path / "voices", tmp_path / "cache"
    folder = root / "kokoro"
    catalog = Catalog(root, base_url=source.url, elsewhere={"kokoro": files.further_folders(folder, cache)})
    with pytest.raises(EngineUnavailable, match="voicebooth models install kokoro-voices"):
        files.find_voices(folder, cache)
    assert catalog.install(files.MODEL_ID) == files.find_model(folder, cache)
    catalog.install(catalog_module.KOKORO_VOICES)
    assert set(Styles(*files.find_voices(folder, cache)).ids) == {"af_heart", "bm_lewis"}
    assert all(catalog.verify(id) for id in (files.MODEL_ID, catalog_module.KOKORO_VOICES, "af_heart"))
    rows = {row.id: row for row in catalog.list_voices() if row.engine == "kokoro"}
    assert len(rows) == 4 and {row.source for row in rows.values() if row.installed} == {"folder"}
    asked = len(source.asked)
    catalog.install("bm_lewis")  # it came with the others
    assert len(source.asked) == asked
    catalog.remove("af_heart")
    assert Styles(*files.find_voices(folder, cache)).ids == ("bm_lewis",)


def test_what_lies_in_the_cache_is_listed_verified_and_removed(source, tmp_path):
    root, cache = tmp_path / "voices", tmp_path / "cache"
    files.fetch_voices(cache / "voices", url=source.url)
    (cache / files.MODEL).write_bytes(GRAPH)
    parts = cache / f"{catalog_module.made_of(hashlib.sha256(GRAPH).hexdigest())}-float32-frozen-1"
    parts.mkdir()
    catalog = Catalog(root, offline=True, elsewhere={"kokoro": files.further_folders(root / "kokoro", cache)})
    assert {row.source for row in catalog.list_voices() if row.engine == "kokoro"} == {"cache"}
    assert catalog.install("af_heart") == cache / "voices" / "af_heart.bin"  # nothing is fetched
    (cache / "voices" / "af_heart.bin").write_bytes(bytes(files.SPOKEN))
    with pytest.raises(download.WrongHash, match="voicebooth models install af_heart"):
        catalog.verify("af_heart")
    catalog.remove(catalog_module.KOKORO_VOICES)
    assert not list((cache / "voices").glob("*.bin"))
    catalog.remove(files.MODEL_ID)
    assert not (cache / files.MODEL).exists() and not parts.exists()
    assert not any(row.installed for row in catalog.list_voices() if row.engine == "kokoro")


def test_every_voice_is_in_the_catalog():
    voices, together = known_kokoro(), known_models()[catalog_module.KOKORO_VOICES]
    assert len(voices) == len(together.files) == 54 and {entry.size for entry in voices.values()} == {files.SPOKEN}
    assert {entry.licence for entry in voices.values()} == {"Apache-2.0"} and voices["af_heart"].tier == "A"
    for id, entry in voices.items():
        (language,) = entry.languages
        described = describe(id)
        assert (language, entry.gender) == (described.language, described.gender)
    model = known_models()[files.MODEL_ID].files[-1]
    assert (model.name, model.size, model.digest) == (files.MODEL, files.MODEL_SIZE, files.MODEL_DIGEST)


def test_without_npm_voices_come_from_where_the_catalog_says(tmp_path, source):
    target = files.fetch_voices(tmp_path / "cache" / "voices", url=source.url)
    assert set(Styles(target).ids) == {"af_heart", "bm_lewis"}
    asked = len(source.asked)
    assert files.fetch_voices(target, url=source.url) == target  # they are there
    assert len(source.asked) == asked
    (target / "af_heart.bin").write_bytes(b"damaged")
    files.fetch_voices(target, url=source.url)
    assert source.asked[asked:] == ["af_heart.bin"]


def test_when_nothing_brings_the_voices_the_way_by_hand_is_told(tmp_path, source):
    source.content = {"af_heart.bin": bytes(files.SPOKEN)}
    with pytest.raises(EngineUnavailable, match=r"npm, .* is not the file that the catalog means.*put the files of .* into"):
        files.fetch_voices(tmp_path / "voices", url=source.url)
    source.content = {}
    with pytest.raises(EngineUnavailable, match=r"npm, .*404.*put the files of .* into"):
        files.fetch_voices(tmp_path / "voices", url=source.url)
    with pytest.raises(EngineUnavailable, match="offline"):
        files.fetch_voices(tmp_path / "voices", offline=True, url=source.url)
    assert not list((tmp_path / "voices").glob("*.bin"))


def npm(tmp_path, monkeypatch, content):
    """One that has packed these files; without any it fails."""
    with tarfile.open(tmp_path / "packed.tgz", "w:gz") as packed:
        for name, data in content.items():
            member = tarfile.TarInfo(f"package/voices/{name}")
            member.size = len(data)
            packed.addfile(member, io.BytesIO(data))
    script = tmp_path / "npm"
    script.write_text(f"#!/bin/sh\ncp {tmp_path}/packed.tgz voices.tgz\n" if content else "#!/bin/sh\nexit 1\n")
    script.chmod(0o755)
    monkeypatch.setattr(files.shutil, "which", lambda name: str(script))


def test_what_npm_brings_is_checked(tmp_path, monkeypatch, source):
    npm(tmp_path, monkeypatch, VOICES)
    target = files.fetch_voices(tmp_path / "voices", url=source.url)
    assert {path.name: path.read_bytes() for path in target.glob("*.bin")} == VOICES and not source.asked
    (target / "bm_lewis.bin").unlink()
    source.content = {}
    npm(tmp_path, monkeypatch, {**VOICES, "bm_lewis.bin": bytes(files.SPOKEN)})
    with pytest.raises(EngineUnavailable, match=r"bm_lewis\.bin of kokoro-js.* is not the file"):
        files.fetch_voices(target, url=source.url)
    npm(tmp_path, monkeypatch, {"af_heart.bin": VOICES["af_heart.bin"]})
    with pytest.raises(EngineUnavailable, match=r"has no bm_lewis\.bin"):
        files.fetch_voices(target, url=source.url)


def test_an_npm_that_fails_is_told_and_the_source_is_asked(tmp_path, monkeypatch, source):
    npm(tmp_path, monkeypatch, {})
    assert files.fetch_voices(tmp_path / "voices", url=source.url) == tmp_path / "voices"
    source.content = {}
    with pytest.raises(EngineUnavailable, match="npm could not bring"):
        files.fetch_voices(tmp_path / "others", url=source.url)


@pytest.mark.long
def test_a_model_that_is_none_is_told_by_its_name(tmp_path):
    model = tmp_path / "model.onnx"
    model.write_bytes(b"not a graph")
    with pytest.raises(BadModel, match=r"model\.onnx"):
        files.find_parts(model, "0" * 64, "float32", "frozen", tmp_path / "cache")
    assert list((tmp_path / "cache").iterdir()) == []


def test_a_graph_that_is_another_model_is_told_with_what_brings_the_right_one(tmp_path):
    onnx = pytest.importorskip("onnx")
    values = [onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, ["n"]) for name in ("x", "y")]
    body = onnx.helper.make_graph([onnx.helper.make_node("Relu", ["x"], ["y"])], "g", values[:1], values[1:])
    model = tmp_path / "model.onnx"
    onnx.save(onnx.helper.make_model(body, opset_imports=[onnx.helper.make_opsetid("", 17)], ir_version=8), model)
    with pytest.raises(BadModel, match=r"model\.onnx is not Kokoro's graph: expected one STFT") as told:
        files.find_parts(model, "0" * 64, "int8", "frozen", tmp_path / "cache")
    assert told.value.remedy == f"remove it, then: {files.FETCH_MODEL}"
    assert list((tmp_path / "cache").iterdir()) == []


@pytest.fixture
def cutting(monkeypatch):
    """Cutting that writes two small parts; the statuses it ends with are the test's."""
    statuses = []

    def run(command, **more):
        folder = files.Path(command[4])
        for name in ("front.onnx", cut.PLAN):
            (folder / name).write_text(f"{name} of {command[3]}")
        ended = statuses.pop(0) if statuses else 0
        return SimpleNamespace(returncode=ended, stderr="[Errno 28] No space left on device" if ended else "")

    monkeypatch.setattr(files.subprocess, "run", run)
    return statuses


def test_truncated_parts_are_noticed_and_made_again(tmp_path, cutting, caplog):
    def found():
        return files.find_parts(tmp_path / "m.onnx", "0" * 64, "float32", "frozen", tmp_path)

    folder = found()
    whole = (folder / "front.onnx").read_text()
    inode = folder.stat().st_ino
    assert found().stat().st_ino == inode and not caplog.text
    for damage in (lambda: (folder / "front.onnx").write_text(whole[:5]), lambda: (folder / "front.onnx").unlink()):
        damage()
        assert found() == folder and (folder / "front.onnx").read_text() == whole
        assert "are made again" in caplog.text
        caplog.clear()
    (folder / parts.SIZES).unlink()  # made by an earlier version: what is empty is noticed
    assert found() == folder and not caplog.text
    (folder / "front.onnx").write_bytes(b"")
    assert (found() / "front.onnx").read_text() == whole
    (folder / parts.SIZES).write_text("[")
    assert json.loads((found() / parts.SIZES).read_text()).keys() == {"front.onnx", cut.PLAN}
    assert [path.name for path in tmp_path.iterdir() if not path.name.startswith(".")] == [folder.name]


@pytest.mark.parametrize(
    ("status", "remedy"),
    [
        (cut.UNSPLITTABLE, f"remove it, then: {files.FETCH_MODEL}"),
        (cut.UNEQUIPPED, files.INSTALL),
        (1, f"remove it, then: {files.FETCH_MODEL}"),
        (-9, "make 1.5 GB of memory free, and try again"),
    ],
)
def test_a_model_that_cannot_be_cut_is_told_with_what_mends_it(tmp_path, cutting, status, remedy):
    cutting.append(status)
    with pytest.raises(EngineUnavailable, match=r"m\.onnx") as told:
        files.find_parts(tmp_path / "m.onnx", "0" * 64, "float32", "frozen", tmp_path / "cache")
    assert told.value.remedy == remedy and list((tmp_path / "cache").iterdir()) == []


def test_cutting_that_takes_too_long_is_told_with_what_mends_it(tmp_path, monkeypatch):
    def run(command, timeout, **more):
        raise files.subprocess.TimeoutExpired(command, timeout)

    monkeypatch.setattr(files.subprocess, "run", run)
    with pytest.raises(EngineUnavailable, match=r"m\.onnx was not cut within 300 s .*try again") as told:
        files.find_parts(tmp_path / "m.onnx", "0" * 64, "float32", "frozen", tmp_path / "cache")
    assert told.value.remedy


def test_what_keeps_the_command_from_preparing_is_told_in_a_line(monkeypatch, capsys):
    def busy(target, **more):
        raise download.Busy("another process has been installing it", remedy="wait for it")

    monkeypatch.setattr(files, "fetch_voices", busy)
    assert files.main() == 1
    assert capsys.readouterr().err == "Kokoro is not ready: another process has been installing it (wait for it)\n"


def test_a_full_disk_under_the_parts_is_told_with_what_mends_it(tmp_path, cutting, monkeypatch):
    cutting.append(cut.FULL)
    with pytest.raises(EngineUnavailable, match=r"parts cannot be kept in .*No space left.*make room there, 0\.4 GB"):
        files.find_parts(tmp_path / "m.onnx", "0" * 64, "float32", "frozen", tmp_path / "cache")
    assert list((tmp_path / "cache").iterdir()) == []
    monkeypatch.setattr(parts.tempfile, "mkdtemp", full)
    with pytest.raises(EngineUnavailable, match="make room there"):
        files.find_parts(tmp_path / "m.onnx", "0" * 64, "float32", "frozen", tmp_path / "cache")
