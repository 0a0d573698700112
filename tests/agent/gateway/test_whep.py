from __future__ import annotations

import asyncio
import json

import aiohttp
import pytest
from aiortc import RTCConfiguration, RTCPeerConnection, RTCSessionDescription

from agent.config import Settings
from agent.gateway.app import make_app
from agent.gateway.serving import Doors
from agent.gateway.settings import PeerSettings
from agent.node import Node
from pipeline.journey import Journey, Origin
from pipeline.report import Watcher
from tests.collector import PARENT, TRACE

pytestmark = pytest.mark.shell
SDP, FRAGMENT = {"Content-Type": "application/sdp"}, {"Content-Type": "application/trickle-ice-sdpfrag"}


async def field(answer: aiohttp.ClientResponse) -> str | None:
    return (await answer.json()).get("field")


async def code(answer: aiohttp.ClientResponse) -> tuple[int, str]:
    body = await answer.json()
    assert body["success"] is False
    assert body["error"]
    return answer.status, body["code"]


async def test_an_offer_is_answered_and_can_be_taken_back(client: aiohttp.ClientSession, node: Node) -> None:
    connection = RTCPeerConnection(RTCConfiguration([]))
    connection.addTransceiver("audio", direction="recvonly")
    channel = connection.createDataChannel("voicebooth")
    opened = asyncio.Event()
    channel.on("open", opened.set)
    await connection.setLocalDescription(await connection.createOffer())
    answer = await client.post("/whep", data=connection.localDescription.sdp, headers=SDP)
    assert answer.status == 201
    assert answer.content_type == "application/sdp"
    place, tag = answer.headers["Location"], answer.headers["ETag"]
    await connection.setRemoteDescription(RTCSessionDescription(await answer.text(), "answer"))
    try:
        async with asyncio.timeout(5):
            await opened.wait()
        more = "a=candidate:1 1 udp 2122260223 127.0.0.1 9 typ host\r\n"
        assert (await client.patch(place, data=more, headers={**FRAGMENT, "If-Match": tag})).status == 204
        assert await code(await client.patch(place, data=more, headers={**FRAGMENT, "If-Match": '"9"'})) == (412, "wrong_session")
        assert await code(await client.patch(place, data="a=ice-ufrag:else\r\n", headers=FRAGMENT)) == (422, "not_supported")
        answer = await client.patch(place, data="a=candidate:1 x udp 1 a b c\r\n", headers=FRAGMENT)
        assert (*await code(answer), await field(answer)) == (400, "bad_offer", "fragment")
        assert await code(await client.patch(place, data=more, headers=SDP)) == (415, "bad_type")
        assert (await client.delete(place)).status == 200
        assert await code(await client.delete(place)) == (404, "not_found")
        assert await code(await client.patch(place, data=more, headers=FRAGMENT)) == (404, "not_found")
        assert "peer" not in node.sessions()
    finally:
        await connection.close()


class Journeys(Watcher):
    def __init__(self) -> None:
        self.told: list[Journey] = []

    def on_journey(self, journey: Journey) -> None:
        self.told.append(journey)


async def test_a_session_s_sentences_and_its_line_carry_what_its_offer_brought(
    client: aiohttp.ClientSession, node: Node, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    journeys = Journeys()
    node.report.watch(journeys)
    connection = RTCPeerConnection(RTCConfiguration([]))
    connection.addTransceiver("audio", direction="recvonly")
    channel = connection.createDataChannel("voicebooth")
    finished = asyncio.Event()
    channel.on("open", lambda: channel.send(json.dumps({"type": "text", "text": "One two three."})))
    channel.on("message", lambda raw: finished.set() if json.loads(raw)["type"] == "speech_finished" else None)
    await connection.setLocalDescription(await connection.createOffer())
    headers = {**SDP, "X-Request-ID": "mine", "traceparent": PARENT}
    answer = await client.post("/whep", data=connection.localDescription.sdp, headers=headers)
    await connection.setRemoteDescription(RTCSessionDescription(await answer.text(), "answer"))
    try:
        async with asyncio.timeout(5):
            await finished.wait()
        await client.delete(answer.headers["Location"])
    finally:
        await connection.close()
    assert [journey.origin for journey in journeys.told] == [Origin("peer", "mine", PARENT)]
    (line,) = [vars(record) for record in caplog.records if vars(record).get("door") == "peer"]
    assert (line["name"], line["request_id"], line["trace_id"]) == ("agent.gateway.notes", "mine", TRACE)
    assert line["message"].endswith(" ended: it was ended")
    assert (line["texts"], line["text_length"], line["engine"], line["language"]) == (1, 14, "tone", "en")
    assert line["cached"] is False
    assert line["duration"] > 0.3 and 0 <= line["ttfa_ms"] <= line["took_ms"] and "error" not in line


@pytest.mark.parametrize("body", ["", "hello", '{"sdp": "v=0"}', "v=0\r\n", "v=0\r\nm=audio 9 x y\r\n"])
async def test_what_is_not_sdp_is_a_typed_refusal(client: aiohttp.ClientSession, body: str) -> None:
    answer = await client.post("/whep", data=body, headers=SDP)
    assert (*await code(answer), await field(answer)) == (400, "bad_offer", "offer")


async def test_what_is_called_something_else_is_not_even_read(client: aiohttp.ClientSession) -> None:
    assert await code(await client.post("/whep", data="v=0", headers={"Content-Type": "application/json"})) == (415, "bad_type")


async def test_a_long_offer_is_refused(client: aiohttp.ClientSession) -> None:
    answer = await client.post("/whep", data="v=0\r\n" * 20_000, headers=SDP)
    assert (*await code(answer), await field(answer)) == (413, "too_large", "offer")


async def test_ice_servers_are_told_as_browsers_take_them(settings: Settings) -> None:
    peer = PeerSettings(("stun:stun.example.org", "turn:turn.example.org?transport=udp"), "ann", "secret")
    changed = settings.model_copy(update={"peer": peer})
    async with Node(changed) as node, Doors(make_app(node), changed.server, changed.ws) as doors:
        async with aiohttp.ClientSession(doors.addresses[0]) as client:
            found = await (await client.get("/ice")).json()
            options = await client.options("/whep")
    turn = {"urls": "turn:turn.example.org?transport=udp", "username": "ann", "credential": "secret"}
    assert found == {"iceServers": [{"urls": "stun:stun.example.org"}, turn]}
    assert options.status == 204
    assert options.headers["Accept-Post"] == "application/sdp"
    assert "Link" not in options.headers  # nobody is asked for a key before that


async def test_without_servers_there_are_none(client: aiohttp.ClientSession) -> None:
    assert await (await client.get("/ice")).json() == {"iceServers": []}


async def test_a_full_node_says_when_to_come_again(settings: Settings) -> None:
    changed = settings.model_copy(update={"limits": type(settings.limits)(sessions=1)})
    async with Node(changed) as node, Doors(make_app(node), changed.server, changed.ws) as doors:
        connection = RTCPeerConnection(RTCConfiguration([]))
        connection.addTransceiver("audio", direction="recvonly")
        await connection.setLocalDescription(await connection.createOffer())
        async with aiohttp.ClientSession(doors.addresses[0]) as client:
            assert (await client.post("/whep", data=connection.localDescription.sdp, headers=SDP)).status == 201
            refused = await client.post("/whep", data=connection.localDescription.sdp, headers=SDP)
            assert (*await code(refused), await field(refused)) == (503, "too_many_peers", None)
            assert refused.headers["Retry-After"] == "5"
        await connection.close()
