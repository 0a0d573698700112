import asyncio
from itertools import pairwise

import pytest

from pipeline.chain import Candidate
from pipeline.events import (
    Ack,
    Backlog,
    Complete,
    Dropped,
    Failure,
    LevelChanged,
    Pong,
    Ready,
    SentenceChosen,
    SpeechFinished,
    SpeechStarted,
    Spoken,
)
from pipeline.protocol import AudioFormat, Cancel, Config, End, Hello, Ping, ProtocolError, Text, parse
from pipeline.stage import StageSettings, TrackKey
from tests.virtual_time import Room, run


def in_room(**options):
    """Runs a test's coroutine with a room in virtual time."""

    def decorate(test):
        def wrapped():
            async def go():
                async with Room(**options) as room:
                    await test(room)

            run(go())

        wrapped.__name__ = test.__name__
        return wrapped

    return decorate


@in_room()
async def test_text_is_heard_and_everything_is_told(room):
    room.stage.on_message("up", Text(text="Hello there. How are you?", utterance="u", stream="s", seq=0))
    await room.quiet()
    assert len(room.heard()) == 2
    assert [event.text for event in room.told(SentenceChosen)] == ["Hello there.", "How are you?"]
    first, second = room.told(SpeechStarted)
    assert first.ttft == pytest.approx(0.03, abs=0.02) and first.ttft == first.lag
    assert second.ttft < 0.03 < second.lag
    (finished,) = room.told(SpeechFinished)
    assert finished.characters == len("Hello there.") + len("How are you?") and not finished.interrupted
    assert [event.seq for event in room.told(Ack)] == [0]
    assert [event.seq for event in room.told(Spoken)] == [0]


@in_room()
async def test_hello_is_answered_with_what_is_held_and_spoken(room):
    room.stage.on_message("up", Hello())
    assert room.told(Ready)[0].last == {}
    room.stage.on_message("up", Text(text="One.", stream="s", seq=0))
    await room.quiet()
    room.stage.on_message("up", Text(text="Two.", stream="s", seq=1))
    room.stage.on_message("up", Hello())
    progress = room.told(Ready)[1].last["s"]
    assert (progress.held, progress.spoken) == (1, 0)
    assert "en" in room.told(Ready)[1].languages


@in_room()
async def test_ping_is_answered(room):
    room.stage.on_message("up", Ping(t=1.5))
    assert room.told(Pong, "up") == [Pong(1.5)]


@in_room()
async def test_end_is_complete_after_everything_was_heard(room):
    room.stage.on_message("up", Text(text="No full stop yet", final=False))
    room.stage.on_message("up", End())
    assert not room.told(Complete)
    await room.quiet()
    assert [type(event) for _, event in room.events if isinstance(event, SpeechFinished | Complete)] == [SpeechFinished, Complete]


@in_room()
async def test_end_without_text_is_complete_at_once(room):
    room.stage.on_message("up", End())
    assert room.told(Complete, "up")


@in_room()
async def test_a_refused_message_is_told_and_leaves_no_gap(room):
    room.stage.on_refused("up", ProtocolError("bad_text", "no", stream="s", seq=0))
    room.stage.on_message("up", Text(text="After it.", stream="s", seq=1))
    await room.quiet()
    assert room.told(Failure)[0].code == "bad_text"
    assert len(room.heard()) == 1
    assert room.told(Spoken)[-1].seq == 1


@in_room()
async def test_an_utterance_that_never_ends_is_told_to_its_sender_and_others_are_heard(room):
    room.stage.on_message("up", Text(text="One. Thr", utterance="u", final=False))
    room.stage.on_message("other", Text(text="Somebody else."))
    await asyncio.sleep(9.0)
    assert not room.told(Failure)
    await room.quiet()
    assert [event.code for event in room.told(Failure, "up")] == ["not_finished"]
    assert room.told(Failure) == room.told(Failure, "up")
    assert [event.text for event in room.told(SentenceChosen)] == ["One.", "Thr", "Somebody else."]


