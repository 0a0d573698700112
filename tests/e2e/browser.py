"""What tests of the page look at: an ear of their own inside the browser, and what is true on the page."""

from __future__ import annotations

import asyncio

from playwright.async_api import Page

EAR = """
() => {
  // Energy of each received track, measured beside the page's own meter: RMS by 5 ms, the times in ms of this page's clock.
  window.ears = [];
  const plain = window.RTCPeerConnection;
  window.RTCPeerConnection = class extends plain {
    constructor(...all) {
      super(...all);
      this.addEventListener("track", ({ track }) => {
        if (track.kind !== "audio" || window.ears.some((ear) => ear.track === track.id)) return;
        const context = (window.earContext ??= new AudioContext());
        const analyser = context.createAnalyser();
        analyser.fftSize = 256;
        context.createMediaStreamSource(new MediaStream([track])).connect(analyser);
        const samples = new Float32Array(256);
        const ear = { track: track.id, energy: 0, loudest: 0, lastLoud: 0, firstLoud: 0 };
        window.ears.push(ear);
        setInterval(() => {
          analyser.getFloatTimeDomainData(samples);
          const power = samples.reduce((sum, x) => sum + x * x, 0) / samples.length;
          const rms = Math.sqrt(power);
          ear.energy += power;
          ear.loudest = Math.max(ear.loudest, rms);
          if (rms > 0.003) ear.firstLoud ||= performance.now();
          if (rms > 0.003) ear.lastLoud = performance.now();
        }, 5);
      });
    }
  };
}
"""


async def until(page: Page, condition: str, timeout: float = 10.0) -> None:
    """Looks until this JavaScript is true. Playwright's own way wants `eval`, which the page's policy forbids."""
    try:
        async with asyncio.timeout(timeout):
            while not await page.evaluate(condition):  # noqa: ASYNC110
                await asyncio.sleep(0.02)
    except TimeoutError:
        ears = await page.evaluate("window.ears")
        raise AssertionError(f"never true: {condition}; heard: {ears}; page: {await page.inner_text('main')}") from None


async def hush(page: Page) -> None:
    """Forget what was heard so far."""
    await page.evaluate("window.ears.forEach((ear) => Object.assign(ear, { energy: 0, loudest: 0, firstLoud: 0 }))")


async def energy(page: Page) -> float:
    """What all tracks that were received have brought so far."""
    return float(await page.evaluate("window.ears.reduce((sum, ear) => sum + ear.energy, 0)"))
