from __future__ import annotations

import asyncio
import json
import random
from typing import Any

from livekit import rtc

from agent.inbound import InboundSettings
from agent.room import RoomSettings
from bench.hearing import tones
from bench.listener import Listener
from tests.e2e.conftest import House, Person, encrypted, judged_by_ear, pitches, score, sounds_like

RATE = 48_000
SETTLE = 0.3  # seconds: what was sent last is on its way to the listener, 60 ms behind
IN_STEP = 0.3  # seconds at the most between a word and its caption; sound waits 60 ms in the jitter buffer


def heard(listener: Listener, track: str = "booth-en", *, after: float = -1.0) -> list[float]:
    ear = listener.ears.get(track)
    return pitches(ear.recording(after=after).samples, RATE) if ear else []


async def write(person: Person, chunks: list[str], **attributes: str) -> rtc.TextStreamWriter:
    writer = await person.room.local_participant.stream_text(topic="voicebooth.text", attributes=attributes)
    for chunk in chunks:
        await writer.write(chunk)
    return writer


@judged_by_ear
async def test_packets_are_heard_once_and_in_order_with_captions_in_step(house: House):
    await house.booth()
    listener = await house.listener()
    person = await house.person()
    texts = ["Good morning, everybody.", "The committee meets again.", "Nothing else."]
    for seq in (0, 2, 1, 1):  # out of order, and one twice
        await person.send(text=texts[seq], stream="s", seq=seq, utterance=f"u{seq}")
    await person.told("spoken", stream="s", seq=2)
    await asyncio.sleep(SETTLE)
    ear = await listener.ear("booth-en")
    assert sounds_like(heard(listener), *texts)
    assert [line.text.strip() for line in listener.lines] == texts
    words = [(at, part.strip()) for line in listener.lines for at, part in line.parts if part.strip()]
    assert [word for _, word in words] == " ".join(texts).split()
    recording = ear.recording()
    onsets = [recording.arrivals[int(tone.start * 100)] for tone in tones(recording.samples, RATE)]
    assert max(abs(at - onset) for (at, _), onset in zip(words, onsets, strict=True)) < IN_STEP
    assert {line.attributes["lk.transcription_final"] for line in listener.lines} == {"true"}
    assert {line.attributes["lk.transcribed_track_id"] for line in listener.lines} == {ear.track.sid if ear.track else ""}
    kinds = [event["type"] for event in person.events if event["type"] in ("speech_started", "sentence_finished", "speech_finished")]
    assert kinds == ["speech_started", "sentence_finished", "speech_finished"] * 3


@judged_by_ear
async def test_a_text_stream_is_spoken_while_it_grows_and_ended_when_it_is_closed(house: House):
    await house.booth()
    listener = await house.listener()
    person = await house.person()
    writer = await write(person, ["The first sen", "tence is here. And the sec"], language="en")
    await person.told("speech_started")
    await writer.write("ond one")
    await writer.aclose()
    await person.told("speech_finished")
    await asyncio.sleep(SETTLE)
    assert sounds_like(heard(listener), "The first sentence is here.", "And the second one")


@judged_by_ear
async def test_a_stream_that_is_broken_off_says_whole_sentences_and_reports_the_rest(house: House):
    await house.booth()
    listener = await house.listener()
    person = await house.person()
    await write(person, ["This one is whole. This one is n"], utterance="cut")
    await person.told("speech_started")
    await person.room.disconnect()
    counts = house.node.report.counts  # who broke it off has left, and cannot be told; the node's own report can
    async with asyncio.timeout(5):
        while not counts["dropped:aborted"]:  # noqa: ASYNC110
            await asyncio.sleep(0.05)
    await asyncio.sleep(1.5)
    assert sounds_like(heard(listener), "This one is whole.")
    assert {what: number for what, number in counts.items() if what.startswith("dropped:")} == {"dropped:aborted": 1}


async def test_long_text_comes_as_one_numbered_stream(house: House):
    await house.booth()
    person = await house.person()
    await person.send(text="Before.", stream="s", seq=0)
    await person.room.local_participant.send_text("é" * 4_999 + ".", topic="voicebooth.text", attributes={"stream": "s", "seq": "1"})
    await person.send(text="After.", stream="s", seq=2)
    await person.told("ack", stream="s", seq=2)
    await person.send(type="cancel")
    assert not [event for event in person.events if event["type"] in ("error", "gap")]


