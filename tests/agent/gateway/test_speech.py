import dataclasses
import re
from contextlib import aclosing
from pathlib import Path

import pytest

from agent.config import Settings
from agent.gateway.errors import Refused
from agent.gateway.speech import STATUSES, Facts, Speech, failure_of, make_plan
from agent.gateway.wanted import Wanted
from agent.node import Node
from engines.base import EngineUnavailable
from pipeline.events import Failure, SentenceChosen, SpeechStarted, Switched
from pipeline.script import Wish
from tests.agent.gateway.conftest import SETTINGS


def plan(node, **wanted):
    return make_plan(node, Wanted("Hello.", **wanted))


async def test_a_wish_becomes_what_the_protocol_can_say(node):
    made = plan(node, voice="tone-fr", speed=4.0, strategy="speed_first", budget=700, use_cache=False, priority=3)
    assert (made.config.language, made.config.voice, made.config.speed, made.effects.tempo) == ("fr", "tone-fr", 2.0, 2.0)
    assert (made.config.strategy, made.config.budget_ms, made.config.use_cache, made.priority) == ("speed_first", 700, False, 3)
    assert plan(node).config.language == "en"


@pytest.mark.parametrize(
    ("wish", "language", "speaker", "budget"),
    [
        ({"voice": "default"}, "en", "tone-en", 0.25),
        ({"voice": "tone-fr"}, "fr", "tone-fr", 0.25),
        ({"voice": "tone-fr", "language": "en"}, "en", "tone-en", 0.25),
        ({"voice": "nova"}, "en", "tone-en", 0.25),
        ({"voice": "onyx", "language": "fr"}, "fr", "tone-fr-low", 0.25),
        ({"voice": "fr-ca-male-premium"}, "fr-CA", "tone-fr-low", 0.4),
        ({"voice": "EN-us-female-fast", "language": "de"}, "de", "tone-de", 0.15),
        ({"voice": "p226"}, "en-GB", "tone-en-low", 0.25),
        ({"description": "a man who speaks French"}, "fr", "tone-fr-low", 0.25),
        ({"voice": "tone-en", "description": "a man"}, "en", "tone-en", 0.25),
    ],
)
async def test_a_wish_for_a_voice_is_heard_and_promised_as_it_says(node, wish, language, speaker, budget):
    made = plan(node, **wish)
    assert made.config.language == language
    asked = Wish(language, voice=made.config.voice or "")
    assert node.studio.budget(asked) == budget
    speech = Speech(node, made)
    async with aclosing(speech.sound()) as sound:
        assert sum([len(samples) async for samples in sound])
    assert speech.facts.voice == speaker


@pytest.mark.parametrize(("voice", "code"), [("nova" + " " * 200, "too_long"), ("nova\n", "bad_format")])
async def test_a_voice_that_the_protocol_cannot_say_is_refused_by_name(node, voice, code):
    with pytest.raises(Refused, match=r"^voice_id: string should") as caught:
        plan(node, voice=voice)
    assert (caught.value.code, caught.value.status, caught.value.field) == (code, 422, "voice_id")


async def test_a_language_that_nobody_speaks_is_said_back_in_short(node):
    for wanted in ({}, {"voice": "tone-en"}, {"engine": "tone", "is_strict": True}):
        with pytest.raises(Refused) as caught:
            plan(node, language="xx-" + "a" * 5_000, **wanted)
        assert (caught.value.code, caught.value.field) == ("unsupported_language", "language")
        assert "a…" in caught.value.message and len(caught.value.message) < 1_000


async def test_an_id_that_nobody_knows_is_not_guessed_at(node):
    for id in ("parrot", "../../etc/passwd", "\x00", "x" * 10_000):
        with pytest.raises(Refused) as caught:
            plan(node, voice=id)
        assert (caught.value.code, caught.value.field) == ("unknown_voice", "voice_id")


async def test_engines_by_all_their_names(node):
    assert plan(node, engine="default").config.engine is None
    assert plan(node, engine="tone").config.engine == "tone"
    assert plan(node, engine="tone-de").config.voice == "tone-de"
    assert plan(node, engine="suno/bark").fallback == (("bark", "not installed here"),)
    for name, status, code in [("parrot", 422, "unknown_engine"), ("t5-small", 422, "not_a_voice_model")]:
        with pytest.raises(Refused) as caught:
            plan(node, engine=name)
        assert (caught.value.status, caught.value.code) == (status, code)
    with pytest.raises(Refused) as caught:
        plan(node, engine="tone", is_strict=True, language="tlh")
    assert caught.value.code == "unsupported_language"


