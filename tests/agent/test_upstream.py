from __future__ import annotations

import itertools
import random

from hypothesis import given, settings
from hypothesis import strategies as st

from agent.upstream import TEXT_CHARACTERS, Ledger, _parts


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
