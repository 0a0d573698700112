from __future__ import annotations

import asyncio
import itertools
import json
import random
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from livekit.rtc._proto.participant_pb2 import ParticipantPermission
from livekit.rtc.participant import PublishDataError

from agent.upstream import EVENTS_TOPIC, TEXT_CHARACTERS, Ledger, NotAllowed, Upstream, _parts
from tests.examples import examples


def texts(messages: list[dict[str, object]]) -> list[object]:
    return [message["text"] for message in messages]


def test_texts_are_numbered_and_kept_until_they_are_spoken():
    ledger = Ledger("s")
    assert [ledger.add({"text": text})["seq"] for text in "abc"] == [0, 1, 2]
    ledger.on_spoken("s", 1)
    assert len(ledger) == 1
    ledger.on_spoken("another", 2)
    assert len(ledger) == 1


def test_what_is_missing_is_sent_again_and_no_more():
    ledger = Ledger("s")
    for text in "abcd":
        ledger.add({"text": text})
    assert texts(ledger.on_missing("s", 1, 2)) == ["b", "c"]
    assert ledger.on_missing("another", 0, 3) == []


def test_a_node_that_holds_some_gets_the_rest_under_the_same_numbers():
    ledger = Ledger("s")
    for text in "abcd":
        ledger.add({"text": text})
    again = ledger.on_ready({"s": {"held": 1, "spoken": 0}}, "new")
    assert [(message["stream"], message["seq"]) for message in again] == [("s", 2), ("s", 3)]
    assert len(ledger) == 3


def test_a_node_that_knows_nothing_gets_everything_unspoken_in_a_new_stream():
    ledger = Ledger("s")
    for text in "abcd":
        ledger.add({"text": text})
    ledger.on_spoken("s", 1)
    again = ledger.on_ready({}, "new")
    assert [(message["stream"], message["seq"], message["text"]) for message in again] == [("new", 0, "c"), ("new", 1, "d")]
    assert ledger.add({"text": "e"})["seq"] == 2


def test_what_is_cancelled_before_any_node_could_know_it_leaves_no_number():
    ledger = Ledger("s")
    ledger.add({"text": "a", "utterance": "1"})
    for text, utterance in (("b", "1"), ("c", "2"), ("d", "1")):
        ledger.add({"text": text, "utterance": utterance}, is_given=False)
    ledger.cancel("1")
    assert (len(ledger), ledger.waiting) == (2, 1)
    again = ledger.on_ready({"s": {"held": -1, "spoken": -1}}, "new")
    assert again[0] == {"type": "cancel", "utterance": "1"}
    assert [(message["seq"], message["text"]) for message in again[1:]] == [(0, ""), (1, "c")]
    ledger.cancel(None)
    ledger.add({"text": "e", "utterance": "3"})
    assert [message["text"] for message in ledger.on_missing("s", 0, 2)] == ["", "", "e"]
    assert texts(ledger.on_ready({}, "new")) == ["e"]
    assert (ledger.waiting, ledger.cancels()) == (1, [])


def test_an_utterance_that_lives_again_is_not_cancelled_once_more():
    ledger = Ledger("s")
    ledger.add({"text": "a", "utterance": "1"})
    ledger.cancel("1")
    assert ledger.cancels() == [{"type": "cancel", "utterance": "1"}]
    ledger.add({"text": "b", "utterance": "1"})
    assert ledger.cancels() == []
    ledger.on_spoken("s", 0)
    assert ledger.waiting == 1


