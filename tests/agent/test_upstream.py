from __future__ import annotations

import asyncio
import itertools
import json
import random
from types import SimpleNamespace
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from agent.upstream import EVENTS_TOPIC, TEXT_CHARACTERS, Ledger, Upstream, _parts


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


@settings(max_examples=60, deadline=None)
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
        self.sent: list[dict[str, Any]] = []

    def on(self, *_: Any) -> None: ...

    off = register_text_stream_handler = unregister_text_stream_handler = on

    async def set_attributes(self, attributes: dict[str, str]) -> None: ...

    async def publish_data(self, payload: bytes, **_: Any) -> None:
        self.sent.append(json.loads(payload))

    def answer(self, up: Upstream, sender: str, **event: Any) -> None:
        packet: Any = SimpleNamespace(
            topic=EVENTS_TOPIC, participant=SimpleNamespace(identity=sender), data=json.dumps({"type": "ready", **event}).encode()
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


async def test_only_a_booth_is_believed_that_it_is_one():
    room = joined(guest="", other="upstream", node="booth")
    async with Upstream(room) as up:
        for sender in ("guest", "other"):
            room.answer(up, sender, last={})
            assert not up.ready.is_set()
        room.answer(up, "node", last={})
        assert up.ready.is_set() and up.booth == "node"


async def test_whoever_is_named_or_not_yet_announced_is_believed():
    for room, up in ((room, Upstream(room, booth=booth)) for room, booth in ((joined(guest=""), "guest"), (joined(), ""))):
        async with up:
            room.answer(up, "guest", last={})
            assert up.ready.is_set()
