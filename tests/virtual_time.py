"""An event loop whose clock jumps to the next timer, lanes without threads, and a listener: a stage in virtual time."""

import asyncio
import selectors
from concurrent.futures import Future

import numpy as np

from engines.base import Chunk
from engines.tone import ToneEngine
from pipeline.chain import Chain, ChainSettings
from pipeline.lanes import Lanes, LaneSettings
from pipeline.report import Report
from pipeline.stage import Stage, StageSettings
from pipeline.studio import Studio

FRAME = 0.010
PRACTICE = 5.0  # virtual seconds in which every engine has said the longer sentence that follows its being ready


class _JumpingSelector(selectors.DefaultSelector):
    loop = None

    def select(self, timeout=None):
        events = super().select(0)
        if not events:
            assert timeout is not None, "nothing will ever happen: every task waits"
            self.loop.now += max(0.0, timeout)
        return events


class VirtualLoop(asyncio.SelectorEventLoop):
    """Time passes only when everybody sleeps, and then at once."""

    def __init__(self):
        selector = _JumpingSelector()
        selector.loop = self
        self.now = 1000.0
        super().__init__(selector)

    def time(self):
        return self.now


def run(coroutine):
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        return runner.run(coroutine)


class Work:
    """Time that engines spend in the step that is being run: give ``spend`` to :class:`engines.scripted.Scripted`."""

    def __init__(self):
        self.seconds = 0.0

    def spend(self, seconds):
        self.seconds += seconds


class VirtualLane:
    """Runs its call at once and tells of it when its virtual time is over."""

    is_given_up = False

    def __init__(self, cost, work):
        self._cost, self._work = cost, work

    def start(self, call, on_done):
        outcome = Future()
        self._work.seconds = 0.0
        try:
            outcome.set_result(call())
        except Exception as error:  # noqa: BLE001 - carried to whoever waits
            outcome.set_exception(error)
        made = outcome.exception() is None and isinstance(outcome.result(), Chunk)
        asyncio.get_running_loop().call_later(self._work.seconds + self._cost * made, on_done, outcome)

    def close(self):
        pass


def virtual_lanes(cost=0.02, *, count=64, work=None, **settings):
    """Lanes without threads: each step takes ``cost`` seconds of virtual time, and what it spends of ``work``."""
    work = work or Work()
    return Lanes(LaneSettings(count=count, **settings), open_lane=lambda name: VirtualLane(cost, work))


class Room:
    """A stage with a listener on every track, and everything that its senders were told."""

    def __init__(self, engines=None, *, settings=None, cost=0.02, budget=0.25, lanes=None, strategy="auto", cache=None, studio=None):
        """``cache``: made of the lanes. ``studio``: another room's, which is loaded already and closed by it."""
        self.loop = asyncio.get_running_loop()
        self.began = self.loop.time()
        self.report = Report()
        self.events, self.captions, self.sound, self.pumps = [], [], {}, []
        engines = engines or [ToneEngine()]
        chain = Chain(ChainSettings(order=tuple(engine.name for engine in engines), budget=budget, strategy=strategy))
        lanes = lanes or virtual_lanes(cost)
        self.is_guest = studio is not None
        self.studio = studio or Studio(engines, chain, lanes, level=None, cache=cache(lanes) if cache else None)
        self.stage = Stage("room", self.studio, settings or StageSettings(), self, report=self.report)

    async def __aenter__(self):
        if not self.is_guest:
            await self.studio.load()
            await asyncio.sleep(PRACTICE)
        self.stage.open()
        return self

    async def __aexit__(self, *_):
        await self.stage.aclose()
        for pump in self.pumps:
            pump.cancel()
        await asyncio.gather(*self.pumps, return_exceptions=True)
        if not self.is_guest:
            await self.studio.aclose()

    # What a door does

    def open_track(self, key, buffer):
        self.sound[key.name] = []
        self.pumps.append(asyncio.ensure_future(self._pump(key.name, buffer)))

    def send(self, sender, event):
        self.events.append((sender, event))

    def caption(self, caption):
        self.captions.append(caption)

    async def _pump(self, name, buffer):
        count = round(FRAME * buffer.sample_rate)
        while True:
            frame = buffer.read(count, self.loop.time())
            self.sound[name].append(frame if frame is not None else np.zeros(count, dtype=np.int16))
            await asyncio.sleep(FRAME)

    # What a test asks

    def told(self, kind, sender=None):
        return [event for to, event in self.events if isinstance(event, kind) and sender in (None, to)]

    def heard(self, name="booth-en"):
        """Spans of sound, in seconds: gaps below 50 ms are inside a span."""
        spans = []
        for index, frame in enumerate(self.sound[name]):
            if np.abs(frame.astype(np.int32)).max() > 200:
                start = index * FRAME
                if spans and start - spans[-1][1] < 0.055:
                    spans[-1][1] = start + FRAME
                else:
                    spans.append([start, start + FRAME])
        return spans

    async def quiet(self, limit=120.0):
        """Until everything has been heard."""
        async with asyncio.timeout(limit):
            while not self.stage.is_idle:  # noqa: ASYNC110
                await asyncio.sleep(0.05)
        await asyncio.sleep(0.1)
