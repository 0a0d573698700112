"""Finds out what keeps this node from speaking, and names what mends it. Each check gives findings; none raises."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from agent.config import Settings
from agent.devserver import (
    DEV_PORTS,
    DEV_UDP_PORT,
    REMEDY,
    DevServer,
    ServerFailed,
    can_build,
    is_answering,
    is_free,
    is_udp_free,
    locate,
)
from engines.base import NO_SAMPLES, Engine, EngineError, Pace, Request, Samples, Voice
from pipeline.chain import primary
from pipeline.lanes import PATIENCE, Lanes

SENTENCES = {
    "ar": "هذه جملة قصيرة للتجربة.",
    "de": "Dies ist ein kurzer Satz zur Probe.",
    "en": "This is a short sentence, spoken as a test.",
    "es": "Esta es una frase corta de prueba.",
    "fr": "Voici une courte phrase d'essai.",
    "hi": "यह परीक्षा के लिए एक छोटा वाक्य है।",
    "it": "Questa è una breve frase di prova.",
    "ja": "これは試しの短い文です。",
    "nl": "Dit is een korte zin als proef.",
    "pl": "To jest krótkie zdanie na próbę.",
    "pt": "Esta é uma frase curta de teste.",
    "ru": "Это короткое предложение для проверки.",
    "zh": "这是一个简短的测试句子。",
}
"""By primary language; other languages are tried with digits, which every front can read."""
DIGITS = "1 2 3 4 5"
AUDIBLE = 32768 * 10 ** (-50 / 20)  # RMS above -50 dBFS over 10 ms
CLIPPED = 0.01  # share of samples at full scale from which on it is heard
SHORTEST, LONGEST = 0.02, 0.40  # seconds of sound a character: hurried Japanese takes 0.1, spelt-out digits 0.3
LOADING, SPEAKING = 300.0, 60.0  # seconds after which a load and a sentence count as hung: a large model on a slow disk, a busy machine
SERVER_WAIT = 5.0  # seconds for one answer of the LiveKit server


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at."""

    subject: str
    """``engine piper``, ``server``, ..."""
    ok: bool
    text: str
    """What was found, in one line."""
    remedy: str = ""
    """The command or setting that mends it; empty when it is well."""
    is_needed: bool = True
    """False for what the settings do not ask for: it is told, and nothing is wrong."""


