import pytest

from agent.config import Settings, load
from tests.agent.gateway.conftest import SETTINGS
from tests.agent.gateway.test_metrics import value as figure
from tests.agent.gateway.test_synthesis import ask


async def test_stats_say_what_was_done(client):
    await ask(client, text="One two.")
    await ask(client, text="...")
    async with client.get("/stats") as answer:
        body = await answer.json()
    assert body["requests"] == {"total": 3, "active": 1, "errors": 0}
    assert set(body["engines"]["tone"]) == {"state", "ttfa_ms", "rtf", "sentences", "failures"}
    assert (body["engines"]["tone"]["sentences"], body["engines"]["tone"]["failures"]) == (1, 0)
    assert body["engines"]["tone"]["ttfa_ms"]["p95"] > 0
    assert body["cache"]["total_misses"] == 1
    assert body["system"]["memory"]["rss_bytes"] > 1e6


async def test_the_cache_can_be_read_and_emptied(client):
    await ask(client, text="One two.")
    async with client.get("/cache/stats") as answer:
        full = await answer.json()
    assert full["entries"] == 2, "a sentence, and the whole reply"
    assert full["size_bytes"] <= full["max_bytes"] and full["memory_bytes"] > 2 * 2 * 24_000 * 0.2
    async with client.get("/metrics") as answer:
        assert figure(await answer.text(), "tts_cache_bytes") == full["size_bytes"]
    async with client.get("/health") as answer:
        assert (await answer.json())["cache_size"] == 2
    async with client.delete("/cache") as answer:
        assert (answer.status, await answer.read()) == (204, b"")
    async with client.get("/cache/stats") as answer:
        assert (await answer.json())["entries"] == 0


async def test_memory_is_given_back_and_only_json_asks_for_it(client):
    async with client.post("/gc", json={}) as answer:
        assert (answer.status, set(await answer.json())) == (200, {"collected", "rss_before", "rss_after"})
    async with client.post("/gc", headers={"Content-Type": "application/json"}) as answer:
        assert answer.status == 200, "it needs no body"
    for kind in ("text/plain", "application/x-www-form-urlencoded", ""):
        async with client.post("/gc", data=b"{}", headers={"Content-Type": kind}) as answer:
            assert (answer.status, (await answer.json())["code"]) == (415, "unsupported_media_type")


class TestSettings:
    @pytest.fixture
    def settings(self):
        return Settings.model_validate({**SETTINGS, "livekit": {"api_secret": "hush"}, "cache": {"enabled": False}})

    async def test_settings_are_shown_without_secrets_and_with_their_origin(self, client):
        async with client.get("/config") as answer:
            raw = await answer.text()
            found = (await answer.json())["settings"]
        assert "hush" not in raw
        assert found["livekit.api_secret"] == {"value": "***", "origin": "set"}
        assert found["node.languages"] == {"value": "en,fr", "origin": "set"}
        assert found["limits.text_chars"] == {"value": "5000", "origin": "default"}
        assert found["security.keys"] == {"value": "", "origin": "default"}

    async def test_without_a_cache_there_is_nothing_in_it(self, client):
        async with client.get("/cache/stats") as answer:
            body = await answer.json()
        assert (body["enabled"], body["entries"]) == (False, 0)
        async with client.delete("/cache") as answer:
            assert answer.status == 204


class TestOrigins:
    @pytest.fixture
    def settings(self, monkeypatch, tmp_path):
        path = tmp_path / "settings.yaml"
        path.write_text("node: {languages: [en, fr], name: here}\nlimits: {batch_items: 64, sessions: 9}\nsecurity: {admin_keys: [hush]}")
        for name, value in (("VOICEBOOTH_NODE__NAME", "there"), ("VOICEBOOTH_CHAIN__BREAKER__FAILURES", "5"), ("MAX_TEXT_LENGTH", "600")):
            monkeypatch.setenv(name, value)
        overrides = {
            "selection": {"fallback_chain": ["tone"]},
            "server": {"ports": [0]},
            "cache": {"dir": "none"},
            "limits": {"sessions": 8},
        }
        return load(path, overrides)

    async def test_each_setting_says_where_it_was_set(self, client):
        async with client.get("/config", headers={"Authorization": "Bearer hush"}) as answer:
            found = (await answer.json())["settings"]
        told = {
            "node.languages": ("en,fr", "file"),
            "node.name": ("there", "environment"),
            "limits.batch_items": ("64", "file"),
            "limits.text_chars": ("600", "environment"),
            "limits.sessions": ("8", "command line"),
            "chain.breaker.failures": ("5", "environment"),
            "selection.fallback_chain": ("tone", "command line"),
            "selection.strategy": ("auto", "default"),
            "security.keys": ("", "default"),
            "security.admin_keys": ("***", "file"),
        }
        assert {key: (found[key]["value"], found[key]["origin"]) for key in told} == told
