from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

import pytest
from livekit import api, rtc

from agent.room import RoomSettings
from agent.worker import Worker, WorkerSettings
from tests.e2e.conftest import House, judged_by_ear, pitches, sounds_like


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """The library writes what it is given into the environment, where other tests would find it."""
    for name in ("LIVEKIT_URL", "LIVEKIT_API_KEY", "LIVEKIT_API_SECRET"):
        monkeypatch.setenv(name, "")


@contextlib.asynccontextmanager
async def working(house: House, *, agent_name: str = "") -> AsyncIterator[Worker]:
    server = house.server
    settings = WorkerSettings(server.url, server.api_key, server.api_secret, agent_name=agent_name)
    worker = Worker(house.node, settings, house.node.settings.node.languages, RoomSettings())
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


async def test_after_a_server_restart_a_room_has_one_booth(own_house: House):
    house = own_house
    async with working(house) as worker:
        person = await house.person()
        await person.meet()
        worker.registered.clear()
        await house.server.restart()
        async with asyncio.timeout(30):
            await worker.registered.wait()
            while True:
                try:
                    person = await house.person("again")
                    break
                except rtc.ConnectError:
                    await asyncio.sleep(0.2)
        await person.meet(30)
        await asyncio.sleep(1.0)
        booths = [p for p in person.room.remote_participants.values() if p.attributes.get("voicebooth.role") == "booth"]
        assert len(booths) == 1
        assert worker.rooms == (house.name,)
        await person.send(text="We are back.", utterance="back")
        await person.told("speech_finished", utterance="back")


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
