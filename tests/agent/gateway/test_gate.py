"""What stands in front of the routes, over a real connection."""

import aiohttp
import pytest
from fastapi.routing import APIRoute

from agent.config import Settings
from agent.gateway.app import make_app
from agent.gateway.gate import CHANGES, OPEN, SPEECH, scope_of
from agent.gateway.keyring import ADMIN, SPEAK
from agent.gateway.operation import admin_routes
from agent.gateway.serving import Doors
from agent.node import Node
from tests.agent.gateway.test_metrics import value

KEY, CHANGER = {"Authorization": "Bearer a-key"}, {"Authorization": "Bearer an-admin-key"}


@pytest.fixture
def settings(tmp_path):
    sections = {
        "selection": {"fallback_chain": ["tone"]},
        "server": {"ports": [0]},
        "security": {
            "keys": ["a-key"],
            "admin_keys": ["an-admin-key"],
            "keys_file": tmp_path / "keys.json",
            "cors_origins": ["https://page.example"],
        },
        "limits": {"requests_per_minute": 3},
    }
    return Settings.model_validate(sections)


async def test_each_route_is_open_or_wants_a_key(node):
    """A route that nobody thought of wants a key; these are the ones that were thought of."""
    assert [scope_of("GET", path) for path in sorted(OPEN)] == [None] * len(OPEN)
    assert [scope_of(*change) for change in sorted(CHANGES)] == [ADMIN] * len(CHANGES)
    assert [scope_of("POST", path) for path in sorted(SPEECH)] == [SPEAK] * len(SPEECH)
    assert [scope_of("GET", path) for path in ("/voices", "/models", "/stats", "/cache/stats", "/v1/models", "/anything")] == [SPEAK] * 6
    assert [scope_of(*way) for way in (("POST", "/voices"), ("DELETE", "/voices/a"), ("POST", "/models/load"))] == [ADMIN] * 3
    assert scope_of("POST", "/") == scope_of("POST", "/health") == SPEAK and scope_of("OPTIONS", "/whep") is None
    routes = [route for route in make_app(node).routes if isinstance(route, APIRoute)]
    spoken = {route.path for route in routes if "POST" in route.methods and ("synthesi" in route.path or "speech" in route.path)}
    changing = [route for route in admin_routes(node, lambda: None).routes if isinstance(route, APIRoute)]
    assert changing and all(scope_of(method, route.path) == ADMIN for route in changing for method in route.methods)
    assert spoken <= SPEECH | {"/synthesize/async"}, "a route for speech that is not counted"


async def test_what_is_open_is_open_and_the_rest_wants_a_key(client):
    assert (await client.get("/health")).status == 200
    answer = await client.get("/nothing-there")
    body = await answer.json()
    assert (answer.status, answer.headers["WWW-Authenticate"]) == (401, "Bearer")
    assert (body["success"], body["code"]) == (False, "unauthorized") and body["request_id"]
    answer = await client.get("/v1/models")
    assert answer.status == 401 and (await answer.json())["error"]["type"] == "authentication_error"
    assert (await client.get("/nothing-there", headers=KEY)).status == 404
    assert (await client.delete("/cache", headers=KEY)).status == 403
    assert (await client.delete("/cache", headers=CHANGER)).status != 403


async def test_the_fourth_request_for_speech_in_a_minute_is_one_too_many(client):
    statuses = [(await client.post("/synthesize", json={}, headers=KEY)).status for _ in range(4)]
    assert 429 not in statuses[:3] and statuses[3] == 429
    answer = await client.post("/v1/audio/speech", json={}, headers=KEY)
    assert answer.status == 429 and int(answer.headers["Retry-After"]) <= 61
    assert (await answer.json())["error"]["type"] == "rate_limit_error"
    assert (await client.get("/nothing-there", headers=KEY)).status == 404, "lists are not counted"
    assert (await client.post("/synthesize", json={}, headers=CHANGER)).status != 429, "nor are others"


