"""The plugin against a real node, as livekit-agents uses it."""

import ast
import asyncio
import sys
from dataclasses import replace
from pathlib import Path

import aiohttp
import numpy as np
import pytest
from aiohttp import web
from livekit import rtc
from livekit.agents import APIConnectionError, APIConnectOptions, APIError, APIStatusError, APITimeoutError
from livekit.agents.metrics import TTSMetrics
from livekit.agents.types import USERDATA_TIMED_TRANSCRIPT
from livekit.plugins import voicebooth
from livekit.plugins.voicebooth.line import Line
from livekit.plugins.voicebooth.words import Words

from agent.config import Settings
from agent.gateway.app import make_app
from agent.gateway.serving import Doors
from agent.node import Node
from bench.hearing import tones
from tests.e2e.conftest import score

ONCE = APIConnectOptions(max_retry=0, timeout=2.0)
FOLDER = Path(voicebooth.__file__).parent


@pytest.fixture
def settings():
    return Settings.model_validate({"selection": {"fallback_chain": ["tone"]}, "server": {"ports": [0]}})


@pytest.fixture
async def node(settings):
    async with Node(settings) as node:
        await node.ready()
        yield node


@pytest.fixture
async def doors(node, settings):
    async with Doors(make_app(node), settings.server, settings.ws) as doors:
        yield doors


@pytest.fixture
async def session():
    async with aiohttp.ClientSession() as session:
        yield session


@pytest.fixture
async def speech(doors, session):
    tts = voicebooth.TTS(base_url=doors.addresses[0], http_session=session)
    yield tts
    await tts.aclose()


def hears(frames, *texts, rate=24_000):
    samples = np.frombuffer(rtc.combine_audio_frames(frames).data, dtype=np.int16)
    heard, wanted = [tone.pitch for tone in tones(samples, rate)], [pitch for text in texts for pitch in score(text)]
    return len(heard) == len(wanted) and np.allclose(heard, wanted, rtol=0.02)


async def say(tts, *parts):
    stream = tts.stream(conn_options=ONCE)
    for part in parts:
        stream.push_text(part)
    stream.end_input()
    async with asyncio.timeout(10), stream:
        return [event async for event in stream]


async def test_text_that_grows_is_heard_once_with_its_words_times_and_metrics(speech):
    metrics = []
    speech.on("metrics_collected", metrics.append)
    events = await say(speech, "Good mor", "ning, every", "body. It is ", "nine.")
    frames = [event.frame for event in events]
    assert hears(frames, "Good morning, everybody.", "It is nine.")
    assert [event.is_final for event in events].count(True) == 1 and events[-1].is_final
    words = [word for frame in frames for word in frame.userdata[USERDATA_TIMED_TRANSCRIPT]]
    assert [str(word).strip() for word in words] == ["Good", "morning,", "everybody.", "It", "is", "nine."]
    assert [round(word.start_time, 2) for word in words[:3]] == [0.0, 0.28, 0.8]
    assert all(word.start_time < word.end_time for word in words)
    assert words[-1].end_time == pytest.approx(sum(frame.duration for frame in frames), abs=0.1)
    (found,) = metrics
    assert isinstance(found, TTSMetrics) and found.streamed and not found.cancelled
    assert 0 < found.ttfb < 1 and found.characters_count == 36 and found.metadata.model_provider == "voicebooth"


async def test_a_text_in_one_piece_is_collected(speech):
    frame = await speech.synthesize("Good morning, everybody.", conn_options=ONCE).collect()
    assert hears([frame], "Good morning, everybody.")


async def test_options_hold_from_the_next_utterance_on(doors, session):
    speech = voicebooth.TTS(base_url=doors.addresses[0], http_session=session, voice="tone-en", sample_rate=16_000)
    low = [event.frame for event in await say(speech, "Hello.")]
    assert (low[0].sample_rate, speech.model) == (16_000, "tone-en") and hears(low, "Hello.", rate=16_000)
    speech.update_options(voice="tone-en-low", budget_ms=400)
    assert speech._options.config()["budget_ms"] == 400
    other = [event.frame for event in await say(speech, "Hello.")]
    assert not hears(other, "Hello.", rate=16_000)
    await speech.aclose()


async def test_an_interrupted_utterance_is_silent_and_its_connection_used_again(speech, node):
    stream = speech.stream(conn_options=ONCE)
    stream.push_text("One two three four five six. " * 300)
    async with asyncio.timeout(5):
        await anext(stream)
        while len(node._stages) > 1:  # noqa: ASYNC110 - the canary's own, which ends
            await asyncio.sleep(0.01)
        (stage,) = node._stages.values()
        await stream.aclose()
        events = await say(speech, "Afterwards.")
    assert hears([event.frame for event in events], "Afterwards.")
    assert speech._pool.last_connection_reused
    assert list(node._stages.values()) == [stage] and stage.is_idle


