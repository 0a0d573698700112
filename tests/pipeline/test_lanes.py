import asyncio
import threading
from functools import partial

import numpy as np
import pytest

from engines.base import Chunk, Pace, SynthesisFailed, UnknownVoice
from pipeline.lanes import Lanes, LaneSettings, NoLane, StepGivenUp
from tests.virtual_time import Work, run, virtual_lanes

SOON = 0.0


@pytest.fixture
async def lanes():
    lanes = Lanes(LaneSettings(count=1, network_count=1, allowance=1.0))
    yield lanes
    lanes.close()


class Gate:
    """A call that runs until it is let go."""

    def __init__(self):
        self.entered, self.opened = threading.Event(), threading.Event()

    def __call__(self):
        self.entered.set()
        assert self.opened.wait(10)
        return "through"


async def test_the_most_urgent_step_runs_next(lanes):
    gate, order = Gate(), []
    holding = asyncio.ensure_future(lanes.run(gate, due=SOON))
    await asyncio.sleep(0)
    waiting = [asyncio.ensure_future(lanes.run(lambda due=due: order.append(due), due=due)) for due in (3.0, 1.0, 2.0)]
    await asyncio.sleep(0)
    gate.opened.set()
    assert await holding == "through"
    await asyncio.gather(*waiting)
    assert order == [1.0, 2.0, 3.0]
    assert 0 < lanes.load() <= 1


def test_load_is_the_part_of_the_computing_lanes_that_steps_have_taken_lately():
    async def loads():
        work = Work()
        lanes = virtual_lanes(count=2, work=work, allowance=10.0)
        found = [lanes.load()]
        for steps, is_network in ((1, True), (1, False), (2, False), (2, False)):
            waiting = [lanes.run(partial(work.spend, 2.5), due=SOON, network=is_network) for _ in range(steps)]
            await asyncio.gather(*waiting)
            found.append(lanes.load())
        await asyncio.sleep(5.0)
        return [*found, lanes.load()]

    # Lanes have ten seconds in five; a step that ended five seconds ago is forgotten.
    assert run(loads()) == pytest.approx([0.0, 0.0, 0.25, 0.75, 1.0, 0.0])


async def test_network_steps_have_lanes_of_their_own(lanes):
    gate = Gate()
    holding = asyncio.ensure_future(lanes.run(gate, due=SOON))
    await asyncio.sleep(0)
    assert await lanes.run(lambda: "network", due=9.0, network=True) == "network"
    gate.opened.set()
    await holding


async def test_a_cancelled_step_that_waits_is_never_run(lanes):
    gate, ran = Gate(), []
    holding = asyncio.ensure_future(lanes.run(gate, due=SOON))
    await asyncio.sleep(0)
    waiting = asyncio.ensure_future(lanes.run(lambda: ran.append(1), due=SOON))
    await asyncio.sleep(0)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    gate.opened.set()
    await holding
    await lanes.run(lambda: None, due=SOON)
    assert ran == []


async def test_a_hanging_step_loses_its_lane_and_the_next_one_runs():
    lanes = Lanes(LaneSettings(count=1, allowance=0.001, given_up=1))
    gates = Gate(), Gate()
    with pytest.raises(StepGivenUp):
        await lanes.run(gates[0], due=SOON)
    assert lanes.given_up == 1
    assert await lanes.run(lambda: "alive", due=SOON, allowance=1.0) == "alive"
    hung = asyncio.ensure_future(lanes.run(gates[1], due=SOON))
    await asyncio.sleep(0)
    behind = asyncio.ensure_future(lanes.run(lambda: None, due=SOON, allowance=1.0))
    with pytest.raises(StepGivenUp):
        await hung
    with pytest.raises(NoLane):
        await behind
    with pytest.raises(NoLane):
        await lanes.run(lambda: None, due=SOON)
    for gate in gates:
        gate.opened.set()
    lanes.close()


def chunks(closed, values=(1, 2)):
    try:
        for value in values:
            yield Chunk(np.full(3, value, dtype=np.int16))
    finally:
        closed.set()


