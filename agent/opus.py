"""Sound as Opus packets on an RTP clock: a pump pushes samples in, aiortc takes packets out."""

from __future__ import annotations

import asyncio
from fractions import Fraction
from typing import TYPE_CHECKING, TypeAlias, cast

from aiortc import MediaStreamTrack
from aiortc.mediastreams import MediaStreamError
from av import AudioFrame, CodecContext, Packet
from av.audio.codeccontext import AudioCodecContext

from agent.pump import BEAT
from engines.base import Samples

if TYPE_CHECKING:
    from av.audio.stream import AudioStream

CLOCK = 48_000  # hertz of RTP's time for Opus, whatever rate was encoded (RFC 7587, section 4.1)
BITS = 48_000  # bits a second: a voice of 12 kHz bandwidth without audible loss
LOST = 5  # percent of packets that the encoder expects to be lost, and lets the next one repeat in short
WAITING = 8  # packets that nobody has taken: more means a loop that is late by 160 ms, and old sound is worth less than new

AudioPacket: TypeAlias = "Packet[AudioStream]"


class OpusTrack(MediaStreamTrack):
    """One listener's track, and the sink that a feed plays into. On one loop.

    Packets are encoded here and not by aiortc: its way through the executor and a resampler costs a thread for each track and
    up to 20 ms. While the sink is muted nothing is sent, and time goes on for the listener all the same.
    """

    kind = "audio"

    def __init__(self, sample_rate: int) -> None:
        """``sample_rate``: one that Opus takes: 8, 12, 16, 24 or 48 kHz."""
        super().__init__()
        self._clock = asyncio.get_running_loop().time
        self._sample_rate = sample_rate
        self._encoder = _encoder(sample_rate)
        self._packets: asyncio.Queue[AudioPacket] = asyncio.Queue(WAITING)
        self._stamp = 0
        self._muted_at: float | None = self._clock()
        self.lost = 0
        """Packets that nobody took in time."""

    async def recv(self) -> AudioPacket:
        """For aiortc: the next packet, as soon as there is one."""
        if self.readyState != "live":
            raise MediaStreamError
        return await self._packets.get()

    # For the pump

    def push(self, samples: Samples) -> None:
        frame = AudioFrame.from_ndarray(samples.reshape(1, -1), format="s16", layout="mono")
        frame.sample_rate = self._sample_rate
        frame.pts = None
        for encoded in self._encoder.encode(frame):
            packet = cast(AudioPacket, Packet(bytes(encoded)))
            packet.pts, packet.time_base = self._stamp, Fraction(1, CLOCK)
            self._stamp += round(BEAT * CLOCK)
            if self._packets.full():
                self._packets.get_nowait()
                self.lost += 1
            self._packets.put_nowait(packet)

    def mute(self) -> None:
        self._muted_at = self._clock()

    def unmute(self) -> None:
        if self._muted_at is not None:
            beats = max(0, round((self._clock() - self._muted_at) / BEAT))
            self._stamp += beats * round(BEAT * CLOCK)
            self._muted_at = None


def _encoder(sample_rate: int) -> AudioCodecContext:
    encoder = CodecContext.create("libopus", "w")
    assert isinstance(encoder, AudioCodecContext)
    encoder.sample_rate, encoder.time_base = sample_rate, Fraction(1, sample_rate)
    encoder.layout, encoder.format, encoder.bit_rate = "mono", "s16", BITS
    encoder.options = {"application": "voip", "frame_duration": f"{BEAT * 1000:g}", "fec": "1", "packet_loss": f"{LOST}"}
    return encoder
