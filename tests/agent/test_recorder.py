import numpy as np

from agent.recorder import Recorder
from pipeline.events import Complete, Dropped, Failure
from pipeline.playout import Cue, PlayoutBuffer
from pipeline.speaker import TrackKey

KEY = TrackKey("booth", "en")


async def test_sound_is_given_whole_and_without_padding():
    recorder = Recorder()
    cues = []
    buffer = PlayoutBuffer(1000, on_cue=lambda cue, now: cues.append(cue.kind))
    recorder.open_track(KEY, buffer)
    assert not buffer.is_live
    buffer.cue(Cue("a", "start"))
    buffer.write("a", np.arange(1, 251, dtype=np.int16))
    buffer.cue(Cue("a", "end"))
    pieces = [piece async for piece in recorder.samples(lambda: "end" in cues)]
    assert np.concatenate(pieces).tolist() == list(range(1, 251))
    assert buffer.underruns == 0


async def test_nothing_at_all_ends():
    recorder = Recorder()
    assert [piece async for piece in recorder.samples(lambda: True)] == []


async def test_problems_are_kept_and_text_without_words_is_none():
    recorder = Recorder()
    recorder.send("up", Failure("unknown_voice", "no such voice"))
    recorder.send("up", Dropped("u", "Hello.", "failed"))
    recorder.send("up", Dropped("u", "...", "nothing_to_say"))
    assert recorder.problems == ["no such voice", "not said (failed): Hello."]


async def test_whoever_asks_sees_every_event_in_order():
    seen = []
    recorder = Recorder(seen.append)
    recorder.send("up", Failure("unknown_voice", "no such voice"))
    recorder.send("up", Complete())
    assert [event.type for event in seen] == ["error", "complete"]
