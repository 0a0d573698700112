"""Many rooms in one node, in two languages, all at once."""

from __future__ import annotations

import asyncio

import numpy as np

from tests.e2e.conftest import House, score
from tests.e2e.test_room import SETTLE, heard

TRACKS = ("booth-en", "booth-fr") * 4
"""What is listened to, in eight rooms: one track each, for the listeners' decoders share the node's process and cores."""


def words(pitches: list[float]) -> list[float]:
    """A word that a late frame has cut in two counts once: here it matters who hears what, in which order."""
    return [pitch for at, pitch in enumerate(pitches) if not at or not np.isclose(pitch, pitches[at - 1], rtol=0.02)]


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
