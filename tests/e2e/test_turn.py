"""Direct WebRTC through a real TURN server: neither side knows an address of the other but the server's."""

from __future__ import annotations

import asyncio
import shutil
import socket
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from aiortc import RTCConfiguration, RTCPeerConnection, RTCSessionDescription

from agent.gateway.seats import Seats
from agent.gateway.settings import PeerSettings
from agent.node import Node
from agent.peer import Peers, ice_servers
from tests.e2e.test_peer import LISTENER, Browser

REMEDY = "these tests relay through coturn: apt-get install coturn"
NAME, SECRET, REALM = "voicebooth", "not a secret", "voicebooth.test"
STARTING = 10.0  # seconds


@pytest.fixture
async def relayed(tmp_path: Path) -> AsyncIterator[PeerSettings]:
    """How to get to a TURN server that runs here."""
    program = shutil.which("turnserver")
    if program is None:
        pytest.fail(REMEDY)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
    (tmp_path / "turn.conf").write_text(
        f"listening-ip=127.0.0.1\nrelay-ip=127.0.0.1\nlistening-port={port}\nallow-loopback-peers\nlt-cred-mech\n"
        f"user={NAME}:{SECRET}\nrealm={REALM}\nno-tls\nno-dtls\nno-cli\nfingerprint\n"
        f"userdb={tmp_path / 'turn.db'}\npidfile={tmp_path / 'turn.pid'}\nlog-file={tmp_path / 'turn.log'}\nsimple-log\n"
    )
    server = await asyncio.create_subprocess_exec(
        program, "-c", str(tmp_path / "turn.conf"), stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL
    )
    try:
        async with asyncio.timeout(STARTING):
            while not await _listens(port):  # noqa: ASYNC110
                await asyncio.sleep(0.05)
        yield PeerSettings(ice_servers=(f"turn:127.0.0.1:{port}?transport=udp",), ice_username=NAME, ice_credential=SECRET)
    finally:
        server.terminate()
        await server.wait()


async def _listens(port: int) -> bool:
    try:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
    except OSError:
        return False
    writer.close()
    await writer.wait_closed()
    return True


def mapped(sdp: str) -> list[str]:
    """The candidates that a STUN server has told of."""
    return [line for line in sdp.splitlines() if line.startswith("a=candidate:") and " typ srflx" in line]


async def test_the_node_asks_the_stun_server_of_its_settings_what_it_is_seen_as(node: Node, relayed: PeerSettings) -> None:
    (turn,) = relayed.ice_servers
    stun = PeerSettings(ice_servers=("stun:" + turn.removeprefix("turn:").partition("?")[0],))
    answers = {}
    for name, settings in (("asked", stun), ("not asked", PeerSettings())):
        peers = Peers(node, settings, Seats(1))
        browser = Browser(RTCPeerConnection(RTCConfiguration([])))
        try:
            answers[name] = (await browser.connect(peers)).answer
        finally:
            await browser.aclose()
            await peers.aclose()
    found = {name: mapped(answer) for name, answer in answers.items()}
    assert found["asked"] and not found["not asked"]
    own = {line.split()[4] for line in answers["asked"].splitlines() if line.endswith(" typ host")}
    assert {line.split()[4] for line in found["asked"]} <= own  # nothing stands between here and there that would change it


def relays(sdp: str) -> str:
    """The same without addresses, but for those at the TURN server."""
    lines = [line for line in sdp.splitlines() if not line.startswith("a=candidate:") or " typ relay" in line]
    assert any("typ relay" in line for line in lines), sdp
    return "\r\n".join(lines) + "\r\n"


async def test_what_is_said_is_heard_through_a_relay(node: Node, relayed: PeerSettings) -> None:
    peers = Peers(node, relayed, Seats(1))
    browser = Browser(RTCPeerConnection(RTCConfiguration(ice_servers(relayed))))
    try:
        connection = browser.connection
        await connection.setLocalDescription(await connection.createOffer())
        admitted = await peers.admit(relays(connection.localDescription.sdp).encode(), LISTENER)
        await connection.setRemoteDescription(RTCSessionDescription(relays(admitted.answer), "answer"))
        await browser.opened()
        browser.send(type="text", text="Out of the harbour, into the open sea.")
        await browser.told("speech_started")
        await browser.hears(True)
        await browser.told("speech_finished")
        pair = connection.getTransceivers()[0].receiver.transport.transport.iceGatherer._connection._nominated[1]
        assert "relay" in (pair.local_candidate.type, pair.remote_candidate.type)
    finally:
        await browser.aclose()
        await peers.aclose()
