"""The page in headless Chromium: by direct WebRTC and through a LiveKit room, and what comes out is measured in the tracks received."""

from __future__ import annotations

import asyncio
import re
import wave
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import numpy as np
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from livekit import rtc
from playwright.async_api import Browser, Page

from agent.config import Settings
from agent.devserver import DevServer
from agent.gateway.app import make_app
from agent.gateway.page import find_client
from agent.gateway.serving import Doors
from agent.gateway.settings import SecuritySettings
from agent.node import Node
from bench.chromium import chromium
from engines.scripted import Die, Fault, Script, Scripted
from pipeline.events import Switched
from tests.e2e.browser import EAR, energy, hush, until
from tests.e2e.conftest import House, pitches, sounds_like

HEARD = 0.01  # energy that no silence has: one word of a tone brings a hundred times as much
LONG = "one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen"
WAIT = 10_000  # ms
NODE = "http://127.0.0.1:8003"  # in the README
CONTRASTS = """
() => {
  const channel = (value) => ((value /= 255) <= 0.04045 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4);
  const light = ([r, g, b]) => 0.2126 * channel(r) + 0.7152 * channel(g) + 0.0722 * channel(b);
  const numbers = (color) => color.match(/[\\d.]+/g).map(Number);
  const ground = (element) => {
    for (; element; element = element.parentElement) {
      const color = numbers(getComputedStyle(element).backgroundColor);
      if (color.length === 3 || color[3] > 0) return color;
    }
    return [255, 255, 255];
  };
  const found = {};
  const names = "body, h2, .note, .pill, small, button.main, #save, textarea, select, dt, dd, mark, .facts, .facts b";
  for (const name of names.split(", ")) {
    const element = document.querySelector(name);
    const [a, b] = [light(numbers(getComputedStyle(element).color)), light(ground(element))];
    found[name] = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
  }
  return found;
}
"""
NAMELESS = """
() => [...document.querySelectorAll("input, select, textarea, button")]
  .filter((one) => !(one.labels?.length || one.textContent.trim() || one.ariaLabel))
  .map((one) => one.outerHTML)
"""


@pytest.fixture
def settings(settings: Settings, livekit_server: DevServer) -> Settings:
    livekit = {"url": livekit_server.url, "api_key": livekit_server.api_key, "api_secret": livekit_server.api_secret}
    update = {"livekit": settings.livekit.model_copy(update=livekit), "server": type(settings.server)(ports=(0,))}
    return settings.model_copy(update=update)


@pytest.fixture
async def browser() -> AsyncIterator[Browser]:
    async with chromium() as browser:
        yield browser


@asynccontextmanager
async def opened(browser: Browser, node: Node, **options: object) -> AsyncIterator[Page]:
    """The page of that node; nothing may go wrong in it that nobody expects."""
    problems: list[str] = []
    async with Doors(make_app(node), node.settings.server, node.settings.ws) as doors:
        context = await browser.new_context(**options)  # type: ignore[arg-type]
        page = await context.new_page()
        page.on("pageerror", lambda error: problems.append(str(error)))
        await page.add_init_script(f"({EAR})()")
        await page.goto(doors.addresses[0])
        yield page
        await context.close()
    assert not problems


async def connect(page: Page) -> None:
    await page.click("#connect")
    await page.wait_for_selector("#speak:enabled", timeout=WAIT)


async def say(page: Page, text: str) -> None:
    await page.fill("#text", text)
    await page.click("#speak")


async def spoken(page: Page, sentences: int) -> None:
    """That many have been spoken to their end."""
    words = "[...document.querySelectorAll('#sentences .facts')].filter((one) => one.textContent.includes('spoken')).length"
    await until(page, f"{words} === {sentences}")


async def test_a_browser_hears_the_node_and_sees_where_the_time_went(browser: Browser, node: Node) -> None:
    async with opened(browser, node) as page:
        await connect(page)
        assert await energy(page) < HEARD
        await say(page, "One two three four. Five six seven.")
        await until(page, "document.querySelector('#sentences li:last-child mark')?.textContent === 'One two'")
        await spoken(page, 2)
        assert await energy(page) > HEARD
        texts = await page.locator("#sentences .text").all_inner_texts()
        assert [text.strip() for text in texts] == ["Five six seven.", "One two three four."]
        assert await page.locator("#sentences mark").all_inner_texts() == texts
        facts = await page.locator("#sentences .facts").last.inner_text()
        assert re.search(r"chosen \+\d+\sms\s+first sound \+\d+\sms\s+spoken \+[\d.]+\sm?s\s+tone, ", facts)
        assert await page.locator("#sentences .line span").count() == 6
        assert await page.inner_text("#node-level") == "at its best"
        for figure in ("#ttft", "#heard"):
            assert re.fullmatch(r"\d+\sms p95 \d+\sms", await page.inner_text(figure))


