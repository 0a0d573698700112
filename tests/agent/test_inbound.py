import asyncio
import json
from types import SimpleNamespace
from typing import Any

import pytest

from agent.inbound import (
    HELD,
    IDLE,
    OVERTAKE,
    SENDER_STREAMS,
    STREAMS,
    Aborted,
    Inbound,
    InboundSettings,
    Letter,
    Refused,
    Said,
    is_for_us,
    may_send,
)
from pipeline.events import Failure
from tests.virtual_time import Room
from tests.virtual_time import run as in_virtual_time

FINAL = {"lk.transcription_final": "true", "language": "fr"}


@pytest.mark.parametrize(
    ("identity", "attributes", "senders", "expected"),
    [
        ("anybody", {}, ("*",), True),
        ("anybody", {}, (), False),
        ("translator-fr", {}, ("translator-*",), True),
        ("Translator-fr", {}, ("translator-*",), False),
        ("anybody", {"voicebooth.role": "upstream"}, (), True),
        ("anybody", {"voicebooth.role": "booth"}, (), False),
        ("server", {}, ("server",), True),
    ],
)
def test_who_may_send(identity: str, attributes: dict[str, str], senders: tuple[str, ...], expected: bool):
    assert may_send(identity, attributes, senders) is expected


@pytest.mark.parametrize(
    ("attributes", "expected"),
    [
        (FINAL, True),
        ({**FINAL, "language": "fr-CA"}, True),
        ({**FINAL, "language": "FR"}, True),
        ({**FINAL, "translated": "true"}, True),
        ({**FINAL, "translated": "false"}, False),
        ({**FINAL, "language": "de"}, False),
        ({"lk.transcription_final": "true"}, False),
        ({**FINAL, "lk.transcription_final": "false"}, False),
        ({"language": "fr"}, False),
        ({}, False),
    ],
)
def test_which_transcriptions_are_spoken(attributes: dict[str, str], expected: bool):
    assert is_for_us(attributes, ("en", "fr")) is expected


class FakeRoom:
    def __init__(self) -> None:
        self.remote_participants: dict[str, Any] = {}

    def on(self, *_: Any) -> None: ...

    def register_text_stream_handler(self, *_: Any) -> None: ...


class FakeReader:
    def __init__(self, *chunks: str, after: float = 0.0, ends: bool = True, **attributes: str) -> None:
        """``after``: seconds before it ends, if it does."""
        self.chunks, self.after, self.ends = chunks, after, ends
        self.info = SimpleNamespace(attributes=attributes or {"utterance": "u"}, stream_id="1")
        self.is_closed = False

    async def __aiter__(self):
        for chunk in self.chunks:
            yield chunk
        await asyncio.sleep(self.after)
        if not self.ends:
            await asyncio.get_running_loop().create_future()

    def close(self) -> None:
        self.is_closed = True


class Desk:
    """An inbound with what it hands over, and what it answers."""

    def __init__(self) -> None:
        self.letters: list[Letter] = []
        self.told: list[tuple[str, Any]] = []
        room: Any = FakeRoom()
        self.inbound = Inbound(
            room, InboundSettings(), ("en",), post=self.post, tell=lambda sender, event: self.told.append((sender, event))
        )

    def post(self, letter: Letter, *, urgent: bool = False) -> bool:
        self.letters.append(letter)
        return True

    def stream(self, sender: str, *chunks: str, **options: Any) -> FakeReader:
        reader: Any = FakeReader(*chunks, **options)
        self.inbound._on_text_stream(reader, sender)
        return reader

    def packet(self, sender: str, **message: Any) -> None:
        packet: Any = SimpleNamespace(
            topic="voicebooth.text", participant=SimpleNamespace(identity=sender), data=json.dumps(message).encode()
        )
        self.inbound._on_packet(packet)

    def said(self) -> list[str]:
        return [letter.message.type for letter in self.letters if isinstance(letter, Said)]


@pytest.mark.parametrize(("taken", "is_told"), [(0, False), (1, True), (3, True), (4, False)])
async def test_a_stream_that_the_node_cannot_take_to_its_end_is_broken_off(taken: int, is_told: bool):
    """Three parts, and the end."""
    letters: list[Letter] = []
    told: list[Any] = []

    def post(letter: Letter, *, urgent: bool = False) -> bool:
        if urgent or len(letters) < taken:
            letters.append(letter)
            return True
        return False

    room: Any = FakeRoom()
    inbound = Inbound(room, InboundSettings(), ("en",), post=post, tell=lambda sender, event: told.append(event))
    reader: Any = FakeReader("One ", "two ", "three.")
    await inbound._deltas(reader, "ada")
    assert [letter for letter in letters if isinstance(letter, Aborted)] == ([Aborted("ada", "u")] if is_told else [])
    assert sum(isinstance(letter, Said) for letter in letters) == taken
    assert [event.code for event in told if isinstance(event, Failure)] == (["overloaded"] if taken < 4 else [])


