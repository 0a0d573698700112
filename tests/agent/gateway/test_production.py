import pytest

from agent.config import Settings
from agent.gateway.errors import Refused
from agent.gateway.production import Medium, Workshop
from agent.gateway.slots import Slots
from agent.gateway.speech import Speech, make_plan
from agent.gateway.wanted import Wanted
from tests.agent.gateway.conftest import decoded


@pytest.mark.parametrize(
    ("wanted", "format", "expected"),
    [
        ({}, "", Medium("wav", 24_000)),
        ({"sample_rate": 8_000}, "mp3", Medium("mp3", 8_000)),
        ({"has_options": True}, "", Medium("wav", 22_050)),
        ({"has_options": True, "sample_rate": 48_000}, "", Medium("wav", 48_000)),
        ({"sample_rate": 22_050}, "opus", Medium("opus", 24_000)),
    ],
)
def test_the_medium_follows_the_request_and_then_the_settings(wanted, format, expected):
    assert Medium.of(Wanted("Hi.", **wanted), format, Settings().audio) == expected


async def test_a_slot_is_held_while_it_is_made_and_no_longer(node):
    slots, gaps = Slots(1, 0.0), []
    workshop, wanted = Workshop(node, slots, gaps.append), Wanted("One two three. Four five six.")
    plan = make_plan(node, wanted)
    pieces = workshop.stream(Speech(node, plan), plan, Medium("pcm", 24_000))
    await anext(pieces)
    assert slots.is_full
    with pytest.raises(Refused, match=r"try again"):
        await workshop.whole(wanted, plan, Medium("wav", 24_000))
    rest = [len(piece) async for piece in pieces]
    assert not slots.is_full
    assert max(rest) <= node.settings.stream.chunk_bytes
    assert gaps


async def test_what_was_done_to_it_is_told(node):
    wanted = Wanted("One two three. Four five six.", enhance=True, compress=True, trim=False)
    product = await Workshop(node, Slots(1, 0.0), lambda gap: None).whole(wanted, make_plan(node, wanted), Medium("flac", 16_000))
    assert product.applied == ("enhancement", "compression", "loudness")
    rate, samples = decoded(product.data)
    assert (rate, len(samples) / rate) == (16_000, pytest.approx(product.seconds, abs=0.05))