async def test_a_connection_that_ended_while_nobody_used_it_is_replaced(speech):
    speech.prewarm()
    await say(speech, "One.")
    assert speech._pool.last_connection_reused
    (line,) = speech._pool._available
    line._socket._response.connection.transport.abort()
    async with asyncio.timeout(5):
        while line.is_open:  # noqa: ASYNC110 - the line tells nobody
            await asyncio.sleep(0.01)
    assert hears([event.frame for event in await say(speech, "Two.")], "Two.")


async def test_an_utterance_that_is_given_up_before_it_began_keeps_no_connection(speech, monkeypatch):
    asked = asyncio.Event()

    async def stuck(line, **message):
        asked.set()
        await asyncio.Event().wait()

    monkeypatch.setattr(Line, "send", stuck)
    stream = speech.stream(conn_options=ONCE)
    stream.push_text("Hello.")
    async with asyncio.timeout(5):
        await asked.wait()
        await stream.aclose()
    assert not speech._pool._available and not speech._pool._connections
    monkeypatch.undo()
    assert hears([event.frame for event in await say(speech, "Afterwards.")], "Afterwards.")


async def test_each_utterance_is_told_its_own_wait_for_a_connection(doors, session):
    speech = voicebooth.TTS(base_url=doors.addresses[0], http_session=session)
    told = []
    speech.on("metrics_collected", lambda metrics: told.append((metrics.acquire_time, metrics.connection_reused)))
    await asyncio.gather(say(speech, "One."), say(speech, "Two."))
    await say(speech, "Three.")
    assert [reused for _, reused in told] == [False, False, True]
    assert all(wait > 0 for wait, _ in told[:2]) and told[2][0] == 0
    await speech.aclose()


async def test_text_that_cannot_be_heard_is_no_failure(speech):
    for text in ("...", "\N{WAVING HAND SIGN}", "A\x00 word."):
        assert await say(speech, text)
    assert await say(speech) == []


@pytest.mark.long
async def test_a_model_that_pauses_for_longer_than_the_node_waits_is_heard_to_its_end(settings, session):
    """The node closes what it was sent, tells so, and says the rest as an utterance of its own."""
    impatient = settings.model_copy(update={"script": replace(settings.script, quiet=0.3, alone=0.3)})
    async with Node(impatient) as node, Doors(make_app(node), settings.server, settings.ws) as doors:
        await node.ready()
        speech = voicebooth.TTS(base_url=doors.addresses[0], http_session=session)
        async with asyncio.timeout(10), speech.stream(conn_options=ONCE) as stream:
            stream.push_text("Good morning. ")
            await asyncio.sleep(1.5)
            stream.push_text("It is nine.")
            stream.end_input()
            frames = [event.frame async for event in stream]
        await speech.aclose()
    assert hears(frames, "Good morning.", "It is nine.")


@pytest.mark.parametrize("most", [1, 9, 5_000])
async def test_a_text_that_is_longer_than_the_node_takes_at_once_is_heard_whole(settings, session, most):
    limited = settings.model_copy(update={"limits": replace(settings.limits, text_chars=most)})
    async with Node(limited) as node, Doors(make_app(node), settings.server, settings.ws) as doors:
        await node.ready()
        speech = voicebooth.TTS(base_url=doors.addresses[0], http_session=session)
        events = await say(speech, "Good morning, everybody. It", " is nine.")
        collected = await speech.synthesize("Good morning, everybody.", conn_options=ONCE).collect()
        await speech.aclose()
    assert hears([event.frame for event in events], "Good morning, everybody.", "It is nine.")
    assert hears([collected], "Good morning, everybody.")


async def test_what_the_node_refuses_is_an_error_that_says_whether_to_try_again(doors, session):
    speech = voicebooth.TTS(base_url=doors.addresses[0], http_session=session, voice="nobody")
    errors = []
    speech.on("error", errors.append)
    with pytest.raises(APIStatusError) as refused:
        await say(speech, "Hello.")
    assert (refused.value.status_code, refused.value.retryable) == (422, False)
    assert "nobody" in refused.value.message and len(errors) == 1
    await speech.aclose()


@pytest.mark.parametrize(
    ("code", "is_retryable", "told"),
    [
        ("rate_limited", True, (APIStatusError, 429, True)),
        ("overloaded", True, (APIStatusError, 503, True)),
        ("unauthorized", False, (APIStatusError, 401, False)),
        ("session_over", False, (APIConnectionError, None, True)),  # a new connection mends it
        ("bad_text", False, (APIStatusError, 422, False)),
        ("text_too_long", False, (APIStatusError, 422, False)),
        ("bad_field", False, (APIStatusError, 422, False)),
        ("unknown_voice", False, (APIStatusError, 422, False)),
        ("too_large", False, (APIStatusError, 413, False)),
        ("forbidden", False, (APIStatusError, 403, False)),
        ("something_new", False, (APIStatusError, 400, False)),
    ],
)
async def test_what_a_session_is_told_has_the_status_that_http_has_for_it(session, code, is_retryable, told):
    async def answer(request):
        socket = web.WebSocketResponse(protocols=["voicebooth.native"])
        await socket.prepare(request)
        await socket.receive()
        await socket.send_json({"type": "ready"})
        while (await socket.receive_json())["type"] != "text":
            pass
        await socket.send_json({"type": "error", "code": code, "message": "words", "retryable": is_retryable})
        await socket.receive()
        return socket

    runner = await serving(answer)
    speech = voicebooth.TTS(base_url=f"http://127.0.0.1:{runner.addresses[0][1]}", http_session=session)
    with pytest.raises(APIError, match="words") as refused:
        await say(speech, "Hello.")
    found = refused.value
    assert (type(found), getattr(found, "status_code", None), found.retryable) == told
    await speech.aclose()
    await runner.cleanup()


