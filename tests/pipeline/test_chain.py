import random

import pytest

from engines.base import EngineUnavailable, RateLimited, Refused, SynthesisFailed, Unreachable, Voice
from engines.kokoro.voices import describe
from engines.tiers import tier_of
from pipeline.breaker import BreakerSettings
from pipeline.chain import TIERS, Ask, Chain, ChainSettings, Hedges, Track, primary
from pipeline.forecast import Foreseen


def voice(id, language, engine, gender="female", tier=""):
    return Voice(id=id, engine=engine, language=language, sample_rate=24_000, gender=gender, tier=tier)


OFFERS = {
    "first": (voice("f-en", "en-US", "first"), voice("f-gb", "en-GB", "first", "male"), voice("f-de", "de-DE", "first")),
    "second": (voice("s-en", "en-US", "second"), voice("s-en-low", "en-US", "second", "male")),
    "third": (voice("t-en", "en-US", "third"),),
}
NOW = 100.0


@pytest.fixture
def chain():
    chain = Chain(ChainSettings(order=("missing", "first", "second"), quality={"second": 4.0}, breaker=BreakerSettings(failures=2)))
    chain.on_warm("first", [(20, 0.100)], cost=0.5)
    chain.on_warm("second", [(20, 0.020)], cost=0.1)
    return chain


def find(chain, *, language="en", voice="", engine="", strategy="", strict=False):
    return chain.candidates(OFFERS, language=language, voice=voice, engine=engine, strategy=strategy, strict=strict)


def names(candidates):
    return [candidate.voice.id for candidate in candidates]


def choose(chain, track=None, *, left=0.25, lanes=2, waits=None, strategy="", now=NOW, wish=("", "", ""), failed=""):
    track = track or Track()
    ask = Ask(20, left, waits or {}, lanes, strategy, wish)
    found = find(chain, strategy=strategy)
    chosen = chain.choose(found, ask, track, now=now)
    return chosen.engine, chain.on_chosen(chosen, ask, track, now=now, preferred=found[: found.index(chosen)], failed=failed)


# Who can


def test_order_is_the_settings_and_engines_that_are_not_loaded_are_left_out(chain):
    assert names(find(chain)) == ["f-en", "s-en"]


def test_only_engines_that_speak_the_language(chain):
    assert names(find(chain, language="de")) == ["f-de"]
    assert find(chain, language="fr") == []


def test_a_region_is_preferred_and_not_demanded(chain):
    assert names(find(chain, language="en-GB")) == ["f-gb", "s-en-low"], "and who goes on for it is of the same gender"
    assert names(find(chain, language="en_AU"))[0] == "f-en"


def test_a_wished_voice_brings_its_engine_to_the_front_and_its_gender_to_the_others(chain):
    assert names(find(chain, voice="s-en-low")) == ["s-en-low", "f-gb"]
    assert names(find(chain, voice="f-gb")) == ["f-gb", "s-en-low"]


def test_a_wished_engine_goes_first(chain):
    assert names(find(chain, engine="second")) == ["s-en", "f-en"]
    assert names(find(chain, engine="unheard-of")) == ["f-en", "s-en"]


def test_manual_has_one_candidate(chain):
    assert names(find(chain, strategy="manual")) == ["f-en"]
    assert names(find(chain, strategy="manual", engine="second")) == ["s-en"]


def test_quality_first_goes_by_quality_unless_an_engine_is_asked_for(chain):
    assert names(find(chain, strategy="quality_first")) == ["s-en", "f-en"]
    assert names(find(chain, strategy="quality_first", engine="first")) == ["f-en", "s-en"]


def test_a_wished_engine_may_be_the_only_one(chain):
    assert names(find(chain, engine="second", strict=True)) == ["s-en"]
    assert find(chain, engine="missing", strict=True) == [], "it is not loaded"
    assert names(find(chain, strict=True)) == ["f-en", "s-en"], "no engine was named"


@pytest.mark.parametrize("strategy", ["auto", "quality_first", "speed_first"])
def test_an_engine_below_the_threshold_is_tried_last_unless_it_is_asked_for(strategy):
    rated = ChainSettings(order=("first", "second"), quality={"first": 2.9, "second": 3.0}, strategy=strategy)
    chain = Chain(rated)
    chain.on_warm("first", [(20, 0.01)], cost=0.1)
    chain.on_warm("second", [(20, 0.1)], cost=0.1)
    assert names(find(chain)) == ["s-en", "f-en"] and choose(chain)[0] == "second"
    assert names(find(chain, engine="first"))[0] == "f-en"


