"""The only threads: each lane runs one step at a time, always the one that is due first."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
import os
import queue
import threading
from collections.abc import Callable, Generator
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any, TypeVar, cast

from engines.base import Chunk, EngineError, Pace, SynthesisFailed
from pipeline.schedule import Load, Schedule

log = logging.getLogger(__name__)
T = TypeVar("T")

PATIENCE = 10  # a step that takes so many times its allowance is given up with its lane


@dataclass(frozen=True, slots=True)
class LaneSettings:
    """How many steps run at once, and how long one may take."""

    count: int = 0
    """Lanes for engines that compute; 0: one a core. Their steps share the engine's own threads."""
    network_count: int = 8
    """Lanes for engines that wait for a network."""
    allowance: float = 0.5
    """Seconds that a step should never need; ten times as much, and its lane is given up."""
    given_up: int = 8
    """Lanes that may be given up before no new ones are opened in their place: each holds a thread that hangs."""


_DEFAULT = LaneSettings()


class StepGivenUp(EngineError):
    """A step took ten times its allowance; its lane was left to it."""


class NoLane(EngineError):
    """So many steps hang that no lane is left."""


@dataclass(slots=True)
class _Step:
    call: Callable[[], Any]
    future: asyncio.Future[Any]
    allowance: float
    ticket: int = 0
    is_waiting: bool = True
    after: Callable[[], None] | None = None
    """Run on the loop once the step has left its lane."""


class _Lane:
    """A thread that runs one call at a time. A daemon: a step that hangs for ever must not keep the process."""

    def __init__(self, name: str) -> None:
        self._inbox: queue.SimpleQueue[tuple[Callable[[], Any], Callable[[Future[Any]], object]] | None] = queue.SimpleQueue()
        self.is_given_up = False
        threading.Thread(target=self._run, name=name, daemon=True).start()

    def start(self, call: Callable[[], Any], on_done: Callable[[Future[Any]], object]) -> None:
        self._inbox.put((call, on_done))

    def close(self) -> None:
        self._inbox.put(None)

    def _run(self) -> None:
        while (work := self._inbox.get()) is not None:
            call, on_done = work
            outcome: Future[Any] = Future()
            try:
                outcome.set_result(call())
            except BaseException as error:  # noqa: BLE001 - carried to whoever waits, as every executor does
                outcome.set_exception(error)
            with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits any more
                on_done(outcome)
            del work, call, on_done, outcome  # or the idle thread would keep a sentence's arrays


class _Group:
    """Lanes of one kind and the steps that wait for them. Its methods run on the loop's thread."""

    def __init__(self, kind: str, count: int, settings: LaneSettings) -> None:
        self._kind = kind
        self._spares = settings.given_up
        self._idle = [_Lane(f"{kind}-{index}") for index in range(count)]
        self._waiting: Schedule[_Step] = Schedule()
        self._load = Load()
        self.count = count
        self.given_up = 0

    def load(self, now: float) -> float:
        return self._load.fraction(self.count, now=now)

    def submit(self, call: Callable[[], Any], *, due: float, allowance: float) -> _Step:
        """Raises :exc:`NoLane`."""
        if not self.count:
            raise self._no_lane()
        step = _Step(call, asyncio.get_running_loop().create_future(), allowance)
        step.ticket = self._waiting.push(step, due=due)
        self._dispatch()
        return step

    def withdraw(self, step: _Step) -> None:
        """Nobody waits for it: it is not begun, or what it gives is thrown away."""
        if step.is_waiting:
            self._waiting.discard(step.ticket)
        step.future.cancel()

    def close(self) -> None:
        while (step := self._next()) is not None:
            step.future.cancel()
        for lane in self._idle:
            lane.close()
        self._idle.clear()
        self.count = 0

    def _next(self) -> _Step | None:
        step = self._waiting.pop()
        if step is not None:
            step.is_waiting = False
        return step

    def _dispatch(self) -> None:
        while self._idle and (step := self._next()) is not None:
            self._start(self._idle.pop(), step)

    def _start(self, lane: _Lane, step: _Step) -> None:
        loop = asyncio.get_running_loop()
        begun = loop.time()
        limit = loop.call_later(step.allowance * PATIENCE, self._give_up, lane, step)

        def finish(outcome: Future[Any]) -> None:
            if lane.is_given_up or not self.count:
                lane.close()
                return
            limit.cancel()
            self._load.on_step(took=loop.time() - begun, now=loop.time())
            self._idle.append(lane)
            if not step.future.done():
                _settle(step.future, outcome)
            if step.after is not None:
                step.after()
            self._dispatch()

        lane.start(step.call, lambda outcome: loop.call_soon_threadsafe(finish, outcome))

    def _give_up(self, lane: _Lane, step: _Step) -> None:
        lane.is_given_up = True
        self.given_up += 1
        if self.given_up <= self._spares:
            self._idle.append(_Lane(f"{self._kind}-spare-{self.given_up}"))
        else:
            self.count -= 1
        took = step.allowance * PATIENCE
        log.error("a step hangs in a %s lane for %.1f s; the lane is given up (%d so far)", self._kind, took, self.given_up)
        if not step.future.done():
            step.future.set_exception(StepGivenUp(f"a step did not end within {took:.1f} s"))
        while not self.count and (waiting := self._next()) is not None:
            waiting.future.set_exception(self._no_lane())
        self._dispatch()

    def _no_lane(self) -> NoLane:
        return NoLane(f"no {self._kind} lane is left: all of them hang", remedy="restart the node; its log names the engine")


