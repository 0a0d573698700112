"""Who gets in, asked as the doors ask, without any network."""

import asyncio
import base64
import logging
import math
import os
from dataclasses import replace
from datetime import timedelta

import pytest
from livekit import api
from starlette.requests import HTTPConnection

from agent.config import Settings
from agent.gateway import keyring
from agent.gateway.access import Access, check_start
from agent.gateway.errors import Refused
from agent.gateway.keyring import ADMIN, SPEAK, KeyringError
from agent.guests import sign
from agent.node import Node

FAR, NEAR = "203.0.113.7", "127.0.0.1"
SECRET = "a secret of thirty-two characters!"


def connection(address=NEAR, *, host="127.0.0.1:8003", subprotocols=(), **headers):
    raw = [(name.replace("_", "-").encode(), value.encode()) for name, value in {"host": host, **headers}.items()]
    client = (address, 1234) if address else None
    return HTTPConnection({"type": "websocket", "path": "/", "headers": raw, "client": client, "subprotocols": list(subprotocols)})


class Gatehouse:
    """A node's access, whose settings and file of keys a test chooses."""

    def __init__(self, tmp_path, **sections):
        self.file = tmp_path / "keys.json"
        security = {"keys_file": self.file, **sections.pop("security", {})}
        self.settings = Settings.model_validate({"selection": {"fallback_chain": ["tone"]}, "security": security, **sections})
        self.node = Node(self.settings)

    async def __aenter__(self):
        await self.node.__aenter__()
        self.access = Access(self.node)
        return self

    async def __aexit__(self, *problem):
        await self.node.aclose()

    async def status(self, *arguments, scope=SPEAK, **headers):
        try:
            await self.access.admit(connection(*arguments, **headers), scope)
        except Refused as refused:
            return refused.status
        return 200


EVERYWHERE = {"server": {"host": "0.0.0.0"}}


async def test_on_this_machine_nobody_needs_a_key_and_elsewhere_everybody(tmp_path):
    async with Gatehouse(tmp_path) as here:
        assert not here.access.is_needed and await here.status() == 200
        assert await here.status(authorization="Bearer whatever") == 200, "what is not asked for is not judged"
    async with Gatehouse(tmp_path, **EVERYWHERE) as here:
        assert here.access.is_needed and [await here.status(FAR), await here.status(NEAR)] == [401, 401]
    async with Gatehouse(tmp_path, **EVERYWHERE, security={"open": True}) as here:
        assert await here.status(FAR) == 200


async def test_as_soon_as_there_is_a_key_everybody_needs_one(tmp_path):
    async with Gatehouse(tmp_path) as here:
        key = keyring.add(here.file, "translator", [SPEAK])
        assert await here.status() == 401
        with pytest.raises(Refused) as refused:
            await here.access.admit(connection())
        assert refused.value.headers["WWW-Authenticate"] == "Bearer"
        basic = base64.b64encode(f"user:{key}".encode()).decode()
        for way in (f"Bearer {key}", f"bearer  {key}", f"Token {key}", f"Basic {basic}"):
            caller = await here.access.admit(connection(authorization=way))
            assert (caller.name, caller.scopes) == ("translator", {SPEAK})
        for way in (f"Bearer {key}x", f"Bearer {key[:-1]}", "Bearer", f"Digest {key}", "Basic !", "Basic " + "A" * 9000, "Bearer \xff"):
            assert await here.status(authorization=way) == 401, way


async def test_a_browser_s_socket_brings_its_key_as_a_subprotocol(tmp_path):
    async with Gatehouse(tmp_path) as here:
        key = keyring.add(here.file, "page", [SPEAK])
        for offered in (["token", key], ["bearer", key], ["voicebooth.native", "token", key]):
            assert (await here.access.socket(connection(subprotocols=offered))).name == "page"
        assert await here.status(subprotocols=["token", "x"]) == await here.status(subprotocols=["token"]) == 401


async def test_a_running_node_notices_keys_that_come_and_go(tmp_path):
    async with Gatehouse(tmp_path, **EVERYWHERE) as here:
        assert await here.status(FAR, authorization="Bearer x") == 401
        key = keyring.add(here.file, "late", [SPEAK])
        here.access._looked -= 10
        for _ in range(3):  # who comes first is judged by what was known; the look goes on beside him
            status = await here.status(FAR, authorization=f"Bearer {key}")
            await asyncio.sleep(0.05)
        assert status == 200
        keyring.remove(here.file, "late")
        here.access._looked -= 10
        for _ in range(3):
            status = await here.status(FAR, authorization=f"Bearer {key}")
            await asyncio.sleep(0.05)
        assert status == 401