async def test_a_voice_of_another_language_is_a_warning(node):
    made = plan(node, voice="tone-fr", language="de")
    assert made.config.language == "de"
    assert made.warnings == ("voice_id: tone-fr does not speak de; the nearest voice does",)


async def test_before_an_engine_is_ready_nobody_is_promised_anything():
    async with Node(Settings.model_validate({**SETTINGS, "selection": {"fallback_chain": ["parrot"]}})) as node:
        with pytest.raises(EngineUnavailable):
            await node.ready()
        with pytest.raises(Refused) as caught:
            plan(node)
        assert (caught.value.status, caught.value.code, caught.value.retry_after) == (503, "no_engine", 2.0)


async def test_a_sentence_that_nobody_can_say_is_an_error_of_ours(node):
    async def nothing(*args, **named):
        raise EngineUnavailable("gone")
        yield

    node.studio.speak = nothing
    speech = Speech(node, plan(node))
    with pytest.raises(Refused, match=r"Synthesis error: .*'Hello.'") as caught:
        _ = [samples async for samples in speech.sound()]
    assert (caught.value.status, caught.value.code) == (500, "synthesis_failed")


async def test_facts_are_complete_when_the_sound_has_ended(node):
    for is_cached in (False, True):
        speech = Speech(node, dataclasses.replace(plan(node), text="One two. Three."))
        samples = sum([len(part) async for part in speech.sound()])
        facts = speech.facts
        assert (facts.engine, facts.voice, facts.sentences, facts.is_cached) == ("tone", "tone-en", 2, is_cached)
        assert facts.samples == samples
        assert 0 < facts.ttft < 1


def chosen(utterance, language="en", *, cached=False):
    return SentenceChosen("s", utterance, "Hello.", "tone", f"tone-{language}", cached, 0.0, language)


def test_of_several_texts_of_a_session_the_latest_is_told():
    facts = Facts(rate=24_000)
    facts.on_text()
    for event in (chosen("u1"), Switched("s", "kokoro", "tone", "late"), SpeechStarted("s", "u1", 0.5, 0.5, "tone")):
        facts.on_event(event)
    first = facts.line()
    assert (first["language"], first["ttfa_ms"], first["fallback"]) == ("en", 500.0, ["kokoro: late"])
    facts.on_text()
    assert facts.line() == first, "nothing of it is known yet"
    for event in (chosen("u2", "fr", cached=True), SpeechStarted("s", "u1", 0.7, 0.7, "tone"), SpeechStarted("s", "u2", 0.1, 0.1, "tone")):
        facts.on_event(event)
    line = facts.line()
    assert (line["voice"], line["language"], line["ttfa_ms"], line["fallback"], line["cached"]) == ("tone-fr", "fr", 100.0, [], True)


def test_texts_that_wait_while_another_one_is_said_are_told_in_their_turn():
    facts = Facts()
    for _ in range(2):
        facts.on_text()
    for event in (chosen("u1"), SpeechStarted("s", "u1", 0.5, 0.5, "tone"), chosen("u2", "fr"), SpeechStarted("s", "u2", 0.1, 0.1, "tone")):
        facts.on_event(event)
    assert (facts.language, facts.ttft, facts.sentences) == ("fr", 0.1, 1)


def test_a_text_that_is_handed_over_again_and_again_is_told_within_bounds():
    facts = Facts()
    for _ in range(1000):
        facts.on_event(Switched("s", "kokoro", "tone", "late"))
    assert len(facts.fallback) < 100


def test_every_code_that_is_explained_has_its_status():
    page = Path(__file__).parents[3].joinpath("docs", "protocol.md").read_text(encoding="utf-8")
    table = page.partition("| `code` of `error` |")[2].partition("\n\n")[0]
    told = {code for row in re.findall(r"^\| (`.*?`) \|", table, re.MULTILINE) for code in re.findall(r"`(\w+)`", row)}
    assert told == set(STATUSES)
    assert {code for code, status in STATUSES.items() if status == 500} == {"track_failed", "internal"}


@pytest.mark.parametrize(
    ("code", "status", "message", "retry_after"),
    [
        ("not_finished", 409, "why", None),
        ("overloaded", 503, "why", 2.0),
        ("internal", 500, "Synthesis error: why", None),
        ("new", 500, "Synthesis error: why", None),
    ],
)
def test_a_failure_is_told_by_its_code(code, status, message, retry_after):
    refused = failure_of(Failure(code, "why"))
    assert (refused.code, refused.status, refused.message, refused.retry_after) == (code, status, message, retry_after)
