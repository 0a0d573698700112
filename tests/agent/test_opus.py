from __future__ import annotations

import asyncio
from fractions import Fraction

import av
import numpy as np
import pytest
from aiortc.mediastreams import MediaStreamError

from agent.opus import WAITING, OpusTrack
from engines.base import Samples

RATE, BEAT = 24_000, 480


def tone(pitch: float, beats: int) -> list[Samples]:
    time = np.arange(BEAT * beats) / RATE
    samples = (np.sin(2 * np.pi * pitch * time) * 8000).astype(np.int16)
    return np.split(samples, beats)


async def test_samples_come_out_as_packets_that_decode_to_them() -> None:
    track = OpusTrack(RATE)
    track.unmute()
    decoder = av.CodecContext.create("libopus", "r")
    decoder.layout = "mono"
    heard = []
    for number, beat in enumerate(tone(440.0, 20)):
        track.push(beat)
        packet = await track.recv()
        assert (packet.pts, packet.time_base) == (number * 960, Fraction(1, 48_000))
        heard += [frame.to_ndarray() for frame in decoder.decode(packet)]
    sound = np.concatenate(heard, axis=1)[0].astype(float)
    assert 19 * 960 < len(sound) <= 20 * 960
    sound = sound[len(sound) // 2 :]
    spectrum = np.abs(np.fft.rfft(sound * np.hanning(len(sound))))
    assert spectrum.argmax() * 48_000 / len(sound) == pytest.approx(440, abs=6)


async def test_time_goes_on_for_the_listener_while_nothing_is_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    track = OpusTrack(RATE)
    now = [100.0]
    monkeypatch.setattr(track, "_clock", lambda: now[0])
    track.unmute()
    track.push(tone(440.0, 1)[0])
    first = (await track.recv()).pts
    track.mute()
    now[0] += 3.007
    track.unmute()
    track.push(tone(440.0, 1)[0])
    assert (await track.recv()).pts - first == 960 + 150 * 960


async def test_what_nobody_takes_is_bounded_and_counted() -> None:
    track = OpusTrack(RATE)
    track.unmute()
    for beat in tone(440.0, WAITING + 3):
        track.push(beat)
    assert track.lost == 3
    assert (await track.recv()).pts == 3 * 960


async def test_a_reader_waits_until_there_is_sound_and_can_be_cancelled() -> None:
    track = OpusTrack(RATE)
    reading = asyncio.ensure_future(track.recv())
    await asyncio.sleep(0)
    reading.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reading
    track.push(tone(440.0, 1)[0])
    assert (await track.recv()).size


async def test_a_track_that_has_ended_gives_nothing() -> None:
    track = OpusTrack(RATE)
    track.stop()
    with pytest.raises(MediaStreamError):
        await track.recv()