async def test_steps_give_chunks_then_none_and_tell_the_window(lanes):
    closed, pace = threading.Event(), Pace()
    steps = lanes.steps(chunks(closed), pace)
    assert (await steps.next(due=SOON, window=0.25)).samples.tolist() == [1, 1, 1]
    assert pace.window == 0.25
    assert (await steps.next(due=SOON, window=0.5)).samples.tolist() == [2, 2, 2]
    assert await steps.next(due=SOON, window=1.0) is None
    assert closed.is_set()


async def test_close_between_two_steps_ends_the_engine(lanes):
    closed = threading.Event()
    steps = lanes.steps(chunks(closed), Pace())
    await steps.next(due=SOON, window=0)
    steps.close()
    await lanes.run(lambda: None, due=9.0)
    assert closed.is_set()


async def test_close_during_a_step_waits_for_it_in_the_lane(lanes):
    gate, closed = Gate(), threading.Event()

    def slow():
        try:
            gate()
            yield Chunk(np.zeros(1, dtype=np.int16))
        finally:
            closed.set()

    steps = lanes.steps(slow(), Pace())
    stepping = asyncio.ensure_future(steps.next(due=SOON, window=0))
    await asyncio.to_thread(gate.entered.wait, 5)
    stepping.cancel()
    with pytest.raises(asyncio.CancelledError):
        await stepping
    steps.close()
    assert not closed.is_set()
    gate.opened.set()
    await lanes.run(lambda: None, due=9.0)
    assert closed.is_set()


async def test_only_engine_errors_come_out(lanes):
    def known():
        raise UnknownVoice("no such voice")
        yield

    def foreign():
        raise ZeroDivisionError("oops")
        yield

    with pytest.raises(UnknownVoice):
        await lanes.steps(known(), Pace()).next(due=SOON, window=0)
    with pytest.raises(SynthesisFailed, match="ZeroDivisionError: oops"):
        await lanes.steps(foreign(), Pace()).next(due=SOON, window=0)


async def test_what_hangs_is_told_by_its_engine_and_with_what_mends_it(caplog):
    lanes = Lanes(LaneSettings(count=1, allowance=0.001, given_up=4))
    gate = Gate()

    def hang():
        gate()
        yield

    with pytest.raises(StepGivenUp, match=r"a step of engine bad did not end within 0\.\d s .*leave bad out of selection") as told:
        await lanes.steps(hang(), Pace(), owner="bad").next(due=SOON, window=0.0)
    assert told.value.remedy and "step of engine bad that has run" in caplog.text
    with pytest.raises(StepGivenUp, match="a step of engine worse did not end"):
        await lanes.run(gate, due=SOON, owner="worse")
    with pytest.raises(StepGivenUp, match="a step did not end") as told:
        await lanes.run(gate, due=SOON)
    assert told.value.remedy
    gate.opened.set()
    lanes.close()


async def test_one_engine_that_hangs_does_not_take_the_lanes_of_the_others():
    lanes = Lanes(LaneSettings(count=1, allowance=0.001, given_up=4))
    gate = Gate()

    def hang():
        gate()
        yield

    for hanging in range(2):
        assert not lanes.hangs("bad"), hanging
        with pytest.raises(StepGivenUp):
            await lanes.steps(hang(), Pace(), owner="bad").next(due=SOON, window=0.0)
    assert lanes.hangs("bad") and not lanes.hangs("good")
    gate.opened.set()
    async with asyncio.timeout(5.0):
        while lanes.hangs("bad"):  # noqa: ASYNC110 - it ends in a thread, which tells nobody
            await asyncio.sleep(0.01)
    lanes.close()


