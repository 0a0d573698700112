import pytest

from agent.config import Settings, SettingsError, load


def test_ports_may_be_written_as_a_list(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VOICEBOOTH_SERVER__PORTS", "8003, 0")
    assert load().server.ports == (8003, 0)
    assert load(overrides={"server": {"ports": ""}}).server.ports == ()


@pytest.mark.parametrize("key", ["server.ports=70000", "limits.text_chars=0", "stream.chunk_bytes=1", "ws.keepalive_s=0"])
def test_out_of_bounds_is_named(key: str) -> None:
    name, _, value = key.partition("=")
    section, _, field = name.partition(".")
    with pytest.raises(SettingsError, match=name):
        load(overrides={section: {field: value}})


def test_the_default_is_heard_by_this_machine_alone() -> None:
    assert Settings().server.host == "127.0.0.1"
