"""The service's answers, good and bad, by a service of our own that speaks its protocol."""

from __future__ import annotations

import asyncio
import importlib
import re
import socket
import threading
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from engines.base import (
    NO_SAMPLES,
    BrokenOff,
    Chunk,
    EngineUnavailable,
    Mark,
    Pace,
    RateLimited,
    Refused,
    Request,
    Samples,
    ServiceFailed,
    SynthesisFailed,
    UnknownVoice,
    Unreachable,
)
from engines.edge import DECODER_DELAY, SAMPLE_RATE, EdgeEngine, EdgeSettings, known_voices
from pipeline.lanes import Lanes, LaneSettings
from tests.engines.edge_service import ENCODER_DELAY, Call, EdgeService, encode, in_place_of_edge, mp3, tones, waves

TEXT = "Ham & eggs, 3 < 4: good morning."
WAIT = 0.1  # seconds of patience where a test wants it to run out


@pytest.fixture
def service(monkeypatch: pytest.MonkeyPatch) -> Iterator[EdgeService]:
    with in_place_of_edge(monkeypatch) as running:
        yield running


def engine(**settings: Any) -> EdgeEngine:
    made = EdgeEngine(EdgeSettings(**settings))
    made.load()
    return made


def speak(text: str = TEXT, *, window: float = 1.0, by: EdgeEngine | None = None, **wish: Any) -> list[Chunk]:
    return list((by or engine()).synthesize(Request(text, **wish), Pace(window)))


def sound(chunks: list[Chunk]) -> Samples:
    return np.concatenate([NO_SAMPLES, *(chunk.samples for chunk in chunks)])


def marks(chunks: list[Chunk]) -> list[Mark]:
    return [mark for chunk in chunks for mark in chunk.marks]


def test_a_sentence_is_said_whole_with_exact_marks(service: EdgeService) -> None:
    chunks = speak()
    samples, expected = sound(chunks), tones(TEXT)[0]
    assert samples.dtype == np.int16
    assert len(expected) <= len(samples) <= len(expected) + 3 * 1152
    delay = DECODER_DELAY + ENCODER_DELAY
    heard = samples[delay : delay + len(expected)].astype(float)
    assert np.corrcoef(heard, expected[: len(heard)])[0, 1] > 0.98
    told = [(mark.start, mark.end, mark.sample, mark.exact) for mark in marks(chunks)]
    assert told == [(start, end, pytest.approx(sample + DECODER_DELAY, abs=1), True) for start, end, sample in waves(TEXT)]


def test_it_asks_as_the_service_wants_to_be_asked(service: EdgeService) -> None:
    speak(voice="fr-FR-DeniseNeural", speed=1.25)
    (call,) = service.calls
    assert '"wordBoundaryEnabled":"true"' in call.config
    assert "(fr-FR, DeniseNeural)" in call.ssml
    assert "rate='+25%'" in call.ssml
    assert call.text == TEXT
    assert "Sec-MS-GEC=" in service.asked[0].path


@pytest.mark.parametrize(("speed", "rate"), [(0.5, "-50%"), (1.0, "+0%"), (2.0, "+100%"), (1.004, "+0%")])
def test_speed_is_its_rate(service: EdgeService, speed: float, rate: str) -> None:
    speak("Yes.", speed=speed)
    assert f"rate='{rate}'" in service.calls[0].ssml


def test_steps_are_as_large_as_their_pace_allows(service: EdgeService) -> None:
    long = "one two three four five six seven eight nine ten"
    small, large = speak(long, window=0.0), speak(long, window=2.0)
    assert max(len(chunk.samples) for chunk in small) == int(0.1 * SAMPLE_RATE)
    assert 0.1 * SAMPLE_RATE < max(len(chunk.samples) for chunk in large) <= 2 * SAMPLE_RATE
    assert np.array_equal(sound(small), sound(large))


def test_sound_is_given_while_the_rest_is_still_made(service: EdgeService) -> None:
    def slow(call: Call) -> None:
        data = mp3(call.text)
        call.words()
        call.sound(data[:2880])
        service.gate.wait(5)
        call.sound(data[2880:])
        call.end()

    service.script = slow
    steps = engine().synthesize(Request(TEXT), Pace(1.0))
    first: list[Chunk] = []
    while not len(sound(first)):
        first.append(next(steps))
    assert marks(first)
    for _ in range(10):
        if not len(next(steps).samples):
            break
    else:
        pytest.fail("it gives what it cannot have")
    service.gate.set()
    assert len(sound(list(steps))) > 0


