"""The time of a stream, on a virtual clock."""

import asyncio

import pytest

from agent.gateway.deadline import LONGEST, timely
from agent.gateway.errors import Refused
from tests.virtual_time import run


class Pieces:
    """Each after its pause."""

    def __init__(self, *pauses):
        self.pauses, self.is_closed = pauses, False

    async def __call__(self):
        try:
            for pause in self.pauses:
                await asyncio.sleep(pause)
                yield b"x"
        finally:
            self.is_closed = True


def taken(pieces, timeout, *, reading=0.0):
    """How many came, and what ended it."""

    async def go():
        count = 0
        try:
            async for _ in timely(pieces(), timeout):
                count += 1
                await asyncio.sleep(reading)
        except Refused as refused:
            return count, refused.message
        return count, ""

    return run(go())


def test_all_pieces_have_to_come_within_the_time():
    pieces = Pieces(1.0, 1.0, 1.0)
    assert taken(pieces, 5.0) == (3, "")
    assert taken(pieces, 2.5) == (2, "it was not ready within 2.5 s") and pieces.is_closed
    assert taken(pieces, 0.5) == (0, "there was no sound within 0.5 s")
    assert taken(pieces, 5.0, reading=1.5) == (2, "it was not ready within 5 s"), "whoever reads slowly has no more of it"


def test_without_one_only_the_first_has_to_come():
    assert taken(Pieces(1.0, LONGEST), None) == (2, "")
    assert taken(Pieces(LONGEST + 1), None) == (0, f"there was no sound within {LONGEST:g} s")


def test_what_is_not_taken_is_not_made():
    async def go():
        pieces = Pieces(1.0, 1.0)
        stream = timely(pieces(), 5.0)
        await anext(stream)
        await stream.aclose()
        return pieces.is_closed

    assert run(go())


def test_a_stream_s_own_error_passes():
    async def broken():
        raise Refused("synthesis_failed", "no", 500)
        yield b""

    with pytest.raises(Refused, match="no"):
        run(anext(timely(broken(), 5.0)))