async def test_a_node_that_ends_in_the_middle_is_a_connection_error(doors, session):
    speech = voicebooth.TTS(base_url=doors.addresses[0], http_session=session)
    stream = speech.stream(conn_options=ONCE)
    stream.push_text("One two three.")
    async with asyncio.timeout(10):
        await anext(stream)
        closing = asyncio.create_task(doors.aclose())
        with pytest.raises(APIError):
            async for _ in stream:
                pass
        await stream.aclose()
        await closing
    await speech.aclose()


async def serving(answer):
    """A server that answers so where a node would."""
    app = web.Application()
    app.router.add_get("/ws/synthesize", answer)
    runner = web.AppRunner(app, shutdown_timeout=0)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    return runner


async def answering(status=None):
    """A server that answers every upgrade with that status, or never."""

    async def answer(request):
        if status is None:
            await asyncio.sleep(0.6)
        return web.Response(status=status or 500)

    return await serving(answer)


async def greeting(goodbye):
    """A server that takes every connection, and ends it after that message; none: it says nothing."""

    async def answer(request):
        socket = web.WebSocketResponse(protocols=["voicebooth.native"])
        await socket.prepare(request)
        if goodbye is None:
            await socket.receive()
            await asyncio.sleep(0.6)
        else:
            await socket.send_json(goodbye)
            await socket.close(code=1013)
        return socket

    return await serving(answer)


@pytest.mark.parametrize(
    ("goodbye", "kind", "words"),
    [({"type": "error", "message": "the node is full"}, APIConnectionError, "the node is full"), (None, APITimeoutError, "no answer")],
)
async def test_a_node_that_does_not_greet_is_told_within_the_time_for_connecting(session, goodbye, kind, words):
    runner = await greeting(goodbye)
    speech = voicebooth.TTS(base_url=f"http://127.0.0.1:{runner.addresses[0][1]}", http_session=session)
    stream = speech.stream(conn_options=APIConnectOptions(max_retry=0, timeout=0.2))
    stream.push_text("Hello.")
    stream.end_input()
    with pytest.raises(kind, match=words):
        async with asyncio.timeout(5):
            _ = [event async for event in stream]
    assert not speech._pool._available and not speech._pool._connections
    await speech.aclose()
    await runner.cleanup()


@pytest.mark.parametrize(
    ("status", "kind", "is_retryable"),
    [(401, APIStatusError, False), (429, APIStatusError, True), (503, APIStatusError, True), (None, APITimeoutError, True)],
)
async def test_a_refused_upgrade_is_told_by_its_status(session, status, kind, is_retryable):
    runner = await answering(status)
    port = runner.addresses[0][1]
    speech = voicebooth.TTS(base_url=f"http://127.0.0.1:{port}", http_session=session)
    with pytest.raises(kind) as refused:
        stream = speech.stream(conn_options=APIConnectOptions(max_retry=0, timeout=0.2))
        stream.push_text("Hello.")
        stream.end_input()
        async for _ in stream:
            pass
    assert refused.value.retryable is is_retryable
    assert status is None or refused.value.status_code == status
    await speech.aclose()
    await runner.cleanup()


async def test_where_there_is_no_node_that_is_said(session):
    speech = voicebooth.TTS(base_url="http://127.0.0.1:9", http_session=session)
    with pytest.raises(APIConnectionError, match=r"no node at ws://127\.0\.0\.1:9/ws/synthesize"):
        await say(speech, "Hello.")
    with pytest.raises(ValueError, match="address of a node"):
        voicebooth.TTS(base_url="127.0.0.1:8003")
    await speech.aclose()


def test_words_end_where_the_next_begins_or_the_sentence_ends():
    words = Words()
    assert words.on_word("One", 0.0) == []
    (one,) = words.on_word(" two", 0.4)
    (two,) = words.on_end(1.0)
    assert (str(one), one.start_time, one.end_time) == ("One", 0.0, 0.4)
    assert (str(two), two.start_time, two.end_time) == (" two", 0.4, 1.0)
    assert words.on_end(2.0) == []


def test_the_plugin_stands_alone():
    known = {*sys.stdlib_module_names, "aiohttp", "livekit", ""}
    for path in FOLDER.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom):
                assert node.level <= 1
                names = ["" if node.level else node.module]
            assert {name.split(".")[0] for name in names} <= known, path.name


def test_it_is_listed_among_livekit_s_plugins():
    from livekit.agents import Plugin

    assert "livekit.plugins.voicebooth" in [plugin.package for plugin in Plugin.registered_plugins]
