"""The real model. Its parts are made once and kept in the user's cache, as the node does."""

from __future__ import annotations

import numpy as np
import pytest

from bench.voices import seams, steps, texts
from engines.base import EngineUnavailable, Pace, Request, SynthesisFailed, UnknownVoice
from engines.kokoro import KokoroEngine, KokoroSettings
from engines.kokoro.calibrate import CHECKS, SENTENCES, calibrate, level
from engines.kokoro.files import cache_folder, digest, find_model, find_parts, find_voices
from engines.kokoro.harmonics import HOP, RATE
from engines.kokoro.model import Kokoro
from engines.kokoro.phonemes import Espeak, phonemize
from engines.kokoro.runtimes import make
from engines.kokoro.sound import SIZES
from engines.kokoro.statistics import FILE, Known, Measured, bucket
from engines.kokoro.voices import Mixture, Styles
from engines.vits import decibels

pytestmark = pytest.mark.voice
TEXT = "Out of the harbour, into the open sea."


def loaded(precision):
    engine = KokoroEngine(KokoroSettings(precision=precision, runtime="onnxruntime"))
    try:
        engine.load()
    except EngineUnavailable as problem:
        pytest.fail(f"this test speaks with the real model, which `make kokoro` brings ({problem})")
    return engine


@pytest.fixture(scope="session")
def kokoro():
    return loaded("float32")


@pytest.fixture(scope="session")
def small():
    return loaded("int8")


@pytest.fixture(params=["kokoro", "small"])
def either(request):
    """The model in either precision: which one is spoken with depends on the machine."""
    return request.getfixturevalue(request.param)


@pytest.fixture(scope="session")
def measuring(kokoro):
    model = find_model(None, cache_folder())
    runtime = make("onnxruntime", 2)
    return Kokoro(find_parts(model, digest(model), "float32", "measuring", cache_folder()), runtime, runtime)


def speak(engine, text, window=10.0, **wish):
    return list(engine.synthesize(Request(text, **wish), Pace(window)))


def sound(chunks):
    return np.concatenate([chunk.samples for chunk in chunks])


def test_speaks_in_windows_that_grow(either):
    pace, chunks = Pace(0.0), []
    for chunk in either.synthesize(Request(TEXT), pace):
        chunks.append(chunk)
        pace.window = 10.0 if len(chunk.samples) else 0.0
    sizes = [len(chunk.samples) for chunk in chunks]
    assert all(sizes) and len(sizes) == len(chunks)  # nobody waits: what is prepared comes with its sound
    assert sizes[:3] == [size * HOP for size in SIZES[:3]]
    level = np.sqrt(np.mean(np.square(sound(chunks) / 32767.0)))
    assert 0.02 < level < 0.2


