from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest
from livekit.rtc._ffi_client import FfiClient
from livekit.rtc._proto.ffi_pb2 import FfiEvent

from agent.wakeups import narrow


def about(room: int) -> FfiEvent:
    event = FfiEvent()
    event.room_event.room_handle = room
    event.room_event.disconnected.SetInParent()
    return event


def of_kind(kind: str) -> FfiEvent:
    event = FfiEvent()
    getattr(event, kind).SetInParent()
    return event


@pytest.fixture
async def rooms() -> Any:
    """Two that have subscribed as the library's do, of which the first is narrowed."""
    queue = FfiClient.instance.queue
    made: list[Any] = [SimpleNamespace(_ffi_queue=queue.subscribe(), _ffi_handle=SimpleNamespace(handle=n)) for n in (1, 2)]
    narrow(made[0])
    yield made
    for room in made:
        queue.unsubscribe(room._ffi_queue)


async def got(room: Any) -> list[str | None]:
    await asyncio.sleep(0)
    return [room._ffi_queue.get_nowait().WhichOneof("message") for _ in range(room._ffi_queue.qsize())]


async def test_a_room_gets_its_own_messages_and_not_the_others(rooms: list[Any]):
    for event in (about(2), about(1), about(2)):
        FfiClient.instance.queue.put(event)
    assert len(await got(rooms[0])) == 1
    assert len(await got(rooms[1])) == 3


async def test_answers_that_name_no_room_reach_it_where_it_waits_for_them(rooms: list[Any]):
    for kind in ("publish_data", "publish_track", "get_stats", "rpc_method_invocation", "unpublish_track"):
        FfiClient.instance.queue.put(of_kind(kind))
    assert await got(rooms[0]) == ["publish_track", "rpc_method_invocation", "unpublish_track"]