def test_a_word_told_too_late_is_not_exact_and_not_in_the_past(service: EdgeService) -> None:
    def late(call: Call) -> None:
        call.sound(mp3(call.text))
        service.gate.wait(5)
        call.words()
        call.end()

    service.script = late
    given, told = 0, []
    for chunk in engine().synthesize(Request(TEXT), Pace(60.0)):
        assert all(mark.sample >= given for mark in chunk.marks)
        told += chunk.marks
        given += len(chunk.samples)
        if given > 0.5 * SAMPLE_RATE:
            service.gate.set()
    assert [mark.start for mark in told] == [start for start, _, _ in waves(TEXT)]
    assert not any(mark.exact for mark in told)


def test_a_word_that_it_reads_otherwise_is_a_guess(service: EdgeService) -> None:
    def otherwise(call: Call) -> None:
        for sample, word in enumerate(("Room", "twelve", "is", "open", "now")):
            call.word(word, 1000 * sample)
        call.sound(mp3(call.text))
        call.end()

    service.script = otherwise
    text = "Room 12 is open."
    told = [(text[mark.start : mark.end], mark.exact) for mark in marks(speak(text))]
    assert told == [("Room", True), ("12", False), ("is", True), ("open", True)]


def test_a_word_further_on_is_not_mistaken_for_the_next(service: EdgeService) -> None:
    def gap(call: Call) -> None:
        call.word("end", 0)
        call.sound(mp3("x"))
        call.end()

    service.script = gap
    text = "a " * 100 + "end"
    assert [(mark.start, mark.exact) for mark in marks(speak(text))] == [(0, False)]


@pytest.mark.parametrize(("status", "kind"), [(403, Refused), (401, Refused), (404, Refused), (500, ServiceFailed), (502, ServiceFailed)])
def test_a_refusal_is_told_as_what_it_is(service: EdgeService, status: int, kind: type[ServiceFailed]) -> None:
    service.status = status
    with pytest.raises(kind, match=str(status)) as caught:
        speak()
    assert type(caught.value) is kind
    assert caught.value.is_retryable is (kind is ServiceFailed)
    assert len(service.asked) == (2 if status == 403 else 1)  # with 403, edge-tts corrects its clock and asks once more


@pytest.mark.parametrize(("status", "headers", "rest"), [(429, {"Retry-After": "7"}, 7), (429, {}, 60), (503, {}, 60)])
def test_a_rate_limit_says_for_how_long_and_is_kept(service: EdgeService, status: int, headers: dict[str, str], rest: float) -> None:
    service.status, service.headers = status, headers
    by = engine()
    with pytest.raises(RateLimited, match=str(status)) as caught:
        speak(by=by)
    assert (caught.value.retry_after, caught.value.is_retryable) == (rest, True)
    with pytest.raises(RateLimited) as again:
        speak(by=by)
    assert rest - 2 < again.value.retry_after <= rest
    assert len(service.asked) == 1  # it has not been asked again


def silent(call: Call) -> None:
    call.tell("turn.start", {})
    call.end()


def wordless(call: Call) -> None:
    call.words()
    call.socket.close()


@pytest.mark.parametrize("script", [silent, wordless])
def test_an_answer_without_sound_is_a_failure(service: EdgeService, script: Any) -> None:
    service.script = script
    with pytest.raises(ServiceFailed, match="no sound"):
        speak()


def leave(call: Call) -> None:
    call.sound(mp3(call.text)[:1440])
    call.socket.close()


def vanish(call: Call) -> None:
    call.sound(mp3(call.text)[:1440])
    call.socket.socket.shutdown(socket.SHUT_RDWR)


@pytest.mark.parametrize("script", [leave, vanish])
def test_a_connection_that_ends_inside_the_sentence_is_told(service: EdgeService, script: Any) -> None:
    service.script = script
    steps, given = engine().synthesize(Request(TEXT), Pace(1.0)), 0
    with pytest.raises(BrokenOff):
        for chunk in steps:
            given += len(chunk.samples)
    assert given > 0