@pytest.mark.parametrize(
    ("voice", "text"),
    [("af_heart", "Good morning to all."), ("bf_emma", "Yes."), ("am_adam", "Kings and queens."), ("bf_lily", "Hurry up!")],
)
def test_little_silence_is_made_before_a_sentence_and_nothing_of_it_is_lost(either, voice, text):
    """Some begin long before their first phoneme, others with it."""
    spoken, block = sound(speak(either, text, voice=voice)) / 32767.0, 60  # 2.5 ms
    whole = either.raw(text, voice, "once")
    first, expected = (
        int(np.argmax(np.square(samples[: len(samples) // block * block].reshape(-1, block)).mean(axis=1) > 10 ** (-50 / 10)))
        for samples in (spoken, whole)
    )
    assert 0 < first * block / RATE < 0.080
    here, there = spoken[first * block :][: RATE // 10], whole[expected * block :][: RATE // 10]
    assert abs(level(here) - level(there)) < 1.0


def test_pace_bounds_the_windows_and_changes_the_sound_inaudibly(kokoro):
    small, large = sound(speak(kokoro, "The harbour is open.", window=0.0)), sound(speak(kokoro, "The harbour is open."))
    count = min(len(small), len(large))  # they may see the end's silence a window apart
    assert abs(len(small) - len(large)) <= 8 * HOP
    assert decibels(large[:count].astype(np.float32), small[:count].astype(np.float32)) > 35


def test_beside_others_a_step_keeps_to_one_thread_and_sounds_the_same(either):
    def speak_beside(pace):
        return sound(list(either.synthesize(Request("The harbour is open."), pace)))

    used, run = [], type(either._loaded._kokoro._beside[0]).run
    for model in (*either._loaded._kokoro._stages, *either._loaded._kokoro._beside):
        model.run = lambda feed, model=model: used.append(model) or run(model, feed)
    try:
        alone, beside = speak_beside(Pace(0.3)), speak_beside(Pace(0.3, is_alone=False))
    finally:
        for model in (*either._loaded._kokoro._stages, *either._loaded._kokoro._beside):
            del model.run
    half = len(used) // 2
    assert set(used[:half]) == set(either._loaded._kokoro._stages)
    assert set(used[half:]) == set(either._loaded._kokoro._beside)
    assert len(alone) == len(beside) and decibels(alone.astype(np.float32), beside.astype(np.float32)) > 40


def test_marks_follow_the_words(either):
    chunks = speak(either, TEXT)
    marks = [mark for chunk in chunks for mark in chunk.marks]
    assert [TEXT[mark.start : mark.end] for mark in marks] == TEXT.split()
    assert [mark.sample for mark in marks] == sorted(mark.sample for mark in marks)
    assert {TEXT[mark.start : mark.end] for mark in marks if mark.exact} >= {"harbour,", "into", "open", "sea."}
    assert marks[-1].sample < len(sound(chunks))


def test_the_parts_with_their_own_statistics_are_the_whole(kokoro, measuring):
    """The frozen parts in one window, at the statistics that the measuring ones tell, give what those give."""
    styles = Styles(*find_voices(None, cache_folder()))
    prepared = measuring.prepare(phonemize(TEXT, "a"), styles.style(Mixture.parse("af_heart")), 1.0)
    whole, moments = measuring.measure(prepared)
    flow = kokoro._loaded._kokoro.flow(prepared, Measured((1.0,), (moments,)), Pace())
    assert decibels(whole, flow.pull(0, flow.columns).ravel()) > 90


def test_speed_and_mixtures(either):
    usual = sound(speak(either, TEXT))
    assert len(sound(speak(either, TEXT, speed=2.0))) < 0.65 * len(usual)
    mixed = sound(speak(either, TEXT, voice="af_heart:0.6+af_bella:0.4"))
    assert 0.7 < len(mixed) / len(usual) < 1.4
    assert np.array_equal(usual, sound(speak(either, TEXT)))


def test_every_language_has_a_voice_that_speaks(kokoro):
    for language, voice in (
        ("es", "ef_dora"),
        ("fr", "ff_siwis"),
        ("hi", "hf_alpha"),
        ("it", "if_sara"),
        ("ja", "jf_alpha"),
        ("pt", "pf_dora"),
        ("zh", "zf_xiaobei"),
    ):
        short = SENTENCES[language][0]
        assert kokoro.voice(voice).language.startswith(language)
        assert len(sound(speak(kokoro, short, language=language))) > 12_000


def test_a_long_text_is_spoken_in_pieces(either):
    text = "When the harbour had been opened again, the ships came in one after the other, and the people stood on the shore and waved."
    chunks = speak(either, text)
    fronts = [chunk for chunk in chunks if chunk.marks]
    assert len(fronts) == 2
    assert len([mark for chunk in chunks for mark in chunk.marks]) == len(text.split())


def test_a_voice_without_statistics_is_spoken_whole(kokoro, monkeypatch):
    monkeypatch.setattr(kokoro._loaded._known, "of", lambda mixture: None)
    sizes = [len(chunk.samples) for chunk in speak(kokoro, "The harbour is open.")]
    assert len(sizes) == 1 and sizes[0] > 12_000


def test_a_voice_that_was_found_worse_by_its_statistics_is_spoken_whole_by_itself(kokoro, monkeypatch):
    """The package's file says so of one; whoever wants it streamed all the same may have that."""
    sizes = [len(chunk.samples) for chunk in speak(kokoro, SENTENCES["zh"][0], voice="zf_xiaobei")]
    assert not kokoro.streams("zf_xiaobei") and kokoro.streams("zf_xiaoyi")
    assert len(sizes) == 1 and sizes[0] > 12_000
    monkeypatch.setattr(kokoro._loaded, "_statistics", "frozen")
    assert kokoro.streams("zf_xiaobei")


def test_bad_requests_are_typed(kokoro):
    with pytest.raises(SynthesisFailed):
        speak(kokoro, "…")
    with pytest.raises(UnknownVoice, match="af_nobody"):
        speak(kokoro, "x", voice="af_nobody")
    with pytest.raises(UnknownVoice):
        speak(kokoro, "x", voice="af_heart:1+zf_nobody:2")
    with pytest.raises(UnknownVoice):
        speak(kokoro, "x", language="fi")


def test_every_bucket_of_the_default_voice_is_reached():
    Espeak.load()
    lengths = sorted(len(phonemize(text, "a")) for text in SENTENCES["en"])
    assert {bucket(5 * count + 40) for count in lengths} == {0, 1, 2}  # about five frames a phoneme


def test_int8_parts_speak_as_loud_and_as_long(kokoro, small):
    usual, mine = sound(speak(kokoro, TEXT)), sound(speak(small, TEXT))
    assert 0.9 < len(mine) / len(usual) < 1.1
    loudness = [float(np.sqrt(np.mean(np.square(samples.astype(np.float64))))) for samples in (usual, mine)]
    assert 0.8 < loudness[1] / loudness[0] < 1.25


def test_no_float_part_holds_a_transposed_convolution(kokoro):
    onnx = pytest.importorskip("onnx")
    for path in find_parts(find_model(None, cache_folder()), kokoro._loaded._digest, "float32", "frozen", cache_folder()).glob("*.onnx"):
        assert "ConvTranspose" not in {node.op_type for node in onnx.load(str(path)).graph.node}, path.name


@pytest.mark.parametrize("runtime", ["openvino-f32", "openvino-bf16"])
def test_on_openvino_it_says_the_same(kokoro, small, runtime):
    import openvino

    engine = KokoroEngine(KokoroSettings(runtime=runtime))
    if runtime == "openvino-bf16" and "BF16" not in openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
        with pytest.raises(EngineUnavailable, match="bfloat16"):
            engine.load()
        return
    engine.load()
    usual = kokoro if runtime == "openvino-f32" else small  # in bfloat16 the front is that of the int8 graph
    table = Styles(*find_voices(None, cache_folder())).style(Mixture.parse("af_heart"))
    fronts = [one._loaded._kokoro.prepare(phonemize(TEXT, "a"), table, 1.0).source.columns for one in (engine, usual)]
    assert np.array_equal(*fronts)
    mine, other = (one.raw(TEXT, "af_heart", "windows") for one in (engine, usual))
    assert abs(level(mine) - level(other)) < 1
    assert runtime != "openvino-f32" or decibels(other, mine) > 60
    text = texts()["en"][0]
    spoken = engine.raw(text, "am_onyx", "windows")
    assert max(steps(spoken, seams(len(spoken)))) < 2  # it was 3, where a window in bfloat16 began without going over from the last one


def test_a_mixture_that_was_calibrated_here_is_spoken_with_its_own_statistics(kokoro, measuring, tmp_path, monkeypatch):
    def already(folder, *runtimes):
        return measuring if "measuring" in folder.name else kokoro._loaded._kokoro

    monkeypatch.setattr("engines.kokoro.calibrate.Kokoro", already)  # they are loaded
    monkeypatch.setitem(SENTENCES, "en", ("Good morning, everybody.",))
    monkeypatch.setitem(CHECKS, "en", ("Is anyone at home?",))
    mixture = "af_heart:0.6+af_bella:0.4"
    between = sound(speak(kokoro, "Good morning.", voice=mixture))  # of both voices' statistics
    (done,) = calibrate([mixture], tmp_path)
    assert done.distance > 0 and done.path.is_relative_to(tmp_path)
    monkeypatch.setattr(kokoro._loaded, "_known", Known.read(FILE, done.path.parent))
    own = sound(speak(kokoro, "Good morning.", voice=mixture))
    count = min(len(own), len(between))
    assert not np.array_equal(own[:count], between[:count])
    assert abs(level(own / np.float32(32767)) - level(between / np.float32(32767))) < 6  # one sentence is few
