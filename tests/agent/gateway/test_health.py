"""Three questions: does it live, can it speak, how is it."""

import asyncio

from agent.gateway.canary import Canary
from agent.gateway.health import REMEMBERED, Pulse, reasons_against
from agent.gateway.seats import Seats
from agent.gateway.slots import Slots
from tests.agent.gateway.conftest import opened


async def until_ready(client):
    async with asyncio.timeout(5):
        while True:
            async with client.get("/ready") as answer:
                if answer.status == 200:
                    return await answer.json()
            await asyncio.sleep(0.02)


async def test_probes_may_ask_for_the_head_alone(client):
    for path in ("/health", "/live"):
        async with client.head(path) as answer:
            assert (answer.status, await answer.read()) == (200, b"")
    async with client.head("/ready") as answer:
        assert answer.status in (200, 503)


async def test_ready_comes_with_the_canary_s_sentence(client):
    async with client.get("/ready") as answer:
        body = await answer.json()
        assert answer.status == 200 or body["reasons"][0].startswith("canary: it has not spoken yet")
    assert await until_ready(client) == {"ready": True, "reasons": []}
    async with client.get("/health") as answer:
        body = await answer.json()
    assert (body["status"], body["healthy"], body["model_loaded"], body["level"]) == ("ok", True, True, "full")
    assert body["engines"] == {"tone": {"state": "ready", "reason": "", "voices": 26}}
    assert body["memory_usage"]["rss_bytes"] > 1e6
    async with client.get("/live") as answer:
        assert (answer.status, (await answer.json())["live"]) == (200, True)


async def test_a_node_that_ends_is_not_ready_and_still_lives(client, node):
    await until_ready(client)
    await node.drain()
    async with client.get("/ready") as answer:
        assert (answer.status, (await answer.json())["reasons"]) == (503, ["draining: this node is about to end"])
    async with client.post("/synthesize", json={"text": "Hi."}) as answer:
        assert (answer.status, (await answer.json())["code"], answer.headers["Retry-After"]) == (503, "draining", "2")
    async with client.get("/live") as answer:
        assert answer.status == 200


async def test_a_node_that_takes_no_more_sessions_is_not_ready_until_one_ends():
    async with opened(limits={"sessions": 1}) as client:
        await until_ready(client)
        async with client.ws_connect("/ws/synthesize"):
            async with client.get("/ready") as answer:
                assert (answer.status, (await answer.json())["reasons"][0][:11]) == (503, "at capacity")
            async with client.post("/synthesize", json={"text": "Hi."}) as answer:
                assert answer.status == 200, "what needs no session is answered all the same"
        assert await until_ready(client) == {"ready": True, "reasons": []}


async def test_a_canary_that_fell_silent_makes_it_unready(node):
    canary, slots, seats, here = Canary(node), Slots(1, 0.0), Seats(2), [1]
    seats.watch(here.__len__)
    now = asyncio.get_running_loop().time()
    assert reasons_against(node, canary, slots, seats, now=now) == ["canary: it has not spoken yet"]
    await canary.speak()
    now = asyncio.get_running_loop().time()
    assert reasons_against(node, canary, slots, seats, now=now) == []
    assert reasons_against(node, canary, slots, seats, now=now + 120) == ["canary: it has not spoken lately"]
    async with slots.one():
        assert reasons_against(node, canary, slots, seats, now=now) == ["at capacity: every slot is taken"]
    here.append(1)
    assert reasons_against(node, canary, slots, seats, now=now) == ["at capacity: no more sessions may be open (limits.sessions)"]


async def test_a_loop_that_was_stuck_is_told_for_a_while():
    pulse = Pulse()
    pulse.on_beat(10.0, now=17.0)
    pulse.on_beat(18.0, now=18.1)
    assert pulse.lag(19.0) == 7.0
    assert pulse.lag(18.0 + REMEMBERED) == 0.0
    pulse.on_beat(60.0, now=60.2)
    assert 0.1 < pulse.lag(61.0) < 0.3


async def test_the_level_is_what_senders_are_told(client, node, monkeypatch):
    async def told():
        async with client.get("/health") as answer:
            found = await answer.json()
            return found["level"], found["status"]

    await until_ready(client)
    assert await told() == ("full", "ok")
    monkeypatch.setattr(node.studio.chain, "rests", lambda engine: True)  # loaded, and not asked any more
    assert await told() == ("captions", "degraded")