async def transcribe(person: Person, text: str, **trailer: str) -> None:
    """As LiveKit's translator does: what matters comes with the end."""
    room = person.room.local_participant
    writer = await room.stream_text(topic="lk.transcription", attributes={"lk.transcription_final": "false", "lk.segment_id": text})
    await writer.write(text)
    await writer.aclose(attributes={"lk.transcription_final": "true", **trailer})


@judged_by_ear
async def test_transcriptions_are_spoken_where_they_are_translated_and_asked_for(house: House):
    await house.booth(RoomSettings(inbound=InboundSettings(transcriptions=True)))
    listener = await house.listener()
    person = await house.person("translator")
    await transcribe(person, "Left alone.", language="en", translated="false")
    await transcribe(person, "Auf Deutsch.", language="de")
    await transcribe(person, "Les poissons nagent.", language="fr", translated="true")
    await person.told("speech_finished")
    await asyncio.sleep(SETTLE)
    assert heard(listener) == []
    assert sounds_like(heard(listener, "translator-fr"), "Les poissons nagent.")
    assert [line.text for line in listener.lines if line.attributes.get("lk.transcribed_track_id")] == ["Les poissons nagent."]


@judged_by_ear
async def test_two_languages_are_heard_at_once_on_two_tracks(house: House):
    await house.booth()
    listener = await house.listener()
    person = await house.person()
    await person.send(text="English goes here and takes a while.", language="en")
    await person.send(text="Le français va ici en même temps.", language="fr")
    await person.told("speech_started", count=2)
    assert not [event for event in person.events if event["type"] == "speech_finished"]
    await person.told("speech_finished", count=2)
    await asyncio.sleep(SETTLE)
    assert sounds_like(heard(listener), "English goes here and takes a while.")
    assert sounds_like(heard(listener, "booth-fr"), "Le français va ici en même temps.")


@judged_by_ear
async def test_two_speakers_of_one_language_are_heard_at_once_on_two_tracks(house: House):
    await house.booth()
    listener = await house.listener()
    person = await house.person()
    said = {"minister": "One of us goes here and takes a while.", "ambassador": "The other one speaks in the same moment."}
    for speaker, text in said.items():
        await person.send(text=text, speaker=speaker)
    await person.told("speech_started", count=2)
    assert not [event for event in person.events if event["type"] == "speech_finished"]
    await person.told("speech_finished", count=2)
    await asyncio.sleep(SETTLE)
    for speaker, text in said.items():
        assert sounds_like(heard(listener, f"{speaker}-en"), text)


async def test_after_a_cancel_there_is_silence_at_the_listener_within_150_ms(house: House):
    await house.booth()
    listener = await house.listener()
    person = await house.person()
    ear = await listener.ear("booth-en")
    loop = asyncio.get_running_loop()
    delays = []
    for n in range(4):
        asked = loop.time()
        await person.send(text="Everything that follows will be cut short by somebody who is in a hurry.", utterance=f"long{n}")
        await ear.onset(after=asked)
        await asyncio.sleep(0.3 + 0.017 * n)
        cancelled = loop.time()
        await person.send(type="cancel")
        delays.append(await ear.silence(after=cancelled, hold=0.5) - cancelled)
    await person.send(text="Afterwards.", utterance="next")
    await person.told("speech_finished", utterance="next")
    assert max(delays) <= 0.150, delays
    assert not [e for e in person.events if e["type"] == "speech_finished" and e["utterance"] != "next" and not e["interrupted"]]


@judged_by_ear
async def test_a_late_listener_hears_the_rest_and_later_captions(house: House):
    await house.booth()
    person = await house.person()
    await person.send(text="One two three four five six seven eight nine ten.", utterance="long")
    await person.told("speech_started")
    late = await house.listener(identity="late")
    await person.send(text="And more.", utterance="more")
    await person.told("speech_finished", utterance="more")
    await asyncio.sleep(SETTLE)
    words = score("One two three four five six seven eight nine ten.") + score("And more.")
    found = heard(late)
    assert 2 <= len(found) < len(words)
    rest = words[-len(found) :]
    assert all(abs(a - b) < 0.02 * b for a, b in zip(found[1:], rest[1:], strict=True)), "all but the first, which may be torn"
    assert late.lines[-1].text == "And more."


@judged_by_ear
async def test_the_first_word_on_a_new_track_waits_for_its_listener(house: House):
    await house.booth()
    listener = await house.listener()
    person = await house.person()
    await person.send(text="Nobody has heard this voice before.", speaker="minister")
    await person.told("speech_finished")
    await asyncio.sleep(SETTLE)
    assert sounds_like(heard(listener, "minister-en"), "Nobody has heard this voice before.")