@in_room()
async def test_markup_is_refused_and_leaves_no_gap(room):
    room.stage.on_message("up", Text(text="<speak>One.</speak>", stream="s", seq=0))
    for seq, part in enumerate(["<Sp", "EAK>Two.", " Three."], 1):
        room.stage.on_message("up", Text(text=part, utterance="u", final=False, stream="s", seq=seq))
    room.stage.on_message("up", Text(text="", utterance="u", stream="s", seq=4))
    room.stage.on_message("up", Text(text="<spoken, and heard.", utterance="u", stream="s", seq=5))
    for seq, part in enumerate(["\ufeff", "\n<?x", 'ml version="1.0"?>'], 6):
        room.stage.on_message("up", Text(text=part, utterance="v", final=seq == 8, stream="s", seq=seq))
    await room.quiet()
    assert [(event.code, event.seq) for event in room.told(Failure)] == [("not_supported", seq) for seq in (0, 2, 3, 8)]
    assert [(event.text, event.why) for event in room.told(Dropped)] == [("<Sp", "not_supported"), ("\ufeff\n<?x", "not_supported")]
    assert [event.text for event in room.told(SentenceChosen)] == ["<spoken, and heard."]
    assert room.told(Spoken)[-1].seq == 8


@in_room()
async def test_a_revision_that_is_markup_takes_the_place_of_what_it_revises(room):
    room.stage.on_message("up", Text(text="Said first.", utterance="first"))
    room.stage.on_message("up", Text(text="One two", utterance="u", final=False))
    room.stage.on_message("up", Text(text="<speak>One", utterance="u", final=False, revision=1))
    room.stage.on_message("up", Text(text=" three", utterance="u", revision=1))
    room.stage.on_message("up", Text(text="One two three.", utterance="u", revision=2))
    await room.quiet()
    assert [event.code for event in room.told(Failure)] == ["not_supported"] * 2
    assert [event.text for event in room.told(SentenceChosen)] == ["Said first.", "One two three."]


@in_room(settings=StageSettings(is_engine={"violin"}.__contains__))
async def test_an_engine_must_be_known_and_one_that_alone_may_speak_must_be_here(room):
    room.stage.on_message("up", Config(engine="megaphone", speed=2.0))
    room.stage.on_message("up", Config(engine="violin", strict_engine=True))
    room.stage.on_message("up", Config(strict_engine=True))
    room.stage.on_message("up", Config(engine="violin"))
    assert [event.code for event in room.told(Failure)] == ["unknown_engine"] * 3
    assert "'megaphone'; there are: tone" in room.told(Failure)[0].message
    assert room.stage._senders["up"].config.speed is None, "all of it is refused, or nothing"
    room.stage.on_message("up", Config(engine="violin", strict_engine=False))
    room.stage.on_message("up", Text(text="A wish is no order."))
    room.stage.on_message("up", Config(engine="tone", strict_engine=True))
    room.stage.on_message("up", Text(text="Nor is this."))
    await room.quiet()
    assert len(room.told(Failure)) == 3 and len(room.told(SpeechFinished)) == 2


@in_room()
async def test_a_form_of_the_sound_that_a_sender_asks_for_changes_nothing_on_a_track(room):
    room.stage.on_message("up", Text(text="The same either way.", utterance="before"))
    await room.quiet()
    room.stage.on_message("up", Config(audio=AudioFormat(encoding="wax", sample_rate=8_000, delivery="base64")))
    assert room.stage._senders["up"].config == Config()
    room.stage.on_message("up", Text(text="The same either way.", utterance="after"))
    await room.quiet()
    assert not room.told(Failure)
    before, after = (end - start for start, end in room.heard())
    assert before == pytest.approx(after, abs=0.01)


@in_room()
async def test_unknown_languages_and_voices_are_told_and_the_next_text_is_heard(room):
    room.stage.on_message("up", Text(text="Hello.", language="tlh", stream="s", seq=0))
    room.stage.on_message("up", Text(text="Hello.", voice="nobody", stream="s", seq=1))
    room.stage.on_message("up", Config(language="tlh"))
    room.stage.on_message("up", Text(text="Hello.", stream="s", seq=2))
    await room.quiet()
    assert [event.code for event in room.told(Failure)] == ["unknown_language", "unknown_voice", "unknown_language"]
    assert [event.seq for event in room.told(Failure)[:2]] == [0, 1]
    assert len(room.heard()) == 1
    assert room.told(Spoken)[-1].seq == 2


@in_room()
async def test_what_a_refusal_settles_is_told_after_what_was_settled_before_it(room):
    room.stage.on_message("up", Text(text="Hello.", voice="nobody", stream="s", seq=1))
    await asyncio.sleep(5)  # number 0 is given up by then
    assert [event.seq for event in room.told(Spoken)] == [0, 1]


