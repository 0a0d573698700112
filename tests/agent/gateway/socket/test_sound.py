import av
import numpy as np
import pytest

from agent.gateway.socket.sound import Encoder

EVERY = np.arange(-32768, 32768, dtype=np.int16)


def decoded(data, codec):
    """By FFmpeg's decoder."""
    context = av.CodecContext.create(codec, "r")
    context.sample_rate, context.layout = 8000, "mono"
    return np.concatenate([frame.to_ndarray().reshape(-1) for frame in context.decode(av.Packet(data))])


@pytest.mark.parametrize(("encoding", "codec", "silence"), [("mulaw", "pcm_mulaw", 132), ("alaw", "pcm_alaw", 16)])
def test_the_telephone_s_laws_are_those_that_everybody_decodes(encoding, codec, silence):
    back = decoded(Encoder(8000, 8000, encoding).feed(EVERY), codec).astype(np.int32)
    wrong = np.abs(back - EVERY)
    assert (wrong <= np.maximum(silence, np.abs(EVERY.astype(np.int32)) / 16)).all()  # half a step of a segment, 1/32 to 1/16


def test_silence_is_the_byte_that_telephones_send():
    zero = np.zeros(4, dtype=np.int16)
    assert Encoder(8000, 8000, "mulaw").feed(zero) == b"\xff" * 4
    assert Encoder(8000, 8000, "alaw").feed(zero) == b"\xd5" * 4


def test_at_its_own_rate_sound_is_sent_as_it_is():
    encoder = Encoder(24000, 24000)
    assert encoder.feed(EVERY) == EVERY.astype("<i2").tobytes()
    assert encoder.flush() == b""
    assert encoder.seconds(48_000) == 1.0


@pytest.mark.parametrize("rate", [8_000, 16_000, 22_050, 44_100, 48_000])
def test_another_rate_loses_nothing_of_a_stretch_cut_anywhere(rate):
    encoder = Encoder(24_000, rate)
    tone = (8000 * np.sin(np.arange(24_000) * 2 * np.pi * 440 / 24_000)).astype(np.int16)
    pieces = np.split(tone, [1, 700, 5000, 20_000])
    for _ in range(2):  # the second stretch begins anew
        made = np.frombuffer(b"".join([*map(encoder.feed, pieces), encoder.flush()]), dtype="<i2")
        assert len(made) == pytest.approx(rate, abs=2)
        spectrum = np.abs(np.fft.rfft(made.astype(float)))
        assert np.argmax(spectrum) * rate / len(made) == pytest.approx(440, abs=2)


def test_what_was_dropped_is_not_heard_in_the_next_stretch():
    encoder = Encoder(24_000, 8_000)
    encoder.feed(np.full(2_000, 20_000, dtype=np.int16))
    encoder.drop()
    rest = np.frombuffer(encoder.feed(np.zeros(4_000, dtype=np.int16)) + encoder.flush(), dtype="<i2")
    assert np.abs(rest).max() <= 1  # the resampler's dither
