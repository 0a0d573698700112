"""Exchanges in steps: what comes is given in order, nothing runs in between, and an end is an end."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest

from engines.transfer import LONGEST_REST, Silence, Transfer, retry_after, told

Tell = Callable[[int], None]


def take_all(transfer: Transfer[int]) -> list[int]:
    found = []
    while not transfer.is_over:
        found += transfer.wait(1.0)
    return found


async def three(tell: Tell) -> None:
    for number in range(3):
        tell(number)
        await asyncio.sleep(0)


def test_what_comes_is_given_in_order_and_once() -> None:
    transfer = Transfer(three, first=9.0, next=9.0)
    assert take_all(transfer) == [0, 1, 2]
    transfer.close()
    transfer.close()


async def for_ever(tell: Tell) -> None:
    tell(7)
    await asyncio.Event().wait()


def test_a_wait_has_an_end() -> None:
    transfer = Transfer(for_ever, first=9.0, next=9.0)
    assert transfer.wait(1.0) == [7]
    assert transfer.wait(0.001) == []
    assert not transfer.is_over
    transfer.close()


def test_patience_ends() -> None:
    transfer = Transfer(for_ever, first=9.0, next=0.003)
    assert transfer.wait(1.0) == [7]
    assert [transfer.wait(0.001), transfer.wait(0.001)] == [[], []]
    with pytest.raises(Silence):
        transfer.wait(0.001)
    transfer.close()


async def failing(tell: Tell) -> None:
    tell(1)
    raise ConnectionResetError("gone")


def test_what_came_before_an_error_is_given_before_it() -> None:
    transfer = Transfer(failing, first=9.0, next=9.0)
    assert transfer.wait(1.0) == [1]
    assert not transfer.is_over
    with pytest.raises(ConnectionResetError, match="gone"):
        transfer.wait(1.0)
    transfer.close()


def test_an_error_that_nobody_waits_for_is_no_noise() -> None:
    transfer = Transfer(failing, first=9.0, next=9.0)
    assert transfer.wait(1.0) == [1]
    transfer.close()


def test_it_may_go_on_in_another_thread() -> None:
    transfer = Transfer(three, first=9.0, next=9.0)
    found: list[int] = []
    for _ in range(3):
        thread = threading.Thread(target=lambda: found.extend(transfer.wait(0.01)) if not transfer.is_over else None)
        thread.start()
        thread.join(5)
    transfer.close()
    assert found == [0, 1, 2]


async def polite(tell: Tell) -> None:
    """Says farewell before it lets itself be ended, and would wait for the answer."""
    tell(0)
    try:
        await asyncio.sleep(60)
    finally:
        await asyncio.sleep(60)


def test_nobody_waits_for_farewells() -> None:
    transfer = Transfer(polite, first=9.0, next=9.0)
    assert transfer.wait(1.0) == [0]
    transfer.close()
    assert transfer._task.cancelled()


def test_what_was_never_begun_is_closed_quietly() -> None:
    Transfer(for_ever, first=9.0, next=9.0).close()


def test_closing_ends_the_connection_at_once() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]

        async def talk(tell: Tell) -> None:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(b"hello")
            tell(len(await reader.read(2)))
            await reader.read()

        transfer = Transfer(talk, first=9.0, next=9.0)
        transfer.wait(0.01)
        peer, _ = server.accept()
        with peer:
            peer.settimeout(5)
            peer.sendall(b"ok")
            assert transfer.wait(5.0) == [2]
            transfer.close()
            try:
                assert peer.recv(100) == b"hello"
                assert peer.recv(100) == b""
            except ConnectionResetError:
                pass  # as good an end


@pytest.mark.parametrize(
    ("value", "seconds"),
    [(None, 9.0), ("", 9.0), ("7", 7.0), ("soon", 9.0), ("-3", 9.0), ("99999999", LONGEST_REST), ("Sat, 01 Jan 2000 00:00:00 GMT", 0.0)],
)
def test_how_long_a_service_wants_to_be_left_alone(value: str | None, seconds: float) -> None:
    assert retry_after({} if value is None else {"Retry-After": value}, 9.0) == seconds


def test_it_may_name_a_date() -> None:
    date = format_datetime(datetime.now(UTC) + timedelta(seconds=100), usegmt=True)
    assert 95 < retry_after({"Retry-After": date}, 9.0) <= 100
    assert retry_after(None, 9.0) == 9.0


class Connector(OSError):
    """As aiohttp's errors are made."""

    def __init__(self, host: object, error: OSError) -> None:
        super().__init__(error.errno, error.strerror)
        self.host = host
        self.os_error = error


@pytest.mark.parametrize(
    ("problem", "words"),
    [
        (Connector("speech.example.org", OSError(113, "No route to host")), "speech.example.org: No route to host"),
        (Connector(None, OSError(113, "No route to host")), "No route to host"),
        (ConnectionResetError(), "ConnectionResetError"),
        (ValueError("not this"), "not this"),
    ],
)
def test_an_error_is_told_in_a_few_words(problem: Exception, words: str) -> None:
    assert told(problem) == words
