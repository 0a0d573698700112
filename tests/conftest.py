"""What all tests share: a LiveKit server of their own, and peace from one warning that development keys earn."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import settings

from tests.examples import USUAL

if TYPE_CHECKING:
    from agent.devserver import DevServer

# A whole run tries the same ones each time: whether a change may land is not for the dice. See CONTRIBUTING.md.
settings.register_profile("full", max_examples=USUAL, deadline=None, derandomize=True)
settings.register_profile("quick", max_examples=USUAL // 10, deadline=None)
settings.register_profile("search", max_examples=10 * USUAL, deadline=None)
settings.load_profile("full")
SHELL = frozenset({"address", "door", "doors"})
"""Fixtures that open a real door: who asks for one is no unit test."""


def pytest_configure(config: pytest.Config) -> None:
    # What one run has said, the next one would not say anew.
    os.environ.setdefault("VOICEBOOTH_CACHE__DIR", "none")
    # `secret`, the development server's, is shorter than a secret should be.
    config.addinivalue_line("filterwarnings", "ignore::jwt.warnings.InsecureKeyLengthWarning")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if isinstance(item, pytest.Function) and SHELL.intersection(item.fixturenames):
            item.add_marker(pytest.mark.shell)


@pytest.fixture(scope="session", autouse=True)
def nothing_is_kept_of_speech() -> Iterator[None]:
    """Between two runs; a test that names a folder has it."""
    from agent import node

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(node, "_speech_folder", lambda settings: settings.dir if isinstance(settings.dir, Path) else None)
        yield


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