def test_the_tier_of_a_voice_is_its_budget(chain):
    offers = {"first": (voice("quick", "en", "first", tier="fast"), voice("plain", "en", "first"), voice("odd", "en", "first", tier="odd"))}
    assert chain.budget(offers, "quick") == TIERS["fast"] == 0.150
    assert chain.budget(offers, "plain") == chain.budget(offers, "odd") == chain.budget(offers, "") == chain.settings.budget


def test_voices_of_real_engines_have_budgets_of_their_own():
    chain = Chain(ChainSettings(budget=0.5))
    low = Voice("en_US-lessac-low", "piper", "en-US", 16_000, tier=tier_of("piper", "low"))
    offers = {"kokoro": (describe("af_heart"), describe("af_heart:0.6+af_bella:0.4")), "piper": (low,)}
    wishes = ("af_heart", "af_heart:0.6+af_bella:0.4", "en_US-lessac-low", "")
    assert [chain.budget(offers, id) for id in wishes] == [TIERS["standard"], TIERS["standard"], TIERS["fast"], 0.5]


def test_a_voice_that_rests_is_left_out_while_others_speak(chain):
    first, second = find(chain)
    assert [chain.on_failed(first, SynthesisFailed("no"), now=NOW) for _ in range(2)] == [False, True]
    assert chain.failures == {"first": 2}
    assert find(chain) == [second]
    assert names(find(chain, voice="f-gb")) == ["f-gb", "s-en-low"], "another voice of the same engine"
    assert names(find(chain, strategy="manual")) == ["f-en"], "whatever happens"
    assert chain.on_failed(second, EngineUnavailable("gone"), now=NOW)
    assert find(chain) == [first, second], "the last hope"


def test_a_service_that_refuses_or_says_for_how_long_is_left_alone_at_once(chain):
    first, second = find(chain)[:2]
    assert chain.on_failed(first, Refused("no account"), now=NOW)
    assert chain.on_failed(second, RateLimited("too much", retry_after=60.0), now=NOW)
    assert chain.breaker(second).probe_at == NOW + 60.0
    assert not chain.on_failed(find(chain, language="de")[0], Unreachable("no answer"), now=NOW), "once is borne"


def test_voices_that_rest_are_probed_and_come_back(chain):
    first, second = find(chain)
    assert chain.next_probe() is None
    chain.on_failed(first, EngineUnavailable("gone"), now=NOW)
    assert chain.next_probe() == NOW + 3 and chain.probes(NOW + 2) == []
    assert chain.probes(NOW + 3) == [first] and chain.probes(NOW + 3) == []
    chain.on_probed(first, [(16, 0.1)], cost=0.5, now=NOW + 6)
    assert find(chain) == [first, second] and chain.next_probe() is None


def test_one_that_rests_is_named_to_whoever_wants_to_know_who_is_preferred(chain):
    first, second = find(chain)
    chain.on_failed(first, EngineUnavailable("gone"), now=NOW)
    wish = {"language": "en", "voice": "", "engine": "", "strategy": ""}
    assert (chain.candidates(OFFERS, **wish), chain.candidates(OFFERS, **wish, with_resting=True)) == ([second], [first, second])


def test_new_offers_are_seen(chain):
    assert names(find(chain, engine="third")) == ["t-en", "f-en", "s-en"]
    found = chain.candidates({"second": OFFERS["second"]}, language="en", voice="", engine="third", strategy="")
    assert names(found) == ["s-en"]


# Who shall


def test_the_first_in_order_that_is_in_time(chain):
    assert choose(chain)[0] == "first"
    assert choose(chain, left=0.1)[0] == "second"
    assert choose(chain, left=3.0, waits={"first": 1.0, "second": 1.0})[0] == "first"
    assert choose(chain, waits={"first": 0.2})[0] == "second", "the queue counts"


def test_the_fastest_when_nobody_is_in_time(chain):
    assert choose(chain, left=0.001)[0] == "second"


def test_speed_first_and_quality_first_and_manual(chain):
    assert choose(chain, strategy="speed_first")[0] == "second"
    chain.settings = ChainSettings(order=("first", "second"), quality={"first": 4.0})
    assert choose(chain, strategy="quality_first", left=0.001)[0] == "first"
    assert choose(chain, strategy="manual", left=0.001)[0] == "first"