@in_room()
async def test_languages_and_speakers_have_tracks_of_their_own_and_sound_at_once(room):
    room.stage.on_message("up", Text(text="Good morning everybody."))
    room.stage.on_message("up", Text(text="Guten Morgen zusammen.", language="de"))
    room.stage.on_message("up", Text(text="It is me.", speaker="ana"))
    await room.quiet()
    assert set(room.sound) == {"booth-en", "booth-de", "ana-en"}
    starts = [room.heard(name)[0][0] for name in room.sound]
    assert max(starts) - min(starts) < 0.1


@in_room()
async def test_a_region_is_heard_on_the_track_of_its_language(room):
    room.stage.on_message("up", Text(text="Hello.", language="en-US"))
    await room.quiet()
    assert set(room.sound) == {"booth-en"} and room.heard()


@in_room(settings=StageSettings(tracks=2))
async def test_too_many_voices_are_refused_and_numbered(room):
    for seq, speaker in enumerate(["a", "b"]):
        room.stage.on_message("up", Text(text="Hello.", speaker=speaker, stream="s", seq=seq))
    await room.quiet()
    assert room.told(Failure)[0].code == "too_many_tracks" and room.told(Failure)[0].seq == 1
    assert room.told(Spoken)[-1].seq == 1


@in_room()
async def test_what_was_configured_can_be_taken_back(room):
    room.stage.on_message("up", Config(language="de", speed=2.0))
    room.stage.on_message("up", parse(b'{"type": "config", "language": null}'))
    room.stage.on_message("up", Text(text="Hello.", utterance="u"))
    await room.quiet()
    config = room.stage._senders["up"].config
    assert (config.language, config.speed) == (None, 2.0)
    assert not room.told(Failure)


@in_room()
async def test_config_holds_for_what_follows_and_for_its_sender_only(room):
    room.stage.on_message("up", Config(language="de", speed=2.0))
    room.stage.on_message("up", Text(text="Guten Tag."))
    room.stage.on_message("other", Text(text="Good day."))
    await room.quiet()
    assert room.heard("booth-de") and room.heard("booth-en")


@in_room()
async def test_cancel_silences_its_sender_only(room):
    room.stage.on_message("up", Text(text="A very long sentence that goes on and on for quite some time."))
    room.stage.on_message("other", Text(text="Mine stays."))

    await asyncio.sleep(1.0)
    room.stage.on_message("up", Cancel())
    await room.quiet()
    assert [event.interrupted for event in room.told(SpeechFinished, "up")] == [True]
    assert room.told(SpeechFinished, "up")[0].position == pytest.approx(0.98, abs=0.06)
    assert room.heard()[-1][1] < 1.8
    assert [event.interrupted for event in room.told(SpeechFinished, "other")] == [False]


@in_room()
async def test_backlog_is_told_and_ends_at_nothing(room):
    room.stage.on_message("up", Text(text=" ".join(["This sentence is one of many that wait."] * 20)))
    await room.quiet()

    await asyncio.sleep(2)
    told = [event.seconds for event in room.told(Backlog, "up")]
    assert told[0] > 20 and told[-1] == 0.0
    assert all(a != b for a, b in pairwise(told))


@in_room()
async def test_a_drain_says_what_is_accepted_and_refuses_the_rest(room):

    room.stage.on_message("up", Text(text="This is still said."))
    draining = asyncio.ensure_future(room.stage.drain())
    await asyncio.sleep(0)
    room.stage.on_message("up", Text(text="This is not.", stream="s", seq=0))
    await draining
    (failure,) = room.told(Failure)
    assert (failure.code, failure.retryable, failure.seq) == ("draining", True, 0)
    assert len(room.heard()) == 1


@in_room()
async def test_closing_reports_what_was_not_heard(room):

    room.stage.on_message("up", Text(text="The first one begins. The second never will."))
    await asyncio.sleep(0.5)
    await room.stage.aclose()
    assert {event.why for event in room.told(Dropped)} == {"shutdown"}


@in_room()
async def test_a_lost_connection_freezes_and_the_cut_sentence_is_said_again(room):

    room.stage.on_message("up", Text(text="Before the break. This one is cut by it."))
    await asyncio.sleep(2.5)
    told = len(room.told(SpeechStarted))
    before = room.heard()
    room.stage.freeze()
    await asyncio.sleep(5)
    assert room.heard()[-1][1] < 2.6
    room.stage.thaw()
    await room.quiet()
    whole = room.heard()[-1]
    assert whole[0] > 7.4
    assert len(before) == 2 and whole[1] - whole[0] > before[1][1] - before[1][0]
    assert len(room.told(SpeechStarted)) == told == 2
    assert len(room.told(SpeechFinished)) == 1


