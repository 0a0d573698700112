"""A fault of ours on the way: driven as a server drives an application."""

import pytest
from starlette.responses import JSONResponse

from agent.gateway.faults import Faults
from tests.virtual_time import run


async def refuse(request, refused):
    return JSONResponse({"code": refused.code}, refused.status)


def call(app, kind="http"):
    sent = []

    async def send(message):
        sent.append(message)

    run(Faults(app, refuse)({"type": kind, "method": "GET", "path": "/", "headers": []}, None, send))
    return sent


def test_it_is_answered_and_logged(caplog):
    async def app(scope, receive, send):
        raise ZeroDivisionError

    start, body = call(app)
    assert (start["status"], body["body"]) == (500, b'{"code":"internal"}')
    assert "ZeroDivisionError" in caplog.text


def test_what_was_begun_is_cut_off_by_the_server():
    async def app(scope, receive, send):
        await send({"type": "http.response.start", "status": 200, "headers": []})
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        call(app)


def test_a_websocket_is_not_its_business():
    async def app(scope, receive, send):
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        call(app, "websocket")
