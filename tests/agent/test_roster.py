"""What is told of voices to whoever chooses one."""

from __future__ import annotations

from agent.roster import entries
from engines.base import Voice
from engines.kokoro.voices import describe
from engines.tiers import tier_of
from pipeline.chain import Chain, ChainSettings


def voice(id: str, engine: str, language: str = "en-US", gender: str = "") -> Voice:
    return Voice(id, engine, language, 24_000, gender=gender, tier=tier_of(engine))


OFFERS = {
    "piper": (voice("en_US-joe-medium", "piper", gender="male"), voice("en_US-amy-medium", "piper", gender="female")),
    "kokoro": tuple(map(describe, ("af_heart", "af_bella", "am_adam", "bf_emma", "ff_siwis"))),
    "remote": (voice("af_heart", "remote", gender="female"), voice("en_GB-alan-medium", "remote", "en-GB", "male")),
}
ORDER = ("kokoro", "piper", "xtts", "remote")
FOUND = {(entry.voice.engine, entry.voice.id): entry for entry in entries(OFFERS, ORDER)}


def test_every_voice_is_told_in_its_order() -> None:
    assert list(FOUND) == [(name, one.id) for name, voices in OFFERS.items() for one in voices]


def test_a_voice_that_several_engines_have_names_them() -> None:
    assert FOUND["kokoro", "af_heart"].engine_voices == {"kokoro": "af_heart", "remote": "af_heart"}
    assert list(FOUND["remote", "af_heart"].engine_voices) == ["remote", "kokoro"]
    assert FOUND["kokoro", "am_adam"].engine_voices == {"kokoro": "am_adam"}


def test_who_goes_on_for_a_voice_is_whom_the_chain_would_choose() -> None:
    assert FOUND["kokoro", "af_heart"].equivalents == ("en_US-amy-medium",)
    assert FOUND["kokoro", "af_bella"].equivalents == ("en_US-amy-medium", "af_heart")
    assert FOUND["kokoro", "am_adam"].equivalents == ("en_US-joe-medium", "en_GB-alan-medium")
    assert FOUND["piper", "en_US-joe-medium"].equivalents == ("am_adam", "en_GB-alan-medium")
    assert FOUND["kokoro", "ff_siwis"].equivalents == ()
    chain = Chain(ChainSettings(order=ORDER))
    for (engine, id), entry in FOUND.items():
        chosen = chain.candidates(OFFERS, language=entry.voice.language, voice=id, engine=engine, strategy="auto")
        assert entry.equivalents == tuple(one.voice.id for one in chosen if one.engine not in entry.engine_voices)


def test_other_ids_are_those_that_mean_it() -> None:
    assert {"en-us-male-standard", "en-us-male-fast", "v2/en_speaker_6", "onyx"} <= set(FOUND["piper", "en_US-joe-medium"].aliases)
    assert {"p225", "tts_models/en/vctk/vits", "nova"} <= set(FOUND["kokoro", "bf_emma"].aliases)
    assert {"fr-fr-female-premium", "fr-ca-male-fast", "alloy", "onyx"} <= set(FOUND["kokoro", "ff_siwis"].aliases)
    assert FOUND["remote", "af_heart"].aliases == ()
    assert not any("default" in entry.aliases for entry in FOUND.values())
