from __future__ import annotations

from typing import Any

from livekit import rtc

from agent.outbound import PACKET_BYTES, Addressed, Captions, send_event
from pipeline.events import Ack, Dropped
from pipeline.stage import Caption, TrackKey

TRACK = TrackKey("booth", "fr")


class FakeWriter:
    def __init__(self, log: list[Any], attributes: dict[str, str]) -> None:
        self.log = log
        log.append(("open", attributes))

    async def write(self, text: str) -> None:
        self.log.append(("write", text))

    async def aclose(self, *, reason: str = "", attributes: dict[str, str] | None = None) -> None:
        self.log.append(("close", reason, attributes))


class FakeRoom:
    """Takes what is sent, or breaks."""

    def __init__(self, *, broken: bool = False) -> None:
        self.log: list[Any] = []
        self.local_participant = self
        self._broken = broken

    async def publish_data(self, payload: bytes, *, topic: str, destination_identities: list[str]) -> None:
        if self._broken:
            raise rtc.participant.PublishDataError("the connection has gone")
        self.log.append(("packet", topic, destination_identities, len(payload)))

    async def send_text(self, text: str, *, topic: str, destination_identities: list[str]) -> None:
        self.log.append(("stream", topic, destination_identities, len(text.encode())))

    async def stream_text(self, *, topic: str, attributes: dict[str, str]) -> FakeWriter:
        if self._broken:
            raise rtc.StreamError("the connection has gone")
        return FakeWriter(self.log, attributes)


async def test_an_event_goes_to_its_sender_or_to_everybody_and_never_to_the_server():
    room: Any = FakeRoom()
    assert await send_event(room, Addressed("ada", Ack("s", 1)))
    assert await send_event(room, Addressed(None, Ack("s", 1)))
    assert await send_event(room, Addressed("server", Ack("s", 1)))
    assert [entry[2] for entry in room.log] == [["ada"], []]


async def test_a_large_event_goes_as_a_stream():
    room: Any = FakeRoom()
    await send_event(room, Addressed("ada", Dropped("u", "é" * 5_000, "cancelled")))
    assert room.log[0][0] == "packet"
    await send_event(room, Addressed("ada", Dropped("u", "語" * 5_000, "cancelled")))
    assert room.log[1][0] == "stream" and room.log[1][3] > PACKET_BYTES


async def test_an_event_that_cannot_be_sent_is_no_error():
    room: Any = FakeRoom(broken=True)
    assert not await send_event(room, Addressed("ada", Ack("s", 1)))


async def test_words_of_a_sentence_are_one_stream_that_names_its_track():
    room: Any = FakeRoom()
    captions = Captions(room)
    await captions.write(Caption(TRACK, "s1", "Bonjour", False), "TR_1")
    await captions.write(Caption(TRACK, "s1", " à tous.", False), "TR_1")
    await captions.write(Caption(TRACK, "s1", "", True), "TR_1")
    (_, attributes), *rest = room.log
    assert attributes == {
        "lk.segment_id": "s1",
        "lk.transcription_final": "false",
        "lk.transcribed_track_id": "TR_1",
        "language": "fr",
    }
    assert rest == [("write", "Bonjour"), ("write", " à tous."), ("close", "", {"lk.transcription_final": "true"})]


async def test_a_sentence_without_words_has_no_stream():
    room: Any = FakeRoom()
    await Captions(room).write(Caption(TRACK, "s1", "", True), "TR_1")
    assert room.log == []


async def test_a_new_sentence_ends_one_that_was_left_open():
    room: Any = FakeRoom()
    captions = Captions(room)
    await captions.write(Caption(TRACK, "s1", "Un", False), "TR_1")
    await captions.write(Caption(TRACK, "s2", "Deux", False), "TR_1")
    assert [entry[0] for entry in room.log] == ["open", "write", "close", "open", "write"]


async def test_after_a_lost_connection_the_sentence_is_captioned_anew():
    room: Any = FakeRoom()
    captions = Captions(room)
    await captions.write(Caption(TRACK, "s1", "Un", False), "TR_1")
    await captions.forget()
    await captions.write(Caption(TRACK, "s1", "Un", False), "TR_2")
    assert room.log[2] == ("close", "interrupted", None)
    assert room.log[3][1]["lk.transcribed_track_id"] == "TR_2"


async def test_a_broken_connection_costs_the_caption_and_nothing_else():
    room: Any = FakeRoom(broken=True)
    await Captions(room).write(Caption(TRACK, "s1", "Un", True), "TR_1")
