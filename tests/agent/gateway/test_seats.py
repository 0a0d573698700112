"""One bound for browsers and WebSockets together."""

import aiohttp
import pytest
from aiortc import RTCConfiguration, RTCPeerConnection

from agent.config import Settings
from agent.gateway.app import make_app
from agent.gateway.seats import Seats
from agent.gateway.serving import Doors
from agent.node import Node
from tests.agent.gateway.conftest import SETTINGS

SDP = {"Content-Type": "application/sdp"}


def test_what_is_taken_at_one_door_is_missing_at_the_other():
    first, second = [], []
    seats = Seats(2)
    seats.watch(first.__len__)
    seats.watch(second.__len__)
    assert (seats.taken, seats.is_full) == (0, False)
    first.append(1)
    second.append(1)
    assert (seats.taken, seats.is_full) == (2, True)
    first.pop()
    assert not seats.is_full


async def test_browsers_and_websockets_share_what_the_settings_name():
    settings = Settings.model_validate({**SETTINGS, "limits": {"sessions": 2}})
    connection = RTCPeerConnection(RTCConfiguration([]))
    connection.addTransceiver("audio", direction="recvonly")
    await connection.setLocalDescription(await connection.createOffer())
    offer = connection.localDescription.sdp
    try:
        async with Node(settings) as node:
            await node.ready()
            async with Doors(make_app(node), settings.server, settings.ws) as doors, aiohttp.ClientSession(doors.addresses[0]) as client:
                socket = await client.ws_connect("/ws/synthesize")
                admitted = await client.post("/whep", data=offer, headers=SDP)
                assert admitted.status == 201
                with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
                    await client.ws_connect("/ws/synthesize")
                assert refused.value.status == 503
                full = await client.post("/whep", data=offer, headers=SDP)
                assert (full.status, (await full.json())["code"]) == (503, "too_many_peers")
                await client.delete(admitted.headers["Location"])
                async with client.ws_connect("/ws/synthesize"):
                    await socket.close()
    finally:
        await connection.close()