async def test_stop_is_silence_at_once(browser: Browser, node: Node) -> None:
    async with opened(browser, node) as page:
        await connect(page)
        await say(page, f"{LONG}. And this is never heard.")
        await until(page, "window.ears[0].loudest > 0.05")
        stopped = await page.evaluate("(document.getElementById('stop').click(), performance.now())")
        assert await page.evaluate("document.querySelector('#players audio').muted")
        await page.wait_for_selector("#sentences .facts .lost", timeout=WAIT)
        await until(page, "!document.querySelector('#players audio').muted")
        assert await page.evaluate("performance.now() - window.ears[0].lastLoud") > 400  # what was stopped is over
        assert await page.evaluate("window.ears[0].lastLoud") - stopped < 250  # what arrives, and is not let through
        assert await page.locator("#sentences li.lost .text").all_inner_texts() == ["And this is never heard."]
        await page.click("#stop")
        await say(page, "We go on.")
        await until(page, "[...document.querySelectorAll('mark')].some((one) => one.textContent === 'We go on.')")
        assert not await page.evaluate("document.querySelector('#players audio').muted")


async def test_words_that_come_one_by_one_are_spoken_as_they_come(browser: Browser, node: Node) -> None:
    async with opened(browser, node) as page:
        await connect(page)
        await page.select_option("select[name=manner]", "stream")
        await say(page, "One two three. Four five six seven eight nine ten eleven twelve.")
        await until(page, "window.ears[0].firstLoud > 0")
        assert await page.locator("#sentences li").count() == 1  # the second is still being written
        await spoken(page, 2)


async def test_keys_alone_do_it_all(browser: Browser, node: Node) -> None:
    async with opened(browser, node) as page:
        for _ in range(10):
            await page.keyboard.press("Tab")
            if await page.evaluate("document.activeElement.id") == "connect":
                break
        await page.keyboard.press("Enter")
        await page.wait_for_selector("#speak:enabled", timeout=WAIT)
        await page.focus("#text")
        await page.keyboard.press("Control+A")
        await page.keyboard.type(f"{LONG}.")
        await page.keyboard.press("Control+Enter")
        await until(page, "window.ears[0].loudest > 0.05")
        await page.keyboard.press("Escape")
        await page.wait_for_selector("#sentences .facts .lost", timeout=WAIT)
        assert await page.evaluate(NAMELESS) == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_everything_can_be_read_and_fits_on_a_phone(browser: Browser, node: Node, scheme: str) -> None:
    async with opened(browser, node, color_scheme=scheme, viewport={"width": 360, "height": 740}) as page:
        await connect(page)
        await say(page, "One two.")
        await spoken(page, 1)
        contrasts = await page.evaluate(CONTRASTS)
        assert {name: round(ratio, 1) for name, ratio in contrasts.items() if ratio < 4.5} == {}
        assert await page.evaluate("document.documentElement.scrollWidth") <= 360


async def test_what_goes_wrong_is_said_in_words(browser: Browser, settings: Settings) -> None:
    alone = settings.model_copy(update={"livekit": settings.livekit.model_copy(update={"url": ""})})
    async with Node(alone) as node, opened(browser, node) as page:
        await node.ready()
        await page.check("input[value=room]")
        await page.wait_for_selector("#no-rooms:has-text('no LiveKit server')", timeout=WAIT)
        assert await page.is_disabled("#connect")
        await page.check("input[value=direct]")
        await page.evaluate("() => void (HTMLMediaElement.prototype.plain = HTMLMediaElement.prototype.play)")
        await page.evaluate("() => void (HTMLMediaElement.prototype.play = async () => { throw new DOMException('', 'NotAllowedError') })")
        await connect(page)
        await page.wait_for_selector("#unblock", timeout=WAIT)  # the browser lets nothing be heard without another gesture
        await page.evaluate("() => void (HTMLMediaElement.prototype.play = HTMLMediaElement.prototype.plain)")
        await page.click("#unblock")
        await page.wait_for_selector("#unblock", state="hidden", timeout=WAIT)
        await say(page, "😀")
        await page.wait_for_selector("#sentences .lost:has-text('nothing in it can be said')", timeout=WAIT)
        await node.aclose()
        await page.wait_for_selector("#trouble:has-text('ended the connection')", timeout=WAIT)
        assert await page.inner_text("#connect") == "Connect"


