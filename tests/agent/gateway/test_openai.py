"""The routes under ``/v1``; the official client has its own test."""

import base64
import json

import numpy as np

from agent.gateway import openai
from tests.agent.gateway.conftest import opened
from tests.agent.gateway.test_synthesis import TEXT, ask, says

SPEECH = "/v1/audio/speech"
HELLO = {"model": "tts-1", "voice": "alloy", "input": TEXT}


async def test_sound_has_the_content_types_of_that_contract(client):
    kinds = {"mp3": "audio/mpeg", "opus": "audio/opus", "aac": "audio/aac", "flac": "audio/flac", "wav": "audio/wav", "pcm": "audio/pcm"}
    for format, kind in kinds.items():
        answer, data = await ask(client, SPEECH, **HELLO, response_format=format)
        assert (answer.status, answer.headers["content-type"]) == (200, kind)
    assert says(np.frombuffer(data, dtype="<i2"), TEXT)
    answer, _ = await ask(client, SPEECH, **HELLO)
    assert answer.headers["content-type"] == "audio/mpeg"


async def test_events_carry_the_same_sound_and_end_with_usage(client):
    _, plain = await ask(client, SPEECH, **HELLO, response_format="pcm")
    answer, raw = await ask(client, SPEECH, **HELLO, response_format="pcm", stream_format="sse")
    assert answer.headers["content-type"].startswith("text/event-stream")
    events = [json.loads(line.removeprefix("data: ")) for line in raw.decode().strip().split("\n\n")]
    assert {event["type"] for event in events[:-1]} == {"speech.audio.delta"}
    sound = b"".join(base64.b64decode(event["audio"]) for event in events[:-1])
    assert says(np.frombuffer(sound, dtype="<i2"), TEXT) and says(np.frombuffer(plain, dtype="<i2"), TEXT)
    assert events[-1]["type"] == "speech.audio.done"
    assert events[-1]["usage"]["total_tokens"] == events[-1]["usage"]["input_tokens"] + events[-1]["usage"]["output_tokens"]


async def test_speed_goes_beyond_what_engines_take(client):
    lengths = {}
    for speed in (0.25, 1.0, 4.0):
        _, data = await ask(client, SPEECH, **HELLO, response_format="pcm", speed=speed)
        lengths[speed] = len(data)
    assert 3.5 < lengths[0.25] / lengths[1.0] < 4.5
    assert 3.3 < lengths[1.0] / lengths[4.0] < 4.7


async def test_a_voice_may_be_an_object_and_null_is_left_out(client):
    answer, _ = await ask(client, SPEECH, model="tts-1-hd", voice={"id": "tone-fr"}, input="Bonjour.", instructions=None, speed=None)
    assert (answer.status, answer.headers["X-Voice"]) == (200, "tone-fr")
    answer, _ = await ask(client, SPEECH, model="tone", voice="onyx", input="Hi.")
    assert (answer.status, answer.headers["X-Voice"]) == (200, "tone-en-low")


async def test_what_cannot_be_is_told_in_that_contract_s_shape(client):
    for wrong, status, code, param in [
        ({"input": ""}, 400, "too_short", "input"),
        ({"input": "a" * 4_097}, 400, "too_long", "input"),
        ({"input": "   "}, 400, "text_required", "input"),
        ({"input": "<speak>a</speak>"}, 501, "not_supported", "input"),
        ({"input": "..."}, 400, "nothing_to_say", "input"),
        ({"model": "parrot"}, 404, "unknown_engine", "model"),
        ({"model": "t5-small"}, 400, "not_a_voice_model", "model"),
        ({"voice": "parrot"}, 400, "unknown_voice", "voice"),
        ({"voice": "nova" + " " * 200}, 400, "too_long", "voice"),
        ({"voice": {"id": "nova" + " " * 200}}, 400, "too_long", "voice"),
        ({"voice": {"name": "nova"}}, 400, "wrong_type", "voice"),
        ({"voice": "nova\n"}, 400, "bad_format", "voice"),
        ({"language": "en-" + "a" * 200}, 400, "too_long", "language"),
        ({"language": "en" + "-aaaaaaaa" * 20}, 400, "too_long", "language"),
        ({"response_format": "ogg"}, 400, "unsupported_value", "response_format"),
        ({"speed": 5}, 400, "out_of_bounds", "speed"),
        ({"stream_format": "carrier pigeon"}, 400, "unsupported_value", "stream_format"),
        ({"instructions": "x" * 501}, 400, "too_long", "instructions"),
    ]:
        answer, body = await ask(client, SPEECH, **{**HELLO, **wrong})
        assert (answer.status, body["error"]["code"], body["error"]["param"]) == (status, code, param), wrong
        if code in ("unknown_engine", "unknown_voice", "nothing_to_say"):
            assert body["error"]["message"].startswith(f"{param}: "), body
    answer, body = await ask(client, SPEECH, **{**HELLO, "input": "<speak>a</speak>"})
    assert body["error"]["type"] == "invalid_request_error"
    async with client.post(SPEECH, data=b"{") as answer:
        assert (answer.status, (await answer.json())["error"]["code"]) == (400, "bad_json")


async def test_a_certain_day_s_model_stands_for_the_model(client):
    for model in ("tts-1-1106", "tts-1-hd-1106", "gpt-4o-mini-tts-2025-12-15"):
        assert (await ask(client, SPEECH, **{**HELLO, "model": model}))[0].status == 200
        assert (await client.get(f"/v1/models/{model}")).status == 200
    assert (openai.strategy_of("tts-1-1106"), openai.strategy_of("tts-1-hd-1106"), openai.strategy_of("tts-11")) == (
        "auto",
        "quality_first",
        None,
    )


async def test_models_and_voices_are_listed(client):
    async with client.get("/v1/models") as answer:
        models = await answer.json()
    assert [model["id"] for model in models["data"]] == ["tts-1", "tts-1-hd", "gpt-4o-mini-tts", "tone"]
    async with client.get("/v1/models/tone") as answer:
        assert (answer.status, (await answer.json())["object"]) == (200, "model")
    async with client.get("/v1/models/parrot") as answer:
        assert (answer.status, (await answer.json())["error"]["code"]) == (404, "model_not_found")
    async with client.get("/v1/audio/voices") as answer:
        ids = [voice["id"] for voice in (await answer.json())["voices"]]
    assert {"alloy", "cedar", "tone-en"} <= set(ids)


async def test_the_node_may_take_less_text_than_that_contract():
    async with opened(limits={"text_chars": 100}) as client:
        answer, said = await ask(client, SPEECH, **{**HELLO, "input": "a" * 101})
    assert (answer.status, said["error"]["param"]) == (400, "input")
    assert "100" in said["error"]["message"]