async def test_passes_into_rooms_are_counted(client):
    statuses = [(await client.post("/room/token", json={"room": "lobby"}, headers=KEY)).status for _ in range(4)]
    assert statuses == [501, 501, 501, 429]
    assert (await client.post("/synthesize", json={}, headers=KEY)).status == 429, "with all else that this caller asks"


async def test_offers_of_browsers_are_counted(client):
    offered = {**KEY, "Content-Type": "application/sdp"}
    statuses = [(await client.post("/whep", data="v=0", headers=offered)).status for _ in range(4)]
    assert statuses == [400, 400, 400, 429]
    assert (await client.post("/synthesize", json={}, headers=KEY)).status == 429, "with all else that this caller asks"
    assert (await client.delete("/whep/nobody", headers=KEY)).status == 404, "leaving is not counted"


async def test_the_figures_tell_where_somebody_was_turned_away(client):
    await client.get("/voices/en")
    await client.post("/synthesize", json={})
    for _ in range(4):
        await client.post("/v1/audio/speech", json={}, headers=KEY)
    await client.delete("/cache", headers=KEY)
    await client.get("/nothing-there")
    async with client.get("/metrics") as answer:
        text = await answer.text()
    for handler, method, number in (
        ("/voices/{name}", "GET", 1),
        ("/synthesize", "POST", 1),
        ("/v1/audio/speech", "POST", 4),
        ("/cache", "DELETE", 1),
        ("none", "GET", 1),
    ):
        assert value(text, "http_requests_total", handler=handler, method=method, status="4xx") == number, handler
    assert value(text, "http_requests_total", method="OTHER") == 0


async def test_no_foreign_page_may_read_unless_it_is_named(client: aiohttp.ClientSession):
    theirs, ours = {"Origin": "https://evil.example"}, {"Origin": "https://page.example"}
    answer = await client.get("/health", headers=theirs)
    assert "Access-Control-Allow-Origin" not in answer.headers
    assert (await client.get("/voices", headers={**theirs, **KEY})).status == 403
    asked = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "authorization,content-type"}
    answer = await client.options("/synthesize", headers={**theirs, **asked})
    assert "Access-Control-Allow-Origin" not in answer.headers
    answer = await client.options("/synthesize", headers={**ours, **asked})
    assert answer.status == 200 and answer.headers["Access-Control-Allow-Origin"] == "https://page.example"
    answer = await client.post("/synthesize", json={}, headers=ours)
    assert answer.status == 401 and answer.headers["Access-Control-Allow-Origin"] == "https://page.example", "it may read why"


async def test_a_page_may_read_that_the_node_has_failed(client, node, monkeypatch):
    def broken(*wanted):
        raise ZeroDivisionError

    monkeypatch.setattr(type(node.studio), "offers", property(broken))
    answer = await client.get("/voices", headers={"Origin": "https://page.example", **KEY})
    assert answer.status == 500 and answer.headers["Access-Control-Allow-Origin"] == "https://page.example"


@pytest.mark.shell
async def test_speech_that_may_not_be_said_is_refused_or_masked(tmp_path):
    lengths = []
    for mode, status in (("reject", 422), ("mask", 200), ("off", 200)):
        security = {"content_filter": mode, "content_words": "darn"}
        sections = {"selection": {"fallback_chain": ["tone"]}, "server": {"ports": [0]}, "security": security, "cache": {"dir": "none"}}
        async with Node(Settings.model_validate(sections)) as node:
            await node.ready()
            async with Doors(make_app(node), node.settings.server, node.settings.ws) as doors:
                async with aiohttp.ClientSession(doors.addresses[0]) as client:
                    answer = await client.post("/synthesize", json={"text": "Oh darn it."})
                    assert answer.status == status
                    if status == 422:
                        assert (await answer.json())["code"] == "content_filtered"
                        answer = await client.post("/v1/audio/speech", json={"model": "tts-1", "voice": "alloy", "input": "Oh darn it."})
                        assert (answer.status, (await answer.json())["error"]["code"]) == (400, "content_filtered")
                    else:
                        lengths.append(len(await answer.read()))
    masked, whole = lengths
    assert masked < whole
