from __future__ import annotations

import asyncio

from tests.e2e.conftest import House, pitches, sounds_like

RATE = 48_000


async def test_packets_are_heard_once_and_in_order_with_captions_in_step(house: House):
    await house.booth()
    listener = await house.listener()
    person = await house.person()
    texts = ["Good morning, everybody.", "The committee meets again.", "Nothing else."]
    for seq, text in enumerate(texts):
        await person.send(text=text, stream="s", seq=seq, utterance=f"u{seq}")
    await person.told("spoken", stream="s", seq=2)
    ear = await listener.ear("booth-en")
    await asyncio.sleep(0.3)
    assert sounds_like(pitches(ear.recording().samples, RATE), *texts)
    assert [line.text.strip() for line in listener.lines] == texts
    assert {line.attributes["lk.transcription_final"] for line in listener.lines} == {"true"}
    assert {line.attributes["lk.transcribed_track_id"] for line in listener.lines} == {ear.track.sid if ear.track else ""}
