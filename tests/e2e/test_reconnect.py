from __future__ import annotations

import asyncio
import os
import signal
from typing import Any

import pytest
from livekit import rtc

from agent.upstream import Upstream
from bench.listener import Listener, token
from tests.agent.test_commands import Running
from tests.e2e.conftest import House, judged_by_ear, pitches, score, sounds_like

WORDS = ("alpha", "charlie", "delta", "echo")  # each with a pitch of its own
BACK = 60.0  # seconds for everybody to be back: as long as a link tries; a join whose media does not come about takes 20 of them


async def enter(house: House, identity: str) -> rtc.Room:
    room = rtc.Room()
    await room.connect(house.server.url, token(house.name, identity), rtc.RoomOptions(auto_subscribe=False))
    return room


async def enter_again(house: House, identity: str) -> rtc.Room:
    async with asyncio.timeout(BACK):
        while True:
            try:
                return await enter(house, identity)
            except rtc.ConnectError:
                await asyncio.sleep(0.2)


def told(events: list[dict[str, Any]], kind: str) -> list[dict[str, Any]]:
    return [event for event in events if event["type"] == kind]


async def until(condition: Any, timeout: float = BACK) -> None:
    async with asyncio.timeout(timeout):
        while not condition():  # noqa: ASYNC110 - a test may look
            await asyncio.sleep(0.05)


def times(heard: list[float], text: str) -> int:
    """How often the words of ``text`` were heard one after the other."""
    words = len(score(text))
    return sum(sounds_like(heard[at : at + words], text) for at in range(len(heard) - words + 1))


@judged_by_ear
async def test_after_a_server_restart_what_was_not_spoken_is_spoken_once(own_house: House):
    house = own_house
    link = await house.booth()
    events: list[dict[str, Any]] = []
    texts = [f"This is sentence number {word}." for word in WORDS]
    first = await enter(house, "upstream")
    async with Upstream(first, on_event=events.append) as up:
        await up.wait_ready()
        for text in texts:
            await up.say(text, language="en")
        await until(lambda: told(events, "speech_started"))
        await asyncio.sleep(0.5)
        await house.server.restart()
        await until(lambda: not link.joined.is_set() or told(events, "spoken"))
        listener = await again(house)
        room = await enter_again(house, "upstream")
        await up.attach(room)
        await up.drain(BACK)
        await asyncio.sleep(0.3)
        heard = pitches(listener.ears["booth-en"].recording().samples, 48_000)
        assert [times(heard, text) for text in texts[1:]] == [1, 1, 1]
        assert times(heard, texts[0]) <= 1  # it was cut; this listener may have come after its new beginning
        finished = [event["utterance"] for event in told(events, "speech_finished") if not event["interrupted"]]
        assert len(finished) == len(set(finished)) == len(texts)
        assert listener.lines[-1].text == texts[-1]
        assert listener.lines[-1].attributes["lk.transcribed_track_id"] == listener.ears["booth-en"].track.sid
        await room.disconnect()
        await listener.aclose()


@judged_by_ear
async def test_whoever_was_sent_away_just_before_the_server_ended_is_waited_for(own_house: House):
    """A server that ends sends everybody away, one after the other: the node may be the last."""
    house = own_house
    link = await house.booth()
    listener = Listener(house.server.url, house.name)
    await listener.__aenter__()
    first = await enter(house, "upstream")
    async with Upstream(first) as up:
        await up.wait_ready()
        await listener.room.local_participant.set_attributes({"about": "test"})  # else the server announces it up to 3 s later
        await asyncio.sleep(0.2)
        await listener.aclose()
        await house.server.restart()
        await until(lambda: not link.joined.is_set())
        room = await enter_again(house, "upstream")
        await up.attach(room)
        await up.say("This is sentence alpha.", language="en")
        await up.wait_ready()
        await asyncio.sleep(1.0)
        listener = await again(house)
        await up.drain(BACK)
        await asyncio.sleep(0.3)
        assert times(pitches(listener.ears["booth-en"].recording().samples, 48_000), "This is sentence alpha.") == 1
        await room.disconnect()
        await listener.aclose()