def test_a_stream_in_which_nothing_comes_any_more_is_broken_off():
    async def run() -> Desk:
        desk = Desk()
        begun = desk.stream("ada", "One ", ends=False)
        silent = desk.stream("ada", ends=False, seq="0", stream="s")
        await asyncio.sleep(IDLE - 1)
        assert not begun.is_closed
        await asyncio.sleep(2)
        assert begun.is_closed and silent.is_closed
        assert not desk.inbound._reading and not desk.inbound._numbered_streams
        return desk

    assert [type(letter) for letter in in_virtual_time(run()).letters] == [Said, Aborted]


def test_one_sender_keeps_nobody_else_out_and_is_told_the_number_of_what_is_refused():
    async def run() -> Desk:
        desk = Desk()
        for _ in range(STREAMS):
            desk.stream("eve", ends=False)
        assert len(desk.told) == STREAMS - SENDER_STREAMS
        desk.told.clear()
        desk.stream("eve", ends=False, stream="s", seq="7")
        desk.stream("eve", ends=False, stream="s", seq="much")
        desk.stream("ada", "One.")
        await asyncio.sleep(1)
        for n in range(STREAMS):
            desk.stream(f"ada{n % 16}", ends=False)
        assert len(desk.inbound._reading) <= STREAMS
        await desk.inbound.aclose()
        return desk

    desk = in_virtual_time(run())
    assert [letter.sender for letter in desk.letters if isinstance(letter, Said)] == ["ada", "ada"]
    answers = [(sender, event.code, event.retryable, event.stream, event.seq) for sender, event in desk.told if sender == "eve"]
    assert answers == [("eve", "overloaded", True, "s", 7), ("eve", "overloaded", True, None, None)]
    assert any(sender != "eve" for sender, _ in desk.told)


def test_a_flood_behind_a_long_text_is_bounded_and_keeps_its_order():
    async def run() -> Desk:
        desk = Desk()
        desk.stream("eve", "Long.", after=1.0, stream="s", seq="0")
        await asyncio.sleep(0.1)
        for n in range(1000):
            desk.packet("eve", type="ping", t=n)
        assert len(desk.said()) == 1000
        for _ in range(1000):
            desk.packet("eve", type="cancel")
        desk.packet("ada", type="cancel")
        assert len(desk.inbound._work) == 1
        assert [sender for sender, _ in desk.told] == ["eve"] * (1000 - HELD)
        await asyncio.sleep(1)
        assert not desk.inbound._held
        return desk

    assert in_virtual_time(run()).said()[1000:] == ["cancel", "text", *["cancel"] * HELD]


def test_what_follows_a_cancel_does_not_overtake_it_and_no_stream_is_waited_for_without_end():
    async def run() -> Desk:
        desk = Desk()
        desk.stream("ada", ends=False, stream="s", seq="0")
        desk.packet("ada", type="cancel")
        desk.packet("ada", type="text", text="Next.")
        assert desk.said() == []
        await asyncio.sleep(OVERTAKE + 0.1)
        assert desk.said() == ["cancel", "text"]
        await desk.inbound.aclose()
        return desk

    in_virtual_time(run())


def test_whatever_is_wrong_is_answered_and_the_next_text_is_heard():
    async def run() -> list[tuple[str, int | None]]:
        async with Room() as room:
            desk = Desk()
            wrong: list[dict[str, Any]] = [
                {"text": "a\x00b"},
                {"text": "a\u0085\u009fb", "stream": "s", "seq": 0},
                {"text": "\x1b[31mred"},
                {"text": "Hello.", "speaker": "a\nb"},
                {"text": "Hello.", "voice": "nobody", "stream": "s", "seq": 1},
                {"text": "Hello.", "voice": "v" * 200},
                {"text": "Hello.", "stream": "s", "seq": 2**52},
                {"text": "Hello.", "stream": "s", "seq": 10**30},
                {"text": "Hello.", "stream": "s", "seq": -1},
                {"text": "Hello.", "stream": "s"},
                {"text": "a" * 1_000_000},
            ]
            for fields in wrong:
                desk.packet("eve", type="text", **fields)
            desk.stream("eve", "a\x00b", stream="t", seq="0")
            desk.stream("eve", "Hello.", voice="nobody")
            desk.stream("eve", "Hello.", stream="t", seq=str(2**52))
            desk.packet("ada", type="text", text="Good morning.")
            await asyncio.sleep(1)
            for letter in desk.letters:
                match letter:
                    case Said(sender, message):
                        room.stage.on_message(sender, message)
                    case Refused(sender, error):
                        room.stage.on_refused(sender, error)
            await room.quiet()
            assert room.heard() and not room.told(Failure, "ada") and not desk.told
            assert all(len(event.message) < 1000 for event in room.told(Failure, "eve"))
            return [(event.code, event.seq) for event in room.told(Failure, "eve")]

    answers = in_virtual_time(run())
    assert answers[:10] == [
        ("bad_text", None),
        ("bad_text", 0),
        ("bad_text", None),
        ("bad_field", None),
        ("unknown_voice", 1),
        ("bad_field", None),
        ("seq_too_far", 2**52),
        ("bad_field", None),
        ("bad_field", None),
        ("bad_field", None),
    ]
    assert answers[10] == ("too_large", None)
    assert {("bad_text", 0), ("unknown_voice", None), ("seq_too_far", 2**52)} <= set(answers[11:])
