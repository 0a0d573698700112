"""Many rooms in one node, in two languages, all at once."""

from __future__ import annotations

import asyncio
import contextlib
import json
import random

import numpy as np

from tests.e2e.conftest import House, Person, judged_by_ear, score
from tests.e2e.test_room import SETTLE, heard

TRACKS = ("booth-en", "booth-fr") * 4
"""What is listened to, in eight rooms: one track each, for the listeners' decoders share the node's process and cores."""


def words(pitches: list[float]) -> list[float]:
    """A word that a late frame has cut in two counts once: here it matters who hears what, in which order."""
    return [pitch for at, pitch in enumerate(pitches) if not at or not np.isclose(pitch, pitches[at - 1], rtol=0.02)]


@judged_by_ear
async def test_eight_rooms_in_two_languages_hear_their_own_text_only(house: House):
    names = [f"{house.name}-{number}" for number in range(len(TRACKS))]
    await asyncio.gather(*(house.booth(room=name) for name in names))
    listeners = [
        await house.listener(room=name, wanted=lambda participant, track, chosen=chosen: track == chosen)
        for name, chosen in zip(names, TRACKS, strict=True)
    ]
    people = [await house.person(room=name) for name in names]
    for listener, track in zip(listeners, TRACKS, strict=True):
        await listener.ear(track)
    await asyncio.sleep(SETTLE)
    texts = [(f"Number {word} is spoken.", f"On parle {word} fois.") for word in "one two three four five six seven eight".split()]
    for person, track, (english, french) in zip(people, TRACKS, texts, strict=True):
        await person.send(text=english if track == "booth-en" else french, language=track[-2:])
    await asyncio.gather(*(person.told("speech_finished") for person in people))
    await asyncio.sleep(SETTLE)
    for listener, track, (english, french) in zip(listeners, TRACKS, texts, strict=True):
        meant, found = words(score(english if track == "booth-en" else french)), words(heard(listener, track))
        assert len(found) == len(meant) and np.allclose(found, meant, rtol=0.02), (track, meant, found)


FLOOD = 10_000  # utterances, ten times as many as a room may have waiting, and garbage after every fifth
AT_ONCE = 50  # packets that are sent together


async def flood(person: Person) -> None:
    chance = random.Random(5)
    packets = []
    for number in range(FLOOD):
        packets.append(json.dumps({"type": "text", "text": f"Nobody wants to hear number {number}.", "utterance": f"f{number}"}).encode())
        if number % 5 == 0:
            packets.append(chance.choice([chance.randbytes(60), b'{"type":"text","text":7}', b'{"type":"nonsense"}', b"[" * 5_000]))
    for start in range(0, len(packets), AT_ONCE):
        await asyncio.gather(*(person.send_raw(raw) for raw in packets[start : start + AT_ONCE]))


@judged_by_ear
async def test_a_room_is_heard_whole_while_another_is_flooded_with_text_and_garbage(house: House):
    quiet, loud = f"{house.name}-quiet", f"{house.name}-loud"
    await asyncio.gather(house.booth(room=quiet), house.booth(room=loud))
    listener = await house.listener(room=quiet, wanted=lambda participant, track: track == "booth-en")
    person, crowd = await house.person(room=quiet), await house.person(room=loud)
    await listener.ear("booth-en")
    texts = [f"Sentence {word} of the quiet room." for word in ("one", "two", "three")]
    flooding = asyncio.create_task(flood(crowd))
    try:
        await crowd.told("error")
        for number, text in enumerate(texts):
            await person.send(text=text, utterance=f"q{number}")
            await person.told("speech_finished", utterance=f"q{number}")
            assert number or not flooding.done()  # else nothing was shown
        await asyncio.wait_for(flooding, 60)
    finally:
        flooding.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await flooding
    await asyncio.sleep(SETTLE)
    meant, found = words([pitch for text in texts for pitch in score(text)]), words(heard(listener))
    assert len(found) == len(meant) and np.allclose(found, meant, rtol=0.02), (meant, found)
    assert not [event for event in person.events if event["type"] in ("dropped", "error")]
    refused = [event for event in crowd.events if event["type"] == "dropped" or event.get("code") == "overloaded"]
    assert {event.get("why", event.get("code")) for event in refused} <= {"overflow", "overloaded"}
    await crowd.send(type="cancel")
    crowd.events.clear()
    await crowd.send(text="Now listen.", utterance="last")
    await crowd.told("speech_finished", utterance="last")
