"""One room in which the node and its peers speak, one who sends texts, and one who listens: what most measurements need."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

from bench.hearing import Recording
from bench.listener import Ear, Listener, Reception
from bench.processes import Process, node_in_room, peers, running
from bench.sender import Sender, Sent

NODE = "node"
TRACK = "booth-en"
PEER_TOPIC = "bench.peer"
START = 60.0  # seconds for a node and its peers to be ready: four voices are loaded on two cores
SETTLE = 1.5  # seconds after everybody is there: jitter buffers and clocks come to rest
HOLD = 0.9  # seconds of silence after which an utterance is over: three times the longest pause inside a sentence
SPEECH = 90.0  # seconds: no utterance of the bench takes longer
FIRST = 20.0  # seconds until a first sound is given up


@dataclass(frozen=True, slots=True)
class Heard:
    """One text as it was heard."""

    system: str
    characters: int
    ttfa: float
    """Seconds from the text being sent to its first audible frame in the listener's hands."""
    node_ttft: float | None
    """Seconds that the node told; None for peers."""
    sound: float
    """Seconds from its first to its last audible frame."""
    cpu: float
    """Core-seconds that the system's process used meanwhile."""
    reception: Reception
    """How its sound arrived."""
    utterance: str
    recording: Recording

    @property
    def real_time(self) -> float:
        """Seconds from the text being sent to the end of the sound, per second of sound."""
        return (self.ttfa + self.sound) / self.sound

    @property
    def cpu_per_second(self) -> float:
        return self.cpu / self.sound


class Scene:
    """The node and its peers behind one question: say this, and tell when it was heard."""

    def __init__(self, sender: Sender, listener: Listener, ears: dict[str, Ear], processes: dict[str, Process]) -> None:
        self.sender = sender
        self.listener = listener
        self.ears = ears
        """By system."""
        self.processes = processes
        """By system."""

    async def send(self, system: str, text: str) -> Sent:
        if system == NODE:
            return await self.sender.say(text)
        return Sent("", await self.sender.send({"text": text}, topic=PEER_TOPIC, to=system))

    async def say(self, system: str, *texts: str, hold: float = HOLD) -> Heard:
        """Waits for the end of all of it, handed over one after the other. Raises ``TimeoutError`` when nothing is heard."""
        ear, process = self.ears[system], self.processes[system]
        before, arrived = process.usage(), await ear.reception()
        sent = [await self.send(system, text) for text in texts]
        at = sent[0].at
        began = await ear.onset(after=at, timeout=FIRST)
        ended = await ear.silence(after=began, hold=hold, timeout=SPEECH)
        ttft = None
        if system == NODE:
            note = await self.sender.log.wait("speech_started", after=at, utterance=sent[0].utterance)
            ttft = note.event["ttft_ms"] / 1000
        used = process.usage().cpu - before.cpu
        reception = (await ear.reception()).since(arrived)
        characters = sum(map(len, texts))
        return Heard(system, characters, began - at, ttft, ended - began, used, reception, sent[0].utterance, ear.recording(after=at))


@asynccontextmanager
async def scene(
    url: str,
    room: str,
    *,
    engine: str,
    systems: Sequence[str] = (),
    environment: Mapping[str, str] | None = None,
    is_cold: bool = False,
) -> AsyncIterator[Scene]:
    """The node, joined to that room, and these peers, all of them warm. Ends every process it started.

    ``engine``: one, or several with commas; ``environment``: what the node finds in it besides; ``is_cold``: nobody has spoken yet.
    """
    async with AsyncExitStack() as stack:
        node = await stack.enter_async_context(running(node_in_room(url, room, engine=engine, environment=environment)))
        processes = {NODE: node}
        if systems:
            others = await stack.enter_async_context(running(peers(url, room, systems)))
            processes |= dict.fromkeys(systems, others)
            await others.says('"ready"', timeout=START)
        listener = await stack.enter_async_context(Listener(url, room))
        sender = await stack.enter_async_context(Sender(url, room))
        try:
            await sender.ready(timeout=START)
        except TimeoutError:
            node.check()
            raise TimeoutError(f"the node did not answer `hello` within {START:.0f} s:\n{node.output()[-2000:]}") from None
        ears = {system: await listener.ear(TRACK if system == NODE else system) for system in processes}
        made = Scene(sender, listener, ears, processes)
        await asyncio.sleep(SETTLE)
        for system in () if is_cold else processes:
            await made.say(system, "This is said once before anything is measured.")
        yield made


async def rest(random: random.Random, shortest: float = 0.2, longest: float = 0.6) -> None:
    """A pause of no fixed length, so that nothing falls into step with frames of 10 or 20 ms."""
    await asyncio.sleep(random.uniform(shortest, longest))


def milliseconds(seconds: float | None) -> float | None:
    return None if seconds is None else seconds * 1000
