"""Signals, and what they stop."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys

import pytest

from agent.ending import Ending


async def test_sigterm_asks_and_a_second_one_insists() -> None:
    with Ending() as ending:
        os.kill(os.getpid(), signal.SIGTERM)
        async with asyncio.timeout(1):
            await ending.asked.wait()
        assert not ending.now.is_set()
        os.kill(os.getpid(), signal.SIGTERM)
        async with asyncio.timeout(1):
            await ending.now.wait()


async def test_sigint_insists_at_once() -> None:
    with Ending() as ending:
        os.kill(os.getpid(), signal.SIGINT)
        async with asyncio.timeout(1):
            await ending.now.wait()
        assert ending.asked.is_set()


@pytest.mark.shell
@pytest.mark.parametrize(("signals", "most"), [(2, 1.5), (1, 2.5)], ids=["a further signal", "time"])
def test_what_does_not_end_is_ended(signals: int, most: float) -> None:
    code = f"""
import asyncio, os, signal, sys
from agent.ending import Ending
async def main():
    with Ending() as ending:
        for _ in range({signals}):
            os.kill(os.getpid(), signal.SIGINT)
            await ending.now.wait()
            await asyncio.sleep(0.01)
        asyncio.get_running_loop().call_later({most}, sys.exit, 3)
        await asyncio.sleep(60)
asyncio.run(main())
"""
    assert subprocess.run([sys.executable, "-c", code], timeout=10, check=False).returncode == -signal.SIGINT


async def test_work_that_ends_has_ended() -> None:
    with Ending() as ending:
        assert await ending.unless_now(asyncio.sleep(0))
        assert await ending.unless_asked(asyncio.sleep(0))


async def test_work_is_cancelled_when_the_end_is_asked_for() -> None:
    ended = []

    async def work() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.append(True)

    with Ending() as ending:
        asyncio.get_running_loop().call_soon(ending.on_signal, signal.SIGINT)
        assert not await ending.unless_asked(work())
        assert not await ending.unless_now(work())
    assert ended == [True, True]


async def test_sigterm_lets_work_go_on() -> None:
    async def work() -> None:
        ending.on_signal(signal.SIGTERM)
        await asyncio.sleep(0)

    with Ending() as ending:
        assert await ending.unless_now(work())


async def test_errors_of_the_work_are_raised() -> None:
    async def work() -> None:
        raise ValueError("broken")

    with Ending() as ending:
        with pytest.raises(ValueError, match="broken"):
            await ending.unless_now(work())
