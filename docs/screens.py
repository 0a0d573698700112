"""``python docs/screens.py``: takes the pictures of the page anew, in Chromium, with a real voice."""

import asyncio
import re
from pathlib import Path

from bench.chromium import UNTOUCHED, chromium
from bench.processes import node_alone, running

FOLDER = Path(__file__).parent
TEXT = "Good morning, and welcome. The first speaker comes from Lyon. She has built 24 bridges since 1998, and all of them still stand."
WIDE, PHONE = {"width": 1200, "height": 790}, {"width": 390, "height": 844}
SCREENS = {
    "light": {"color_scheme": "light", "viewport": WIDE},
    "dark": {"color_scheme": "dark", "viewport": WIDE},
    "phone": {"color_scheme": "light", "viewport": PHONE, "device_scale_factor": 2, "is_mobile": True, "has_touch": True},
}


async def main() -> None:
    async with running(node_alone("piper")) as node, chromium(UNTOUCHED) as browser:
        await node.says("alone", timeout=60.0)
        address = re.findall(r"^open\s+(\S+)", node.output(), re.MULTILINE)[0]
        for name, options in SCREENS.items():
            context = await browser.new_context(**options)
            page = await context.new_page()
            await page.goto(address)
            await page.click("#connect")
            await page.wait_for_selector("#speak:enabled")
            await page.fill("#text", TEXT)
            await page.click("#speak")
            await page.wait_for_selector("#sentences li:nth-child(3) .facts :text('spoken')")
            await page.wait_for_selector("#sentences li:nth-child(1) mark:has-text('24')")
            if name == "phone":
                await page.evaluate("document.querySelector('.now').scrollIntoView({ block: 'start' })")
            await page.screenshot(path=FOLDER / f"page-{name}.png")
            await context.close()


asyncio.run(main())