class Lanes:
    """Where engines run. Create and use it on one event loop; a lane is a thread."""

    def __init__(self, settings: LaneSettings = _DEFAULT) -> None:
        count = settings.count or len(os.sched_getaffinity(0))
        self._compute = _Group("lane", count, settings)
        self._network = _Group("network-lane", settings.network_count, settings)
        self._allowance = settings.allowance
        self._live: set[Steps] = set()

    @property
    def given_up(self) -> int:
        """Lanes lost to steps that hang."""
        return self._compute.given_up + self._network.given_up

    @property
    def is_shared(self) -> bool:
        """True while more than one sentence is being made: each step keeps another one waiting."""
        return len(self._live) > 1

    def load(self) -> float:
        """The part of the computing lanes' time that is taken, 0 to 1, over the last five seconds."""
        return self._compute.load(asyncio.get_running_loop().time())

    async def run(self, call: Callable[[], T], *, due: float, network: bool = False, allowance: float | None = None) -> T:
        """One call on a lane. Cancelling it forgets the call, or throws away what it gives.

        Raises what the call raises, :exc:`StepGivenUp` after ten allowances, :exc:`NoLane`.
        """
        group = self._network if network else self._compute
        step = group.submit(call, due=due, allowance=allowance or self._allowance)
        try:
            return cast(T, await step.future)
        except asyncio.CancelledError:
            group.withdraw(step)
            raise

    def steps(self, chunks: Generator[Chunk, None, None], pace: Pace, *, network: bool = False) -> Steps:
        if network:
            return Steps(self._network, chunks, pace, self._allowance)
        steps = Steps(self._compute, chunks, pace, self._allowance, on_close=self._live.discard)
        self._live.add(steps)
        return steps

    def close(self) -> None:
        """Ends idle lanes; one that runs a step ends after it."""
        self._compute.close()
        self._network.close()


class Steps:
    """One sentence's generator, stepped on the lanes; never two steps of it at once."""

    def __init__(
        self,
        group: _Group,
        chunks: Generator[Chunk, None, None],
        pace: Pace,
        allowance: float,
        *,
        on_close: Callable[[Steps], None] = lambda steps: None,
    ) -> None:
        self._on_close = on_close
        self._group = group
        self._chunks = chunks
        self._pace = pace
        self._allowance = allowance
        self._running: _Step | None = None

    async def next(self, *, due: float, window: float) -> Chunk | None:
        """The next chunk, None after the last one; ``window`` as in :class:`engines.base.Pace`.

        Raises what the engine raises. Cancelling it leaves the step to end by itself; then only :meth:`close` may follow.
        """

        def advance() -> Chunk | None:
            self._pace.window = window
            return next(self._chunks, None)

        step = self._running = self._group.submit(advance, due=due, allowance=self._allowance)
        try:
            chunk = cast(Chunk | None, await step.future)
        except asyncio.CancelledError:
            self._group.withdraw(step)
            raise
        self._running = None
        return chunk

    def close(self) -> None:
        """Free what the sentence holds, in a lane, as soon as its running step has ended. Does not wait."""
        self._on_close(self)
        step = self._running
        if step is not None and not step.is_waiting:
            step.after = self._close  # a generator cannot be closed while it runs
        else:
            self._close()

    def _close(self) -> None:
        try:
            step = self._group.submit(self._chunks.close, due=-math.inf, allowance=self._allowance)
        except NoLane:
            return  # nothing can run, so nothing runs
        step.future.add_done_callback(_log_failure)


def _settle(future: asyncio.Future[Any], outcome: Future[Any]) -> None:
    error = outcome.exception()
    if error is None:
        future.set_result(outcome.result())
    elif isinstance(error, EngineError):
        future.set_exception(error)
    else:
        failure = SynthesisFailed(f"the engine raised {type(error).__name__}: {error}")
        failure.__cause__ = error
        future.set_exception(failure)


def _log_failure(future: asyncio.Future[Any]) -> None:
    if not future.cancelled() and (error := future.exception()) is not None:
        log.warning("an engine failed while it was closed: %s", error)