def test_a_turn_that_has_ended_is_the_end_whatever_becomes_of_the_connection(service: EdgeService) -> None:
    def stay(call: Call) -> None:
        call.sound(mp3(call.text))
        call.end()
        service.gate.wait(5)

    service.script = stay
    assert len(sound(speak(by=engine(receive_timeout=WAIT)))) > 0


@pytest.mark.parametrize("after", [0, 1440])
def test_patience_ends(service: EdgeService, after: int) -> None:
    def stall(call: Call) -> None:
        call.sound(mp3(call.text)[:after])
        service.gate.wait(5)

    service.script = stall
    with pytest.raises(Unreachable, match="sends nothing"):
        speak(by=engine(connect_timeout=WAIT, receive_timeout=WAIT))


@pytest.mark.parametrize("after", [0, 7200])
def test_closing_breaks_off_at_once(service: EdgeService, after: int) -> None:
    def endless(call: Call) -> None:
        call.sound(mp3(call.text)[:after])
        while True:
            call.socket.recv(5)

    service.script = endless
    steps = engine().synthesize(Request(TEXT), Pace(0.0))
    while not service.calls:
        next(steps)
    if after:
        while not len(next(steps).samples):
            pass
    steps.close()
    assert service.wait_until_lost() < 1.0


def test_several_sentences_are_said_at_once(service: EdgeService) -> None:
    by, found = engine(), dict[str, int]()
    texts = ["One two.", "Three four five.", "Six."]
    threads = [threading.Thread(target=lambda text=text: found.update({text: len(sound(speak(text, by=by)))})) for text in texts]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert found == {text: len(sound(speak(text))) for text in texts}


async def test_in_its_lanes_an_abandoned_sentence_is_gone_at_once(service: EdgeService) -> None:
    def endless(call: Call) -> None:
        while True:
            call.socket.recv(5)

    service.script = endless
    lanes, pace = Lanes(LaneSettings(count=1, network_count=2)), Pace()
    by = engine()
    steps = lanes.steps(by.synthesize(Request(TEXT), pace), pace, network=by.network)
    while not service.calls:
        await steps.next(due=0.0, window=0.0)
    waiting = asyncio.ensure_future(steps.next(due=0.0, window=0.0))
    await asyncio.sleep(0)
    waiting.cancel()  # in the middle of a step
    steps.close()
    assert await asyncio.get_running_loop().run_in_executor(None, service.wait_until_lost) < 1.0
    lanes.close()


def test_a_name_that_nobody_knows(monkeypatch: pytest.MonkeyPatch) -> None:
    def nobody(*arguments: Any, **more: Any) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr("edge_tts.communicate.WSS_URL", "ws://speech.invalid/?a=b")
    monkeypatch.setattr(socket, "getaddrinfo", nobody)
    with pytest.raises(Unreachable, match=r"cannot be reached.*network") as caught:
        speak()
    assert caught.value.is_retryable


