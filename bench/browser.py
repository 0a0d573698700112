"""Direct WebRTC in headless Chromium: text sent to sound heard, and `cancel` to silence, as Web Audio hears it."""

from __future__ import annotations

import asyncio
import os
import random
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from playwright.async_api import Page

from bench.chromium import UNTOUCHED, chromium
from bench.processes import Process, node_alone, running
from bench.results import Figure, Result, Table, machine, moment, quantile, versions

TONES = "we speak now"  # short, and with a first word that is audible at once
LONG = " ".join(["one two three four five six seven eight nine ten"] * 3)
PAUSES = (0.1, 1.0, 3.0, 12.0)  # seconds of silence before a text, beside those that tell that the last is over; in all but the first
# the node has ceased to send
START = 60.0  # seconds for the node to be ready
HEARD = 5.0  # seconds until a sound is given up
QUIET = 0.1  # seconds of silence after which a tone is over: longer than a pause inside it
CLIENT = """
async () => {
  const ear = (window.ear = { loud: [], started: [] });
  const connection = new RTCPeerConnection();
  connection.addTransceiver("audio", { direction: "recvonly" });
  const channel = connection.createDataChannel("voicebooth");
  connection.ontrack = ({ track }) => {
    const stream = new MediaStream([track]);
    const player = (window.player = new Audio());
    player.srcObject = stream;
    player.play();
    const context = new AudioContext({ latencyHint: "interactive" });
    const analyser = context.createAnalyser();
    analyser.fftSize = 256;
    context.createMediaStreamSource(stream).connect(analyser);
    const samples = new Float32Array(analyser.fftSize);
    setInterval(() => {
      analyser.getFloatTimeDomainData(samples);
      if (samples.some((x) => Math.abs(x) > 0.01)) ear.loud.push(performance.now());
    }, 2);
  };
  channel.onmessage = ({ data }) => {
    const event = JSON.parse(data);
    if (event.type === "speech_started") ear.started.push({ at: performance.now(), ttft: event.ttft_ms });
  };
  window.send = (message) => {
    const now = performance.now();
    channel.send(JSON.stringify(message));
    return now;
  };
  window.buffered = async () => {
    for (const one of (await connection.getStats()).values())
      if (one.type === "inbound-rtp") return [one.jitterBufferDelay, one.jitterBufferEmittedCount];
  };
  await connection.setLocalDescription();
  const headers = { "Content-Type": "application/sdp" };
  const answer = await fetch("/whep", { method: "POST", headers, body: connection.localDescription.sdp });
  const opened = new Promise((resolve) => (channel.onopen = resolve));
  await connection.setRemoteDescription({ type: "answer", sdp: await answer.text() });
  await opened;
}
"""


@dataclass(frozen=True, slots=True)
class Plan:
    """How much is measured."""

    tones: tuple[int, int, int, int] = (20, 20, 15, 6)
    """Tones after each of the pauses."""
    cancels: int = 15
    """Interruptions."""
    seed: int = 1


QUICK = Plan(tones=(8, 6, 3, 1), cancels=4)


@dataclass(frozen=True, slots=True)
class Heard:
    """One text as the browser heard it; seconds from sending it."""

    pause: float
    """Seconds of silence before it."""
    onset: float
    node: float
    """What the node told: a whole sentence to its first audible sample."""
    told: float
    """The node's event that it speaks."""