async def test_a_room_is_heard_in_one_language_and_people_are_lowered_meanwhile(browser: Browser, node: Node, house: House) -> None:
    find_client()
    await house.booth()
    neighbour = await house.person("neighbour")
    source = rtc.AudioSource(48_000, 1)
    await neighbour.room.local_participant.publish_track(rtc.LocalAudioTrack.create_audio_track("microphone", source))
    players = "[...document.querySelectorAll('#players audio')]"
    async with opened(browser, node) as page:
        await page.check("input[value=room]")
        await page.fill("input[name=room]", house.name)
        await connect(page)
        await until(page, f"{players}.length === 2")  # the neighbour's, and the booth's English
        await say(page, LONG)
        await until(page, f"{players}.some((one) => one.volume < 0.3)")
        await until(page, "document.querySelector('#sentences mark')?.textContent.startsWith('one two')")
        assert await energy(page) > HEARD
        await page.click("#stop")
        await page.wait_for_selector("#sentences .facts .lost", timeout=WAIT)
        await until(page, f"{players}.every((one) => one.volume === 1)")

        await hush(page)
        await neighbour.send(text="Un deux trois.", language="fr", utterance="u")
        await neighbour.told("speech_finished", utterance="u")
        assert await energy(page) < HEARD  # French is spoken, and nobody asked for it here
        await page.select_option("select[name=language]", "fr")
        await until(page, f"{players}.length === 2")
        await say(page, "Un deux trois.")
        await until(page, "window.ears.some((ear) => ear.loudest > 0.05)")
        await spoken(page, 2)
        facts = await page.locator("#sentences .facts").all_inner_texts()
        assert ["sent by somebody else" in one for one in facts] == [False, True, False]
    await source.aclose()


async def test_stop_in_a_room_silences_what_is_spoken_and_nothing_that_others_send_later(
    browser: Browser, node: Node, house: House
) -> None:
    find_client()
    await house.booth()
    neighbour = await house.person("neighbour")
    source = rtc.AudioSource(48_000, 1)
    await neighbour.room.local_participant.publish_track(rtc.LocalAudioTrack.create_audio_track("microphone", source))
    players = "[...document.querySelectorAll('#players audio')]"
    spoken = "window.ears.find((ear) => ear.loudest > 0.05)"
    booth = f"{players}.find((one) => one.srcObject.getAudioTracks()[0].id === {spoken}.track)"
    async with opened(browser, node) as page:
        await page.check("input[value=room]")
        await page.fill("input[name=room]", house.name)
        await connect(page)
        await until(page, f"{players}.length === 2")
        await say(page, LONG)
        await until(page, "window.ears.some((ear) => ear.loudest > 0.05)")
        await page.click("#stop")
        assert await page.evaluate(f"{booth}.muted")
        await page.wait_for_selector("#sentences .facts .lost", timeout=WAIT)
        await neighbour.send(text=f"{LONG}. And one more.", utterance="u")  # at once: there may be no silence between
        await until(page, "document.querySelector('#sentences mark')?.textContent.startsWith('one two')")
        assert not await page.evaluate(f"{booth}.muted")
        await until(page, f"{players}.some((one) => one.volume < 0.3)")

        await page.keyboard.press("Escape")  # what others say is stopped here alone, and goes on
        assert await page.evaluate(f"{booth}.muted")
        await until(page, f"{players}.every((one) => one.volume === 1)")  # who is not heard lowers nobody
        await asyncio.sleep(0.5)
        assert await page.evaluate(f"{booth}.muted && performance.now() - {spoken}.lastLoud < 200")
        await until(page, "document.querySelector('#sentences mark')?.textContent.startsWith('And one')")
        assert not await page.evaluate(f"{booth}.muted")
    await source.aclose()