def test_an_engine_that_cannot_keep_up_is_not_chosen_even_if_its_first_sound_is_in_time(chain):
    chain.on_warm("first", [(20, 0.05)], cost=1.2)
    assert choose(chain)[0] == "second"
    assert choose(chain, strategy="quality_first")[0] == "second"


def test_the_lanes_bear_so_many_and_the_next_gets_the_cheaper_voice(chain):
    chosen = [choose(chain, Track(), lanes=2)[0] for _ in range(6)]
    assert chosen == ["first"] * 3 + ["second"] * 3, "half a lane each, of 1.7"
    assert choose(chain, Track(), lanes=4)[0] == "first"
    assert choose(chain, Track(), now=NOW + 60)[0] == "first", "they are silent now"


def test_network_engines_take_nothing_from_the_lanes(chain):
    chain.on_warm("first", [(20, 0.1)], cost=0.5, network=True)
    assert {choose(chain, Track())[0] for _ in range(20)} == {"first"}


# A voice stays


def test_a_voice_stays_until_a_pause_in_the_speech(chain):
    track = Track()
    assert choose(chain, track) == ("first", "")
    assert choose(chain, track, left=0.05) == ("second", "first would be late")
    track.until = NOW + 10
    assert choose(chain, track, left=10, now=NOW + 1) == ("second", "")
    assert choose(chain, track, left=0.25, now=NOW + 10.5) == ("second", "")
    assert choose(chain, track, now=NOW + 30.7) == ("first", "back to the preferred voice")


def test_a_voice_goes_back_after_a_while_even_without_a_pause(chain):
    track = Track()
    choose(chain, track, left=0.05)
    track.changed = NOW
    for second in range(60):
        track.until = NOW + second + 5
        expected = "second" if second < 30 else "first"
        assert choose(chain, track, left=5, now=NOW + second)[0] == expected


def test_what_a_fault_has_moved_goes_back_with_the_next_sentence(chain):
    track = Track()
    assert choose(chain, track)[0] == "first"
    for second in range(0, 30, 3):
        track.until = NOW + second + 5
        other = find(chain)[1]
        assert chain.on_chosen(other, Ask(20, 0.1), track, now=NOW + second, failed="first hangs") == "first hangs"
        assert choose(chain, track, left=0.1, now=NOW + second + 1) == ("second", ""), "which would be late now"
        assert choose(chain, track, left=5, now=NOW + second + 2) == ("first", "back to the preferred voice")


def test_what_load_has_moved_goes_back_so_often_that_two_changes_a_minute_are_not_exceeded(chain):
    track, changes = Track(), 0
    choose(chain, track)
    for second in range(600):  # a pause after each sentence, and every third one would be late
        changes += choose(chain, track, left=0.05 if second % 3 == 0 else 0.25, now=NOW + second)[1] != ""
        track.until = NOW + second
    assert 15 <= changes <= 21, "two a minute, and the first one"


def test_a_change_stays_away_from_a_third_voice(chain):
    """Whoever went on for the preferred voice stays, until that one is in time; another voice would only be one change more."""
    chain = Chain(ChainSettings(order=("first", "second", "third")))
    for engine, seconds in (("first", 0.3), ("second", 0.1), ("third", 0.05)):
        chain.on_warm(engine, [(20, seconds)], cost=0.1)
    track, asked = Track(), Ask(20, 0.25)
    third = find(chain)[2]
    track.spoken, track.is_forced, track.until = third, True, NOW
    assert chain.choose(find(chain), asked, track, now=NOW) == third


def test_a_new_wish_ends_the_stay(chain):
    track = Track()
    choose(chain, track, left=0.05)
    assert choose(chain, track, left=5, wish=("en", "f-en", "")) == ("first", "")


def test_a_change_says_why(chain):
    track = Track()
    choose(chain, track)
    chain.on_failed(find(chain)[0], EngineUnavailable("gone"), now=NOW)
    assert choose(chain, track) == ("second", "first rests")


# What it learns


def test_forecasts_are_learned_by_voice(chain):
    candidate, other = find(chain)[0], find(chain, voice="f-gb")[0]
    for _ in range(150):
        chain.on_first(candidate, 20, work=0.4, foreseen=Foreseen(0.4, 1.0), took=0.4)
    ask = Ask(20, 1.0)
    assert chain.expect(candidate, ask) == pytest.approx(0.4, rel=0.3)
    assert chain.expect(other, ask) == pytest.approx(0.15)


