import pytest

from engines.base import Voice
from pipeline.chain import COOL_DOWN, Chain, ChainSettings, primary


def voice(id, language, engine, gender="female"):
    return Voice(id=id, engine=engine, language=language, sample_rate=24_000, gender=gender)


OFFERS = {
    "first": (voice("f-en", "en-US", "first"), voice("f-gb", "en-GB", "first", "male"), voice("f-de", "de-DE", "first")),
    "second": (voice("s-en", "en-US", "second"), voice("s-en-low", "en-US", "second", "male")),
}


@pytest.fixture
def chain():
    return Chain(ChainSettings(order=("missing", "first", "second")))


def ask(chain, *, language="en", voice="", engine="", strategy="", now=100.0):
    found = chain.candidates(OFFERS, language=language, voice=voice, engine=engine, strategy=strategy, now=now)
    return [candidate.voice.id for candidate in found]


def test_order_is_the_settings_and_engines_that_are_not_loaded_are_left_out(chain):
    assert ask(chain) == ["f-en", "s-en"]


def test_only_engines_that_speak_the_language(chain):
    assert ask(chain, language="de") == ["f-de"]
    assert ask(chain, language="fr") == []


def test_a_region_is_preferred_and_not_demanded(chain):
    assert ask(chain, language="en-GB") == ["f-gb", "s-en"]
    assert ask(chain, language="en_AU")[0] == "f-en"


def test_a_wished_voice_brings_its_engine_to_the_front_and_its_gender_to_the_others(chain):
    assert ask(chain, voice="s-en-low") == ["s-en-low", "f-gb"]
    assert ask(chain, voice="f-gb") == ["f-gb", "s-en-low"]


def test_a_wished_engine_goes_first(chain):
    assert ask(chain, engine="second") == ["s-en", "f-en"]
    assert ask(chain, engine="unheard-of") == ["f-en", "s-en"]


def test_manual_has_one_candidate(chain):
    assert ask(chain, strategy="manual") == ["f-en"]
    assert ask(chain, strategy="manual", engine="second") == ["s-en"]


def test_an_engine_that_failed_is_tried_last_for_a_while(chain):
    chain.on_failed("first", now=100.0)
    assert ask(chain, now=101.0) == ["s-en", "f-en"]
    assert ask(chain, now=100.0 + COOL_DOWN) == ["f-en", "s-en"]
    chain.on_failed("first", now=200.0)
    chain.on_spoken("first")
    assert ask(chain, now=200.0) == ["f-en", "s-en"]


@pytest.mark.parametrize(("tag", "language"), [("en-US", "en"), ("pt_BR", "pt"), ("ZH-Hant-TW", "zh"), ("de", "de")])
def test_primary(tag, language):
    assert primary(tag) == language