async def test_a_join_that_was_given_up_and_comes_about_late_takes_no_place_for_good(own_house: House, monkeypatch: pytest.MonkeyPatch):
    house = own_house
    link = await house.booth()
    connect, slow = rtc.Room.connect, asyncio.Event()

    async def late_once(room: rtc.Room, *given: Any) -> None:
        if not slow.is_set():
            slow.set()
            await asyncio.sleep(3.0)
        await connect(room, *given)

    monkeypatch.setattr("agent.room.CONNECT_WAIT", 1.0)
    monkeypatch.setattr(rtc.Room, "connect", late_once)
    await house.server.restart()
    await slow.wait()
    await until(link.joined.is_set)
    await until(lambda: not link.joined.is_set())  # the late one took its place
    await until(link.joined.is_set)
    await asyncio.sleep(1.0)
    assert link.joined.is_set()
    monkeypatch.undo()
    room = await enter(house, "upstream")
    async with Upstream(room) as up:
        await up.wait_ready()
        await up.say("Somebody is there.")
        await up.drain(BACK)
    await room.disconnect()


async def again(house: House) -> Listener:
    async with asyncio.timeout(BACK):
        while True:
            listener = Listener(house.server.url, house.name)
            try:
                return await listener.__aenter__()
            except rtc.ConnectError:
                await asyncio.sleep(0.2)


@judged_by_ear
async def test_after_a_pause_of_the_server_every_sentence_is_told_once_and_the_next_one_heard(own_house: House):
    house = own_house
    await house.booth()
    listener = await house.listener()
    person = await house.person()
    await person.meet()
    texts = ["The line will be cut now.", "Nothing of it is lost.", "That was all."]
    for seq, text in enumerate(texts):
        await person.send(text=text, stream="s", seq=seq)
    await person.told("speech_started")
    assert house.server.pid
    os.kill(house.server.pid, signal.SIGSTOP)
    await asyncio.sleep(1.5)
    os.kill(house.server.pid, signal.SIGCONT)
    await person.told("spoken", stream="s", seq=2, timeout=BACK)
    await asyncio.sleep(5.0)  # a listener's jitter buffer may be as far behind as the pause was long
    await person.send(text="Everything is well again.", stream="s", seq=3)
    await person.told("spoken", stream="s", seq=3)
    await asyncio.sleep(0.5)
    texts.append("Everything is well again.")
    # Sound on its way during the pause is squeezed or lost at the listener. What was told is not, nor is what was said afterwards.
    assert [event["text"].strip() for event in told(person.events, "sentence")] == texts
    finished = [event["id"] for event in told(person.events, "sentence_finished")]
    assert finished == [event["id"] for event in told(person.events, "sentence")]
    assert [line.text.strip() for line in listener.lines] == texts
    heard = pitches(listener.ears["booth-en"].recording().samples, 48_000)
    assert times(heard, texts[-1]) == 1


@pytest.mark.parametrize("scenario", ["resume", "full"])
@judged_by_ear
async def test_a_connection_that_the_library_mends_goes_on_with_the_sentence_that_was_cut(house: House, scenario: str):
    link = await house.booth()
    listener = await house.listener()
    person = await house.person()
    # The first word is a long one: a jitter buffer that starts anew may swallow half of a word as short as "a".
    text = "Sentences that have ten words are interrupted in their middle."
    await person.send(text=text)
    ear = await listener.ear("booth-en")
    await ear.onset(after=0.0)
    await asyncio.sleep(0.8)
    assert link._room
    kind = rtc.SimulateScenarioKind.SIMULATE_SIGNAL_RECONNECT if scenario == "resume" else rtc.SimulateScenarioKind.SIMULATE_FULL_RECONNECT
    await link._room.simulate_scenario(kind)
    await person.told("speech_finished", timeout=BACK)
    await asyncio.sleep(0.3)
    assert times(pitches(listener.ears["booth-en"].recording().samples, 48_000), text) == 1
    assert len(told(person.events, "speech_finished")) == 1
    assert listener.lines[-1].text == text


@judged_by_ear
async def test_when_the_node_dies_upstream_says_the_rest_to_the_next_one(house: House):
    events: list[dict[str, Any]] = []
    listener = await house.listener()
    texts = [f"Remember number {word}." for word in WORDS]
    room = await enter(house, "upstream")
    with Running(house.server, "join", house.server.url, house.name) as doomed:
        async with Upstream(room, on_event=events.append) as up:
            await up.wait_ready()
            for text in texts:
                await up.say(text, language="en")
            await until(lambda: told(events, "spoken"))
            spoken = told(events, "spoken")[-1]["seq"] + 1
            doomed.process.kill()
            await house.booth()
            await up.drain(BACK)
            await asyncio.sleep(0.3)
    assert spoken < len(texts)
    heard = pitches(listener.ears["booth-en"].recording().samples, 48_000)
    assert [times(heard, text) for text in texts] == [1] * len(texts)
    assert sounds_like(heard[-len(score(texts[-1])) :], texts[-1])
    await room.disconnect()
