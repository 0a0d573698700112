"""A node with the tone engine behind a real door on a free port, and a client for it."""

from __future__ import annotations

import io
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import av
import numpy as np
import pytest

from agent.config import Settings
from agent.gateway.app import make_app
from agent.gateway.serving import Doors
from agent.node import Node

SETTINGS = {
    "selection": {"fallback_chain": ["tone"]},
    "node": {"languages": ["en", "fr"]},
    "server": {"ports": [0]},
    "cache": {"dir": "none"},
}


@pytest.fixture
def settings() -> Settings:
    return Settings.model_validate(SETTINGS)


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


@asynccontextmanager
async def opened(**other: Any) -> AsyncIterator[aiohttp.ClientSession]:
    """A client of a node of its own, with other settings."""
    settings = Settings.model_validate({**SETTINGS, **other})
    async with Node(settings) as node, Doors(make_app(node), settings.server, settings.ws) as doors:
        await node.ready()
        async with aiohttp.ClientSession(doors.addresses[0], timeout=aiohttp.ClientTimeout(total=10)) as session:
            yield session


def decoded(data: bytes) -> tuple[int, np.ndarray]:
    """Rate and samples of a file of any format."""
    with av.open(io.BytesIO(data)) as container:
        frames = list(container.decode(audio=0))
    rate = frames[0].sample_rate
    resampler = av.AudioResampler(format="s16", layout="mono", rate=rate)
    parts = [part.to_ndarray()[0] for frame in (*frames, None) for part in resampler.resample(frame)]
    return rate, np.concatenate(parts)
