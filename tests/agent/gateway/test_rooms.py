from __future__ import annotations

import aiohttp
import jwt
import pytest

from agent.config import Settings
from agent.gateway.app import make_app
from agent.gateway.serving import Doors
from agent.node import Node

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


@pytest.mark.parametrize("body", [{}, {"room": ""}, {"room": "a\nb"}, {"room": "x" * 129}, {"room": 7}])
async def test_a_room_has_a_name(client: aiohttp.ClientSession, body: dict[str, object]) -> None:
    assert (await client.post("/room/token", json=body)).status == 422
