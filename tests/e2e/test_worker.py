from __future__ import annotations

import asyncio
import contextlib
import os
import time
from collections.abc import AsyncIterator
from functools import partial
from typing import Any

import pytest
from livekit import api, rtc

from agent.room import RoomSettings
from agent.upstream import Upstream
from agent.worker import Worker, WorkerSettings
from tests.e2e.conftest import House, encrypted, judged_by_ear, pitches, sounds_like
from tests.e2e.test_reconnect import BACK, again, enter, enter_again, times, told, until

RATE = 48_000
SETTLE = 0.3  # seconds: what was sent last is on its way to the listener, 60 ms behind
FULL = 0.9  # of the node's lanes: above the part at which a worker refuses further rooms
STATUS = 3.0  # seconds in which the library tells the server how full the worker is
BEFORE = ("This is sentence alpha.", "This is sentence charlie.", "This is sentence delta.")
MEANWHILE, AFTER = "Nobody could take this.", "Everybody hears the last one."


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """The library writes what it is given into the environment, where other tests would find it."""
    for name in ("LIVEKIT_URL", "LIVEKIT_API_KEY", "LIVEKIT_API_SECRET"):
        monkeypatch.setenv(name, "")


@contextlib.asynccontextmanager
async def working(house: House, *, agent_name: str = "", rooms: RoomSettings | None = None) -> AsyncIterator[Worker]:
    server = house.server
    settings = WorkerSettings(server.url, server.api_key, server.api_secret, agent_name=agent_name)
    worker = Worker(house.node, settings, house.node.settings.node.languages, rooms or RoomSettings())
    running = asyncio.create_task(worker.run())
    try:
        async with asyncio.timeout(10):
            await worker.registered.wait()
        yield worker
    finally:
        async with asyncio.timeout(5):
            await worker.aclose()
            await running


@judged_by_ear
async def test_a_room_is_served_as_soon_as_somebody_is_in_it(house: House):
    async with working(house) as worker:
        listener = await house.listener()
        person = await house.person()
        ear = await listener.ear("booth-fr")
        await person.send(text="Bonjour à tous.", language="fr")
        await person.told("sentence_finished")
        await asyncio.sleep(0.2)
        assert sounds_like(pitches(ear.recording().samples, 48_000), "Bonjour à tous.")
        assert worker.rooms == (house.name,)


@judged_by_ear
async def test_a_room_that_is_encrypted_end_to_end_is_served_too(house: House):
    async with working(house, rooms=RoomSettings(encryption_key="between us")):
        listener = await house.listener(encryption=encrypted(b"between us"))
        person = await house.person(options=rtc.RoomOptions(auto_subscribe=False, encryption=encrypted(b"between us")))
        ear = await listener.ear("booth-en")
        await person.send(text="Nobody else hears this.")
        await person.told("speech_finished")
        await asyncio.sleep(SETTLE)
        assert sounds_like(pitches(ear.recording().samples, RATE), "Nobody else hears this.")


async def test_a_named_worker_comes_only_where_it_was_sent(house: House):
    async with working(house, agent_name="interpreter") as worker:
        person = await house.person()
        await asyncio.sleep(0.5)
        assert worker.rooms == ()
        async with api.LiveKitAPI(house.server.url, house.server.api_key, house.server.api_secret) as server:
            await server.agent_dispatch.create_dispatch(api.CreateAgentDispatchRequest(agent_name="interpreter", room=house.name))
        async with asyncio.timeout(10):
            while worker.rooms != (house.name,):  # noqa: ASYNC110 - a test may look
                await asyncio.sleep(0.05)
        await person.meet()


@judged_by_ear
async def test_after_a_server_restart_a_room_has_one_booth_that_says_once_what_was_not_spoken(own_house: House):
    """Text comes before the restart, while nobody is there to take it, and after it."""
    house = own_house
    events: list[dict[str, Any]] = []
    async with working(house) as worker:
        early = await house.listener(identity="early")
        async with Upstream(await enter(house, "upstream"), on_event=events.append) as up:
            await up.wait_ready()
            for text in BEFORE:
                await up.say(text)
            await until(lambda: told(events, "spoken"))
            await asyncio.sleep(SETTLE)  # the second one has begun
            before = pitches(early.ears["booth-en"].recording().samples, RATE)
            worker.registered.clear()
            await house.server.stop()
            await up.say(MEANWHILE)
            await house.server.start()
            listener = await again(house)
            room = await enter_again(house, "upstream")
            await up.attach(room)
            await up.say(AFTER)
            await up.drain(BACK)
            await asyncio.sleep(SETTLE)
        async with asyncio.timeout(BACK):
            await worker.registered.wait()
        heard = pitches(listener.ears["booth-en"].recording().samples, RATE)
        assert [times(before, BEFORE[0]), times(heard, BEFORE[0])] == [1, 0]
        assert times(heard, BEFORE[1]) <= 1  # it was cut; this listener may have come after its new beginning
        assert [times(heard, text) for text in (BEFORE[2], MEANWHILE, AFTER)] == [1, 1, 1]
        finished = [event["utterance"] for event in told(events, "speech_finished") if not event["interrupted"]]
        assert len(finished) == len(set(finished)) == len(BEFORE) + 2
        booths = [p for p in room.remote_participants.values() if p.attributes.get("voicebooth.role") == "booth"]
        assert len(booths) == 1
        assert worker.rooms == (house.name,)
        await room.disconnect()
        await listener.aclose()


@pytest.mark.parametrize("jobs", [4])
async def test_several_rooms_share_one_node(house: House, jobs: int):
    async with working(house):
        rooms = [f"{house.name}-{n}" for n in range(jobs)]
        listeners = [await house.listener(room=room) for room in rooms]
        people = [await house.person(room=room) for room in rooms]
        for n, person in enumerate(people):
            await person.meet()
            await person.send(text=f"This is room {n}.", language="en")
        for person in people:
            await person.told("sentence_finished", timeout=15)
        await asyncio.sleep(0.2)
        for n, listener in enumerate(listeners):
            assert [line.text for line in listener.lines] == [f"This is room {n}."]


async def test_a_node_whose_lanes_are_taken_is_given_no_further_room_until_they_are_free(house: House):
    lanes = house.node.studio.lanes

    async def keep_busy() -> None:
        while True:
            await lanes.run(partial(time.sleep, 0.2), due=asyncio.get_running_loop().time() + 1.0)

    async with working(house) as worker:
        person = await house.person()
        await person.meet()
        taking = [asyncio.create_task(keep_busy()) for _ in range(2 * (os.cpu_count() or 1))]
        await until(lambda: house.node.load() > FULL)
        await asyncio.sleep(STATUS)
        late = await house.person(room=f"{house.name}-late")
        await person.send(text="This room goes on.", utterance="on")
        await person.told("speech_finished", utterance="on")
        await asyncio.sleep(1.0)
        assert worker.rooms == (house.name,)
        for task in taking:
            task.cancel()
        await until(lambda: house.node.load() < FULL / 2)
        await asyncio.sleep(STATUS)
        calm = await house.person(room=f"{house.name}-calm")
        await calm.meet()
        assert not late.events
