"""Direct WebRTC: a browser hears the node and sends it text, with no server between the two."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import logging
import secrets
from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Protocol

import aioice.ice
from aiortc import (
    RTCBundlePolicy,
    RTCConfiguration,
    RTCDataChannel,
    RTCIceServer,
    RTCPeerConnection,
    RTCRtpSender,
    RTCSessionDescription,
)
from aiortc.exceptions import InvalidStateError
from aiortc.rtcsctptransport import WEBRTC_BINARY, WEBRTC_STRING, RTCSctpTransport

from agent.failures import tell_failure
from agent.gateway import notes
from agent.gateway.errors import Refused
from agent.gateway.notes import Notes
from agent.gateway.seats import Guest, Seats
from agent.gateway.settings import PeerSettings
from agent.gateway.speech import Facts
from agent.mix import Mix
from agent.offer import Fragment, Offer, OfferRefused, read
from agent.opus import OpusTrack
from agent.pump import Feed, Pump
from pipeline.events import Captioned, Event, Failure
from pipeline.journey import Origin
from pipeline.playout import PlayoutBuffer
from pipeline.protocol import TEXT_CHARACTERS, Hello, Ping, ProtocolError, Text, encode, parse
from pipeline.stage import Caption, Outlet, Stage, TrackKey
from pipeline.studio import Studio

DOOR = "peer"  # under which sessions are counted
LINGER = 0.4  # seconds of silence that are sent after speech: longer than a pause between sentences. After more than that, a browser
# hears the next word 40 ms sooner when it was sent nothing (50 against 90 ms at the median), and hears it whole
ANSWER_WAIT = 8.0  # seconds for an answer: asking a STUN or TURN server that is silent takes 5
LOOK = 1.0  # seconds between two looks whether a peer has been idle for too long, or may not stay
UNREAD = 1 << 20  # bytes of events that a peer has not taken: half an hour of speech; more means that it does not read
LAST_WORDS = 0.4  # seconds for events that wait when a peer is ended; Ctrl-C promises an end within 2
LAST_LOOK = 0.02  # seconds between two looks whether they have gone out
CLOSE_WAIT = 1.0  # seconds for a goodbye

log = logging.getLogger(__name__)
_numbers = itertools.count(1)
_find_addresses = aioice.ice.get_host_addresses
_receive = RTCSctpTransport._data_channel_receive


def host_addresses(use_ipv4: bool, use_ipv6: bool) -> list[str]:
    """This machine's; where it is in no network, itself: the library would have none then, and a browser beside us no way here."""
    return _find_addresses(use_ipv4, use_ipv6) or ["127.0.0.1"]


async def receive_anything(self: RTCSctpTransport, stream_id: int, pp_id: int, data: bytes) -> None:
    """Text that is not UTF-8 comes as the bytes that it is: the library would close the connection over it without a word."""
    if pp_id == WEBRTC_STRING:
        try:
            data.decode()
        except UnicodeDecodeError:
            pp_id = WEBRTC_BINARY
    await _receive(self, stream_id, pp_id, data)


aioice.ice.get_host_addresses = host_addresses
RTCSctpTransport._data_channel_receive = receive_anything  # type: ignore[method-assign]


class Host(Protocol):
    """What a peer needs of the node."""

    @property
    def pump(self) -> Pump: ...

    @property
    def studio(self) -> Studio: ...

    @property
    def is_draining(self) -> bool: ...

    def session(self, outlet: Outlet, *, door: str, origin: Origin) -> AbstractAsyncContextManager[Stage]: ...


