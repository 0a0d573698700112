"""A node with the tone engine behind a real door on a free port, and a client for it."""

from __future__ import annotations

from collections.abc import AsyncIterator

import aiohttp
import pytest

from agent.config import Settings
from agent.gateway.app import make_app
from agent.gateway.serving import Doors
from agent.node import Node


@pytest.fixture
def settings() -> Settings:
    return Settings.model_validate(
        {"selection": {"fallback_chain": ["tone"]}, "node": {"languages": ["en", "fr"]}, "server": {"ports": [0]}}
    )


@pytest.fixture
async def node(settings: Settings) -> AsyncIterator[Node]:
    async with Node(settings) as node:
        await node.ready()
        yield node


@pytest.fixture
async def address(node: Node) -> AsyncIterator[str]:
    async with Doors(make_app(node), node.settings.server, node.settings.ws) as doors:
        yield doors.addresses[0]


@pytest.fixture
async def client(address: str) -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(address, timeout=aiohttp.ClientTimeout(total=10)) as session:
        yield session
