"""The only threads: each lane runs one step at a time, always the one that is due first."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
import os
import queue
import threading
from collections import Counter
from collections.abc import Callable, Generator
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar, cast

from engines.base import Chunk, EngineError, EngineUnavailable, Pace, SynthesisFailed
from pipeline.schedule import Load, Schedule

log = logging.getLogger(__name__)
T = TypeVar("T")

SETTLING = 0.010  # seconds between two looks whether the last steps have ended
DISK_LANES = 1  # a disk serves one after the other anyway, and what is written never stands in the way of a step
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
    given_up: int = 32
    """Lanes that may hang at once before no new ones are opened in their place: each holds a thread, a few hundred kilobytes. An engine
    of which half as many steps hang is not asked any more until one of them ends."""


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
    owner: str = ""
    """Whose it is."""
    ticket: int = 0
    is_waiting: bool = True
    begun: float | None = None
    """When a lane took it."""
    took: float | None = None
    """Seconds that it was in its lane, once it has ended."""
    lane: Lane | None = None
    after: Callable[[], None] | None = None
    """Run on the loop once the step has left its lane."""

    def __str__(self) -> str:
        return f"a step of engine {self.owner}" if self.owner else "a step"

    @property
    def remedy(self) -> str:
        """What mends that it does not end."""
        ways = ("restart the node", f"leave {self.owner} out of selection.fallback_chain" if self.owner else "")
        return "if it hangs for good: " + ", or ".join(filter(None, ways))


class Lane(Protocol):
    """Runs one call at a time, elsewhere."""

    is_given_up: bool

    def start(self, call: Callable[[], Any], on_done: Callable[[Future[Any]], object]) -> None: ...

    def close(self) -> None: ...


class _Thread:
    """A lane that is a thread. A daemon: a step that hangs for ever must not keep the process."""

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

    def __init__(self, kind: str, count: int, settings: LaneSettings, open_lane: Callable[[str], Lane]) -> None:
        self._kind = kind
        self._most_spares = settings.given_up
        self.hanging_of: Counter[str] = Counter()
        """The same by owner."""
        self._open_lane = open_lane
        self._idle = [open_lane(f"{kind}-{index}") for index in range(count)]
        self._waiting: Schedule[_Step] = Schedule()
        self._load = Load()
        self._is_closed = False
        self.count = count
        self.running = 0
        """Steps in lanes that have not been given up."""
        self.given_up = 0
        """Lanes given up since the start."""
        self.hanging = 0
        """Lanes given up whose step has not ended yet."""

    @property
    def spares(self) -> int:
        """Lanes that may hang before there are fewer of them."""
        return self._most_spares - self.hanging

    @property
    def queued(self) -> int:
        """Steps that wait for one of them."""
        return len(self._waiting)

    @property
    def is_idle(self) -> bool:
        """True when a lane has nothing to do."""
        return bool(self._idle) and not self._waiting

    def wait(self, due: float) -> float:
        """Seconds that a step would wait for a lane, by what steps have taken lately."""
        if self._idle or not self.count:
            return 0.0
        return self._load.step * (self._waiting.ahead(due) + 0.5) / self.count

    def load(self, now: float) -> float:
        return self._load.fraction(self.count, now=now)

    def submit(self, call: Callable[[], Any], *, due: float, allowance: float, owner: str = "") -> _Step:
        """Raises :exc:`NoLane`."""
        if not self.count:
            raise self._no_lane()
        step = _Step(call, asyncio.get_running_loop().create_future(), allowance, owner)
        step.ticket = self._waiting.push(step, due=due)
        self._dispatch()
        return step

    def withdraw(self, step: _Step) -> None:
        """Nobody waits for it: it is not begun, or what it gives is thrown away."""
        if step.is_waiting:
            self._waiting.discard(step.ticket)
        step.future.cancel()

    def close(self) -> None:
        self._is_closed = True
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

    def _start(self, lane: Lane, step: _Step) -> None:
        loop = asyncio.get_running_loop()
        begun = step.begun = loop.time()
        step.lane = lane
        self.running += 1
        limit = loop.call_later(step.allowance * PATIENCE, self.give_up, step)

        def finish(outcome: Future[Any]) -> None:
            limit.cancel()
            step.took = loop.time() - begun
            self._take_back(lane, step.owner)
            self._load.on_step(took=step.took, now=loop.time())
            if not step.future.done():
                _settle(step, outcome)
            if step.after is not None and not self._is_closed:
                step.after()
            self._dispatch()

        lane.start(step.call, lambda outcome: loop.call_soon_threadsafe(finish, outcome))

    def _take_back(self, lane: Lane, owner: str) -> None:
        """Its step has ended."""
        if not lane.is_given_up:
            self.running -= 1
        else:
            self.hanging -= 1
            self.hanging_of[owner] -= 1
            if self.hanging >= self._most_spares and not self._is_closed:
                self.count += 1
                lane.is_given_up = False
        if lane.is_given_up or self._is_closed:
            lane.close()
        else:
            self._idle.append(lane)

    def give_up(self, step: _Step) -> None:
        """Leave the lane to its step and open another one in its place, while there are spares."""
        lane = step.lane
        if lane is None or lane.is_given_up or step.took is not None or self._is_closed:
            return
        lane.is_given_up = True
        self.given_up += 1
        self.hanging += 1
        self.hanging_of[step.owner] += 1
        self.running -= 1
        if self.hanging <= self._most_spares:
            self._idle.append(self._open_lane(f"{self._kind}-spare-{self.given_up}"))
        else:
            self.count -= 1
        took = asyncio.get_running_loop().time() - (step.begun or 0.0)
        log.error("a %s is left to %s that has run for %.1f s (%d such)", self._kind, step, took, self.hanging)
        if not step.future.done():
            step.future.set_exception(StepGivenUp(f"{step} did not end within {took:.1f} s", remedy=step.remedy))
        while not self.count and (waiting := self._next()) is not None:
            waiting.future.set_exception(self._no_lane())
        self._dispatch()

    def _no_lane(self) -> NoLane:
        return NoLane(f"no {self._kind} lane is left: all of them hang", remedy="restart the node; its log names the engine")


class Lanes:
    """Where engines run. Create and use it on one event loop; a lane is a thread."""

    def __init__(self, settings: LaneSettings = _DEFAULT, *, open_lane: Callable[[str], Lane] = _Thread) -> None:
        """``open_lane``: makes a lane of that name; a thread, unless a test has something else in mind."""
        count = settings.count or len(os.sched_getaffinity(0))
        self._compute = _Group("lane", count, settings, open_lane)
        self._network = _Group("network-lane", settings.network_count, settings, open_lane)
        self._disk = _Group("disk-lane", DISK_LANES, settings, open_lane)
        self._allowance = settings.allowance
        self._loaders = _Group("loader", count, settings, open_lane)  # a load takes seconds: it must not stand in a step's way
        self._groups = (self._compute, self._network, self._disk, self._loaders)
        self._most_of_one = max(1, settings.given_up // 2)
        self._live: set[Steps] = set()
        self._unfreed: Counter[str] = Counter()
        self._shut: set[str] = set()

    @property
    def given_up(self) -> int:
        """Lanes that were left to steps that hang."""
        return sum(group.given_up for group in self._groups)

    @property
    def spares(self) -> int:
        """Lanes that may hang, of one kind or the other, before there are fewer of them."""
        return min(self._compute.spares, self._network.spares)

    @property
    def live(self) -> int:
        """Sentences that are being made: with more than one, each step keeps another one waiting."""
        return len(self._live)

    @property
    def queued(self) -> int:
        """Steps that wait for a lane."""
        return self._compute.queued + self._network.queued

    @property
    def count(self) -> int:
        """Steps that compute at once."""
        return self._compute.count

    def hangs(self, owner: str) -> bool:
        """True while so many steps of that engine hang that one more might cost the others their lanes."""
        return self._compute.hanging_of[owner] + self._network.hanging_of[owner] >= self._most_of_one

    def wait(self, due: float, *, network: bool = False) -> float:
        """Seconds that a step due then would wait for a lane now."""
        return (self._network if network else self._compute).wait(due)

    def has_idle(self, *, network: bool = False) -> bool:
        """True when a step would take nothing from another one."""
        return (self._network if network else self._compute).is_idle

    def load(self) -> float:
        """The part of the computing lanes' time that is taken, 0 to 1, over the last five seconds."""
        return self._compute.load(asyncio.get_running_loop().time())

    def holds(self, owner: str) -> bool:
        """True while a sentence of that engine is being made, or waits to be closed."""
        return self._unfreed[owner] > 0

    def shut(self, owner: str) -> None:
        """No sentence of that engine is begun until :meth:`reopen`; those that are being made go on."""
        self._shut.add(owner)

    def reopen(self, owner: str) -> None:
        self._shut.discard(owner)

    async def run(
        self,
        call: Callable[[], T],
        *,
        due: float,
        network: bool = False,
        disk: bool = False,
        loads: bool = False,
        allowance: float | None = None,
        owner: str = "",
    ) -> T:
        """One call on a lane; ``disk``: on the one where files are read and written; ``loads``: it takes seconds, and gets a lane in
        which no step waits; ``owner``: the engine whose it is. Cancelling it forgets the call, or throws away what it gives.

        Raises what the call raises, :exc:`StepGivenUp` after ten allowances, :exc:`NoLane`.
        """
        group = self._disk if disk else self._network if network else self._loaders if loads else self._compute
        step = group.submit(call, due=due, allowance=allowance or self._allowance, owner=owner)
        try:
            return cast(T, await step.future)
        except asyncio.CancelledError:
            group.withdraw(step)
            raise

    def hold(self, owner: str) -> None:
        """Somebody begins to speak with that engine, who may ask for steps of it until he has let it go: between two of them it is not
        free either. Raises :exc:`EngineUnavailable` when it has been shut."""
        if owner in self._shut:
            raise EngineUnavailable(f"engine {owner} is being unloaded")
        self._unfreed[owner] += 1

    def let_go(self, owner: str) -> None:
        self._unfreed[owner] -= 1
        if not self._unfreed[owner]:
            del self._unfreed[owner]

    def steps(
        self,
        chunks: Generator[Chunk, None, None],
        pace: Pace,
        *,
        network: bool = False,
        allowance: float | None = None,
        owner: str = "",
        is_held: bool = False,
    ) -> Steps:
        """``owner``: the engine whose they are. ``is_held``: by whoever asks. Raises :exc:`EngineUnavailable` as :meth:`hold` does."""
        if is_held:
            self._unfreed[owner] += 1
        else:
            self.hold(owner)
        group = self._network if network else self._compute
        steps = Steps(
            group,
            chunks,
            pace,
            allowance or self._allowance,
            owner,
            is_alone=lambda: self.live <= 1,
            on_close=self._live.discard,
            on_freed=self.let_go,
        )
        if not network:
            self._live.add(steps)
        return steps

    def close(self) -> None:
        """Ends idle lanes; one that runs a step ends after it."""
        for group in self._groups:
            group.close()

    async def settle(self, limit: float) -> None:
        """Returns when no step runs, or after ``limit`` seconds: a process that ends inside an engine's library may crash."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(limit):
                while any(group.running for group in self._groups):  # noqa: ASYNC110 - once a process, at its end
                    await asyncio.sleep(SETTLING)


class Steps:
    """One sentence's generator, stepped on the lanes; never two steps of it at once."""

    def __init__(
        self,
        group: _Group,
        chunks: Generator[Chunk, None, None],
        pace: Pace,
        allowance: float,
        owner: str = "",
        *,
        is_alone: Callable[[], bool] = lambda: True,
        on_close: Callable[[Steps], None] = lambda steps: None,
        on_freed: Callable[[str], None] = lambda owner: None,
    ) -> None:
        self._is_alone = is_alone
        self._on_close = on_close
        self._on_freed = on_freed
        self._group = group
        self._chunks = chunks
        self._pace = pace
        self._allowance = allowance
        self._owner = owner
        self._step: _Step | None = None

    def start(self, *, due: float, window: float) -> asyncio.Future[Chunk | None]:
        """The next chunk to come, None after the last one; ``window`` as in :class:`engines.base.Pace`.

        The future raises what the engine raises. When nobody waits for it any more, :meth:`close` follows.
        """

        def advance() -> Chunk | None:
            self._pace.window, self._pace.is_alone = window, self._is_alone()
            return next(self._chunks, None)

        self._step = self._group.submit(advance, due=due, allowance=self._allowance, owner=self._owner)
        return self._step.future

    async def next(self, *, due: float, window: float) -> Chunk | None:
        """:meth:`start`, and wait for it. Cancelling it leaves the step to end by itself; then only :meth:`close` may follow."""
        return await self.start(due=due, window=window)

    @property
    def begun(self) -> float | None:
        """When the last step that was asked for got a lane; None when it waits for one."""
        return self._step.begun if self._step is not None else None

    @property
    def took(self) -> float:
        """Seconds of a lane's time that the last step took, once it has ended."""
        return (self._step.took or 0.0) if self._step is not None else 0.0

    def close(self, *, overdue: bool = False) -> None:
        """Free what the sentence holds, in a lane, as soon as its running step has ended. Does not wait.

        ``overdue``: its step has been in its lane for too long; others get a lane in its place at once.
        """
        self._on_close(self)
        step = self._step
        if step is not None and step.is_waiting:
            self._group.withdraw(step)
        if step is None or step.begun is None or step.took is not None:
            self._close()
            return
        step.after = self._close  # a generator cannot be closed while it runs
        step.future.cancel()
        if overdue and self._group.spares > 0:
            self._group.give_up(step)

    def _close(self) -> None:
        try:
            step = self._group.submit(self._chunks.close, due=-math.inf, allowance=self._allowance, owner=self._owner)
        except NoLane:
            self._on_freed(self._owner)
            return  # nothing can run, so nothing runs
        step.future.add_done_callback(_log_failure)
        step.future.add_done_callback(lambda closed: self._on_freed(self._owner))


def _settle(step: _Step, outcome: Future[Any]) -> None:
    error = outcome.exception()
    if error is None:
        step.future.set_result(outcome.result())
    elif isinstance(error, EngineError):
        step.future.set_exception(error)
    else:
        failure = SynthesisFailed(f"{step} raised {type(error).__name__}: {error}")
        failure.__cause__ = error
        step.future.set_exception(failure)


def _log_failure(future: asyncio.Future[Any]) -> None:
    if not future.cancelled() and (error := future.exception()) is not None:
        log.warning("an engine failed while it was closed: %s", error)
