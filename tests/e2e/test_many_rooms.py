"""Many rooms in one node, each with two languages, all at once."""

from __future__ import annotations

import asyncio

from tests.e2e.conftest import House, sounds_like
from tests.e2e.test_room import SETTLE, heard

ROOMS = 8


async def test_eight_rooms_with_two_languages_each_hear_their_own_text_only(house: House):
    names = [f"{house.name}-{number}" for number in range(ROOMS)]
    await asyncio.gather(*(house.booth(room=name) for name in names))
    listeners = await asyncio.gather(*(house.listener(room=name) for name in names))
    people = await asyncio.gather(*(house.person(room=name) for name in names))
    texts = [(f"Number {word} is spoken.", f"On parle {word} fois.") for word in "one two three four five six seven eight".split()]
    for person, (english, french) in zip(people, texts, strict=True):
        await person.send(text=english, language="en")
        await person.send(text=french, language="fr")
    await asyncio.gather(*(person.told("speech_finished", count=2) for person in people))
    await asyncio.sleep(SETTLE)
    for listener, (english, french) in zip(listeners, texts, strict=True):
        assert sounds_like(heard(listener), english), english
        assert sounds_like(heard(listener, "booth-fr"), french), french
