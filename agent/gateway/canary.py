"""A sentence that the node says to itself, again and again: only what has spoken lately is known to be able to speak."""

from __future__ import annotations

import asyncio
import logging
import math
from functools import partial

import numpy as np

from agent import dnsmos
from agent.config import SettingsError
from agent.doctor import DIGITS, SENTENCES, flaws
from agent.node import Node
from engines.base import EngineError, Samples
from pipeline.chain import primary
from pipeline.events import Event, SentenceChosen, Switched
from pipeline.report import Report

PATIENCE = 20.0  # seconds for one sentence: a busy machine, a cold engine
LATE = 2  # intervals, and the patience, after which what was said is too long ago
AGAIN = 2.0  # seconds until the next try when one has failed
ALLOWANCE = 3.0  # seconds for a step of DNSMOS; ten times as much is a library on a slow disk, and more a step that hangs

log = logging.getLogger(__name__)


class Canary:
    """Speaks on an interval, through the same chain and lanes as everybody's text; leaves no trace in the node's figures."""

    def __init__(self, node: Node) -> None:
        """Raises :exc:`SettingsError` when it should be marked, and cannot be."""
        settings, language = node.settings.canary, node.settings.node.languages[0]
        self._node = node
        self._language = language
        self._text = settings.text or SENTENCES.get(primary(language), DIGITS)
        self._interval = settings.interval_s
        self._spoke_at: float | None = None
        self._speakers: set[str] = set()  # of the sentence in hand: more than one when another engine went on
        self._is_marked = settings.mos
        if settings.mos and (remedy := dnsmos.missing()):
            raise SettingsError(f"canary.mos: DNSMOS is not installed: {remedy}, or leave it off")
        self.engine = ""
        """Who said it last."""
        self.problem = "it has not spoken yet"
        """What went wrong the last time; empty when nothing did."""
        self.marks: dict[str, float] = {}
        """DNSMOS of the last sentence of each engine that could be marked."""

    async def run(self) -> None:
        """Until cancelled."""
        try:
            await self._node.ready()
        except EngineError as error:
            self.problem = str(error)
            return
        while True:
            await self.speak()
            await asyncio.sleep(self._interval if not self.problem else min(AGAIN, self._interval))

    async def speak(self) -> None:
        """Once, now."""
        parts = []
        self._speakers.clear()
        try:
            async with asyncio.timeout(PATIENCE):
                sound = self._node.say(self._text, language=self._language, use_cache=False, report=Report(), on_event=self._on_event)
                async for samples in sound:
                    parts.append(samples)  # noqa: PERF401 - each is heard as it comes
            wrong = flaws(np.concatenate(parts), self._node.studio.rate, self._text) if parts else ["no sound came"]
            problem = "; ".join(wrong)
        except EngineError as error:
            problem = str(error)
        except TimeoutError:
            problem = f"nothing was said within {PATIENCE:g} s"
        if problem and problem != self.problem:
            log.warning("the canary is not heard: %s", problem)
        self.problem = problem
        if not problem:
            self._spoke_at = asyncio.get_running_loop().time()
            if self._is_marked and len(self._speakers) == 1:
                await self._mark(next(iter(self._speakers)), np.concatenate(parts))

    def is_heard(self, now: float) -> bool:
        """Whether it has spoken lately, and well the last time."""
        return not self.problem and self._spoke_at is not None and now - self._spoke_at <= LATE * self._interval + PATIENCE

    async def _mark(self, engine: str, sound: Samples) -> None:
        """Where loads run: no sentence waits there. Left, until the next time, as soon as one is made."""
        lanes = self._node.studio.lanes
        marks = dnsmos.marks(sound.astype(np.float32) / np.float32(32768), self._node.studio.rate)
        heard: list[float] = []
        try:
            while not lanes.live:
                mark = await lanes.run(partial(next, marks, None), due=math.inf, loads=True, allowance=ALLOWANCE)
                if mark is None:
                    self.marks[engine] = float(np.mean(heard))
                    return
                heard.append(mark)
        except EngineError as error:
            log.error("the canary is not marked any more, ratings stand in: %s", error)
            self._is_marked = False  # what fails once fails each time, and what hangs would take lane after lane
            self.marks.clear()

    def _on_event(self, event: Event) -> None:
        match event:
            case SentenceChosen():
                self.engine = event.engine
                self._speakers.add(event.engine)
            case Switched():
                self._speakers.add(event.new)