def test_one_that_hangs_now_and_then_is_expected_as_before_and_one_that_has_become_slow_is_not(chain):
    candidate = find(chain)[0]
    before = chain.forecast(candidate).patience(20)
    for _ in range(50):
        chain.on_overdue(candidate, 20, work=before, now=NOW)
        chain.on_first(candidate, 20, work=0.1)
        chain.on_spoken(candidate, Track(), work=0.5, seconds=1.0, until=NOW)
    assert chain.forecast(candidate).patience(20) < before
    before = chain.forecast(candidate).patience(20)
    assert [chain.on_overdue(candidate, 20, work=1.0, now=NOW) for _ in range(2)] == [False, True]
    assert chain.forecast(candidate).patience(20) > before


def test_a_voice_that_was_slow_is_tried_again_without_a_users_sentence(chain):
    first, second = find(chain)
    for _ in range(60):
        chain.on_first(first, 20, work=0.5, foreseen=Foreseen(0.4, 1.0), took=0.5)
    assert choose(chain)[0] == "second"
    chain.on_chosen(second, Ask(20, 0.25), Track(), now=NOW, preferred=[first])
    at = chain.next_probe()
    assert NOW <= at < NOW + 10
    assert chain.probes(at, is_calm=False) == [] and at < chain.next_probe() < at + 10, "while others speak nobody waits for it"
    at = chain.next_probe()
    assert chain.probes(at) == [first] and chain.probes(at) == []
    chain.on_probed(first, [(16, 0.6), (88, 0.9)], cost=0.5, now=at)
    assert choose(chain)[0] == "second"
    chain.on_chosen(second, Ask(20, 0.25), Track(), now=at, preferred=[first])
    assert chain.probes(chain.next_probe()) == [first]
    chain.on_probed(first, [(16, 0.05), (88, 0.1)], cost=0.5, now=at + 10)
    assert choose(chain)[0] == "first"


def test_a_longer_warm_up_that_ends_late_takes_nothing_from_what_was_learned(chain):
    """A node that is busy from its start comes to it after many sentences."""
    spoken, silent = find(chain)[0], find(chain, voice="f-gb", engine="first")[0]
    assert (spoken.engine, silent.voice.id) == ("first", "f-gb")
    for _ in range(60):
        chain.on_first(spoken, 20, work=0.4, foreseen=Foreseen(0.4, 1.0), took=0.4)
    before = chain.forecast(spoken).first(20)
    chain.on_warm("first", [(20, 0.1), (88, 0.2)], cost=0.6)
    assert chain.forecast(spoken).first(20) == before
    assert len(chain.outcomes()[spoken.key]) == 60
    assert chain.forecast(silent).first(88) == pytest.approx(1.5 * 0.2), "nothing was known of this one"


def test_a_voice_that_is_passed_over_for_want_of_experience_is_known_in_a_minute(chain):
    chain.on_warm("first", [(16, 0.18), (88, 0.30)], cost=0.6)
    first = find(chain)[0]
    assert choose(chain)[0] == "second", "nobody knows yet how much longer than at its warm-up it may take"
    now = NOW
    while choose(chain, now=now)[0] == "second":
        now = chain.next_probe()
        assert chain.probes(now) == [first]
        chain.on_probed(first, [(16, 0.19), (88, 0.31)], cost=0.6, now=now)
        assert now < NOW + 60


def test_a_voice_that_could_not_keep_up_is_tried_again(chain):
    chain.on_warm("first", [(16, 0.05)], cost=1.8)
    first, second = find(chain)
    assert choose(chain)[0] == "second"
    chain.on_chosen(second, Ask(20, 0.25), Track(), now=NOW, preferred=[first])
    assert chain.probes(chain.next_probe()) == [first]
    chain.on_probed(first, [(16, 0.05), (88, 0.1)], cost=0.4, now=NOW + 6)
    assert choose(chain)[0] == "first"


def test_hedges_are_a_tenth_of_all_sentences():
    hedges, taken = Hedges(0.1), 0
    for _ in range(1000):
        hedges.on_sentence()
        if hedges.is_allowed:
            hedges.take()
            taken += 1
    assert taken == 100
    for _ in range(1000):
        hedges.on_sentence()
    for _ in range(3):
        assert hedges.is_allowed
        hedges.take()
    assert not hedges.is_allowed
    assert (hedges.sentences, hedges.taken) == (2000, 103)