@judged_by_ear
async def test_who_may_not_send_is_told_once_and_not_spoken(house: House):
    await house.booth(RoomSettings(inbound=InboundSettings(senders=("translator-*",))))
    listener = await house.listener()
    stranger, translator = await house.person("stranger", is_met=False), await house.person("translator-1")
    for _ in range(3):
        await stranger.send(text="Not for your ears.")
    await stranger.told("error", code="forbidden")
    await translator.send(text="Allowed words.")
    await translator.told("speech_finished")
    await asyncio.sleep(SETTLE)
    assert sounds_like(heard(listener), "Allowed words.")
    assert len([event for event in stranger.events if event["type"] == "error"]) == 1


@judged_by_ear
async def test_packets_of_the_server_s_api_are_spoken(house: House):
    from livekit import api

    await house.booth()
    listener = await house.listener()
    await listener.ear("booth-en")
    payload = json.dumps({"type": "text", "text": "From the server."}).encode()
    async with api.LiveKitAPI(house.server.url, house.server.api_key, house.server.api_secret) as server:
        await server.room.send_data(api.SendDataRequest(room=house.name, data=payload, topic="voicebooth.text"))
    async with asyncio.timeout(5):
        while not listener.lines:  # noqa: ASYNC110 - a test may look
            await asyncio.sleep(0.05)
    await asyncio.sleep(SETTLE)
    assert sounds_like(heard(listener), "From the server.")


@judged_by_ear
async def test_garbage_is_answered_and_the_session_goes_on(house: House):
    await house.booth()
    listener = await house.listener()
    person = await house.person()
    chance = random.Random(3)
    garbage: list[bytes] = [
        *(b"", b"null", b"[]", b"{}", b'{"type":"nonsense"}', b"\xff\xfe", b'{"type":"text","text":1}', b'{"type":"text"}'),
        *(b'{"type":"text","text":"a\\u0000b"}', b'{"type":"text","text":"\\ud800"}', b'{"type":"text","text":"x","seq":-1,"stream":"s"}'),
        *(json.dumps({"type": "text", "text": "x" * 5_001}).encode(), b'{"type":"text","text":"x","language":"tlh"}'),
        *(json.dumps({"type": "text", "text": "x", "stream": "s", "seq": seq}).encode() for seq in (10**6, 2**53, 10**400)),
        *(chance.randbytes(chance.randrange(1, 200)) for _ in range(20)),
    ]
    for raw in garbage:
        await person.send_raw(raw)
    async with asyncio.timeout(5):
        while len([event for event in person.events if event["type"] == "error"]) < len(garbage):  # noqa: ASYNC110
            await asyncio.sleep(0.05)
    assert all(event["code"] and event["message"] for event in person.events if event["type"] == "error")
    await person.send(text="Still here.", utterance="last")
    await person.told("speech_finished", utterance="last")
    await asyncio.sleep(SETTLE)
    assert len([event for event in person.events if event["type"] == "error"]) == len(garbage)  # one each
    assert heard(listener)[-2:] and sounds_like(heard(listener)[-2:], "Still here.")


@judged_by_ear
async def test_a_room_encrypted_end_to_end_works_with_the_shared_key(house: House):
    await house.booth(RoomSettings(encryption_key="between us"))
    listener = await house.listener(encryption=encrypted(b"between us"))
    outsider = await house.listener(identity="outsider", encryption=encrypted(b"a wrong guess"))
    person = await house.person(options=rtc.RoomOptions(auto_subscribe=False, encryption=encrypted(b"between us")))
    await person.send(text="Nobody else hears this.")
    await person.told("speech_finished")
    await asyncio.sleep(SETTLE)
    assert sounds_like(heard(listener), "Nobody else hears this.")
    assert not sounds_like(heard(outsider), "Nobody else hears this.")


async def test_what_the_node_has_no_room_for_is_refused_aloud(house: House, monkeypatch: Any):
    person = await house.person()  # not met: a greeting would be one too many, too
    monkeypatch.setattr("agent.room.LETTERS", 0)
    await house.booth()
    await person.send(text="One too many.", stream="s", seq=4)
    refused = await person.told("error", code="overloaded")
    assert refused["retryable"] and (refused["stream"], refused["seq"]) == ("s", 4)
