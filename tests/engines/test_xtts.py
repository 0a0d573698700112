"""XTTS on torch: a tiny random model, made here and loaded as the real one is. It babbles, and that it does by every rule."""

from __future__ import annotations

import gc
import json
import shutil
import threading
import weakref

import numpy as np
import pytest

from engines.base import BadModel, EngineUnavailable, Pace, Request, SynthesisFailed, UnknownVoice
from engines.vits import decibels
from engines.xtts import XttsEngine, XttsSettings
from engines.xtts.files import CONFIG, MODEL, RECORDINGS, SPEAKERS, VOCABULARY, digest
from engines.xtts.model import HOP, RATE, Network
from engines.xtts.reading import LIMITS
from engines.xtts.reference import BadReference
from tests.engines.xtts import tiny
from tests.engines.xtts.test_reference import written

pytestmark = pytest.mark.voice
TEXT = "Out of the harbour, into the open sea."
TEXTS = {
    "ar": "هذه جملة قصيرة.",
    "cs": "Toto je krátká věta.",
    "de": "Dies ist ein kurzer Satz.",
    "en": "This is a short sentence.",
    "es": "Esta es una frase corta.",
    "fr": "Voici une courte phrase.",
    "hi": "यह एक छोटा वाक्य है।",
    "hu": "Ez egy rövid mondat.",
    "it": "Questa è una breve frase.",
    "ja": "これは短い文です。",
    "ko": "이것은 짧은 문장입니다.",
    "nl": "Dit is een korte zin.",
    "pl": "To jest krótkie zdanie.",
    "pt": "Esta é uma frase curta.",
    "ru": "Это короткое предложение.",
    "tr": "Bu kısa bir cümledir.",
    "zh": "这是一个简短的句子。",
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    try:
        import torch  # noqa: F401
    except ImportError:
        pytest.fail("these tests run XTTS on torch: pip install 'voicebooth[xtts]', as `make test` does")
    place = tmp_path_factory.mktemp("voices")
    with tiny.narrow_decoder():
        yield _furnish(place)


def _furnish(place):
    tiny.make(place)
    (place / "xtts" / RECORDINGS / "Greta").mkdir(parents=True)
    (place / "xtts" / RECORDINGS / "Greta" / "1.wav").write_bytes(written(tiny.speech(2.0)))
    (place / "xtts" / RECORDINGS / "Greta" / "2.wav").write_bytes(written(tiny.speech(2.0, pitch=125.0)))
    (place / "xtts" / RECORDINGS / "nobody.txt").write_bytes(b"not a recording")
    return place


@pytest.fixture(scope="module")
def xtts(folder, tmp_path_factory):
    engine = XttsEngine(XttsSettings(folder=folder, cache=tmp_path_factory.mktemp("cache"), device="cpu", threads=1))
    engine.load()
    return engine


@pytest.fixture(scope="module")
def network(folder):
    return Network(folder / "xtts", "cpu", 1)


def speak(engine, text=TEXT, window=10.0, **wish):
    return list(engine.synthesize(Request(text, **wish), Pace(window)))


def sound(chunks):
    return np.concatenate([chunk.samples for chunk in chunks])


def copy(folder, to):
    shutil.copytree(folder, to, dirs_exist_ok=True)
    return to / "xtts"


def load(folder, tmp_path, **settings):
    engine = XttsEngine(XttsSettings(folder=folder, cache=tmp_path / "cache", device="cpu", threads=1, **settings))
    engine.load()
    return engine


# Sound


def test_speaks_in_windows_that_grow(xtts):
    chunks = speak(xtts)
    sizes = [len(chunk.samples) for chunk in chunks if len(chunk.samples)]
    assert chunks[0].samples.dtype == np.int16
    assert sizes[0] == 12 * HOP
    assert sizes[0] < sizes[1] < sizes[2]
    tokens = next(number for number, chunk in enumerate(chunks) if len(chunk.samples))
    assert 6 <= tokens <= 12  # of the 20 for which the library waits
    assert np.abs(sound(chunks)).max() > 300


def test_pace_bounds_the_windows_and_changes_no_sample(xtts):
    small, large = speak(xtts, window=0.0), speak(xtts)
    assert max(len(chunk.samples) for chunk in small) <= 12 * HOP < max(len(chunk.samples) for chunk in large)
    assert np.abs(sound(small).astype(int) - sound(large).astype(int)).max() <= 1


@pytest.mark.parametrize("speed", [1.0, 0.5, 1.3, 2.0])
def test_windows_are_the_whole(network, speed):
    sentence = network.sentence(network.tokens(TEXT, "en"), network.speakers["Claribel Dervla"], seed=1, speed=speed, temperature=0.75)
    pulled, start = [], 0
    while not sentence.is_over:
        sentence.advance()
        while sentence.settled >= start + 5:
            pulled.append(sentence.pull(start, start + 5))
            start += 5
    pulled.append(sentence.pull(start, sentence.settled))
    whole = sentence.pull(0, sentence.settled)
    streamed = np.concatenate(pulled)
    assert streamed.shape == whole.shape
    assert decibels(streamed, whole) > 80


def test_the_sound_is_the_library_s(network):
    """The same tokens, the same latents, the same decoder: what the library's own streaming gives, but for its blended seams."""
    import torch

    voice = network.speakers["Claribel Dervla"]
    model = network._model
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(7)
        theirs = torch.cat(
            list(
                model.inference_stream(
                    TEXT,
                    "en",
                    torch.from_numpy(voice.prompt),
                    torch.from_numpy(voice.speaker),
                    stream_chunk_size=1_000,
                    temperature=0.75,
                    repetition_penalty=float(network.config.repetition_penalty),
                    length_penalty=float(network.config.length_penalty),
                    top_k=network.config.top_k,
                    top_p=network.config.top_p,
                )
            )
        ).numpy()
    sentence = network.sentence(network.tokens(TEXT, "en"), voice, seed=7, speed=1.0, temperature=0.75)
    while not sentence.is_over:
        sentence.advance()
    ours = sentence.pull(0, sentence.settled)
    assert ours.shape == theirs.shape
    assert decibels(ours, theirs) > 80


def test_two_sentences_at_once_do_not_disturb_each_other(xtts):
    texts = [TEXT, "A shorter one."]
    alone = [sound(speak(xtts, text)) for text in texts]
    running = [xtts.synthesize(Request(text), Pace(10.0)) for text in texts]
    made = [[], []]
    while running[0] or running[1]:
        for number, generator in enumerate(running):
            chunk = next(generator, None) if generator else None
            if chunk is None:
                running[number] = None
            else:
                made[number].append(chunk)
    assert all(np.array_equal(sound(chunks), want) for chunks, want in zip(made, alone, strict=True))

    threads = [threading.Thread(target=lambda number=number: made[number].append(sound(speak(xtts, texts[number])))) for number in (0, 1)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert all(np.array_equal(made[number][-1], alone[number]) for number in (0, 1))


def test_the_process_s_random_numbers_are_left_alone(xtts):
    import torch

    torch.manual_seed(3)
    want = torch.rand(4)
    torch.manual_seed(3)
    speak(xtts, "One.")
    assert torch.equal(torch.rand(4), want)


def test_closing_stops_between_two_steps_and_frees_the_sentence(xtts, monkeypatch):
    steps, kept = [], []
    begin = xtts._loaded._network.sentence

    def counted(*arguments, **named):
        sentence = begin(*arguments, **named)
        kept.append(weakref.ref(sentence))
        advance = sentence.advance
        monkeypatch.setattr(sentence, "advance", lambda: (steps.append(1), advance())[1])
        return sentence

    monkeypatch.setattr(xtts._loaded._network, "sentence", counted)
    generator = xtts.synthesize(Request(TEXT), Pace())
    assert not steps
    while not len(next(generator).samples):
        pass
    made = len(steps)
    generator.close()
    assert 0 < len(steps) == made < tiny.TOKENS - 10
    monkeypatch.undo()
    gc.collect()
    assert kept[0]() is None
    assert len(sound(speak(xtts, "One.")))


def test_speed_seed_and_temperature(xtts):
    usual = sound(speak(xtts))
    assert np.array_equal(usual, sound(speak(xtts)))
    assert np.array_equal(usual, sound(speak(xtts, options={"seed": float("nan"), "temperature": float("inf")})))
    assert not np.array_equal(usual, sound(speak(xtts, options={"seed": 7.0})))
    assert not np.array_equal(usual, sound(speak(xtts, options={"temperature": 1.5})))
    assert len(sound(speak(xtts, speed=2.0))) == pytest.approx(len(usual) / 2, rel=0.1)


def test_another_seed_in_the_settings_is_another_delivery(xtts, folder, tmp_path):
    other = load(folder, tmp_path, seed=5)
    assert other.build != xtts.build
    assert not np.array_equal(sound(speak(other)), sound(speak(xtts)))


def test_marks_follow_the_words(xtts):
    chunks = speak(xtts)
    marks = [mark for chunk in chunks for mark in chunk.marks]
    assert [TEXT[mark.start : mark.end] for mark in marks] == TEXT.split()
    assert [mark.sample for mark in marks] == sorted(mark.sample for mark in marks)
    assert marks[-1].sample <= len(sound(chunks))
    position = 0
    for chunk in chunks:
        position += len(chunk.samples)
        assert all(mark.sample <= position for mark in chunk.marks)


def test_texts_over_the_limit_are_said_in_pieces(xtts):
    text = "Ships come in, and others go out. " * 10
    chunks = speak(xtts, text)
    marks = [mark for chunk in chunks for mark in chunk.marks]
    assert [text[mark.start : mark.end] for mark in marks] == text.split()
    assert [mark.sample for mark in marks] == sorted(mark.sample for mark in marks)
    assert len(sound(chunks)) > 1.5 * len(sound(speak(xtts, text[:34])))


def test_a_text_of_too_many_tokens_is_cut_further(xtts):
    text = "1234567890 " * 20  # each is ten words to the model, which reads letters here
    marks = [mark for chunk in speak(xtts, text) for mark in chunk.marks]
    assert len(marks) == 20


@pytest.mark.parametrize("language", sorted(LIMITS))
def test_every_language_is_read(xtts, language):
    made = sound(speak(xtts, TEXTS[language], language="zh-CN" if language == "zh" else language))
    assert len(made) > 0.2 * RATE


def test_babble_comes_to_an_end(xtts, monkeypatch):
    monkeypatch.setattr("engines.xtts.reading.GRACE", 0.1)
    with pytest.raises(SynthesisFailed, match="came to no end"):
        speak(xtts, "A.")


def test_numbers_that_are_none_do_not_become_sound(xtts, monkeypatch):
    monkeypatch.setattr("engines.xtts.model.Sentence.pull", lambda self, start, end: np.full((end - start) * HOP, np.nan, np.float32))
    with pytest.raises(SynthesisFailed, match="no numbers"):
        speak(xtts)


def test_what_the_library_raises_is_typed(xtts, monkeypatch):
    def fail(*_, **__):
        raise RuntimeError("CUDA out of memory")

    monkeypatch.setattr(xtts._loaded._network._model.gpt, "compute_embeddings", fail)
    with pytest.raises(SynthesisFailed, match="CUDA out of memory"):
        speak(xtts)


# Voices


def test_voices_are_speakers_in_languages(xtts):
    voices = xtts.voices()
    assert {voice.language.split("-")[0] for voice in voices} == set(LIMITS)
    assert len(voices) == len({voice.id for voice in voices}) == 3 * 17
    ids = {voice.id: voice for voice in voices}
    assert ids["fr-claribel-dervla"].gender == "female" and ids["fr-andrew-chipper"].gender == "male"
    assert (ids["zh-greta"].language, ids["zh-greta"].name, ids["zh-greta"].sample_rate) == ("zh-CN", "Greta", RATE)
    assert voices[0].id == "en-claribel-dervla"


def test_each_voice_sounds_its_own_way_and_speaks_any_language(xtts):
    one, two = (sound(speak(xtts, voice=id)) for id in ("en-claribel-dervla", "en-greta"))
    assert len(one) != len(two) or not np.array_equal(one, two)
    french = sound(speak(xtts, voice="en-claribel-dervla", language="fr"))
    assert np.array_equal(french, sound(speak(xtts, voice="fr-claribel-dervla")))
    assert not np.array_equal(french[: len(one)], one[: len(french)])


def test_a_speaker_that_is_not_offered_can_be_asked_for(xtts):
    assert xtts.voice("de-eugenio-mataraci").name == "Eugenio Mataracı"
    assert xtts.voice("eugenio-mataraci").id == "en-eugenio-mataraci"
    assert len(sound(speak(xtts, voice="de-eugenio-mataraci")))


@pytest.mark.parametrize(
    "wish",
    [{"voice": "en-nobody"}, {"voice": "xx"}, {"voice": "en-clone-0123"}, {"language": "fi"}, {"voice": "en-greta", "language": "fi"}],
)
def test_unknown_voices_and_languages_are_typed(xtts, wish):
    with pytest.raises(UnknownVoice):
        speak(xtts, **wish)


def test_nothing_to_say_is_typed(xtts):
    for text in ("", "…", " \n"):
        with pytest.raises(SynthesisFailed, match="nothing to say"):
            speak(xtts, text)


def test_settings_choose_speakers_and_languages(folder, tmp_path):
    engine = load(folder, tmp_path, speakers=("greta", "Eugenio Mataracı"), languages=("de-AT", "fr"))
    assert [voice.id for voice in engine.voices()] == ["de-greta", "de-eugenio-mataraci", "fr-greta", "fr-eugenio-mataraci"]
    with pytest.raises(UnknownVoice, match="de, fr"):
        speak(engine, language="en")
    engine.unload()
    assert engine.voices() == ()


@pytest.mark.parametrize(
    ("settings", "named"), [({"speakers": ("Nobody",)}, "Nobody"), ({"languages": ("fi",)}, "fi"), ({"device": "cuda"}, "CUDA")]
)
def test_settings_that_cannot_be_are_named(folder, tmp_path, settings, named, monkeypatch):
    import torch

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(EngineUnavailable, match=named):
        XttsEngine(XttsSettings(**{"folder": folder, "cache": tmp_path, "device": "cpu", **settings})).load()


def test_the_threads_are_those_of_the_settings(folder):
    import torch

    before = torch.get_num_threads()
    try:
        network = Network(folder / "xtts", "cpu", 3)
        assert torch.get_num_threads() == network.cores == 3
    finally:
        torch.set_num_threads(before)


# Cloning


def test_a_voice_is_taken_from_a_recording_once(xtts, monkeypatch):
    recording = written(tiny.speech(4.0, pitch=150.0))
    voice = xtts.clone(recording)
    assert voice.id.startswith("en-clone-")
    made = sound(speak(xtts, voice=voice.id))
    assert not np.array_equal(made, sound(speak(xtts)))
    monkeypatch.setattr(xtts._loaded._network, "condition", None)  # it would be called
    assert xtts.clone(recording) == voice
    assert xtts.voice(voice.id) == voice
    alone = voice.id.partition("-")[2]
    assert np.array_equal(sound(speak(xtts, voice=alone)), made)
    assert xtts.voice(f"fr-{alone}").language == "fr"


def test_a_voice_is_there_after_a_restart_if_it_is_kept(folder, tmp_path):
    recording = written(tiny.speech(4.0, pitch=150.0))
    voice = load(folder, tmp_path).clone(recording)
    assert len(sound(speak(load(folder, tmp_path), voice=voice.id)))
    with pytest.raises(UnknownVoice, match="send its reference again"):
        speak(load(folder, tmp_path, keep_voices=False), voice=voice.id)


def test_a_voice_of_another_model_is_not_taken(xtts, folder, tmp_path):
    recording = written(tiny.speech(4.0))
    voice = load(folder, tmp_path).clone(recording)
    wider = tmp_path / "wider"
    tiny.make(wider, channels=128)
    with pytest.raises(UnknownVoice, match="does not remember"):
        speak(load(wider, tmp_path), voice=voice.id)


def test_bad_recordings_are_refused(xtts):
    for recording in (b"", b"not audio", written(tiny.speech(1.0)), written(np.zeros(90_000))):
        with pytest.raises(BadReference):
            xtts.clone(recording)


# Models that are none


def damage(name, change):
    def damaged(place):
        path = place / name
        path.write_bytes(change(path.read_bytes()))

    return damaged


def settle(place, **changes):
    config = json.loads((place / CONFIG).read_text())
    config["model_args"] |= changes
    (place / CONFIG).write_text(json.dumps(config))


def weights(change):
    def changed(place):
        import torch

        content = torch.load(place / MODEL, weights_only=True)
        change(content)
        torch.save(content, place / MODEL)

    return changed


class Shell:
    def __reduce__(self):
        return (exec, ("raise SystemExit(3)",))


def strange(place):
    import torch

    torch.save({"model": Shell()}, place / MODEL)


WRONG = {
    "truncated weights": damage(MODEL, lambda content: content[: len(content) // 2]),
    "flipped weights": damage(MODEL, lambda content: content[:1000] + bytes(5000) + content[6000:]),
    "empty weights": damage(MODEL, lambda content: b""),
    "other weights": damage(MODEL, lambda content: b"GGUF" + content[:10_000]),
    "a program instead of weights": strange,
    "weights of nothing": weights(lambda content: content.pop("model")),
    "weights that lack a part": weights(lambda content: content["model"].pop("gpt.final_norm.weight")),
    "weights of another shape": weights(
        lambda content: content["model"].update({"gpt.final_norm.weight": content["model"]["gpt.final_norm.weight"][:8]})
    ),
    "weights that are no numbers": weights(lambda content: content["model"]["gpt.final_norm.weight"].fill_(float("nan"))),
    "no settings": damage(CONFIG, lambda content: b"{"),
    "settings of another model": damage(CONFIG, lambda content: content.replace(b'"xtts"', b'"vits"')),
    "settings that are a list": damage(CONFIG, lambda content: b"[1]"),
    "settings without end": damage(CONFIG, lambda content: content + b" " * (2 << 20)),
    "settings of another size": lambda place: settle(place, gpt_layers=3),
    "settings of another rate": lambda place: settle(place, output_sample_rate=16_000),
    "settings of another kind": lambda place: settle(place, gpt_layers="many"),
    "settings of a monster": lambda place: settle(place, gpt_layers=1 << 40),
    "no vocabulary": damage(VOCABULARY, lambda content: b"{}"),
    "half a vocabulary": damage(VOCABULARY, lambda content: content[:500]),
    "no speakers": damage(SPEAKERS, lambda content: content[:100]),
}


@pytest.mark.parametrize("wrong", WRONG)
def test_files_that_cannot_be_used_are_typed_and_left_as_they_are(folder, tmp_path, wrong):
    place = copy(folder, tmp_path / "voices")
    WRONG[wrong](place)
    before = digest(place)
    with pytest.raises(BadModel) as failed:
        load(place.parent, tmp_path)
    assert str(place) in str(failed.value)
    assert failed.value.remedy
    assert digest(place) == before


def test_speakers_of_another_model_are_refused(folder, tmp_path):
    place = copy(folder, tmp_path / "voices")
    tiny.make(tmp_path / "wider", channels=128)
    shutil.copy(tmp_path / "wider" / "xtts" / SPEAKERS, place / SPEAKERS)
    with pytest.raises(BadModel, match="not one for this model"):
        load(place.parent, tmp_path)


def test_a_model_without_speakers_speaks_with_its_recordings_or_says_what_it_wants(folder, tmp_path):
    place = copy(folder, tmp_path / "voices")
    (place / SPEAKERS).unlink()
    assert [voice.id for voice in load(place.parent, tmp_path, languages=("en",)).voices()] == ["en-greta"]
    shutil.rmtree(place / RECORDINGS)
    with pytest.raises(EngineUnavailable, match="put a recording"):
        load(place.parent, tmp_path)


def test_an_older_checkpoint_is_loaded_and_left_as_it_is(folder, tmp_path, xtts):
    """The one on the hub holds the library's own classes beside the weights."""
    import torch
    import TTS.tts.models.xtts as xtts_module
    from TTS.tts.configs.xtts_config import XttsConfig

    place = copy(folder, tmp_path / "voices")
    config = XttsConfig()
    config.from_dict(json.loads((place / CONFIG).read_text()))
    content = torch.load(place / MODEL, weights_only=True)
    with xtts_module._legacy_safe_globals():  # where the classes were then
        torch.save({**content, "config": config}, place / MODEL)
    before = digest(place)
    assert np.array_equal(sound(speak(load(place.parent, tmp_path))), sound(speak(xtts)))
    assert digest(place) == before
