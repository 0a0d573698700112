from __future__ import annotations

import asyncio
from typing import Any

import pytest

from agent.room import RoomSettings
from agent.worker import Worker, WorkerFailed, WorkerSettings


class FakeHost:
    def __init__(self) -> None:
        self.loop = asyncio.get_running_loop()
        self.closed: list[str] = []

    def stage(self, name: str, outlet: Any) -> Any:
        raise AssertionError("no job begins here")

    async def close_stage(self, name: str) -> None:
        self.closed.append(name)

    def load(self) -> float:
        return 0.4


class FakeRequest:
    """A room that the server offers."""

    def __init__(self, name: str) -> None:
        self.room = self
        self.name = name
        self.answers: list[Any] = []

    async def accept(self, **fields: Any) -> None:
        self.answers.append(fields)

    async def reject(self, *, terminate: bool) -> None:
        self.answers.append(("rejected", terminate))


def make() -> Worker:
    return Worker(FakeHost(), WorkerSettings("ws://127.0.0.1:1", "key", "a" * 32), ("en",), RoomSettings())


async def test_a_room_is_taken_once_under_a_name_that_stays():
    worker, first, second = make(), FakeRequest("lobby"), FakeRequest("lobby")
    await worker._on_request(first)  # type: ignore[arg-type]
    await worker._on_request(second)  # type: ignore[arg-type]
    assert first.answers == [{"name": "voicebooth", "identity": "voicebooth", "attributes": {"voicebooth.role": "booth"}}]
    assert second.answers == [("rejected", True)]
    assert worker.rooms == ("lobby",)


async def test_a_room_that_is_not_assigned_in_the_end_may_be_offered_again():
    worker, request = make(), FakeRequest("lobby")

    async def late(**fields: Any) -> None:
        raise TimeoutError

    request.accept = late  # type: ignore[method-assign]
    with pytest.raises(TimeoutError):
        await worker._on_request(request)  # type: ignore[arg-type]
    assert worker.rooms == ()


async def test_a_worker_that_drains_leaves_rooms_to_others_and_counts_as_full():
    worker, request = make(), FakeRequest("lobby")
    assert await asyncio.get_running_loop().run_in_executor(None, worker._load) == 0.4
    worker.drain()
    await worker._on_request(request)  # type: ignore[arg-type]
    assert request.answers == [("rejected", False)]
    assert await asyncio.get_running_loop().run_in_executor(None, worker._load) == 1.0


async def test_a_worker_without_a_server_s_address_says_so():
    worker = Worker(FakeHost(), WorkerSettings("", "key", "a" * 32), ("en",), RoomSettings())
    with pytest.raises(WorkerFailed):
        await worker.run()
