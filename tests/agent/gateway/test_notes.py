"""The lines that requests and sessions leave in the log."""

import asyncio
import json
import logging

import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus

from agent.config import Settings
from agent.log import JsonFormatter
from tests.agent.gateway.conftest import SETTINGS
from tests.agent.gateway.socket.client import talking
from tests.agent.gateway.test_synthesis import ask

SECRET = "Balatan"
TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
TRACED = {"X-Request-ID": "mine", "traceparent": f"00-{TRACE}-00f067aa0ba902b7-01"}


@pytest.fixture
def settings():
    return Settings.model_validate({**SETTINGS, "limits": {"sessions": 1}})


@pytest.fixture
def lines(caplog):
    caplog.set_level(logging.DEBUG)

    async def find(**fields):
        """Lines of requests and sessions; each is written a moment after its answer."""
        for _ in range(200):
            found = [vars(record) for record in caplog.records if record.name == "agent.gateway.notes"]
            found = [line for line in found if fields.items() <= line.items()]
            if found:
                return found
            await asyncio.sleep(0.01)
        return []

    yield find
    shown = [JsonFormatter().format(record) for record in caplog.records if record.levelno > logging.DEBUG]
    assert not [line for line in shown if SECRET.lower() in line.lower()], "what was said is in the log"


async def test_a_request_for_speech_is_told_in_one_line(client, lines):
    await ask(client, text=f"{SECRET} two. Three.", headers=TRACED)
    (line,) = await lines(request_id="mine")
    assert (line["message"], line["levelname"], line["door"], line["trace_id"]) == ("POST /synthesize 200", "INFO", "http", TRACE)
    assert (line["engine"], line["voice"], line["language"]) == ("tone", "tone-en", "en")
    assert (line["texts"], line["text_length"], line["cached"], line["fallback"]) == (1, len(SECRET) + 12, False, [])
    assert 0 < line["ttfa_ms"] <= line["took_ms"] and line["duration"] > 0.5
    assert "error" not in line
    await ask(client, text=f"{SECRET} two. Three.", headers={"X-Request-ID": "again"}, engine="kokoro")
    (line,) = await lines(request_id="again")
    assert line["cached"] is True and [one.partition(":")[0] for one in line["fallback"]] == ["kokoro"]


async def test_what_was_refused_is_told_by_its_code(client, lines):
    await ask(client, text=f"{SECRET} two.", language="tlh")
    (line,) = await lines(error="unsupported_language")
    assert line["message"] == "POST /synthesize 422" and "engine" not in line
    await client.get(f"/{SECRET}")
    assert (await lines(error="not_found"))[0]["message"] == "GET none 404"


async def test_a_stream_and_a_batch_are_told_when_they_have_ended(client, lines):
    await ask(client, "/v1/audio/speech", model="tts-1", voice="alloy", input=f"{SECRET} two three.")
    (line,) = await lines(message="POST /v1/audio/speech 200")
    assert line["duration"] > 0.5
    await ask(client, "/batch_synthesize", texts=["One.", "Two.", " "])
    (line,) = await lines(message="POST /batch_synthesize 200")
    assert (line["texts"], line["text_length"], line["error"]) == (2, 8, "text_required")


async def test_probes_are_told_at_debug(client, lines):
    await client.get("/live")
    assert [line["levelname"] for line in await lines(message="GET /live 200")] == ["DEBUG"]


async def test_whatever_is_logged_on_behalf_of_a_request_carries_its_name(client, node, monkeypatch, caplog, lines):
    shown = []
    handler = logging.Handler()
    handler.emit = lambda record: shown.append(json.loads(JsonFormatter().format(record)))
    monkeypatch.setattr(type(node.studio), "offers", property(lambda studio: 1 / 0))
    logging.getLogger("agent.gateway.faults").addHandler(handler)
    try:
        await client.get("/voices", headers=TRACED)
    finally:
        logging.getLogger("agent.gateway.faults").removeHandler(handler)
    assert [(line["level"], line["request_id"]) for line in shown] == [("ERROR", "mine")]
    assert (await lines(error="internal"))[0]["request_id"] == "mine"


async def test_a_session_is_told_in_one_line_and_answers_by_its_name(address, lines):
    place = address.replace("http", "ws", 1) + "/ws/synthesize?dialect=oneshot"
    async with connect(place, additional_headers=TRACED) as ws:
        assert ws.response.headers["X-Request-ID"] == "mine"
        names = []
        for _ in range(2):
            await ws.send(json.dumps({"text": f"{SECRET} two."}))
            while not (message := json.loads(await ws.recv())).get("is_final"):
                pass
            names.append(message["request_id"])
        assert names[0] == "mine" != names[1]
    (line,) = await lines(request_id="mine")
    assert (line["message"], line["door"], line["trace_id"]) == ("/ws/synthesize ended", "websocket", TRACE)
    assert (line["texts"], line["text_length"], line["engine"], line["language"]) == (2, 2 * len(SECRET) + 10, "tone", "en")
    assert line["cached"] is True, "of several texts the latest"
    assert line["ttfa_ms"] >= 0 and line["duration"] > 0.5


async def test_a_refused_upgrade_has_its_name_in_the_shape_of_its_contract(address, lines):
    place = address.replace("http", "ws", 1)
    async with talking(address, "/ws/synthesize"):
        for path, find in (("/ws/synthesize", lambda body: body["code"]), ("/v1/speak", lambda body: body["error"]["code"])):
            with pytest.raises(InvalidStatus) as refused:
                await connect(place + path, additional_headers=TRACED)
            answer = refused.value.response
            assert (answer.status_code, answer.headers["X-Request-ID"]) == (503, "mine")
            assert find(json.loads(answer.body)) == "at_capacity"
            assert (await lines(message=f"{path} refused"))[0]["error"] == "at_capacity"
