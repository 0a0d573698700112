"""A node that speaks with the voices of another one, a real one in a process of its own, until that is killed inside a sentence."""

from __future__ import annotations

import asyncio
import sys
from contextlib import aclosing
from itertools import groupby

import numpy as np

from agent.config import Settings
from agent.gateway.speech import Facts, Speech, make_plan
from agent.gateway.wanted import Wanted
from agent.node import Node
from tests.e2e.conftest import Alone, pitches, run_alone, score

RATE = 24_000
PRACTICE = 30.0  # seconds
TEXT = "One, two three four five six, seven eight nine ten eleven twelve."
SLOWLY = """
import time
from agent.cli import main
from engines.tone import SAMPLE_RATE, ToneEngine

whole = ToneEngine.synthesize


def slowly(engine, request, pace):
    for chunk in whole(engine, request, pace):
        time.sleep(0.5 * len(chunk.samples) / SAMPLE_RATE)
        yield chunk


ToneEngine.synthesize = slowly
main()
"""
"""A node whose engine takes half as long as it speaks: what it has said is not all in the network's buffers before it is killed."""


async def say(node: Node, text: str, other: Alone, *, dies_after: float = float("inf")) -> tuple[list[float], Facts]:
    """The pitches that were heard, and the facts; after so many seconds of sound the other node is killed."""
    speech = Speech(node, make_plan(node, Wanted(text, use_cache=False, budget=5_000)))
    heard: list[np.ndarray] = []
    async with aclosing(speech.sound()) as sound:
        async for samples in sound:
            heard.append(samples)
            if sum(map(len, heard)) > dies_after * RATE and other.process.poll() is None:
                other.process.kill()
    return pitches(np.concatenate(heard), RATE), speech.facts


def is_complete(heard: list[float]) -> bool:
    """Whether every word was heard, in order; the one inside which the other engine took over may be heard twice."""
    words = [next(group) for _, group in groupby(heard, key=round)]
    return len(heard) <= len(words) + 1 and len(words) == len(score(TEXT)) and np.allclose(words, score(TEXT), rtol=0.02)


async def test_a_sentence_is_heard_to_its_end_when_the_other_node_is_killed_inside_it() -> None:
    with run_alone([sys.executable, "-c", SLOWLY, "run"]) as other:
        settings = Settings.model_validate(
            {"selection": {"fallback_chain": ["remote", "tone"]}, "remote": {"url": other.address}, "cache": {"dir": None}}
        )
        async with Node(settings) as node:
            await node.ready()
            async with asyncio.timeout(PRACTICE):  # an engine that still says the long sentence of its own would be passed over
                while True:
                    heard, facts = await say(node, TEXT, other)
                    assert is_complete(heard)
                    if (facts.engine, facts.fallback) == ("remote", []):
                        break
            heard, facts = await say(node, TEXT, other, dies_after=1.5)
            assert other.process.wait(5) < 0
            assert is_complete(heard)
            assert [engine for engine, _ in facts.fallback] == ["remote"]
            assert is_complete((await say(node, TEXT, other))[0])