async def test_a_language_is_the_end_of_a_track_s_name_whatever_hyphens_its_speaker_has(browser: Browser, node: Node) -> None:
    known = ["en", "de", "pt", "zh", "ca", "zh-Hant"]
    names = {
        "booth-en": "en",
        "maria-de-souza-en": "en",
        "maria-de-en": "en",
        "ana-en-de-pt-BR": "pt",
        "booth-pt-br": "pt",
        "booth-en-CA": "en",
        "jordi-ca": "ca",
        "li-de-zh-Hant": "zh",
        "booth-zh-Hant-TW": "zh",
        "anne-marie": "",
        "de": "",
    }
    heard = "async ([names, known]) => { const { speaks } = await import('/web/room.js'); return %s }"
    each = "names.map((name) => known.filter((language) => speaks(name, language, known)))"
    async with opened(browser, node) as page:
        found = await page.evaluate(heard % each, [list(names), known])
        assert [sorted({tag.split("-")[0] for tag in tags}) for tags in found] == [[tag] if tag else [] for tag in names.values()]


@pytest.mark.parametrize("door", ["direct", "room"])
async def test_what_cannot_be_sent_is_said_in_words(browser: Browser, node: Node, house: House, door: str) -> None:
    find_client()
    await house.booth()
    async with opened(browser, node) as page:
        await page.check(f"input[value={door}]")
        await page.fill("input[name=room]", house.name) if door == "room" else None
        await connect(page)
        fails = "() => void (RTCDataChannel.prototype.send = () => { throw new DOMException('the channel is full', 'OperationError') })"
        await page.evaluate(fails)
        await page.select_option("select[name=manner]", "stream")
        await say(page, LONG)
        await page.wait_for_selector("#trouble:has-text('The channel is full.')", timeout=WAIT)
        await page.evaluate("document.getElementById('trouble').hidden = true")
        await asyncio.sleep(0.5)
        assert await page.is_hidden("#trouble"), "the words after it are not tried"
        await page.click("#stop")
        await page.wait_for_selector("#trouble:has-text('The channel is full.')", timeout=WAIT)


async def test_a_room_is_heard_in_the_node_s_own_language_where_it_has_no_english(
    browser: Browser, settings: Settings, livekit_server: DevServer
) -> None:
    find_client()
    french = settings.model_copy(update={"node": settings.node.model_copy(update={"languages": ("fr",)})})
    async with Node(french) as node, AsyncExitStack() as stack, opened(browser, node) as page:
        await node.ready()
        house = House(livekit_server, node, stack)
        await house.booth()
        await page.check("input[value=room]")
        await page.fill("input[name=room]", house.name)
        await connect(page)
        assert await page.input_value("select[name=language]") == "fr"
        await say(page, "Un deux trois quatre.")
        await until(page, "window.ears.some((ear) => ear.loudest > 0.05)")


@asynccontextmanager
async def elsewhere() -> AsyncIterator[str]:
    """The origin of an empty page that no node serves."""

    async def empty(request: web.Request) -> web.Response:
        return web.Response(text="<!doctype html><title>mine</title><main>Mine.</main>", content_type="text/html")

    app = web.Application()
    app.router.add_get("/", empty)
    async with TestServer(app) as server:
        yield str(server.make_url("")).rstrip("/")


async def test_the_readme_s_few_lines_are_enough_for_a_page_of_one_s_own(browser: Browser, settings: Settings) -> None:
    readme = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")
    lines = re.findall(r"```js\n(.*?)```", readme, re.DOTALL)
    async with elsewhere() as mine:
        allowed = settings.model_copy(update={"security": SecuritySettings(cors_origins=(mine,))})
        async with Node(allowed) as node, opened(browser, node) as page:
            await node.ready()
            address = page.url.rstrip("/")
            assert address != mine and NODE in lines[0]
            await page.goto(mine)
            await page.click("body")  # browsers let nothing be heard before that
            await page.evaluate(f"async () => {{ {lines[0].replace(NODE, address)} }}")
            await until(page, "window.ears[0]?.loudest > 0.05")


async def choose(page: Page) -> None:
    """Something in every control."""
    for name, value in (("language", "fr"), ("voice", "tone-fr"), ("engine", "tone"), ("strategy", "manual")):
        await page.select_option(f"select[name={name}]", value)
    await page.fill("input[name=budget]", "700")
    await page.fill("input[name=speed]", "1.5")


