"""The official client of OpenAI, unmodified, against a node."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from openai import BadRequestError, NotFoundError, OpenAI

from tests.agent.gateway.conftest import decoded
from tests.e2e.conftest import Alone, pitches, sounds_like

TEXT = "One two three. Four five six seven."


@pytest.fixture
def openai(shared: Alone) -> OpenAI:
    return OpenAI(base_url=shared.address + "/v1", api_key="none is needed on this machine", max_retries=0)


def test_it_streams_to_a_file_and_piece_by_piece(openai: OpenAI, tmp_path: Path) -> None:
    path = tmp_path / "speech.mp3"
    with openai.audio.speech.with_streaming_response.create(model="gpt-4o-mini-tts", voice="coral", input=TEXT) as answer:
        assert answer.headers["content-type"] == "audio/mpeg"
        answer.stream_to_file(path)
    rate, samples = decoded(path.read_bytes())
    assert sounds_like(pitches(samples, rate), TEXT)
    long = "One two three four five six. " * 30
    with openai.audio.speech.with_streaming_response.create(model="tts-1", voice="alloy", input=long, response_format="pcm") as answer:
        pieces = list(answer.iter_bytes(4_096))
    assert len(pieces) > 50
    assert sounds_like(pitches(np.frombuffer(b"".join(pieces), dtype="<i2"), 24_000), long)


def test_every_format_and_speed_come_back(openai: OpenAI) -> None:
    kinds = {"mp3": "audio/mpeg", "opus": "audio/opus", "aac": "audio/aac", "flac": "audio/flac", "wav": "audio/wav"}
    for format, kind in kinds.items():
        seconds = {}
        for speed in (1.0, 1.5):
            create = openai.audio.speech.with_raw_response.create
            answer = create(model="tts-1", voice="alloy", input=TEXT, response_format=format, speed=speed)  # type: ignore[arg-type]
            assert answer.headers["content-type"] == kind
            rate, samples = decoded(answer.content)
            seconds[speed] = len(samples) / rate
        assert seconds[1.0] / seconds[1.5] == pytest.approx(1.5, rel=0.15), format


def test_events_carry_sound(openai: OpenAI) -> None:
    create = openai.audio.speech.with_streaming_response.create
    with create(model="tts-1", voice="alloy", input=TEXT, response_format="pcm", stream_format="sse") as answer:
        lines = [line for line in answer.iter_lines() if line]
    assert all(line.startswith("data: ") for line in lines)
    assert '"speech.audio.done"' in lines[-1] and '"usage"' in lines[-1]


def test_models_are_listed_and_errors_are_its_own(openai: OpenAI) -> None:
    assert {"tts-1", "tone"} <= {model.id for model in openai.models.list()}
    assert openai.models.retrieve("tts-1").object == "model"
    with pytest.raises(BadRequestError) as caught:
        openai.audio.speech.create(model="tts-1", voice="parrot", input=TEXT)
    assert caught.value.code == "unknown_voice"
    with pytest.raises(NotFoundError):
        openai.models.retrieve("parrot")
