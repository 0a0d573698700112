import pytest

from pipeline.script import Sentence, Wish
from pipeline.turn import TRANSITIONS, Fact, Phase, Turn


@pytest.fixture
def turn():
    return Turn(Sentence("s1", "up", "u1", "Hello.", Wish("en"), completed=1.0, ending="sentence"))


def test_the_whole_way(turn):
    for fact, phase in [
        (Fact.CHOOSE, Phase.CHOSEN),
        (Fact.START, Phase.STARTED),
        (Fact.SOUND, Phase.AUDIBLE),
        (Fact.END, Phase.FINISHED),
    ]:
        assert turn.on(fact)
        assert turn.phase is phase
    assert turn.is_over


def test_a_cut_turn_ignores_cues_that_were_under_way(turn):
    turn.on(Fact.CHOOSE)
    turn.on(Fact.START)
    assert turn.on(Fact.RETRACT)
    assert turn.phase is Phase.CUT
    assert not turn.on(Fact.SOUND) and not turn.on(Fact.END)
    assert turn.is_over


def test_what_had_not_started_is_dropped_not_cut(turn):
    turn.on(Fact.CHOOSE)
    turn.on(Fact.RETRACT)
    assert turn.phase is Phase.DROPPED


def test_a_rewound_turn_starts_again(turn):
    for fact in (Fact.CHOOSE, Fact.START, Fact.SOUND, Fact.REWIND, Fact.START, Fact.SOUND, Fact.END):
        assert turn.on(fact)
    assert turn.phase is Phase.FINISHED


def test_the_table_names_every_phase_and_only_phases():
    assert set(TRANSITIONS) == set(Phase)
    assert {phase for row in TRANSITIONS.values() for phase in row.values()} <= set(Phase)
