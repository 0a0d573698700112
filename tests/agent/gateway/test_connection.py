"""Peers that say nothing, drip, or never end: with real sockets, and patience made short."""

import asyncio
import json
import time
from dataclasses import replace

import pytest
from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, StreamingResponse

from agent.gateway import connection
from agent.gateway.app import make_app
from agent.gateway.bounds import Bounds
from agent.gateway.errors import Refused
from agent.gateway.serving import Doors
from agent.gateway.settings import LimitSettings, ServerSettings, StreamSettings, WsSettings
from agent.gateway.traffic import Traffic
from agent.node import Node


@pytest.fixture
async def door(monkeypatch):
    monkeypatch.setattr(connection, "HEAD_WAIT", 0.3)
    monkeypatch.setattr(connection, "REST_WAIT", 0.3)
    app = FastAPI()

    @app.post("/read")
    async def read(request: Request):
        return len(await request.body())

    @app.post("/ignore")
    async def ignore():
        return "no"

    @app.get("/flood")
    async def flood():
        async def sound():
            while True:
                yield b"x" * 65_536

        return StreamingResponse(sound())

    app.add_exception_handler(Refused, lambda request, error: JSONResponse(error.code, error.status))
    app.add_middleware(
        Bounds, limits=LimitSettings(body_bytes=1 << 20, body_wait_s=0.5), stream=StreamSettings(stall_s=1.0), tally=Traffic()
    )
    async with Doors(app, ServerSettings(ports=(0,)), WsSettings()) as doors:
        yield int(doors.addresses[0].rpartition(":")[2])


async def until_closed(port, *pieces, pause=0.0, limit=3.0):
    """What comes back, and after how many seconds the connection was closed."""
    begun = time.perf_counter()
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    received = asyncio.create_task(reader.read())
    try:
        async with asyncio.timeout(limit):
            for piece in pieces:
                if received.done():
                    break
                writer.write(piece)
                await asyncio.sleep(pause)
            return await received, time.perf_counter() - begun
    except ConnectionResetError:
        return b"", time.perf_counter() - begun
    finally:
        received.cancel()
        writer.close()


def told(data):
    """Status, and the body of an answer that has a name."""
    head, _, raw = data.partition(b"\r\n\r\n")
    first, *lines = head.decode().split("\r\n")
    headers = dict(line.lower().split(": ", 1) for line in lines)
    assert headers["content-type"] == "application/json" and int(headers["content-length"]) == len(raw)
    body = json.loads(raw)
    assert headers["x-request-id"] and body.get("request_id", headers["x-request-id"]) == headers["x-request-id"]
    return int(first.split()[1]), body


async def test_who_says_nothing_is_not_waited_for(door):
    data, seconds = await until_closed(door)
    status, body = told(data)
    assert (status, body["code"], body["success"]) == (408, "too_slow", False)
    assert 0.2 < seconds < 1.5


async def test_a_head_that_drips_is_not_waited_for(door):
    data, seconds = await until_closed(door, b"GET / HTTP/1.1\r\n", *[b"X-A: b\r\n"] * 100, pause=0.05)
    assert told(data)[0] == 408
    assert seconds < 1.5


async def test_under_v1_it_is_told_as_that_contract_does(door):
    data, _ = await until_closed(door, b"GET /v1/models HTTP/1.1\r\nX-A: b\r\n")
    status, body = told(data)
    assert (status, body["error"]["code"]) == (408, "too_slow")


async def test_line_ends_for_ever_are_no_request(door):
    _, seconds = await until_closed(door, *[b"\r\n"] * 100, pause=0.05)
    assert seconds < 1.5


async def test_a_head_without_end_is_cut(door):
    data, _ = await until_closed(door, b"GET / HTTP/1.1\r\n", *[b"X-A: " + b"b" * 4_000 + b"\r\n"] * 40)
    assert data == b"" or (told(data)[0], told(data)[1]["code"]) == (431, "head_too_large")


async def test_a_head_that_is_too_large_is_told_so(door):
    data, _ = await until_closed(door, b"GET / HTTP/1.1\r\n" + b"X-A: " + b"b" * connection.HEAD_BYTES)
    assert (told(data)[0], told(data)[1]["code"]) == (431, "head_too_large")


async def test_a_body_that_drips_gets_an_answer(door):
    head = b"POST /read HTTP/1.1\r\nHost: a\r\nContent-Length: 1000\r\n\r\n"
    data, seconds = await until_closed(door, head, *[b"x"] * 100, pause=0.05)
    assert data.startswith(b"HTTP/1.1 408 ") and b"too_slow" in data
    assert seconds < 2.5


async def test_two_gigabytes_are_refused_before_they_come_and_not_kept(door):
    head = b"POST /read HTTP/1.1\r\nHost: a\r\nContent-Length: 2147483648\r\n\r\n"
    data, seconds = await until_closed(door, head, *[b"x" * 65_536] * 40, pause=0.001)
    assert data.startswith(b"HTTP/1.1 413 ") and b"body_too_large" in data
    assert seconds < 2.5


