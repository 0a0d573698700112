from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import jwt
import pytest
from livekit import rtc

from agent.inbound import LinkBack, LinkLost, Said
from agent.pump import Pump
from agent.room import ENDINGS, EVENTS, JoinFailed, RoomLink, RoomSettings, Ticket
from agent.track import Track
from pipeline.events import Ack
from pipeline.playout import PlayoutBuffer
from pipeline.protocol import Ping
from pipeline.stage import TrackKey


class FakeStage:
    def __init__(self, outlet: Any) -> None:
        self.outlet = outlet
        self.log: list[Any] = []

    def on_message(self, sender: str, message: Any) -> None:
        self.log.append((sender, message))

    def on_track_failed(self, key: TrackKey) -> None:
        self.log.append(("failed", key))

    def on_track_opened(self, key: TrackKey) -> None:
        self.log.append(("opened", key))

    def freeze(self) -> None:
        self.log.append("freeze")

    def thaw(self) -> None:
        self.log.append("thaw")


class FakeHost:
    def __init__(self) -> None:
        self.loop = asyncio.get_running_loop()
        self.pump = Pump()
        self.made: FakeStage | None = None

    def stage(self, name: str, outlet: Any) -> Any:
        self.made = FakeStage(outlet)
        return self.made


def claims(token: str) -> dict[str, Any]:
    return jwt.decode(token, options={"verify_signature": False})


def test_a_ticket_makes_an_agent_that_says_it_is_a_booth():
    ticket = Ticket("ws://127.0.0.1:1", "lobby", "key", "a" * 32, agent_name="interpreter")
    found = claims(ticket.admit(is_first=True))
    assert (found["sub"], found["kind"], found["video"]["room"]) == ("voicebooth", "agent", "lobby")
    assert found["attributes"] == {"voicebooth.role": "booth", "lk.agent.name": "interpreter"}
    assert "a" * 32 not in repr(ticket)


def test_a_given_token_is_used_first_and_always_without_a_secret():
    assert Ticket("ws://x", "lobby", token="given").admit(is_first=False) == "given"
    ticket = Ticket("ws://x", "lobby", "key", "a" * 32, token="given")
    assert ticket.admit(is_first=True) == "given"
    assert claims(ticket.admit(is_first=False))["sub"] == "voicebooth"


def test_a_link_comes_back_unless_somebody_wanted_it_gone():
    assert rtc.DisconnectReason.SERVER_SHUTDOWN not in ENDINGS
    assert rtc.DisconnectReason.SIGNAL_CLOSE not in ENDINGS
    assert {rtc.DisconnectReason.ROOM_DELETED, rtc.DisconnectReason.PARTICIPANT_REMOVED} <= set(ENDINGS)


async def test_letters_reach_the_stage_in_order_and_many_of_them_let_others_run():
    host = FakeHost()
    link = RoomLink(host, Ticket("ws://x", "lobby"), ("en",), RoomSettings())
    link._stage = host.stage("lobby", link)
    for n in range(200):
        assert link._post(Said("ada", Ping(t=n)))
    link._post(LinkLost(), urgent=True)
    await asyncio.sleep(0)
    assert host.made is not None and 0 < len(host.made.log) < 200
    while len(host.made.log) < 201:  # noqa: ASYNC110 - each turn of the loop gives it a batch
        await asyncio.sleep(0)
    assert [message.t for _, message in host.made.log[:200]] == list(range(200))
    assert host.made.log[200] == "freeze"


async def test_lost_events_are_told_to_whom_they_were_for_and_can_be_asked_for(monkeypatch: pytest.MonkeyPatch):
    sent: list[Any] = []

    async def send(room: Any, letter: Any) -> bool:
        sent.append(letter)
        return True

    monkeypatch.setattr("agent.room.send_event", send)
    link = RoomLink(FakeHost(), Ticket("ws://x", "lobby"), ("en",), RoomSettings())
    for n in range(EVENTS + 3):
        link.send("ada" if n < EVENTS + 1 else "eve", Ack("s", n))
    room: Any = object()
    link._room = room
    link.joined.set()
    writing = asyncio.create_task(link._send_events())
    while len(sent) < EVENTS + 2:  # noqa: ASYNC110 - each turn of the loop lets it go on
        await asyncio.sleep(0)
    writing.cancel()
    told = {letter.sender: letter.event for letter in sent[EVENTS:]}
    assert set(told) == {"ada", "eve"} and "2 events" in told["eve"].message
    assert {(event.code, event.retryable) for event in told.values()} == {("overloaded", True)}


async def test_the_end_of_an_older_link_does_not_freeze_the_stage_of_a_newer_one():
    host = FakeHost()
    link = RoomLink(host, Ticket("ws://x", "lobby"), ("en",), RoomSettings())
    link._stage = host.stage("lobby", object())
    link._post(LinkLost(), urgent=True)
    link._post(LinkBack(), urgent=True)
    await asyncio.sleep(0)
    assert host.made is not None and host.made.log == []


async def test_a_room_that_cannot_be_joined_is_named():
    link = RoomLink(FakeHost(), Ticket("ws://127.0.0.1:1", "lobby", "key", "a" * 32), ("en",), RoomSettings())
    link.open_track(TrackKey("booth", "en"), None)  # type: ignore[arg-type]
    link.send("ada", Ack("s", 0))

    async def refuse(*_: Any) -> None:
        raise rtc.ConnectError("connection refused")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(rtc.Room, "connect", refuse)
        with pytest.raises(JoinFailed, match=r"lobby.*127\.0\.0\.1:1"):
            await link.run()


async def test_a_track_that_cannot_be_published_is_known_to_the_stage_until_it_can():
    host, key = FakeHost(), TrackKey("booth", "en")
    link = RoomLink(host, Ticket("ws://x", "lobby"), ("en",), RoomSettings())
    link._stage = host.stage("lobby", link)
    is_refused = True

    async def publish(self: Track, own: Any) -> None:
        if is_refused:
            raise TimeoutError

    room: Any = SimpleNamespace(local_participant=None)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Track, "publish", publish)
        await link._publish(room, key, PlayoutBuffer(24_000, on_cue=lambda *_: None))
        is_refused = False
        await link._publish(room, key, PlayoutBuffer(24_000, on_cue=lambda *_: None))
        await asyncio.sleep(0)
        await asyncio.gather(*(track.aclose() for track in link._tracks.values()))
    assert host.made is not None and host.made.log == [("failed", key), ("opened", key)]
