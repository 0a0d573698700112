"""Peers answered over the network of this machine, by another implementation's offers: aiortc's own."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from typing import Any

import aioice.ice
import numpy as np
import pytest
from aiortc import RTCConfiguration, RTCPeerConnection, RTCSessionDescription
from aiortc.mediastreams import MediaStreamError
from aiortc.rtcsctptransport import WEBRTC_STRING

import agent.peer
from agent.gateway.errors import Refused
from agent.gateway.seats import Seats
from agent.gateway.settings import PeerSettings
from agent.node import Node
from agent.offer import OfferRefused
from agent.peer import UNREAD, Admitted, Peers, host_addresses, ice_servers, links

WAIT = 5.0  # seconds for whatever should happen


class Listener:
    """Behind every peer here; may hear as much as it is told."""

    def __init__(self) -> None:
        self.name = "tester"
        self.spent = 0.0
        self.is_over = False
        self.status = 429

    def check(self) -> None:
        if self.is_over:
            raise Refused("rate_limited" if self.status == 429 else "session_over", "enough", self.status)

    def spend(self, seconds: float) -> None:
        self.spent += seconds


LISTENER = Listener()


class Browser:
    """The other end."""

    def __init__(self, connection: RTCPeerConnection | None = None) -> None:
        self.connection = connection or RTCPeerConnection(RTCConfiguration([]))
        self.channel = self.connection.createDataChannel("voicebooth")
        self.events: list[dict[str, Any]] = []
        self.loudness: list[float] = []
        self._news = asyncio.Event()
        self._open = asyncio.Event()
        self._listening: asyncio.Task[None] | None = None
        self.connection.addTransceiver("audio", direction="recvonly")
        self.connection.on("track", self._on_track)
        self.channel.on("open", self._open.set)
        self.channel.on("message", self._on_message)

    async def connect(self, peers: Peers, guest: Listener = LISTENER) -> Admitted:
        await self.connection.setLocalDescription(await self.connection.createOffer())
        admitted = await peers.admit(self.connection.localDescription.sdp.encode(), guest)
        await self.connection.setRemoteDescription(RTCSessionDescription(admitted.answer, "answer"))
        await self.opened()
        return admitted

    async def opened(self) -> None:
        """The data channel."""
        async with asyncio.timeout(WAIT):
            await self._open.wait()

    def send(self, **message: Any) -> None:
        self.channel.send(json.dumps(message))

    async def told(self, type: str, **fields: Any) -> dict[str, Any]:
        async with asyncio.timeout(WAIT):
            while True:
                for event in self.events:
                    if event["type"] == type and fields.items() <= event.items():
                        return event
                self._news.clear()
                await self._news.wait()

    async def hears(self, is_heard: bool, beats: int = 5) -> None:
        """So many frames in a row."""
        async with asyncio.timeout(WAIT):
            seen = len(self.loudness)
            while len(self.loudness) < seen + beats or any((one > 500) != is_heard for one in self.loudness[-beats:]):  # noqa: ASYNC110
                await asyncio.sleep(0.01)

    async def aclose(self) -> None:
        if self._listening is not None:
            self._listening.cancel()
            await asyncio.wait({self._listening})
        await self.connection.close()

    def _on_message(self, raw: str) -> None:
        self.events.append(json.loads(raw))
        self._news.set()

    def _on_track(self, track: Any) -> None:
        async def listen() -> None:
            try:
                while True:
                    frame = await track.recv()
                    self.loudness.append(float(np.abs(frame.to_ndarray()).max()))
            except MediaStreamError:
                return

        self._listening = asyncio.ensure_future(listen())


@pytest.fixture
async def browser() -> AsyncIterator[Browser]:
    browser = Browser()
    yield browser
    await browser.aclose()


@pytest.fixture
async def peers(node: Node) -> AsyncIterator[Peers]:
    peers = Peers(node, PeerSettings(), Seats(2))
    yield peers
    await peers.aclose()


async def gone(peers: Peers, timeout: float = WAIT) -> None:
    async with asyncio.timeout(timeout):
        while len(peers):  # noqa: ASYNC110
            await asyncio.sleep(0.01)


async def test_text_is_heard_told_and_read_along(peers: Peers, browser: Browser) -> None:
    await browser.connect(peers)
    browser.send(type="hello", protocol=1)
    ready = await browser.told("ready")
    assert ready["languages"][0] == "en"
    browser.send(type="text", text="We speak now.", utterance="u")
    await browser.hears(True)
    finished = await browser.told("speech_finished", utterance="u")
    assert (finished["characters"], finished["interrupted"]) == (13, False)
    captions = [event for event in browser.events if event["type"] == "caption"]
    assert "".join(event["text"] for event in captions) == "We speak now."
    assert [event["final"] for event in captions] == [False, False, False, True]
    assert {(event["language"], event["speaker"], event["id"]) for event in captions} == {("en", "booth", finished_id(browser))}


def finished_id(browser: Browser) -> str:
    return str(next(event["id"] for event in browser.events if event["type"] == "sentence_finished"))


async def test_a_cancel_is_silence_at_once(peers: Peers, browser: Browser) -> None:
    await browser.connect(peers)
    browser.send(type="text", text="one two three four five six seven eight nine ten eleven twelve", utterance="u")
    await browser.hears(True)
    browser.send(type="cancel")
    finished = await browser.told("speech_finished", utterance="u")
    assert finished["interrupted"] is True
    await browser.hears(False)


async def test_what_is_heard_is_counted_and_may_have_an_end(peers: Peers, browser: Browser) -> None:
    guest = Listener()
    await browser.connect(peers, guest)
    browser.send(type="text", text="We speak now.", utterance="u")
    finished = await browser.told("speech_finished", utterance="u")
    assert guest.spent == pytest.approx(finished["position_ms"] / 1000, abs=0.1)
    guest.is_over = True
    browser.send(type="text", text="And more.", stream="s", seq=0)
    assert await browser.told("error", code="rate_limited", retryable=True, stream="s", seq=0)


async def test_what_cannot_be_taken_is_answered_and_the_peer_goes_on(peers: Peers, browser: Browser) -> None:
    await browser.connect(peers)
    browser.channel.send("no json")
    browser.channel.send(b"\xff\x00")
    browser.send(type="text", text="x" * 6000)
    browser.send(type="nonsense")
    browser.send(type="ping", t=7)
    assert (await browser.told("pong"))["t"] == 7
    codes = [event["code"] for event in browser.events if event["type"] == "error"]
    assert codes == ["bad_json", "bad_json", "text_too_long", "unknown_type"]


async def test_a_text_message_that_is_no_utf_8_is_answered_and_the_peer_goes_on(peers: Peers, browser: Browser) -> None:
    await browser.connect(peers)
    sctp = browser.connection.sctp
    assert sctp is not None and browser.channel.id is not None
    await sctp._send(browser.channel.id, WEBRTC_STRING, b'{"type": "text", "text": "\xff"}')
    await browser.told("error", code="bad_json")
    browser.send(type="ping", t=7)
    assert (await browser.told("pong"))["t"] == 7


async def test_a_text_holds_as_much_as_the_settings_have(node: Node, browser: Browser) -> None:
    peers = Peers(node, PeerSettings(), Seats(2), characters=10)
    await browser.connect(peers)
    browser.send(type="text", text="a" * 11, stream="s", seq=0)
    assert "at most 10" in (await browser.told("error", code="text_too_long", stream="s", seq=0))["message"]
    await peers.aclose()


async def test_several_peers_are_each_told_their_own(peers: Peers, browser: Browser) -> None:
    other = Browser()
    try:
        await browser.connect(peers)
        await other.connect(peers)
        browser.send(type="text", text="Left.", utterance="left")
        other.send(type="text", text="Right.", utterance="right")
        await browser.told("speech_finished", utterance="left")
        await other.told("speech_finished", utterance="right")
        assert {event.get("utterance") for event in browser.events} <= {"left", None}
        with pytest.raises(OfferRefused) as caught:
            await peers.admit(browser.connection.localDescription.sdp.encode(), LISTENER)
        assert caught.value.code == "too_many_peers"
    finally:
        await other.aclose()


async def test_whoever_leaves_is_gone_with_its_session(peers: Peers, browser: Browser, node: Node) -> None:
    await browser.connect(peers)
    assert node.sessions() == {"peer": 1}
    await browser.connection.close()
    await gone(peers)
    assert not node.sessions()


async def test_one_can_be_ended_and_is_told_what_was_not_heard(peers: Peers, browser: Browser) -> None:
    admitted = await browser.connect(peers)
    browser.send(type="text", text="one two three four five six seven eight. And this is not heard.", utterance="u")
    await browser.hears(True)
    assert await peers.end(admitted.id)
    assert (await browser.told("dropped", why="shutdown"))["utterance"] == "u"
    assert not await peers.end(admitted.id)


async def test_one_that_vanishes_is_let_go(peers: Peers, browser: Browser, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(aioice.ice, "CONSENT_INTERVAL", 0.05)
    monkeypatch.setattr(aioice.ice, "CONSENT_FAILURES", 2)
    await browser.connect(peers)
    for transport in {browser.connection.sctp.transport.transport}:
        for protocol in transport._connection._protocols:
            protocol.transport.close()
    await gone(peers)


async def test_one_that_never_connects_is_let_go(node: Node, browser: Browser) -> None:
    peers = Peers(node, PeerSettings(connect_wait=0.1), Seats(2))
    await browser.connection.setLocalDescription(await browser.connection.createOffer())
    await peers.admit(browser.connection.localDescription.sdp.encode(), LISTENER)
    assert len(peers) == 1
    await gone(peers)


async def test_one_that_says_nothing_is_told_and_let_go(node: Node, browser: Browser, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(agent.peer, "LOOK", 0.05)
    peers = Peers(node, PeerSettings(idle=0.4), Seats(2))
    await browser.connect(peers)
    for _ in range(3):
        browser.send(type="ping")
        await asyncio.sleep(0.05)
    assert (await browser.told("error", code="idle"))["retryable"] is True
    await gone(peers)


async def test_one_that_may_not_stay_is_told_and_let_go(peers: Peers, browser: Browser, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(agent.peer, "LOOK", 0.05)
    guest = Listener()
    await browser.connect(peers, guest)
    guest.status, guest.is_over = 401, True
    assert (await browser.told("error", code="session_over"))["retryable"] is False
    await gone(peers)


async def test_one_that_does_not_read_is_let_go(peers: Peers, browser: Browser, monkeypatch: pytest.MonkeyPatch) -> None:
    admitted = await browser.connect(peers)
    peer = peers.find(admitted.id)
    assert peer is not None and peer._channel is not None
    monkeypatch.setattr(type(peer._channel), "bufferedAmount", UNREAD + 1)
    browser.send(type="ping")
    await gone(peers)


async def test_a_node_that_ends_takes_no_more(peers: Peers, browser: Browser) -> None:
    await peers.aclose()
    with pytest.raises(OfferRefused) as caught:
        await browser.connect(peers)
    assert caught.value.code == "draining"


async def test_a_node_that_drains_takes_no_more(peers: Peers, browser: Browser, node: Node) -> None:
    node.is_draining = True
    with pytest.raises(OfferRefused) as caught:
        await browser.connect(peers)
    assert caught.value.code == "draining"


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda sdp: sdp.replace("a=rtcp-mux\r\n", ""), "RTCP mux is not enabled"),
        (lambda sdp: sdp.replace("a=fingerprint:", "a=print:").replace("a=setup:", "a=set:"), "something is missing"),
        (lambda sdp: sdp.replace("a=group:BUNDLE 0 1", "a=group:BUNDLE 7 0 1"), "something is missing"),
    ],
)
async def test_an_offer_that_cannot_be_answered_leaves_nothing_behind(
    peers: Peers, browser: Browser, node: Node, damage: Callable[[str], str], words: str
) -> None:
    await browser.connection.setLocalDescription(await browser.connection.createOffer())
    broken = damage(browser.connection.localDescription.sdp)
    assert broken != browser.connection.localDescription.sdp
    with pytest.raises(OfferRefused, match=words) as caught:
        await peers.admit(broken.encode(), LISTENER)
    assert caught.value.code == "bad_offer"
    assert len(peers) == 0 and not node.sessions()


async def test_a_machine_without_a_network_is_reached_on_itself(
    node: Node, browser: Browser, peers: Peers, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(agent.peer, "_find_addresses", lambda use_ipv4, use_ipv6: [])
    assert host_addresses(True, True) == ["127.0.0.1"]
    admitted = await browser.connect(peers)
    found = [line.split()[4] for line in admitted.answer.splitlines() if line.startswith("a=candidate:")]
    assert set(found) == {"127.0.0.1"}


def test_only_the_servers_of_the_settings_are_asked() -> None:
    assert ice_servers(PeerSettings()) == []
    settings = PeerSettings(("stun:stun.example.org:3478", "turn:turn.example.org?transport=udp"), "ann", "secret")
    stun, turn = ice_servers(settings)
    assert (stun.urls, stun.username) == ("stun:stun.example.org:3478", None)
    assert (turn.urls, turn.username, turn.credential) == ("turn:turn.example.org?transport=udp", "ann", "secret")
    assert links([stun, turn]) == (
        '<stun:stun.example.org:3478>; rel="ice-server", <turn:turn.example.org?transport=udp>; rel="ice-server"; '
        'username="ann"; credential="secret"; credential-type="password"'
    )
