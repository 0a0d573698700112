"""The Chromium that is on this machine, without a window."""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from playwright.async_api import Browser, async_playwright

NAMES = ("chromium", "chromium-browser", "google-chrome")
FLAGS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"),
    *("--disable-component-update", "--disable-sync"),
)
UNTOUCHED = "--autoplay-policy=no-user-gesture-required"  # nobody is there to touch the page
MISSING = "there is no Chromium on PATH: on Debian, apt-get install chromium"


class ChromiumMissing(Exception):
    """``str()`` says what mends that."""


def find() -> str:
    """Raises :exc:`ChromiumMissing`."""
    path = next((found for name in NAMES if (found := shutil.which(name))), None)
    if path is None:
        raise ChromiumMissing(MISSING)
    return path


@asynccontextmanager
async def chromium(*more: str) -> AsyncIterator[Browser]:
    """``more``: further flags. Raises :exc:`ChromiumMissing`."""
    path = find()
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=path, args=[*FLAGS, *more])
        try:
            yield browser
        finally:
            await browser.close()
