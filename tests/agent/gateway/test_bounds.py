"""What holds for every request: driven as a server drives an application."""

import asyncio

import pytest

from agent.gateway.bounds import Bounds, Exchange, Stalled
from agent.gateway.connection import ABORT
from agent.gateway.errors import Refused
from agent.gateway.settings import LimitSettings, StreamSettings
from tests.virtual_time import run


class Tally:
    def __init__(self):
        self.begun, self.exchanges = 0, []

    def on_request(self):
        self.begun += 1

    def on_exchange(self, exchange):
        self.exchanges.append(exchange)


async def read_all(receive):
    body = b""
    while True:
        message = await receive()
        body += message.get("body", b"")
        if not message.get("more_body"):
            return body


class App:
    """Answers with what it was sent."""

    async def __call__(self, scope, receive, send):
        self.scope = scope
        body = await read_all(receive)
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": body})


def call(messages, *, headers=(), app=None, send=None, limits=None, scope=None):
    """What was sent, and the tally."""
    sent, tally, waiting = [], Tally(), list(messages)

    async def receive():
        if not waiting:
            await asyncio.sleep(3600)
        return waiting.pop(0)

    async def keep(message):
        sent.append(message)

    named = [(name.lower().encode(), value.encode()) for name, value in headers]
    whole = {"type": "http", "method": "POST", "path": "/x", "headers": named, **(scope or {})}
    bounds = Bounds(app or App(), limits or LimitSettings(body_bytes=1_024, body_wait_s=5.0), StreamSettings(stall_s=3.0), tally)
    try:
        run(bounds(whole, receive, send or keep))
    finally:
        call.tally = tally
    return sent


def part(body, more=False):
    return {"type": "http.request", "body": body, "more_body": more}


def named(sent):
    return dict(sent[0]["headers"])[b"x-request-id"].decode()


def test_a_request_keeps_its_name_or_gets_one():
    assert named(call([part(b"a")], headers=[("X-Request-ID", "mine-1")])) == "mine-1"
    for bad in ("", "x" * 129, "a\tb", "ü"):
        fresh = named(call([part(b"a")], headers=[("X-Request-ID", bad)]))
        assert len(fresh) == 32 and fresh != bad


def test_an_exchange_is_counted_by_its_route_and_never_by_its_path():
    call([part(b"ab", True), part(b"cd")])
    (exchange,) = call.tally.exchanges
    assert exchange == Exchange("none", "POST", 200, exchange.seconds, 4, 4)


def test_a_word_of_the_caller_s_own_is_no_method():
    call([part(b"")], scope={"method": "PARROT"})
    assert call.tally.exchanges[0].method == "OTHER"


@pytest.mark.parametrize("headers", [(), (("Content-Length", str(2 << 30)),)])
def test_too_large_a_body_is_refused_as_soon_as_that_is_known(headers):
    with pytest.raises(Refused) as caught:
        call([part(b"x" * 600, True), part(b"x" * 600, True)], headers=headers)
    assert (caught.value.status, caught.value.code) == (413, "body_too_large")
    assert call.tally.exchanges[0].received == (0 if headers else 1_200)


def test_a_body_that_drips_is_not_waited_for():
    with pytest.raises(Refused) as caught:
        call([part(b"x", True)])
    assert (caught.value.status, caught.value.code) == (408, "too_slow")


def test_waiting_for_the_caller_to_hang_up_has_no_end():
    async def app(scope, receive, send):
        await receive()
        async with asyncio.timeout(60):
            await receive()

    with pytest.raises(TimeoutError):
        call([part(b"x")], app=app)


def test_a_caller_that_does_not_read_is_cut_off():
    aborted = []

    async def stuck(message):
        await asyncio.sleep(3600)

    with pytest.raises(Stalled):
        call([part(b"x")], send=stuck, scope={ABORT: lambda: aborted.append(True)})
    assert aborted == [True]
    assert (call.tally.exchanges[0].status, call.tally.exchanges[0].is_fault) == (200, True)


def test_a_websocket_is_not_its_business():
    seen = []

    async def app(scope, receive, send):
        seen.append((receive, send))

    run(Bounds(app, LimitSettings(), StreamSettings(), Tally())({"type": "websocket"}, "receive", "send"))
    assert seen == [("receive", "send")]