async def test_a_file_of_keys_that_breaks_opens_nothing_and_takes_nothing_away(tmp_path, caplog):
    async with Gatehouse(tmp_path, **EVERYWHERE) as here:
        key = keyring.add(here.file, "kept", [SPEAK])
        assert await here.status(FAR, authorization=f"Bearer {key}") == 200
        here.file.write_text("no json")
        here.access._looked -= 10
        for _ in range(3):
            assert await here.status(FAR, authorization=f"Bearer {key}") == 200
            await asyncio.sleep(0.05)
        assert "no file of keys" in caplog.text
    async with Gatehouse(tmp_path) as here:
        assert await here.status() == 503, "whether anybody needs a key is not known"


async def test_admin_routes_want_an_admin_key_or_nearness_while_there_is_none(tmp_path):
    async with Gatehouse(tmp_path, **EVERYWHERE, security={"open": True}) as here:
        addresses = (NEAR, "192.168.3.4", "::1", "::ffff:10.1.1.1", FAR)
        assert [await here.status(address, scope=ADMIN) for address in addresses] == [200, 200, 200, 200, 403]
    async with Gatehouse(tmp_path, security={"keys": ["speaking"], "admin_keys": ["changing"]}) as here:
        assert await here.status(scope=ADMIN, authorization="Bearer speaking") == 403
        assert await here.status(scope=ADMIN, authorization="Bearer changing") == 200
        assert await here.status(authorization="Bearer changing") == 200


async def test_a_token_that_livekit_s_key_has_signed_opens_too(tmp_path):
    livekit = {"api_key": "key", "api_secret": SECRET}
    async with Gatehouse(tmp_path, **EVERYWHERE, livekit=livekit) as here:
        made = api.AccessToken("key", SECRET).with_identity("up").with_grants(api.VideoGrants(room_join=True, room="r"))
        assert (await here.access.admit(connection(FAR, authorization=f"Bearer {made.to_jwt()}"))).name == "up"
        silent = made.with_grants(api.VideoGrants(room_join=True, room="r", can_publish_data=False)).to_jwt()
        assert await here.status(FAR, authorization=f"Bearer {silent}") == 403
        assert await here.status(FAR, authorization=f"Bearer {silent[:-3]}abc") == 401


async def test_a_pass_into_a_room_is_no_way_around_keys_and_limits(tmp_path):
    async with Gatehouse(tmp_path, **EVERYWHERE, livekit={"api_key": "key", "api_secret": SECRET}) as here:
        guest = sign("key", SECRET, "lobby").token
        with pytest.raises(Refused, match=r"voicebooth\.scopes") as refused:
            await here.access.admit(connection(FAR, authorization=f"Bearer {guest}"))
        assert refused.value.status == 403
        assert await here.status(subprotocols=["token", guest]) == 403


@pytest.mark.parametrize(
    ("origin", "host", "status"),
    [
        (None, "127.0.0.1:8003", 200),
        ("http://127.0.0.1:8003", "127.0.0.1:8003", 200),
        ("http://localhost:8003", "localhost:8003", 200),
        ("https://evil.example", "127.0.0.1:8003", 403),
        ("http://localhost:9999", "localhost:8003", 403),
        ("http://rebound.example:8003", "rebound.example:8003", 403),
        ("null", "127.0.0.1:8003", 403),
        ("http://[::1", "127.0.0.1:8003", 403),
        ("https://page.example", "127.0.0.1:8003", 200),
    ],
)
async def test_pages_from_elsewhere_may_not_call(tmp_path, origin, host, status):
    async with Gatehouse(tmp_path, security={"cors_origins": ["https://page.example"]}) as here:
        assert await here.status(host=host, **({"origin": origin} if origin else {})) == status


async def test_behind_a_proxy_a_page_of_the_same_name_may(tmp_path):
    async with Gatehouse(tmp_path, security={"keys": ["k"]}) as here:
        headers = {"host": "tts.example", "origin": "https://tts.example", "authorization": "Bearer k"}
        assert await here.status(**headers) == 200


async def test_callers_are_counted_by_key_else_by_address_and_not_on_this_machine(tmp_path):
    security = {"open": True, "trusted_proxies": ["10.0.0.0/8"], "keys": ["k"]}
    async with Gatehouse(tmp_path, **EVERYWHERE, security=security) as here:
        account = (await here.access.admit(connection(FAR))).account
        assert account is not None and (await here.access.admit(connection(FAR))).account is account
        assert (await here.access.admit(connection("203.0.113.8"))).account is not account
        assert (await here.access.admit(connection(NEAR))).account is None
        keyed = (await here.access.admit(connection(FAR, authorization="Bearer k"))).account
        assert keyed is (await here.access.admit(connection(NEAR, authorization="Bearer k"))).account is not account
        one, two = [(await here.access.admit(connection(address))).account for address in ("2001:db8::1", "2001:db8::ffff:2")]
        assert one is two, "whoever has one address of IPv6 has them all"
        behind = {"x_forwarded_for": f"198.51.100.9, {FAR}, 10.0.0.3"}
        assert (await here.access.admit(connection("10.0.0.2", **behind))).account is account
        assert (await here.access.admit(connection("198.51.100.1", **behind))).address == "198.51.100.1", "anybody can write that"
        assert (await here.access.admit(connection("10.0.0.2", x_forwarded_for="nonsense"))).address == ""


