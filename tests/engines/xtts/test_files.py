from __future__ import annotations

import pytest

from engines.base import BadModel, EngineUnavailable
from engines.catalog import ACCEPTED, default_folder, known_models
from engines.xtts.files import (
    CONFIG,
    ID,
    INSTALL,
    MODEL,
    RECORDINGS,
    SPEAKERS,
    VOCABULARY,
    check_licence,
    digest,
    find_model,
    is_accepted,
    model_folder,
    recordings,
)
from tests.engines.xtts.licence import accept_licence


def test_the_catalogue_names_every_file_once_with_its_hash():
    entry = known_models()[ID]
    assert sorted(file.name for file in entry.files) == sorted([MODEL, CONFIG, VOCABULARY, SPEAKERS])
    assert entry.files[-1].name == MODEL, "what the engine looks for comes last"
    assert model_folder(None).name == entry.folder and entry.terms
    assert entry.size == pytest.approx(1.876e9, rel=0.01)


def test_where_it_lies(tmp_path):
    assert model_folder(tmp_path) == tmp_path / "xtts"
    assert model_folder(None) == default_folder() / "xtts"


def test_a_model_that_is_not_here_names_the_command_that_fetches_it(tmp_path):
    with pytest.raises(EngineUnavailable, match=INSTALL):
        find_model(tmp_path)


@pytest.mark.parametrize("missing", [CONFIG, VOCABULARY])
def test_a_part_that_is_missing_is_named(tmp_path, missing):
    place = tmp_path / "xtts"
    place.mkdir()
    for name in (MODEL, CONFIG, VOCABULARY):
        if name != missing:
            (place / name).write_bytes(b"x")
    with pytest.raises(BadModel, match=missing):
        find_model(tmp_path)
    (place / missing).write_bytes(b"x")
    assert find_model(tmp_path) == place


def test_the_licence_is_accepted_once(tmp_path):
    with pytest.raises(EngineUnavailable, match=r"Coqui Public Model License.*non-commercial.*--accept-licence"):
        check_licence(tmp_path / "xtts")
    accept_licence(tmp_path / "xtts")
    check_licence(tmp_path / "xtts")
    assert is_accepted(tmp_path / "xtts")


@pytest.mark.parametrize("content", ["", "[]", "true", '{"xtts": "another one"}', "\xff"])
def test_garbage_is_no_acceptance(tmp_path, content):
    (tmp_path / ACCEPTED).write_text(content, encoding="latin-1")
    assert not is_accepted(tmp_path / "xtts")


def test_the_digest_is_that_of_weights_and_vocabulary(tmp_path):
    found = set()
    for model, vocabulary in ((b"a", b"b"), (b"b", b"a"), (b"a", b"c")):
        (tmp_path / MODEL).write_bytes(model)
        (tmp_path / VOCABULARY).write_bytes(vocabulary)
        found.add(digest(tmp_path))
    assert len(found) == 3
    (tmp_path / MODEL).unlink()
    with pytest.raises(BadModel, match="cannot be read"):
        digest(tmp_path)


def test_recordings_of_further_speakers(tmp_path):
    assert list(recordings(tmp_path)) == []
    folder = tmp_path / RECORDINGS
    (folder / "Two").mkdir(parents=True)
    for name in ("One.wav", "Two/b.flac", "Two/a.wav", ".hidden", "Two/.hidden"):
        (folder / name).touch()
    assert list(recordings(tmp_path)) == [("One", (folder / "One.wav",)), ("Two", (folder / "Two" / "a.wav", folder / "Two" / "b.flac"))]