async def test_a_lane_that_was_given_up_comes_back_when_its_step_ends():
    lanes = Lanes(LaneSettings(count=1, allowance=0.001, given_up=0))
    gate = Gate()
    with pytest.raises(StepGivenUp):
        await lanes.run(gate, due=SOON)
    with pytest.raises(NoLane):
        await lanes.run(lambda: None, due=SOON)
    gate.opened.set()
    async with asyncio.timeout(5):
        while not lanes.count:  # noqa: ASYNC110 - the thread ends when it likes
            await asyncio.sleep(0.001)
    assert await lanes.run(lambda: "alive", due=SOON, allowance=1.0) == "alive"
    lanes.close()


def test_an_overdue_step_leaves_its_lane_to_others_at_once():
    async def go():
        work = Work()

        def hangs():
            work.spend(100.0)
            yield Chunk(np.zeros(1, dtype=np.int16))

        lanes = virtual_lanes(count=1, work=work, allowance=1.0)
        loop = asyncio.get_running_loop()
        steps = lanes.steps(hangs(), Pace())
        assert lanes.has_idle() and steps.begun is None
        steps.start(due=SOON, window=0)
        assert steps.begun == loop.time() and not lanes.has_idle()
        await asyncio.sleep(0.2)
        steps.close(overdue=True)
        began = loop.time()
        await lanes.run(lambda: None, due=SOON)
        assert loop.time() - began < 0.01
        assert lanes.given_up == 1

    run(go())


def test_the_wait_for_a_lane_is_that_of_the_steps_that_are_due_before():
    async def go():
        work = Work()
        lanes = virtual_lanes(count=1, work=work)
        for _ in range(50):
            await lanes.run(lambda: work.spend(0.1), due=SOON)
        assert lanes.wait(SOON) == 0.0
        running = [asyncio.ensure_future(lanes.run(lambda: work.spend(0.1), due=due)) for due in (1.0, 2.0, 3.0)]
        await asyncio.sleep(0)
        assert lanes.wait(0.5) == pytest.approx(0.05, abs=0.01)
        assert lanes.wait(2.5) == pytest.approx(0.15, abs=0.02)
        assert lanes.wait(9.0) == pytest.approx(0.25, abs=0.03)
        await asyncio.gather(*running)

    run(go())


async def test_lanes_tell_how_many_sentences_are_made_at_once(lanes):
    first, second = (lanes.steps(chunks(threading.Event()), Pace()) for _ in range(2))
    assert lanes.live == 2
    first.close()
    assert lanes.live == 1
    lanes.steps(chunks(threading.Event()), Pace(), network=True)
    assert lanes.live == 1
    second.close()
    assert lanes.live == 0


async def test_a_step_is_told_whether_others_are_made_beside_it(lanes):
    def speak(pace, told):
        while True:
            told.append(pace.is_alone)
            yield Chunk(np.zeros(1, dtype=np.int16))

    paces, told = [Pace(), Pace()], []
    first = lanes.steps(speak(paces[0], told), paces[0])
    await first.next(due=SOON, window=0.0)
    second = lanes.steps(speak(paces[1], told), paces[1])
    await first.next(due=SOON, window=0.0)
    await second.next(due=SOON, window=0.0)
    second.close()
    await first.next(due=SOON, window=0.0)
    first.close()
    assert told == [True, False, False, True]


async def test_settling_waits_for_steps_that_run_and_not_for_ever(lanes):
    gate = Gate()
    running = asyncio.ensure_future(lanes.run(gate, due=SOON))
    await asyncio.to_thread(gate.entered.wait, 5)
    lanes.close()
    loop = asyncio.get_running_loop()
    began = loop.time()
    await lanes.settle(0.05)
    assert loop.time() - began >= 0.04
    gate.opened.set()
    await lanes.settle(5.0)
    assert loop.time() - began < 4.0
    assert await running == "through"


async def test_files_are_read_and_written_beside_the_steps():
    lanes = Lanes(LaneSettings(count=1))
    gate = threading.Event()
    step = asyncio.create_task(lanes.run(gate.wait, due=0.0))
    await asyncio.sleep(0)
    assert await lanes.run(lambda: 1, due=0.0, disk=True) == 1, "the only lane for steps is taken"
    gate.set()
    await step
    lanes.close()
