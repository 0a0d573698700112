"""``python docs/screens.py``: takes the pictures of the page anew, in Chromium, with a real voice and a real LiveKit server."""

import asyncio
import re
from pathlib import Path

from playwright.async_api import Page

from agent.gateway.page import find_client
from bench.chromium import UNTOUCHED, chromium
from bench.processes import node, running, server
from bench.sender import Sender

FOLDER = Path(__file__).parent
DOORS = {"VOICEBOOTH_SERVER__PORTS": "0"}  # for the page, beside the rooms
ROOM = "lobby"
GREETING = "Good morning, and welcome."
SPEECH = "The first speaker comes from Lyon. She has built 24 bridges since 1998, and all of them still stand."
WIDE, PHONE = {"width": 1200, "height": 790}, {"width": 390, "height": 844}
SCREENS = {
    "light": {"color_scheme": "light", "viewport": WIDE},
    "dark": {"color_scheme": "dark", "viewport": WIDE},
    "phone": {"color_scheme": "light", "viewport": PHONE, "device_scale_factor": 2, "is_mobile": True, "has_touch": True},
    "room": {"color_scheme": "light", "viewport": WIDE},
}


async def main() -> None:
    find_client(print)
    async with server() as url, running(node(url, engine="piper", environment=DOORS)) as booth, chromium(UNTOUCHED) as browser:
        await booth.says("for every room", timeout=60.0)
        address = re.findall(r"^open\s+(\S+)", booth.output(), re.MULTILINE)[0]
        for name, options in SCREENS.items():
            context = await browser.new_context(**options)
            page = await context.new_page()
            await page.goto(address)
            if name == "room":
                await connect(page, ROOM)
                await greet(page, url)
                await speak(page, SPEECH)
            else:
                await connect(page)
                await speak(page, f"{GREETING} {SPEECH}")
            if name == "phone":
                await page.evaluate("document.querySelector('.now').scrollIntoView({ block: 'start' })")
            await page.screenshot(path=FOLDER / f"page-{name}.png")
            await context.close()


async def connect(page: Page, room: str = "") -> None:
    if room:
        await page.check("input[value=room]")
        await page.fill("input[name=room]", room)
    await page.click("#connect")
    await page.wait_for_selector("#speak:enabled")


async def greet(page: Page, url: str) -> None:
    """Somebody else in the room has something said, as a translation node does. Returns when the page has heard it."""
    async with Sender(url, ROOM) as upstream:
        await upstream.ready()
        await upstream.say(GREETING)
        await page.wait_for_selector("#sentences .facts :text('spoken')")


async def speak(page: Page, text: str) -> None:
    """Returns in the middle of the third sentence on the page."""
    await page.fill("#text", text)
    await page.click("#speak")
    await page.wait_for_selector("#sentences li:nth-child(3) .facts :text('spoken')")
    await page.wait_for_selector("#sentences li:nth-child(1) mark:has-text('24')")


asyncio.run(main())