class Peer:
    """One browser: a stage of its own whose voices are heard in one track, and a data channel. All of it on the node's loop.

    1. Whatever ends it, there is silence first; what was not heard is told.
    2. It ends by itself: when it does not connect in time, says nothing for too long, vanishes (aiortc asks every 5 s for a sign
       of life and gives up after six), or does not read what it is told.
    3. It leaves one line in the log, by the name of the request that brought its offer; its sentences belong to that one's trace.
    """

    def __init__(self, host: Host, guest: Guest, settings: PeerSettings, characters: int = TEXT_CHARACTERS) -> None:
        """Made where the offer is answered. ``characters``: the most that one text may hold."""
        self.name = f"peer-{next(_numbers)}"
        self.username = ""
        """The ICE user fragment of its offer."""
        self._host = host
        self._guest = guest
        self._sender = guest.name or DOOR
        self._settings = settings
        self._characters = characters
        self._loop = asyncio.get_running_loop()
        self._connection = RTCPeerConnection(RTCConfiguration(ice_servers(settings), bundlePolicy=RTCBundlePolicy.MAX_BUNDLE))
        self._connection.on("connectionstatechange", self._on_state)
        self._connection.on("datachannel", self._on_channel)
        self._channel: RTCDataChannel | None = None
        asked = notes.origin()
        self._notes = Notes(asked.request, DOOR, asked.traceparent)
        self._facts = Facts(rate=host.studio.rate)
        self._mix = Mix(host.studio.rate, self._on_heard)
        self._voice = OpusTrack(host.studio.rate)
        self._feed = Feed(self._mix, self._voice, LINGER)
        self._feed.is_held = True
        self._stage: Stage | None = None
        self._connected = asyncio.Event()
        self._over: asyncio.Future[str] = self._loop.create_future()
        self._active = self._loop.time()

    async def answer(self, offer: Offer) -> str:
        """The answer to an offer that was read, with every address of this node in it. Raises :exc:`OfferRefused`."""
        connection, self.username = self._connection, offer.username
        transceiver = connection.addTransceiver(self._voice, direction="sendonly")
        codecs = RTCRtpSender.getCapabilities("audio").codecs
        transceiver.setCodecPreferences([codec for codec in codecs if codec.mimeType.lower() == "audio/opus"])
        try:
            async with asyncio.timeout(ANSWER_WAIT):
                await connection.setRemoteDescription(RTCSessionDescription(offer.sdp, "offer"))
                await connection.setLocalDescription(await connection.createAnswer())
        except TimeoutError as error:
            raise OfferRefused("unavailable", f"this node did not find its own addresses within {ANSWER_WAIT:g} s") from error
        except Exception as error:  # what is wrong with an offer shows in many places of the library, in as many ways
            words = str(error) if isinstance(error, ValueError) else "something is missing from it, or does not fit the rest"
            raise OfferRefused("bad_offer", f"the offer cannot be answered: {words}") from error
        return connection.localDescription.sdp

    async def add(self, fragment: Fragment) -> None:
        """More addresses at which this peer may be reached."""
        for candidate in fragment.candidates:
            await self._connection.addIceCandidate(candidate)

    async def run(self) -> None:
        """Returns when it has ended. Cancelling it ends it, too."""
        notes.begin(self._notes)
        since, why = self._loop.time(), "it was cancelled"
        try:
            async with self._host.session(self, door=DOOR, origin=self._notes.origin) as stage:
                self._stage = stage
                why = await self._stay(stage)
        finally:
            self._notes.write(f"{self.name} ended: {why}", took=self._loop.time() - since)
            await self._goodbye()
            await self.aclose()

    def leave(self, why: str) -> None:
        """Ask :meth:`run` to end."""
        if not self._over.done():
            self._over.set_result(why)

    async def aclose(self) -> None:
        """Let go of the connection."""
        self._host.pump.stop(self._feed)
        # AttributeError: the library cannot close what an offer broke before it had an address; there is nothing open then.
        with contextlib.suppress(TimeoutError, AttributeError):
            async with asyncio.timeout(CLOSE_WAIT):
                await self._connection.close()

    async def _stay(self, stage: Stage) -> str:
        connecting = asyncio.ensure_future(self._connected.wait())
        await asyncio.wait((connecting, self._over), timeout=self._settings.connect_wait, return_when=asyncio.FIRST_COMPLETED)
        connecting.cancel()
        if not self._connected.is_set() and not self._over.done():
            return f"not connected within {self._settings.connect_wait:g} s"
        while not self._over.done():
            await asyncio.wait((self._over,), timeout=LOOK)
            refused = self._refusal()
            if refused is not None and refused.is_for_good:
                self._notes.on_refused(refused.code)
                self._tell(Failure(refused.code, refused.message))
                return refused.message
            if not stage.is_idle:
                self._active = self._loop.time()
            if self._loop.time() - self._active > self._settings.idle:
                self._notes.on_refused("idle")
                self._tell(Failure("idle", f"nothing was said for {self._settings.idle:g} s", retryable=True))
                return "idle"
        return self._over.result()

    async def _goodbye(self) -> None:
        """What has been told goes out."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(LAST_WORDS):
                while self._channel is not None and self._channel.readyState == "open" and self._channel.bufferedAmount:  # noqa: ASYNC110
                    await asyncio.sleep(LAST_LOOK)
        if self._voice.lost:
            log.warning("%s: %d packets were not taken in time, and not heard", self.name, self._voice.lost)

    # For the stage

    def open_track(self, key: TrackKey, buffer: PlayoutBuffer) -> None:
        self._mix.add(buffer)
        buffer.on_ready = self._rouse

    def send(self, sender: str | None, event: Event) -> None:
        self._facts.on_event(event)
        self._tell(event)

    def caption(self, caption: Caption) -> None:
        self._tell(Captioned(caption.sentence, caption.track.language, caption.track.speaker, caption.text, caption.final))

    # What the connection tells

    def _on_state(self) -> None:
        state = self._connection.connectionState
        if state == "connected" and not self._connected.is_set():
            self._connected.set()
            self._active = self._loop.time()
            self._feed.is_held = False
            self._rouse()  # silence at once: the listener's clock and buffers have come to rest when the first word comes
        elif state in ("failed", "closed"):
            self.leave(f"the connection {state}" if state == "failed" else "the peer has left")

    def _on_channel(self, channel: RTCDataChannel) -> None:
        if self._channel is not None:
            channel.close()
            return
        self._channel = channel
        channel.on("message", self._on_message)

    def _on_message(self, raw: str | bytes) -> None:
        stage = self._stage
        if stage is None or self._over.done():
            return
        try:
            message = parse(raw.encode() if isinstance(raw, str) else raw, characters=self._characters)
        except ProtocolError as error:
            stage.on_refused(self._sender, error)
            return
        if not isinstance(message, Ping | Hello):
            self._active = self._loop.time()
        if isinstance(message, Text) and (refused := self._refusal()) is not None:
            self._tell(Failure(refused.code, refused.message, not refused.is_for_good, message.stream, message.seq))
            return
        if isinstance(message, Text) and message.text:
            self._facts.on_text()
            self._notes.on_text(len(message.text), self._facts)
        stage.on_message(self._sender, message)

    def _on_heard(self, seconds: float) -> None:
        self._facts.samples += round(seconds * self._facts.rate)
        self._guest.spend(seconds)

    def _refusal(self) -> Refused | None:
        """Why nothing more is said to it, now or for good."""
        try:
            self._guest.check()
        except Refused as refused:
            return refused
        return None

    def _rouse(self) -> None:
        self._host.pump.rouse(self._feed)

    def _tell(self, event: Event) -> None:
        channel = self._channel
        if channel is None or channel.readyState != "open":
            return
        if channel.bufferedAmount > UNREAD:
            self.leave("it does not read what it is told")
            return
        try:
            channel.send(encode(event).decode())
        except (InvalidStateError, ValueError) as error:  # ValueError: larger than the peer takes
            log.debug("%s: event %s was not sent: %s", self.name, event.type, error)


@dataclass(frozen=True, slots=True)
class Admitted:
    """A peer that was answered."""

    id: str
    """Names it to whoever may end it: not to be guessed."""
    answer: str
    """SDP."""


class Peers:
    """All peers of a node. On the node's loop."""

    def __init__(self, host: Host, settings: PeerSettings, seats: Seats, *, characters: int = TEXT_CHARACTERS) -> None:
        """``seats``: shared with all others who keep sessions here. ``characters``: the most that one text may hold."""
        self._host = host
        self._settings = settings
        self._seats = seats
        self._characters = characters
        seats.watch(self.__len__)
        self._peers: dict[str, tuple[Peer, asyncio.Task[None]]] = {}
        self._answering = 0
        self._is_closed = False

    def __len__(self) -> int:
        return len(self._peers) + self._answering

    async def admit(self, offer: bytes, guest: Guest) -> Admitted:
        """Answers an offer; the peer runs until it ends. Raises :exc:`OfferRefused`."""
        wanted = read(offer)
        if self._seats.is_full:
            raise OfferRefused("too_many_peers", f"{self._seats.count} sessions are open, and no more may be (limits.sessions)")
        if self._is_closed or self._host.is_draining:
            raise OfferRefused("draining", "this node is about to end")
        self._answering += 1
        peer = Peer(self._host, guest, self._settings, self._characters)
        try:
            answer = await peer.answer(wanted)
        except BaseException:
            await peer.aclose()
            raise
        finally:
            self._answering -= 1
        id = secrets.token_urlsafe(16)
        task = asyncio.create_task(peer.run(), name=peer.name)
        self._peers[id] = peer, task
        task.add_done_callback(tell_failure)
        task.add_done_callback(lambda _: self._peers.pop(id, None))
        return Admitted(id, answer)

    def find(self, id: str) -> Peer | None:
        found = self._peers.get(id)
        return found[0] if found else None

    async def end(self, id: str) -> bool:
        """False when there is no such peer. Returns when it is silent and gone."""
        found = self._peers.get(id)
        if found is None:
            return False
        peer, task = found
        peer.leave("it was ended")
        await asyncio.wait((task,))
        return True

    async def aclose(self) -> None:
        """Ends them all, and takes no more."""
        self._is_closed = True
        tasks = [task for _, task in self._peers.values()]
        for peer, _ in tuple(self._peers.values()):
            peer.leave("the node has ended")
        if tasks:
            await asyncio.wait(tasks)


def ice_servers(settings: PeerSettings) -> list[RTCIceServer]:
    """As aiortc takes them; never its own default, which would ask somebody else's server."""
    name, secret = settings.ice_username or None, settings.ice_credential or None
    return [RTCIceServer(url, *((name, secret) if url.startswith("turn") else ())) for url in settings.ice_servers]


def links(servers: Sequence[RTCIceServer]) -> str:
    """The same for browsers, as a ``Link`` header (RFC 9725, section 4.6)."""
    return ", ".join(_link(server) for server in servers)


def _link(server: RTCIceServer) -> str:
    words = f'<{server.urls}>; rel="ice-server"'
    if server.username:
        words += f'; username="{server.username}"; credential="{server.credential}"; credential-type="password"'
    return words
