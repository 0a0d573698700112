import json
import stat

import pytest

from agent.config import Settings
from agent.gateway import keyring
from agent.gateway.keyring import ADMIN, SPEAK, Keyring, KeyringError


@pytest.fixture
def path(tmp_path):
    return tmp_path / "deep" / "keys.json"


def test_a_key_is_shown_once_and_only_its_hash_is_kept(path):
    key = keyring.add(path, "translator", [SPEAK])
    assert len(key) > 40 and key not in path.read_text()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600 and not list(path.parent.glob("keys.json.*"))
    found = keyring.read(path).find(key)
    assert found is not None and (found.name, found.scopes) == ("translator", (SPEAK,))
    assert keyring.read(path).find(key + "x") is None and keyring.read(path).find("") is None


def test_several_keys_with_scopes(path):
    keys = {name: keyring.add(path, name, scopes) for name, scopes in (("a", [SPEAK]), ("b", [ADMIN]), ("c", [SPEAK, ADMIN]))}
    assert len({*keys.values()}) == 3
    ring = keyring.read(path)
    assert {key.name: key.scopes for key in ring.keys} == {"a": (SPEAK,), "b": (SPEAK, ADMIN), "c": (SPEAK, ADMIN)}
    assert ring.has_admin
    keyring.remove(path, "b")
    assert keyring.read(path).find(keys["b"]) is None and keyring.read(path).find(keys["c"]) is not None


def test_what_cannot_be_is_said(path):
    keyring.add(path, "a", [SPEAK])
    for name, scopes, told in (("a", [SPEAK], "already"), ("../a", [SPEAK], "no name"), ("b", ["fly"], "no scope 'fly'")):
        with pytest.raises(KeyringError, match=told):
            keyring.add(path, name, scopes)
    with pytest.raises(KeyringError, match="no key of the name 'z'; there are: a"):
        keyring.remove(path, "z")


@pytest.mark.parametrize(
    "content", ["", "[]", '{"keys": [{"name": "a"}]}', '{"keys": [{"name":"a","scopes":["speak"],"hash":"x"}]}', "[" * 10**5]
)
def test_a_file_that_is_no_file_of_keys_opens_nothing(path, content):
    path.parent.mkdir()
    path.write_text(content)
    with pytest.raises(KeyringError, match="no file of keys"):
        keyring.read(path)


def test_no_file_is_no_key(path):
    assert not keyring.read(path)


def test_every_key_is_compared_to_its_end(monkeypatch):
    compared = []
    monkeypatch.setattr(keyring.hmac, "compare_digest", lambda one, other: compared.append(one) or one == other)
    ring = Keyring.of_plain(["one", "two"], ["three"])
    assert ring.find("one") is not None and len(compared) == 3
    assert ring.has_admin and not Keyring.of_plain(["one"], []).has_admin


def test_keys_of_the_settings_are_hashed_too_and_do_not_show():
    settings = Settings.model_validate({"security": {"keys": "key-one,key-two", "admin_keys": "key-three"}})
    security = settings.security
    ring = Keyring.of_plain(security.keys, security.admin_keys)
    assert [ring.find(key).name for key in ("key-one", "key-two", "key-three")] == ["settings-1", "settings-2", "settings-admin-1"]
    assert "key-two" not in repr(ring) and "key-two" not in repr(settings)
    assert "key-two" not in json.dumps([repr(key) for key in ring.keys])
