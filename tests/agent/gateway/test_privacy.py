"""What people say is not in the log, whatever goes wrong with it."""

import logging
import re

import pytest

from agent.config import Settings
from agent.node import Node
from engines.base import EngineError
from engines.scripted import Clipped, Die, End, Late, Odd, Script, Scripted, Silent
from pipeline.protocol import Cancel, Config, ProtocolError, Text, parse
from tests.virtual_time import Room, Work, run, virtual_lanes

SECRET = "Balatan"
TEXT = f"{SECRET} beletan bilitan bolotan."
FAULTS = [Die(at=2), Die(), Silent(at=1), End(at=2), Clipped(at=1), Odd(), Odd(kind="stereo"), Late(seconds=3.0)]


@pytest.fixture(autouse=True)
def everything_is_logged(caplog):
    caplog.set_level(logging.DEBUG)


def leaks(caplog):
    told = [record for record in caplog.records if record.levelno > logging.DEBUG]
    return [record for record in told if re.search(SECRET, record.getMessage() + str(record.exc_text) + str(vars(record)), re.IGNORECASE)]


@pytest.mark.parametrize("fault", FAULTS, ids=repr)
def test_not_when_engines_fail(caplog, fault):
    async def go():
        work = Work()
        engines = [Scripted("one", faults={0: fault}, work=work.spend), Scripted("two", Script(), faults={0: Die()}, work=work.spend)]
        async with Room(engines, lanes=virtual_lanes(0.0, count=2, work=work, allowance=0.5)) as room:
            room.stage.on_message("up", Text(text=TEXT))
            await room.quiet()
            for message in (
                Text(text=TEXT, language="tlh"),
                Text(text=TEXT, voice="nobody"),
                Config(voice="nobody"),
                Text(text=TEXT),
                Cancel(),
            ):
                room.stage.on_message("up", message)
            await room.quiet()

    run(go())
    assert not leaks(caplog)
    assert [record for record in caplog.records if "failed" in record.getMessage()] or isinstance(fault, Late)


def test_not_when_an_engine_raises_what_it_should_not(caplog):
    class Rude(Scripted):
        def _say(self, text, fault):
            yield from super()._say(text, fault)
            if self.begun > 3:
                raise EngineError("it was not me")

    async def go():
        async with Room([Rude("rude", work=lambda seconds: None)]) as room:
            room.stage.on_message("up", Text(text=TEXT))
            await room.quiet()

    run(go())
    assert not leaks(caplog) and "it was not me" in caplog.text


@pytest.mark.parametrize("raw", [b'{"type": "text", "text": "%s", "seq": "x"}', b'{"type": "text", "text": "%s"', b'{"type": "%s"}'])
def test_not_when_a_message_cannot_be_read(caplog, raw):
    with pytest.raises(ProtocolError) as error:
        parse(raw % SECRET.encode())
    assert SECRET not in str(error.value)


async def test_not_when_all_goes_well(caplog):
    settings = Settings.model_validate(
        {"selection": {"fallback_chain": ["tone"]}, "security": {"content_filter": "mask", "content_words": SECRET}}
    )
    async with Node(settings) as node:
        await node.ready()
        async for _ in node.say(f"{TEXT} And more."):
            pass
        with pytest.raises(EngineError):
            async for _ in node.say(TEXT, language="tlh"):
                pass
    assert not leaks(caplog)
