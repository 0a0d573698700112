"""What the node sends into a LiveKit room besides sound: events to the senders of text, captions to everybody."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from dataclasses import dataclass

from livekit import rtc
from livekit.rtc.participant import PublishDataError

from agent.inbound import SERVER, TRANSCRIPTION_TOPIC
from pipeline.events import Event
from pipeline.protocol import encode
from pipeline.stage import Caption, TrackKey

EVENTS_TOPIC = "voicebooth.events"
PACKET_BYTES = 12 * 1024  # a reliable packet holds 15 KiB, headers and encryption included
WAIT = 5.0  # seconds for one answer of the library: it takes milliseconds, and for ever when the connection has gone

log = logging.getLogger(__name__)

Problem = (PublishDataError, rtc.StreamError, TimeoutError, RuntimeError)
"""What sending ends with while a connection goes away: the library's own errors, and RuntimeError from a closed stream."""


@dataclass(frozen=True, slots=True)
class Addressed:
    """An event for one sender, or for everybody when ``sender`` is None."""

    sender: str | None
    event: Event


async def send_event(room: rtc.Room, letter: Addressed) -> bool:
    """False when it could not be sent: the connection is going away. Returns within :data:`WAIT`."""
    if letter.sender == SERVER:
        return True  # the server's API takes no answers
    to = [letter.sender] if letter.sender is not None else []
    payload = encode(letter.event)
    try:
        async with asyncio.timeout(WAIT):
            if len(payload) > PACKET_BYTES:
                await room.local_participant.send_text(payload.decode(), topic=EVENTS_TOPIC, destination_identities=to)
            else:
                await room.local_participant.publish_data(payload, topic=EVENTS_TOPIC, destination_identities=to)
    except Problem as error:
        log.debug("event %s for %s was not sent: %s", letter.event.type, letter.sender, error)
        return False
    return True


class Captions:
    """The captions of one connection: a text stream a sentence, whose words are written as they begin to sound."""

    def __init__(self, room: rtc.Room) -> None:
        self._room = room
        self._open: dict[TrackKey, tuple[str, rtc.TextStreamWriter]] = {}

    async def write(self, caption: Caption, track_sid: str) -> None:
        """Returns when it is on its way, or could not be sent. Cancelling it leaves a stream that ends with the connection."""
        try:
            async with asyncio.timeout(WAIT):
                await self._write(caption, track_sid)
        except Problem as error:
            self._open.pop(caption.track, None)
            log.debug("a caption of track %s was not sent: %s", caption.track.name, error)

    async def forget(self) -> None:
        """The connection was away: sentences that were open will be captioned again from their start."""
        writers = [writer for _, writer in self._open.values()]
        self._open.clear()
        for writer in writers:
            with contextlib.suppress(*Problem):
                async with asyncio.timeout(WAIT):
                    await writer.aclose(reason="interrupted")

    async def _write(self, caption: Caption, track_sid: str) -> None:
        sentence, writer = self._open.get(caption.track, ("", None))
        if writer is not None and sentence != caption.sentence:
            await self._close(caption.track, writer)
            writer = None
        if writer is None and caption.text:
            attributes = {
                "lk.segment_id": caption.sentence,
                "lk.transcription_final": "false",
                "lk.transcribed_track_id": track_sid,
                "language": caption.track.language,
            }
            writer = await self._room.local_participant.stream_text(topic=TRANSCRIPTION_TOPIC, attributes=attributes)
            self._open[caption.track] = (caption.sentence, writer)
        if writer is not None and caption.text:
            await writer.write(caption.text)
        if writer is not None and caption.final:
            await self._close(caption.track, writer)

    async def _close(self, track: TrackKey, writer: rtc.TextStreamWriter) -> None:
        self._open.pop(track, None)
        await writer.aclose(attributes={"lk.transcription_final": "true"})