async def test_every_control_says_how_it_is_spoken_and_can_be_taken_back(browser: Browser, node: Node) -> None:
    async with opened(browser, node) as page:
        await connect(page)
        await page.wait_for_selector("select[name=engine] option[value=tone]", state="attached", timeout=WAIT)
        voices = "[...document.querySelectorAll('select[name=voice] option')].map((one) => one.value)"
        await page.click("summary")
        await page.select_option("select[name=language]", "fr")
        assert await page.evaluate(voices) == ["", "tone-fr", "tone-fr-low"], "those of the language"
        await choose(page)
        assert await page.inner_text("output[name=speed-value]") == "1.50"
        await say(page, LONG)
        await until(page, "Number(document.getElementById('level').ariaValueNow) > 0")
        (stage,) = node._stages.values()
        (sender,) = stage._senders.values()
        config = {"language": "fr", "voice": "tone-fr", "engine": "tone", "strategy": "manual", "budget_ms": 700, "speed": 1.5}
        assert sender.config.model_dump(include=set(config)) == config
        await page.wait_for_selector("#sentences .facts :text('tone, tone-fr')", timeout=WAIT)
        await page.click("#stop")
        await until(page, "Number(document.getElementById('level').ariaValueNow) === 0")
        for name in ("voice", "engine", "strategy"):
            await page.select_option(f"select[name={name}]", "")
        await page.fill("input[name=budget]", "")
        await say(page, "One two.")
        await spoken(page, 1)
        assert not any(sender.config.model_dump(include={"voice", "engine", "strategy", "budget_ms"}).values())
        await say(page, "One two.")
        await spoken(page, 2)
        facts = await page.locator("#sentences .facts").all_inner_texts()
        assert ["from the cache" in one for one in facts] == [True, False, False]


async def test_every_change_of_engine_is_shown_with_its_reason(browser: Browser, monkeypatch: pytest.MonkeyPatch) -> None:
    script, faults = Script(word=0.25, front=0.03, step=0.04, is_pitched=True), dict[int, Fault]()
    cast = {"first": Scripted("first", script, faults=faults, rehearsals=0), "second": Scripted("second", script)}
    monkeypatch.setattr("agent.node.find_engine", lambda name, settings: cast[name])
    settings = Settings.model_validate({"selection": {"fallback_chain": list(cast)}, "server": {"ports": [0]}})
    turns = "[...document.querySelectorAll('#sentences li:first-child .turn')].map((one) => one.textContent)"
    async with Node(settings) as node, opened(browser, node) as page:
        await until(page, "fetch('/ready').then((answer) => answer.ok)")  # nobody else is going to speak
        await connect(page)
        await page.click("summary")
        await page.fill("input[name=budget]", "10000")
        for number, (fault, how) in enumerate(((Die(at=2), "handed over"), (Die(at=0), "switched")), 1):
            faults[cast["first"].begun] = fault
            await say(page, f"{LONG}.")
            await until(page, f"{turns}.some((one) => one.startsWith('{how} from first to second: engine first died'))")
            await page.click("#stop")
            await until(page, f"document.querySelectorAll('#sentences .facts .lost').length === {number}")
        (stage,) = node._stages.values()
        stage.outlet.send(None, Switched(f"{stage.name}:0.2", "first", "second", "hedge: second was faster"))
        await until(page, f"{turns}.includes('hedged from first to second: second was faster')")


async def test_what_was_written_can_be_saved(browser: Browser, node: Node) -> None:
    async with opened(browser, node) as page:
        await connect(page)
        await page.wait_for_selector("select[name=engine] option[value=tone]", state="attached", timeout=WAIT)
        await page.click("summary")
        await page.select_option("select[name=language]", "fr")
        await choose(page)
        await page.fill("#text", "One two three.")
        async with page.expect_request("**/synthesize") as sending, page.expect_download():
            await page.click("#save")
        body = {"voice_id": "tone-fr", "engine": "tone", "strategy": "manual", "budget_ms": 700}
        asked = (await sending.value).post_data_json
        assert asked == {"text": "One two three.", "language": "fr", "speed": 1.5, **body}
        await page.reload()
        await page.fill("#text", "One two three.")
        async with page.expect_download() as coming:
            await page.click("#save")
        path = await (await coming.value).path()
        with wave.open(str(path)) as file:
            samples = np.frombuffer(file.readframes(file.getnframes()), np.int16)
            assert sounds_like(pitches(samples, file.getframerate()), "One two three.")