def test_a_port_that_nobody_serves(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edge_tts.communicate.WSS_URL", "ws://127.0.0.1:9/?a=b")
    with pytest.raises(Unreachable, match="cannot be reached"):
        speak()


def test_a_proxy_is_gone_through(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edge_tts.communicate.WSS_URL", "ws://speech.invalid/?a=b")
    with socket.create_server(("127.0.0.1", 0)) as proxy:
        asked = []

        def answer() -> None:
            peer, _ = proxy.accept()
            with peer:
                asked.append(peer.recv(4096))
                peer.sendall(b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\n\r\n")

        thread = threading.Thread(target=answer)
        thread.start()
        with pytest.raises(ServiceFailed):
            speak(by=engine(proxy=f"http://127.0.0.1:{proxy.getsockname()[1]}"))
        thread.join(5)
    assert b"speech.invalid" in asked[0]


def test_what_is_no_mp3_is_told(service: EdgeService) -> None:
    def noise(call: Call) -> None:
        call.sound(np.random.default_rng(1).bytes(20_000))
        call.end()

    service.script = noise
    with pytest.raises(ServiceFailed):
        speak()


def test_sound_of_another_rate_is_told(service: EdgeService) -> None:
    def faster(call: Call) -> None:
        call.sound(encode(tones(call.text)[0], rate=16_000))
        call.end()

    service.script = faster
    with pytest.raises(ServiceFailed, match="16000 Hz"):
        speak()


def test_an_answer_without_end_is_ended(service: EdgeService) -> None:
    def babble(call: Call) -> None:
        while True:
            call.sound(mp3("la " * 40))

    service.script = babble
    with pytest.raises(ServiceFailed, match="no end"):
        speak("Oh!", window=60.0)


def test_what_edge_tts_does_not_understand_is_told(service: EdgeService) -> None:
    service.script = lambda call: call.tell("weather.report", {})
    with pytest.raises(ServiceFailed, match="does not understand"):
        speak()
    service.script = lambda call: call.socket.send("garbage")
    with pytest.raises(ServiceFailed, match="does not understand"):
        speak()


@pytest.mark.parametrize("text", ["", "  ", "...", "«—»"])
def test_without_a_word_nobody_is_asked(service: EdgeService, text: str) -> None:
    with pytest.raises(SynthesisFailed, match="no word"):
        speak(text)
    assert not service.asked


def test_a_long_text_is_said_whole(service: EdgeService) -> None:
    text = "word " * 900
    service.script = lambda call: (call.sound(mp3("x")), call.end())[0]
    speak(text)
    assert len(service.calls) == 2
    assert "".join(call.text.replace(" ", "") for call in service.calls) == text.replace(" ", "")


def test_nothing_is_done_before_the_first_step(service: EdgeService) -> None:
    engine().synthesize(Request(TEXT), Pace()).close()
    assert not service.asked


def test_voices_are_chosen_by_id_and_by_language() -> None:
    made = engine()
    assert made.voices()[0].id == "en-US-EmmaMultilingualNeural"
    for language, region in (("de", "de-DE"), ("pt", "pt-BR"), ("pt-PT", "pt-PT"), ("FR-ca", "fr-CA"), ("no", "no-NO"), ("es-XX", "es-ES")):
        assert made.choose(Request("x", language=language)).language == region
    with pytest.raises(UnknownVoice, match="'tlh'"):
        made.choose(Request("x", language="tlh"))
    with pytest.raises(UnknownVoice, match="no voice 'anna'"):
        speak(voice="anna")
    made.unload()
    assert made.voices() == ()


def test_the_table_of_voices_is_sound() -> None:
    known = known_voices()
    assert len({voice.id for voice in known}) == len(known) > 200
    assert {voice.gender for voice in known} == {"female", "male"}
    assert {"ar", "de", "en", "es", "fr", "hi", "it", "ja", "nl", "no", "pl", "pt", "ru", "zh"} <= {v.language[:2] for v in known}
    assert all(re.fullmatch(r"[a-z]{2}-[A-Z]{2}", voice.language) and voice.name for voice in known)
    assert next(voice.name for voice in known if voice.id == "fr-FR-VivienneMultilingualNeural") == "Vivienne Multilingual"


def test_settings_may_name_a_voice_that_is_newer_than_the_table() -> None:
    voices = engine(voices=("de-DE-NeueNeural", "en-US-AriaNeural")).voices()
    assert [(voice.id, voice.language, voice.gender) for voice in voices] == [
        ("de-DE-NeueNeural", "de-DE", ""),
        ("en-US-AriaNeural", "en-US", "female"),
    ]
    with pytest.raises(EngineUnavailable, match=r"edge\.voices: 'anna'"):
        engine(voices=("anna",))


@pytest.mark.parametrize("wrong", [{"connect_timeout": 0.0}, {"receive_timeout": 61.0}, {"proxy": "me:hush@proxy"}])
def test_settings_have_bounds(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="edge") as caught:
        EdgeSettings(**wrong)
    assert "hush" not in str(caught.value)


def test_what_is_missing_is_told_with_what_brings_it(monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(name: str) -> Any:
        raise ImportError(f"No module named {name!r}")

    monkeypatch.setattr(importlib, "import_module", absent)
    with pytest.raises(EngineUnavailable, match=r"voicebooth\[edge\]"):
        engine()


def test_it_waits_in_lanes_of_its_own_and_is_known_by_its_library() -> None:
    assert EdgeEngine.network
    assert re.fullmatch(r"edge-1 edge-tts-7\.\d.*", engine().build)


def test_what_is_missing_is_named_without_importing_anything(monkeypatch: pytest.MonkeyPatch) -> None:
    assert EdgeEngine().missing() == ""
    monkeypatch.setattr("engines.edge.LIBRARIES", ("av", "no_such_library"))
    assert EdgeEngine().missing() == "pip install 'voicebooth[edge]'"
