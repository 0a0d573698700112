import asyncio

import pytest

from agent.gateway.errors import Refused
from agent.gateway.production import Medium
from agent.gateway.replies import AudioStream, Gone, describe, unless_gone
from agent.gateway.speech import Facts


def stays():
    return asyncio.Event().wait()


async def hangs_up():
    return {"type": "http.disconnect"}


async def test_work_is_cancelled_and_awaited_when_the_caller_hangs_up():
    ended = []

    async def work():
        try:
            await asyncio.sleep(60)
        finally:
            ended.append(True)

    task = asyncio.create_task(work())
    await asyncio.sleep(0)
    with pytest.raises(Gone):
        await unless_gone(hangs_up, _wait(task))
    assert not ended or ended == [True]
    task.cancel()


async def _wait(task):
    await task


async def test_what_comes_of_it_is_given_and_its_errors_are_raised():
    async def fine():
        return 7

    async def wrong():
        raise Refused("x", "no", 503)

    assert await unless_gone(stays, fine()) == 7
    with pytest.raises(Refused):
        await unless_gone(stays, wrong())


async def test_a_failure_on_the_way_leaves_the_answer_without_an_end():
    async def pieces():
        yield b"two"
        raise Refused("synthesis_failed", "no", 500)

    sent = []

    async def send(message):
        sent.append(message)

    await AudioStream(b"one", pieces(), "audio/wav", {})({"type": "http"}, stays, send)
    assert [message.get("body") for message in sent[1:]] == [b"one", b"two"]
    assert all(message["more_body"] for message in sent[1:])


def test_headers_hold_no_other_s_line_ends():
    facts = Facts("en", engine="own", voice="x\r\nSet-Cookie: a=b ü", fallback=[("kokoro", "late"), ("kokoro", "late")])
    headers = describe(facts, Medium("wav", 24_000), took=0.1, cache="miss", shape="bytes; by=default")
    assert headers["X-Fallback"] == "kokoro"
    for value in headers.values():
        assert value.isascii() and value.isprintable()