def test_whatever_happens_somebody_is_chosen():
    dice = random.Random(1)
    chain = Chain(ChainSettings(order=("first", "second", "third"), breaker=BreakerSettings(failures=2)))
    tracks, now = [Track() for _ in range(5)], NOW
    for _ in range(2000):
        now += dice.random()
        strategy = dice.choice(["auto", "speed_first", "quality_first", "manual"])
        found = find(chain, strategy=strategy)
        ask, track = (
            Ask(dice.randrange(1, 300), dice.uniform(-1, 2), {"first": dice.random()}, dice.randrange(1, 4), strategy),
            dice.choice(tracks),
        )
        chosen = chain.choose(found, ask, track, now=now)
        assert chosen in found
        chain.on_chosen(chosen, ask, track, now=now)
        match dice.randrange(5):
            case 0:
                chain.on_failed(chosen, SynthesisFailed("no"), now=now)
            case 1:
                chain.on_overdue(chosen, ask.characters, work=dice.random(), now=now)
            case _:
                chain.on_first(chosen, ask.characters, work=dice.random() / 10, foreseen=Foreseen(0.1, 0.5), took=dice.random())
                chain.on_spoken(chosen, track, work=dice.random(), seconds=2.0, until=now + 2)
        for candidate in chain.probes(now):
            chain.on_probed(candidate, dice.choice([[], [(16, 0.1)]]), cost=0.5, now=now)


@pytest.mark.parametrize(("tag", "language"), [("en-US", "en"), ("pt_BR", "pt"), ("ZH-Hant-TW", "zh"), ("de", "de")])
def test_primary(tag, language):
    assert primary(tag) == language


# What is there already


@pytest.mark.parametrize(("cores", "chosen"), [(1.0, ["first", "first", "second"]), (2.0, ["first", "second", "second"])])
def test_an_engine_that_keeps_several_cores_busy_leaves_fewer_to_others(chain, cores, chosen):
    chain.on_warm("first", [(20, 0.1)], cost=0.6, cores=cores)
    assert [choose(chain, Track())[0] for _ in range(3)] == chosen


def test_an_engine_that_begins_with_a_clause_is_expected_as_soon(chain):
    found = find(chain)
    assert chain.choose(found, Ask(90, 0.25), Track(), now=NOW).engine == "second"
    assert chain.choose(found, Ask(90, 0.25, firsts={"first": 20, "second": 90}), Track(), now=NOW).engine == "first"


def test_what_has_been_made_is_in_time_and_needs_no_lane(chain):
    found, waits = find(chain), {"first": 5.0}
    assert chain.choose(found, Ask(20, 0.05, waits, 2), Track(), now=NOW).engine == "second"
    made = Ask(20, 0.05, waits, 2, made=frozenset({"first"}))
    assert chain.choose(found, made, Track(), now=NOW).engine == "first"
    busy = [Track() for _ in range(8)]
    for track in busy:
        choose(chain, track)
    assert chain.choose(found, Ask(20, 9.0, lanes=2), Track(), now=NOW).engine == "second", "the lanes are full"
    assert chain.choose(found, made, Track(), now=NOW).engine == "first"


def test_a_track_that_says_what_has_been_made_takes_no_part_of_the_lanes(chain):
    found = find(chain)
    for _ in range(8):
        chain.on_chosen(found[0], Ask(20, 0.25, lanes=2, made=frozenset({"first"})), Track(), now=NOW)
    assert chain.choose(found, Ask(20, 9.0, lanes=2), Track(), now=NOW).engine == "first"


def test_a_track_keeps_another_voice_although_its_own_has_been_made(chain):
    track = Track()
    assert choose(chain, track)[0] == "first"
    assert choose(chain, track, left=0.05, now=NOW + 0.1)[0] == "second"
    ask = Ask(20, 0.25, lanes=2, made=frozenset({"first"}))
    assert chain.choose(find(chain), ask, track, now=NOW + 0.2).engine == "second", "it has no pause yet"
    chain.on_repeated(track, until=NOW + 0.3)
    assert chain.choose(find(chain), ask, track, now=NOW + 5.0).engine == "first"