async def test_requests_and_sound_are_limited_and_told_when_to_come_again(tmp_path):
    limits = {"requests_per_minute": 2, "concurrent_per_caller": 1, "audio_seconds_per_minute": 10}
    async with Gatehouse(tmp_path, security={"keys": ["k"]}, limits=limits) as here:
        caller = await here.access.admit(connection(authorization="Bearer k"))
        with caller.request(), pytest.raises(Refused, match="wait for one"), caller.request():
            pass
        with caller.request():
            pass
        with pytest.raises(Refused) as refused, caller.request():
            pass
        assert refused.value.status == 429 and 1 <= int(refused.value.headers["Retry-After"]) <= 61
        caller.check()
        caller.spend(8.0)
        caller.check()
        caller.spend(5.5)
        with pytest.raises(Refused, match="seconds of speech a minute") as refused:
            await here.access.socket(connection(authorization="Bearer k"))
        assert refused.value.status == 429
        assert (await here.access.admit(connection(authorization="Bearer k"))).name, "requests of it are not sessions"


async def test_a_session_ends_with_its_time_its_token_and_its_key(tmp_path):
    livekit = {"api_key": "key", "api_secret": SECRET}
    async with Gatehouse(tmp_path, **EVERYWHERE, livekit=livekit, limits={"session_s": 100}) as here:
        key, loop = keyring.add(here.file, "a", [SPEAK]), asyncio.get_running_loop()
        caller = await here.access.socket(connection(FAR, authorization=f"Bearer {key}"))
        caller.check()
        assert 99 < caller.until - loop.time() <= 100
        made = api.AccessToken("key", SECRET).with_identity("up").with_ttl(timedelta(seconds=20)).to_jwt()
        assert 15 < (await here.access.socket(connection(FAR, authorization=f"Bearer {made}"))).until - loop.time() <= 20
        with pytest.raises(Refused, match=r"limits\.session_s"):
            replace(caller, until=loop.time() - 1).check()
        keyring.remove(here.file, "a")
        here.access._looked -= 10
        caller.check()
        await asyncio.sleep(0.1)
        with pytest.raises(Refused, match="not known here any more"):
            caller.check()
    async with Gatehouse(tmp_path, limits={"session_s": 0}) as here:
        stranger = await here.access.socket(connection())
        assert stranger.until == math.inf
        keyring.add(here.file, "b", [SPEAK])
        here.access._looked -= 10
        await here.status()
        await asyncio.sleep(0.1)
        with pytest.raises(Refused):
            stranger.check()


async def test_whoever_tries_keys_out_is_soon_told_to_wait(tmp_path):
    async with Gatehouse(tmp_path, **EVERYWHERE, security={"keys": ["k"]}, limits={"requests_per_minute": 3}) as here:
        statuses = [await here.status(FAR, authorization=f"Bearer {guess}") for guess in range(5)]
        assert statuses == [401, 401, 401, 429, 429]
        assert await here.status("203.0.113.8", authorization="Bearer k") == 200


def test_a_node_that_everybody_could_call_does_not_start_by_accident(tmp_path):
    def start(**sections):
        security = {"keys_file": tmp_path / "keys.json", **sections.pop("security", {})}
        check_start(Settings.model_validate({"security": security, **sections}))

    start()
    for host in ("0.0.0.0", "::", "192.168.1.1", "tts.example"):
        with pytest.raises(KeyringError, match="voicebooth keys add"):
            start(server={"host": host})
    start(server={"host": "0.0.0.0", "ports": []})
    start(server={"host": "localhost"})
    start(**EVERYWHERE, security={"open": True})
    start(**EVERYWHERE, security={"keys": ["k"]})
    start(**EVERYWHERE, livekit={"api_key": "key", "api_secret": SECRET})
    keyring.add(tmp_path / "keys.json", "a", [SPEAK])
    start(**EVERYWHERE)
    os.remove(tmp_path / "keys.json")


async def test_no_key_is_written_into_the_log(tmp_path, caplog):
    with caplog.at_level(logging.DEBUG):
        async with Gatehouse(tmp_path, **EVERYWHERE, security={"keys": ["quite-a-secret"]}) as here:
            await here.status(FAR, authorization="Bearer quite-a-secret")
            await here.status(FAR, authorization="Bearer quite-a-secrex")
            with pytest.raises(Refused) as refused:
                await here.access.admit(connection(FAR, authorization="Bearer quite-a-secrex"))
    assert "quite-a-secre" not in caplog.text + str(refused.value.body("id"))
