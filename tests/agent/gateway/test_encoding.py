import numpy as np
import pytest

from agent.gateway.encoding import FORMATS, OPEN_LENGTH, RATES, open_encoder, possible_rate, wave_header
from tests.agent.gateway.conftest import decoded

SECONDS = 1.0
TONE = (np.sin(2 * np.pi * 330 * np.arange(24_000) / 24_000) * 8_000).astype(np.int16)


def encode(format, rate, *, is_open, piece=2_400):
    encoder = open_encoder(format, 24_000, rate, is_open=is_open)
    parts = [encoder.feed(TONE[start : start + piece]) for start in range(0, len(TONE), piece)]
    return encoder, [*parts, encoder.finish()]


@pytest.mark.long
@pytest.mark.parametrize("format", FORMATS)
def test_every_rate_of_every_format_is_the_same_tone(format):
    for rate in RATES:
        for is_open in (True, False):
            encoder, parts = encode(format, rate, is_open=is_open)
            data = b"".join(parts)
            assert encoder.rate == possible_rate(format, rate) >= rate
            found, samples = (rate, np.frombuffer(data, dtype="<i2")) if format == "pcm" else decoded(data)
            assert found in (encoder.rate, 48_000)
            assert len(samples) / found == pytest.approx(SECONDS, abs=0.3 if rate < 16_000 else 0.15)
            middle = samples[len(samples) // 4 : -len(samples) // 4].astype(np.float64)
            spectrum = np.abs(np.fft.rfft(middle * np.hanning(len(middle))))
            assert np.argmax(spectrum) * found / len(middle) == pytest.approx(330, abs=5)


@pytest.mark.parametrize("format", FORMATS)
def test_a_stream_gives_bytes_while_it_is_made(format):
    _, parts = encode(format, 24_000, is_open=True)
    assert parts[0]
    assert sum(map(len, parts[:5])) > 0.3 * sum(map(len, parts))


def test_a_stream_s_header_has_no_length_and_a_file_s_has():
    assert wave_header(24_000)[4:8] == wave_header(24_000)[40:44] == OPEN_LENGTH.to_bytes(4, "little")
    _, parts = encode("wav", 24_000, is_open=False)
    data = b"".join(parts)
    assert data[:44] == wave_header(24_000, len(data) - 44)
    assert np.array_equal(np.frombuffer(data[44:], dtype="<i2"), TONE)


@pytest.mark.parametrize("format", FORMATS)
def test_nothing_at_all_is_a_file_too(format):
    encoder = open_encoder(format, 24_000, 24_000, is_open=True)
    assert isinstance(encoder.finish(), bytes)