def flaws(samples: Samples, sample_rate: int, text: str) -> list[str]:
    """What is wrong with the sound of this text; empty when nothing is."""
    if not len(samples):
        return ["no sound came"]
    found = []
    seconds, least, most = len(samples) / sample_rate, SHORTEST * len(text), LONGEST * len(text) + 1.0
    if not least <= seconds <= most:
        found.append(f"{seconds:.2f} s for {len(text)} characters; between {least:.1f} and {most:.1f} s is plausible")
    window = max(1, sample_rate // 100)
    whole = samples[: len(samples) // window * window].astype(np.float64).reshape(-1, window)
    loudness = np.sqrt((whole**2).mean(axis=1)) if len(whole) else np.zeros(1)
    if loudness.max() < AUDIBLE:
        found.append("it is silent: nothing is above -50 dBFS")
    full = float(np.mean(np.abs(samples.astype(np.int32)) >= 32767))
    if full > CLIPPED:
        found.append(f"it is clipped: {full:.1%} of its samples are at full scale")
    return found


async def examine_in_lanes(engine: Engine, lanes: Lanes, wanted: Sequence[str] = (), *, is_needed: bool = True) -> AsyncIterator[Finding]:
    """Load it, and let the first voice of each of its languages speak; an engine that hangs is told as one that does.

    ``wanted``: when not empty, only these languages are spoken, or one voice when it has none of them.
    """

    async def look(subject: str, call: Callable[[], Finding], seconds: float) -> Finding:
        try:
            finding = await lanes.run(call, due=0.0, network=engine.network, allowance=seconds / PATIENCE, owner=engine.name)
        except EngineError as error:
            finding = _failed(subject, error, "its own documentation, or leave it out of selection.fallback_chain")
        return replace(finding, is_needed=is_needed)

    loaded = await look(f"engine {engine.name}", lambda: _load(engine), LOADING)
    yield loaded
    if not loaded.ok:
        return
    firsts = _firsts(engine.voices())
    chosen = [voice for voice in firsts if primary(voice.language) in map(primary, wanted)] or firsts[:1] if wanted else firsts
    for voice in chosen:
        yield await look(f"voice {voice.id} ({voice.language})", partial(_try, engine, voice), SPEAKING)


def _firsts(voices: Sequence[Voice]) -> list[Voice]:
    """The first voice of each language."""
    firsts = {primary(voice.language): voice for voice in reversed(voices)}
    return [voice for _, voice in sorted(firsts.items())]


def _load(engine: Engine) -> Finding:
    subject = f"engine {engine.name}"
    begun = time.perf_counter()
    try:
        engine.load()
    except EngineError as error:
        return _failed(subject, error)
    voices = engine.voices()
    loaded = f"loaded in {time.perf_counter() - begun:.1f} s; voices: {len(voices)}"
    return Finding(subject, bool(voices), loaded, "" if voices else "voicebooth models list")


def _try(engine: Engine, voice: Voice) -> Finding:
    subject, text = f"voice {voice.id} ({voice.language})", SENTENCES.get(primary(voice.language), DIGITS)
    verify = "" if engine.network else f"voicebooth models verify {voice.id}"
    begun = time.perf_counter()
    first = None
    parts: list[Samples] = [NO_SAMPLES]
    try:
        for chunk in engine.synthesize(Request(text, voice.id, voice.language), Pace()):
            if len(chunk.samples) and first is None:
                first = time.perf_counter() - begun
            parts.append(chunk.samples)
    except EngineError as error:
        return _failed(subject, error, verify)
    samples = np.concatenate(parts)
    wrong = flaws(samples, voice.sample_rate, text)
    if wrong:
        return Finding(subject, False, "; ".join(wrong), verify and f"{verify}, then remove and install it again")
    return Finding(subject, True, f"{len(samples) / voice.sample_rate:.1f} s of speech, first sound after {(first or 0) * 1000:.0f} ms")


def _failed(subject: str, error: EngineError, remedy: str = "") -> Finding:
    """``remedy``: what mends it when the error itself does not know."""
    told = str(error).removesuffix(f" ({error.remedy})") if error.remedy else str(error)
    return Finding(subject, False, told, error.remedy or remedy)


def languages(settings: Settings, engines: Sequence[Engine]) -> list[Finding]:
    """Whether somebody who is loaded speaks each configured language."""
    spoken = {voice.language.split("-")[0].lower(): voice for engine in reversed(engines) for voice in reversed(engine.voices())}
    findings = []
    for language in settings.node.languages:
        voice = spoken.get(language.split("-")[0].lower())
        if voice:
            findings.append(Finding(f"language {language}", True, f"spoken by {voice.id} ({voice.engine})"))
        else:
            remedy = "voicebooth models list shows what can be installed; node.languages says what is wanted"
            findings.append(Finding(f"language {language}", False, "no loaded engine speaks it", remedy))
    return findings


async def server(settings: Settings) -> Finding:
    """Whether the LiveKit server answers and takes our key; without a named one, whether one can be started."""
    url, key = settings.livekit.url, settings.livekit.api_key
    if not url:
        return await _development_server()
    import aiohttp
    from livekit import api

    async with api.LiveKitAPI(url, key, settings.livekit.api_secret, timeout=aiohttp.ClientTimeout(SERVER_WAIT)) as client:
        try:
            rooms = await client.room.list_rooms(api.ListRoomsRequest())
        except api.TwirpError as error:
            remedy = "set LIVEKIT_API_KEY and LIVEKIT_API_SECRET to a pair that the server knows"
            return Finding("server", False, f"{url} refuses the key {key!r}: {error.message}", remedy)
        except (aiohttp.ClientError, TimeoutError, ValueError) as error:
            reason = str(error) or f"no answer within {SERVER_WAIT:.0f} s"
            return Finding("server", False, f"{url} cannot be reached: {reason}", "start it, or correct LIVEKIT_URL")
    return Finding("server", True, f"{url} answers and takes the key; rooms open: {len(rooms.rooms)}")


async def _development_server() -> Finding:
    binary = locate()
    if binary is None and can_build():
        return Finding("server", True, "none is named (LIVEKIT_URL) and none installed; `voicebooth run --dev` builds one with Go")
    if binary is None:
        return Finding("server", False, "none is named (LIVEKIT_URL), none installed, and no Go to build one", REMEDY)
    try:
        async with DevServer(binary):
            return Finding("server", True, f"none is named (LIVEKIT_URL); `voicebooth run --dev` starts {binary}, which works")
    except ServerFailed as error:
        return Finding("server", False, str(error), f"replace {binary}")


async def ports(settings: Settings) -> Finding:
    """Whether the development server's ports are free, or held by one that runs."""
    if settings.livekit.url:
        return Finding("ports", True, "no development server is needed, nor its ports")
    wanted = DEV_PORTS
    held = [str(port) for port in wanted if not is_free(port)]
    if not is_udp_free(DEV_UDP_PORT):
        held.append(f"{DEV_UDP_PORT} (UDP)")
    if not held:
        return Finding("ports", True, f"{', '.join(map(str, wanted))} and {DEV_UDP_PORT} (UDP) are free for the development server")
    if await is_answering("127.0.0.1", wanted[0]):
        return Finding("ports", True, f"a server runs on {wanted[0]}; LIVEKIT_URL=ws://127.0.0.1:{wanted[0]} uses it")
    return Finding("ports", False, f"held by another program: {', '.join(held)}", f"`ss -lntup` names who holds {held[0]}; end it")


async def doors(settings: Settings) -> Finding:
    """Whether the node's own ports are free, or held by a node that runs."""
    host, wanted = settings.server.host, [port for port in settings.server.ports if port]
    held = [port for port in wanted if not is_free(port)]
    if not held:
        return Finding("doors", True, f"HTTP and WebSocket: {', '.join(map(str, wanted)) or 'any port'} on {host}, free")
    for port in held:
        if not await is_answering(host, port):
            return Finding(
                "doors", False, f"port {port} is held by another program", f"`ss -lntp` names who holds {port}; or set server.ports"
            )
    return Finding("doors", True, f"a node, or another HTTP server, answers on {', '.join(map(str, held))}")


async def diagnose(settings: Settings, engines: Sequence[Engine], others: Sequence[Engine] = ()) -> AsyncIterator[Finding]:
    """Every check, one after the other, as its findings come. ``others``: engines that are installed and not configured."""
    lanes = Lanes(settings.lanes)
    can: list[str] = []
    cannot: list[str] = []
    try:
        for engine in (*engines, *others):
            is_needed, spoken = engine in engines, False
            wanted = settings.node.languages if engine.network or not is_needed else ()
            async for finding in examine_in_lanes(engine, lanes, wanted, is_needed=is_needed):
                spoken = spoken or (finding.ok and finding.subject.startswith("voice "))
                yield finding
            (can if spoken else cannot).append(engine.name)
        told = f"{', '.join(can) or 'nobody'}; not: {', '.join(cannot)}" if cannot else ", ".join(can)
        yield Finding("can speak here", bool(can), told, "" if can else "the lines above say what mends it")
        for finding in languages(settings, engines):
            yield finding
        for engine in others:
            engine.unload()
    finally:
        lanes.close()
    yield await server(settings)
    yield await ports(settings)
    if settings.server.ports:
        yield await doors(settings)
