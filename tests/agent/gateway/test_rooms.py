from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable

import aiohttp
import jwt
import pytest

from agent.config import Settings
from agent.gateway.app import make_app
from agent.gateway.serving import Doors
from agent.node import Node
from tests.agent.gateway.conftest import opened

pytestmark = pytest.mark.shell
SECRET = "a secret of thirty-two characters, or more"


async def asked(settings: Settings, **livekit: str) -> tuple[dict[str, object], int, dict[str, object]]:
    changed = settings.model_copy(update={"livekit": settings.livekit.model_copy(update=livekit)})
    async with Node(changed) as node, Doors(make_app(node), changed.server, changed.ws) as doors:
        async with aiohttp.ClientSession(doors.addresses[0]) as client:
            rooms = await (await client.get("/room")).json()
            answer = await client.post("/room/token", json={"room": "lobby", "name": "Ann"})
            return rooms, answer.status, await answer.json()


async def test_a_node_with_keys_lets_people_into_its_rooms(settings: Settings) -> None:
    rooms, status, made = await asked(settings, url="wss://rooms.example.org", api_secret=SECRET)
    assert rooms == {"available": True, "url": "wss://rooms.example.org", "why": None}
    assert status == 200
    assert (made["url"], made["room"]) == ("wss://rooms.example.org", "lobby")
    claims = jwt.decode(str(made["token"]), SECRET, algorithms=["HS256"])
    assert (claims["sub"], claims["name"], claims["video"]["room"]) == (made["identity"], "Ann", "lobby")


async def test_browsers_may_reach_the_server_by_another_way(settings: Settings) -> None:
    rooms, _, made = await asked(settings, url="ws://livekit:7880", public_url="wss://rooms.example.org", api_secret=SECRET)
    assert rooms["url"] == made["url"] == "wss://rooms.example.org"


@pytest.mark.parametrize(
    ("livekit", "words"),
    [({}, "has no LiveKit server"), ({"url": "wss://rooms.example.org", "encryption_key": "k"}, "encrypted end to end")],
)
async def test_a_node_that_cannot_says_why(settings: Settings, livekit: dict[str, str], words: str) -> None:
    rooms, status, body = await asked(settings, **livekit)
    assert rooms["available"] is False
    assert words in str(rooms["why"])
    assert (status, body["code"]) == (501, "not_supported")


@pytest.mark.parametrize(
    ("body", "code", "field"),
    [
        ({}, "field_required", "room"),
        ({"room": ""}, "too_short", "room"),
        ({"room": "a\nb"}, "bad_format", "room"),
        ({"room": "x" * 129}, "too_long", "room"),
        ({"room": 7}, "wrong_type", "room"),
        ({"room": "lobby", "name": "x" * 129}, "too_long", "name"),
    ],
)
async def test_a_room_has_a_name(client: aiohttp.ClientSession, body: dict[str, object], code: str, field: str) -> None:
    async with client.post("/room/token", json=body) as answer:
        told = await answer.json()
    assert (answer.status, told["code"], told["field"], told["detail"][0]["field"]) == (422, code, field, field)


async def test_what_is_no_json_object_is_told_as_on_other_routes(client: aiohttp.ClientSession) -> None:
    for raw in (b"", b'{"room": "lobby"', b"[]", b"\xff\xfe"):
        async with client.post("/room/token", data=raw) as answer:
            told = await answer.json()
        assert (answer.status, told["code"], told.get("field")) == (422, "bad_json", None), raw
    async with client.post("/room/token", data=b'{"room": "lobby"}', headers={"Content-Type": "text/plain"}) as answer:
        assert (answer.status, (await answer.json())["code"]) == (501, "not_supported"), "it was read"


async def late(part: bytes) -> AsyncIterator[bytes]:
    """And then nothing for a while."""
    yield part
    await asyncio.sleep(3)


@pytest.mark.parametrize(("body", "status", "code"), [(lambda: b"x" * 2_000, 413, "body_too_large"), (lambda: late(b"{"), 408, "too_slow")])
async def test_a_body_that_is_too_much_or_too_late_is_told_so(body: Callable[[], object], status: int, code: str) -> None:
    async with opened(limits={"body_bytes": 1_024, "body_wait_s": 0.2}) as client:
        async with client.post("/room/token", data=body(), headers={"Content-Type": "application/json"}) as answer:
            assert (answer.status, (await answer.json())["code"]) == (status, code)
        async with client.get("/openapi.json") as answer:
            page = await answer.json()
    assert str(status) in page["paths"]["/room/token"]["post"]["responses"]
    assert {"room", "name"} <= page["components"]["schemas"]["PassRequest"]["properties"].keys()
