"""What all tests share: a LiveKit server of their own, and peace from one warning that development keys earn."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from agent.devserver import DevServer


def pytest_configure(config: pytest.Config) -> None:
    # `secret`, the development server's, is shorter than a secret should be.
    config.addinivalue_line("filterwarnings", "ignore::jwt.warnings.InsecureKeyLengthWarning")


@pytest.fixture(scope="session")
def livekit_server() -> Iterator[DevServer]:
    """A running LiveKit server on free ports, shared by all tests; a test that stops or restarts one makes its own."""
    from agent.devserver import DevServer, find_server

    server = DevServer(find_server())
    with asyncio.Runner(loop_factory=asyncio.new_event_loop) as runner:
        runner.run(server.start())
    yield server
    with asyncio.Runner(loop_factory=asyncio.new_event_loop) as runner:
        runner.run(server.stop())
