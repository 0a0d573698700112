import asyncio

import pytest

from agent.failures import one_line, tell_failure


async def test_an_error_that_nobody_waits_for_is_in_the_log(caplog: pytest.LogCaptureFixture):
    async def fail() -> None:
        raise LookupError("nowhere")

    tasks = [asyncio.create_task(fail(), name="search"), asyncio.create_task(asyncio.sleep(9)), asyncio.create_task(asyncio.sleep(0))]
    for task in tasks:
        task.add_done_callback(tell_failure)
    tasks[1].cancel()
    await asyncio.wait(tasks)
    await asyncio.sleep(0)
    (record,) = caplog.records
    assert record.getMessage() == "task search failed" and record.exc_info and isinstance(record.exc_info[1], LookupError)


def test_many_problems_make_one_line():
    assert one_line(["a\nb", "c"]) == "a b; c"
    assert one_line(list("abcde")) == "a; b; c; and 2 more"
    assert len(one_line(["x" * 9999] * 9)) < 1000