@examples(60)
@given(st.integers(0, 2**32), st.integers(1, 20))
def test_no_number_is_missing_and_nothing_cancelled_is_heard_by_a_new_node(seed: int, count: int):
    chance = random.Random(seed)
    names = (f"stream-{n}" for n in itertools.count())
    ledger, node = Ledger(next(names)), FakeNode()
    cancelled: set[str] = set()
    for number in range(count):
        is_given = chance.random() < 0.6
        message = ledger.add({"text": str(number), "utterance": str(number // 2)}, is_given=is_given)
        if is_given and chance.random() < 0.7:
            node.take(message)
        if chance.random() < 0.3:
            name = str(chance.randrange(number // 2 + 1))
            cancelled |= {str(part) for part in (2 * int(name), 2 * int(name) + 1) if part <= number}
            ledger.cancel(name)
        if chance.random() < 0.2:
            for again in ledger.on_ready(node.last, next(names)):
                if again.get("type") != "cancel":
                    node.take(again)
    assert [message["seq"] for message in ledger.on_missing(ledger.stream, 0, count)] == list(range(len(ledger)))
    assert ledger.waiting == count - len(cancelled)
    node = FakeNode()
    for message in ledger.on_ready({}, "last"):
        node.take(message)
    while node.speak():
        pass
    assert set(node.heard) == {str(number) for number in range(count)} - cancelled


def test_long_text_is_parted_and_nothing_is_one_part():
    text = "word " * 2_500
    assert "".join(_parts(text)) == text
    assert max(map(len, _parts(text))) <= TEXT_CHARACTERS
    assert _parts("") == [""]


class FakeNode:
    """Holds what comes, speaks it in order, skips what never comes, forgets everything when it is killed."""

    def __init__(self) -> None:
        self.streams: dict[str, dict[int, str]] = {}
        self.spoken: dict[str, int] = {}
        self.heard: list[str] = []

    def take(self, message: dict[str, object]) -> None:
        self.streams.setdefault(str(message["stream"]), {}).setdefault(int(str(message["seq"])), str(message["text"]))

    def speak(self, *, skips: bool = False) -> tuple[str, int] | None:
        for stream, held in self.streams.items():
            after = self.spoken.get(stream, -1)
            waiting = [seq for seq in held if seq > after]
            if waiting and (skips or min(waiting) == after + 1):
                self.heard.append(held[min(waiting)])
                self.spoken[stream] = min(waiting)
                return stream, min(waiting)
        return None

    @property
    def last(self) -> dict[str, dict[str, int]]:
        return {name: {"held": self._held(name), "spoken": self.spoken.get(name, -1)} for name in self.streams}

    def _held(self, stream: str) -> int:
        first = self.spoken.get(stream, -1) + 1
        return next(seq for seq in itertools.count(first) if seq not in self.streams[stream]) - 1


@examples(60)
@given(st.integers(0, 2**32), st.integers(1, 20))
def test_every_text_is_heard_in_order_whatever_is_lost(seed: int, count: int):
    chance = random.Random(seed)
    names = (f"stream-{n}" for n in itertools.count())
    ledger, node = Ledger(next(names)), FakeNode()
    heard: list[str] = []

    def send(messages: list[dict[str, object]], loss: float) -> None:
        for message in messages:
            if chance.random() >= loss:
                node.take(message)

    for number in range(count):
        send([ledger.add({"text": str(number)})], 0.3)
        if chance.random() < 0.5 and (spoken := node.speak()) and chance.random() < 0.7:
            ledger.on_spoken(*spoken)
        if chance.random() < 0.15:
            heard += node.heard
            node = FakeNode()
        if chance.random() < 0.3:
            send(ledger.on_ready(node.last, next(names)), 0.3)
    for _ in range(3):
        send(ledger.on_ready(node.last, next(names)), 0.0)
        while spoken := node.speak(skips=True):
            ledger.on_spoken(*spoken)
    heard += node.heard
    assert len(ledger) == 0
    assert set(heard) == {str(number) for number in range(count)}
    firsts = list(dict.fromkeys(heard))
    assert firsts == sorted(firsts, key=int)


class FakeRoom:
    """Keeps what is sent; nobody answers by itself."""

    name = "lobby"

    def __init__(self, **roles: str) -> None:
        self.remote_participants = {name: SimpleNamespace(attributes={"voicebooth.role": role}) for name, role in roles.items()}
        self.local_participant = self
        self.permissions = ParticipantPermission()
        self.sent: list[dict[str, Any]] = []
        self.is_away = False
        self._handlers: list[tuple[str, Callable[[], None]]] = []

    def on(self, event: str, handler: Callable[[], None]) -> None:
        self._handlers.append((event, handler))

    def off(self, event: str, handler: Callable[[], None]) -> None:
        self._handlers = [known for known in self._handlers if known != (event, handler)]

    def register_text_stream_handler(self, *_: Any) -> None: ...

    unregister_text_stream_handler = register_text_stream_handler

    def emit(self, event: str) -> None:
        for name, handler in tuple(self._handlers):
            if name == event:
                handler()

    async def set_attributes(self, attributes: dict[str, str]) -> None: ...

    async def publish_data(self, payload: bytes, **_: Any) -> None:
        if self.is_away:
            raise PublishDataError("closed")
        self.sent.append(json.loads(payload))

    def answer(self, up: Upstream, sender: str, *, type: str = "ready", **event: Any) -> None:
        packet: Any = SimpleNamespace(
            topic=EVENTS_TOPIC, participant=SimpleNamespace(identity=sender), data=json.dumps({"type": type, **event}).encode()
        )
        up._on_packet(packet)

    async def messages(self) -> list[dict[str, Any]]:
        """What was sent besides questions, since the last look."""
        for _ in range(10):
            await asyncio.sleep(0)
        found = [message for message in self.sent if message["type"] != "hello"]
        self.sent.clear()
        return found


def joined(**roles: str) -> Any:
    return FakeRoom(**roles)


async def test_a_new_node_is_told_what_was_configured_before_the_texts():
    room = joined(first="booth", second="booth")
    async with Upstream(room) as up:
        room.answer(up, "first", last={})
        await up.configure(language="fr", speed=1.2)
        await up.configure(language="de", speed=None)
        await up.say("Guten Tag.")
        assert [message["type"] for message in await room.messages()] == ["config", "config", "text"]
        room.answer(up, "first", last={up._ledger.stream: {"held": 0, "spoken": -1}})
        assert await room.messages() == []
        up._ask()
        room.answer(up, "second", last={})
        config, text = await room.messages()
        assert config == {"type": "config", "language": "de", "speed": 1.2}
        assert (text["text"], text["seq"]) == ("Guten Tag.", 0)


async def test_what_follows_a_revision_belongs_to_it_and_an_end_is_said_once():
    room = joined(node="booth")
    async with Upstream(room) as up:
        room.answer(up, "node", last={})
        async with up.utterance(speed=1.2) as words:
            await words.write("One")
            await words.revise("Two", revision=3)
            await words.write(" three.")
        found = [(message.get("revision"), message["text"], message["final"]) for message in await room.messages()]
        assert found == [(None, "One", False), (3, "Two", False), (3, " three.", False), (3, "", True)]
        async with up.utterance() as words:
            await words.revise("Four.", revision=1, final=True)
        assert [(message["text"], message["final"]) for message in await room.messages()] == [("Four.", True)]


@pytest.mark.parametrize("change", ["reconnecting", "disconnected"])
async def test_nobody_waits_for_a_connection_that_is_lost_and_what_was_said_is_sent_on_the_next_one(
    change: str, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("agent.upstream.SEND_PAUSE", 0.0)
    room, next_room = joined(node="booth"), joined(node="booth")
    async with Upstream(room) as up:
        room.answer(up, "node", last={})
        room.is_away = True
        saying = asyncio.create_task(up.say("One."))
        assert await room.messages() == [] and not saying.done()
        room.emit(change)
        async with asyncio.timeout(1):
            await saying
            await up.say("Two.")
        await up.attach(next_room)
        next_room.answer(up, "node", last={up._ledger.stream: {"held": -1, "spoken": -1}})
        assert [message["text"] for message in await next_room.messages()] == ["One.", "Two."]
        room.emit(change)
        assert up.ready.is_set(), "the old connection is nobody's any more"


async def test_who_may_not_publish_data_is_told_so_until_the_server_allows_it():
    room = joined(node="booth")
    async with Upstream(room) as up:
        room.permissions.can_publish_data = False
        for asked in (up.say("One."), up.wait_ready(), up.flush()):
            with pytest.raises(NotAllowed, match=r"room 'lobby'.*canPublishData"):
                await asked
        assert up.waiting == 0
        room.permissions.can_publish_data = True
        room.answer(up, "node", last={})
        await up.say("Two.")
        assert [(message["text"], message["seq"]) for message in await room.messages()] == [("Two.", 0)]


async def test_what_is_cancelled_where_there_is_no_node_is_never_said():
    room = joined(node="booth")
    async with Upstream(room) as up:
        first = await up.say("One.")
        await up.say("Two.")
        await up.cancel(first)
        room.answer(up, "node", last={})
        assert [message["text"] for message in await room.messages()] == ["Two."]
        up._ask()
        await up.cancel()
        await up.drain(0.1)
        await up.say("Three.")
        room.answer(up, "node", last={up._ledger.stream: {"held": 0, "spoken": -1}})
        sent = await room.messages()
        assert [(message["type"], message.get("text"), message.get("seq")) for message in sent] == [
            ("cancel", None, None),
            ("cancel", None, None),
            ("text", "Three.", 1),
        ]


async def test_a_node_that_died_after_a_cancel_leaves_nothing_to_the_next_one():
    room = joined(node="booth", next="booth")
    async with Upstream(room) as up:
        room.answer(up, "node", last={})
        await up.say("One.")
        await up.cancel()
        assert [message["type"] for message in await room.messages()] == ["text", "cancel"]
        up._ask()
        room.answer(up, "next", last={})
        assert await room.messages() == []
        await up.drain(0.1)


async def test_a_text_that_is_to_be_sent_again_and_is_cancelled_meanwhile_is_empty():
    room = joined(node="booth")
    async with Upstream(room) as up:
        room.answer(up, "node", last={})
        await up.say("One.")
        again = up._ledger.on_missing(up._ledger.stream, 0, 0)
        await up.cancel()
        await room.messages()
        await up._transmit(again)
        assert [message["text"] for message in await room.messages()] == [""]


async def test_an_error_in_a_block_is_the_one_that_is_raised_and_nothing_more_is_said():
    room = joined(node="booth")
    async with Upstream(room) as up:
        with pytest.raises(LookupError):
            async with up.utterance() as words:
                await words.write("One")
                raise LookupError
        async with up.utterance() as words:
            await words.write("Two")
            await up.cancel()
            await words.write("three")
        assert up.waiting == 0
        room.answer(up, "node", last={})
        assert [message["type"] for message in await room.messages()] == ["cancel"]


async def test_whoever_waits_to_write_what_is_cancelled_is_let_go():
    room = joined(node="booth")
    async with Upstream(room, keep=1) as up:
        room.answer(up, "node", last={})
        async with up.utterance() as words:
            await words.write("One")
            waiting = asyncio.create_task(words.write("two"))
            await asyncio.sleep(0)
            await up.cancel(words.id)
            await waiting
        assert [message["type"] for message in await room.messages()] == ["text", "cancel"]


async def test_only_a_booth_is_believed_that_it_is_one():
    room = joined(guest="", other="upstream", node="booth")
    async with Upstream(room) as up:
        for sender in ("guest", "other"):
            room.answer(up, sender, last={})
            assert not up.ready.is_set()
        room.answer(up, "node", last={})
        assert up.ready.is_set() and up.booth == "node"


async def test_only_the_booths_events_are_told():
    room, seen = joined(guest="", node="booth"), []
    async with Upstream(room, on_event=lambda event: seen.append(event["code"])) as up:
        room.answer(up, "guest", type="error", code="forbidden")
        room.answer(up, "node", type="error", code="draining")
        up.booth = "node"
        room.answer(up, "guest", type="error", code="internal")
    assert seen == ["draining"]


async def test_whoever_lost_events_asks_what_was_spoken():
    room = joined(node="booth")
    async with Upstream(room) as up:
        room.answer(up, "node", last={})
        await up.say("One.")
        await room.messages()
        room.answer(up, "node", type="error", code="overloaded", message="", retryable=True)
        for _ in range(10):
            await asyncio.sleep(0)
        assert [message["type"] for message in room.sent] == ["hello"]
        room.answer(up, "node", last={up._ledger.stream: {"held": 0, "spoken": 0}})
        assert up.waiting == 0


async def test_a_node_that_has_gone_silent_over_a_text_is_asked_and_sent_what_it_never_got(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("agent.upstream.QUIET", 0.01)
    monkeypatch.setattr("agent.upstream.HELLO_EVERY", 0.01)
    room = joined(node="booth")
    async with Upstream(room) as up:
        room.answer(up, "node", last={})
        await asyncio.sleep(0.05)
        room.sent.clear()
        await asyncio.sleep(0.05)
        assert room.sent == [], "nothing is waiting"
        await up.say("One.")
        await room.messages()
        while not room.sent:  # noqa: ASYNC110 - a test may look
            await asyncio.sleep(0.005)
        assert {message["type"] for message in room.sent} == {"hello"}
        room.answer(up, "node", last={up._ledger.stream: {"held": -1, "spoken": -1}})
        assert [(message["text"], message["seq"]) for message in await room.messages()] == [("One.", 0)]
        room.answer(up, "node", type="spoken", stream=up._ledger.stream, seq=0)
        await up.drain(1.0)


async def test_whoever_is_named_or_not_yet_announced_is_believed():
    for room, up in ((room, Upstream(room, booth=booth)) for room, booth in ((joined(guest=""), "guest"), (joined(), ""))):
        async with up:
            room.answer(up, "guest", last={})
            assert up.ready.is_set()