async def run(plan: Plan) -> Result:
    busy, when, chosen = os.getloadavg()[0], moment(), random.Random(plan.seed)
    async with running(node_alone("tone")) as node, chromium(UNTOUCHED) as browser:
        page = await browser.new_page()
        await page.goto(await _address(node) + "/health")
        await page.evaluate(CLIENT)
        await asyncio.sleep(1.5)  # jitter buffers and clocks come to rest
        for _ in range(3):
            await _say(page, 0.5)
        heard = [await _say(page, pause + chosen.uniform(0, 0.1)) for pause in _pauses(plan, chosen)]
        silences = [await _cancel(page, chosen) for _ in range(plan.cancels)]
        version = browser.version
    counts, pauses = "/".join(map(str, plan.tones)), "/".join(f"{pause:g}" for pause in PAUSES)
    load = f"One node with `tone` and one headless Chromium {version}, {counts} tones after {pauses} s of silence"
    return Result("browser", plan.seed, load, tuple(_figures(heard, silences)), (_table(heard),), machine(), versions(), when, busy)


def _pauses(plan: Plan, chosen: random.Random) -> list[float]:
    found = [pause for pause, count in zip(PAUSES, plan.tones, strict=True) for _ in range(count)]
    chosen.shuffle(found)
    return found


async def _address(node: Process) -> str:
    await node.says("alone", timeout=START)
    found = re.search(r"^open\s+(\S+)", node.output(), re.MULTILINE)
    assert found, "a node tells where its doors are before it is ready"
    return found[1]


async def _say(page: Page, pause: float) -> Heard:
    await asyncio.sleep(pause)
    await page.evaluate("ear.loud = []; ear.started = []")
    sent = await page.evaluate(f"send({{ type: 'text', text: '{TONES}' }})")
    await _until(page, "ear.loud.length && ear.started.length")
    onset, started = await page.evaluate("[ear.loud[0], ear.started[0]]")
    await _until(page, f"performance.now() - ear.loud.at(-1) > {QUIET * 1000}")
    return Heard(pause, (onset - sent) / 1000, started["ttft"] / 1000, (started["at"] - sent) / 1000)


async def _cancel(page: Page, chosen: random.Random) -> float:
    """Seconds from `cancel` to the last that was heard."""
    await page.evaluate("ear.loud = []")
    await page.evaluate(f"send({{ type: 'text', text: '{LONG}' }})")
    await _until(page, "ear.loud.length")
    await asyncio.sleep(chosen.uniform(0.3, 1.5))
    sent = await page.evaluate("send({ type: 'cancel' })")
    await _until(page, f"performance.now() - ear.loud.at(-1) > {QUIET * 1000}")
    return max(0.0, float(await page.evaluate("ear.loud.at(-1)") - sent) / 1000)


async def _until(page: Page, condition: str) -> None:
    async with asyncio.timeout(HEARD + QUIET + len(LONG) * 0.1):
        while not await page.evaluate(condition):  # noqa: ASYNC110 - the page's own events are not to be disturbed
            await asyncio.sleep(0.05)


def _figures(heard: Sequence[Heard], silences: Sequence[float]) -> Iterable[Figure]:
    name = "direct WebRTC, text sent to sound heard in Chromium"
    yield Figure(f"{name}, p50", _ms([one.onset for one in heard], 0.5), "ms")
    yield Figure(f"{name}, p95", _ms([one.onset for one in heard], 0.95), "ms", most=100.0)
    yield Figure("direct WebRTC, `cancel` to silence in Chromium, p95", _ms(silences, 0.95), "ms")


def _table(heard: Sequence[Heard]) -> Table:
    rows: list[tuple[str | float | None, ...]] = []
    for pause in PAUSES:
        mine = [one for one in heard if pause <= one.pause < pause + 0.2]
        series = [[one.node for one in mine], [one.told for one in mine], [one.onset for one in mine]]
        rows.append((f"{pause:g}", float(len(mine)), *(_ms(values, q) for values in series for q in (0.5, 0.95))))
    columns = ("silence before", "texts", "node p50", "node p95", "told p50", "told p95", "heard p50", "heard p95")
    return Table("Milliseconds from text to the first audible sample: at the node, told to the browser, heard in it", columns, tuple(rows))


def _ms(values: Sequence[float], q: float) -> float | None:
    found = quantile(values, q)
    return None if found is None else found * 1000