@in_room()
async def test_what_is_cancelled_before_it_is_said_again_is_over_too(room):
    room.stage.on_message("up", Text(text="This one is cut by the break.", utterance="u"))
    await asyncio.sleep(0.8)
    assert room.told(SpeechStarted)
    room.stage.freeze()
    room.stage.thaw()
    room.stage.on_message("up", Cancel())
    await room.quiet()
    (finished,) = room.told(SpeechFinished)
    assert (finished.utterance, finished.interrupted, finished.position, finished.characters) == ("u", True, 0.0, 0)


@in_room()
async def test_a_new_door_to_a_living_stage_gets_its_tracks(room):
    opened = []

    class Door:
        def open_track(self, key, buffer):
            opened.append((key.name, buffer))

        def send(self, sender, event): ...

        def caption(self, caption): ...

    room.stage.attach(Door())
    assert [name for name, _ in opened] == ["booth-en"]


@in_room()
async def test_what_a_track_that_cannot_be_had_was_to_say_is_told_as_unheard(room):
    key = TrackKey("booth", "en")
    for pump in room.pumps:
        pump.cancel()
    room.stage.on_message("up", Text(text="Nobody hears this. Nor this. Nor that.", stream="s", seq=0))
    await asyncio.sleep(1)
    room.stage.on_track_failed(key)
    room.stage.on_message("up", Text(text="Later.", language="en-US", stream="s", seq=1))
    assert [event.text for event in room.told(Dropped)] == ["Nobody hears this.", "Nor this.", "Nor that.", "Later."]
    assert {event.why for event in room.told(Dropped)} == {"unheard"}
    assert room.told(Spoken)[-1].seq == 1
    await room.quiet()
    room.stage.attach(room)
    room.stage.on_message("up", Text(text="Heard again.", stream="s", seq=2))
    await room.quiet()
    assert room.heard()
    room.stage.on_track_failed(key)
    room.stage.on_track_opened(key)
    room.stage.on_message("up", Text(text="And again.", stream="s", seq=3))
    await room.quiet()
    assert len(room.heard()) == 2
    assert len(room.told(Dropped)) == 4


@in_room()
async def test_a_sender_whose_text_waits_is_not_forgotten_for_a_newcomer(room):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("pipeline.stage.SENDERS", 2)
        room.stage.on_message("a", Text(text="Second.", stream="s", seq=1))
        room.stage.on_message("b", Text(text="Not yet", utterance="u", final=False))
        room.stage.on_message("c", Text(text="Third.", stream="s", seq=0))
        room.stage.on_refused("c", ProtocolError("bad_text", "no", stream="s", seq=1))
        first, second = room.told(Failure, "c")
        assert (first.code, first.retryable, first.stream, first.seq) == ("too_many_senders", True, "s", 0)
        assert second.code == "bad_text"
        room.stage.on_message("a", Text(text="First.", stream="s", seq=0))
        room.stage.on_message("b", Text(text=".", utterance="u"))
        await room.quiet()
        assert [event.text for event in room.told(SentenceChosen)] == ["Not yet.", "First.", "Second."]
        room.stage.on_message("c", Text(text="Third.", stream="s", seq=0))
        await room.quiet()
        assert [event.seq for event in room.told(Spoken, "c")] == [0]


def test_senders_are_told_when_the_node_can_do_less_and_when_it_can_do_all_again():
    async def go():
        async with Room() as room:
            room.stage.look_at_level()
            room.stage.on_message("up", Text(text="Hello."))
            room.stage.on_message("other", Text(text="Hello."))
            room.stage.look_at_level()
            assert room.told(LevelChanged) == []
            chain, (voice, *_) = room.studio.chain, room.studio.offers["tone"]
            breaker = chain.breaker(Candidate("tone", voice))
            breaker.on_failed(now=room.loop.time(), for_good=True)
            for _ in range(3):
                room.stage.look_at_level()
            for sender in ("up", "other"):
                assert room.told(LevelChanged, sender) == [LevelChanged(3, "tone: it rests")]
            room.stage.on_message("late", Hello())
            assert room.told(Ready, "late")[0].level == 3
            breaker.on_probed(True, now=room.loop.time())
            room.stage.look_at_level()
            assert room.told(LevelChanged, "late") == [LevelChanged(0, "")]

    run(go())