@pytest.fixture
async def node_door(monkeypatch, settings):
    """The whole application, with little patience."""
    monkeypatch.setattr(connection, "REST_WAIT", 0.3)
    limits = replace(settings.limits, body_bytes=1 << 20, body_wait_s=0.5)
    settings = settings.model_copy(update={"limits": limits})
    async with Node(settings) as node:
        await node.ready()
        async with Doors(make_app(node), settings.server, settings.ws) as doors:
            yield node, int(doors.addresses[0].rpartition(":")[2])


@pytest.mark.long
async def test_the_node_s_own_door_waits_for_none_of_them(node_door):
    node, port = node_door
    head = b"POST /synthesize HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: %d\r\n\r\n"
    huge, dripping, half_open = await asyncio.gather(
        until_closed(port, head % 2_147_483_648, *[b"x" * 65_536] * 40, pause=0.001),
        until_closed(port, head % 1_000, *[b"x"] * 100, pause=0.05),
        until_closed(port, head % 1_000),
    )
    assert huge[0].startswith(b"HTTP/1.1 413 ") and b'"code":"body_too_large"' in huge[0]
    for data, seconds in (dripping, half_open):
        assert data.startswith(b"HTTP/1.1 408 ") and b'"code":"too_slow"' in data
        assert seconds < 2.5
    assert not node.sessions()


async def test_a_body_that_nobody_reads_is_bounded_in_time(door):
    head = b"POST /ignore HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
    data, seconds = await until_closed(door, head, *[b"1\r\nx\r\n"] * 100, pause=0.05)
    assert data.startswith(b"HTTP/1.1 200 ")
    assert seconds < 2.5


async def test_a_connection_is_used_again_after_each_kind_of_answer(door):
    reader, writer = await asyncio.open_connection("127.0.0.1", door)
    for _ in range(3):
        writer.write(b"POST /read HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc")
        head = await reader.readuntil(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 200 ")
        assert await reader.readexactly(1) == b"3"
    writer.write(b"POST /ignore HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc")
    assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 200 ")
    assert await reader.readexactly(4) == b'"no"'
    await asyncio.sleep(0.5)  # idle, and that is not silence before a request
    writer.write(b"POST /read HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\na")
    assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 200 ")
    writer.close()


async def test_garbage_is_400(door):
    data, _ = await until_closed(door, b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\r\n\r\n")
    status, body = told(data)
    assert (status, body["code"]) == (400, "bad_request")


CALLED = [  # as a caller calls its request, what is answered, and by which name; None: a new one
    (b"a\r\nSet-Cookie: evil=1", 200, "a"),
    (b"a%0d%0aSet-Cookie: evil=1", 200, "a%0d%0aset-cookie: evil=1"),
    (b"a\x85Set-Cookie: evil=1", 200, None),
    (b"a\xe2\x80\xa8Set-Cookie: evil=1", 200, None),
    (b"a\rSet-Cookie: evil=1", 400, None),
    (b"a\nSet-Cookie: evil=1", 400, None),
    (b"a\r\n Set-Cookie: evil=1", 400, None),
    (b"a\x00Set-Cookie: evil=1", 400, None),
]


def head(data):
    """The headers of an answer, each in its own line."""
    lines = data.partition(b"\r\n\r\n")[0].decode("latin-1").lower().split("\r\n")[1:]
    assert not {"\r", "\n"} & set("".join(lines))
    return [line.split(": ", 1) for line in lines]


async def test_no_name_of_a_request_becomes_another_header(address):
    request = b"GET /v1/models HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\nX-Request-ID: %b\r\n\r\n"
    for name, status, kept in CALLED:
        data, _ = await until_closed(int(address.rpartition(":")[2]), request % name)
        assert told(data)[0] == status, name
        ids = [value for field, value in head(data) if field == "x-request-id"]
        assert ids == [kept] if kept else len(ids) == 1 and len(ids[0]) == 32, name
        assert "set-cookie" not in [field for field, _ in head(data)], name


@pytest.mark.parametrize(
    ("name", "status", "code"),
    [
        (b"../../etc/passwd", 404, "not_found"),
        (b"%2e%2e%2f%2e%2e%2fetc%2fpasswd", 404, "not_found"),
        (b"%2e%2e", 404, "model_not_found"),
        (b"..%5c..%5cetc", 404, "model_not_found"),
        (b"%00", 404, "model_not_found"),
        (b"a%0d%0aSet-Cookie:%20evil=1", 404, "model_not_found"),
        (b"%ff%fe", 404, "model_not_found"),
        (b"a\x00b", 400, "bad_request"),
    ],
)
async def test_a_path_that_points_elsewhere_finds_nothing(address, name, status, code):
    request = b"GET /v1/models/%b HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n"
    data, _ = await until_closed(int(address.rpartition(":")[2]), request % name)
    found, body = told(data)
    assert (found, body["error"]["code"] if status == 404 else body["code"]) == (status, code)
    assert not [line for line in head(data) if "evil" in line[1] or "etc" in line[1] or line[0] == "set-cookie"]


async def test_who_does_not_read_an_answer_is_cut_off(door):
    reader, writer = await asyncio.open_connection("127.0.0.1", door, limit=1024)
    writer.write(b"GET /flood HTTP/1.1\r\nHost: a\r\n\r\n")
    await asyncio.sleep(2.0)
    with pytest.raises((ConnectionResetError, asyncio.IncompleteReadError)):
        async with asyncio.timeout(5):
            while True:
                await reader.readexactly(65_536)
    writer.close()
