from __future__ import annotations

import sys

import pytest

from bench.processes import Process, ProcessEnded, Usage, counted, running

SAYS = "import time; print('here I am', flush=True); time.sleep(60)"


async def test_a_process_is_heard_looked_at_and_ended_by_its_id() -> None:
    async with running(Process("test", [sys.executable, "-c", SAYS])) as process:
        assert await process.says("here I am", timeout=10.0) < 10.0
        assert process.usage().resident > 1.0
    with pytest.raises(ProcessEnded, match="here I am"):
        process.check()
    assert process.output().strip() == "here I am"


async def test_a_process_that_ends_too_early_tells_its_last_words() -> None:
    async with running(Process("test", [sys.executable, "-c", "raise SystemExit('no voice')"])) as process:
        with pytest.raises(ProcessEnded, match="no voice"):
            await process.says("ready", timeout=10.0)


def test_cores_are_seconds_of_work_per_second() -> None:
    assert Usage(12.0, 5.0, 100.0).cores(Usage(10.0, 4.0, 100.0)) == 0.5


def test_the_nodes_own_counts_come_from_its_last_line() -> None:
    output = 'ready\n{"message": "ended", "counts": {"sentences": 3, "underruns": 2, "dropped:failed": 1}, "ttft": {}}\n'
    assert counted(output, "underruns") == 2.0
    assert counted(output, "switched") == 0.0
    assert counted("ready\n", "underruns") is None
