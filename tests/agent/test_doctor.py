"""What the doctor finds in sound, in engines, and at the server's door."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Generator, Iterator
from pathlib import Path

import numpy as np
import pytest

from agent import doctor
from agent.config import Settings
from agent.devserver import DevServer, free_ports
from agent.doctor import diagnose, examine_in_lanes, flaws
from agent.gateway.settings import ServerSettings
from engines.base import Chunk, Engine, EngineUnavailable, Pace, Request, Samples, SynthesisFailed
from engines.edge import EdgeEngine, EdgeSettings
from engines.tone import ToneEngine
from pipeline.lanes import Lanes, LaneSettings
from tests.engines.edge_service import Call, EdgeService, in_place_of_edge

RATE = 24_000
TEXT = "A sentence of thirty-two letters"


def tone(seconds: float, level: float = 0.3) -> Samples:
    return (32767 * level * np.sin(np.arange(int(seconds * RATE)) / 10)).astype(np.int16)


def test_plain_speech_has_no_flaw() -> None:
    assert flaws(tone(2.0), RATE, TEXT) == []


@pytest.mark.parametrize(
    ("samples", "told"),
    [
        (tone(0.0), "no sound came"),
        (tone(0.2), "0.20 s for 32 characters"),
        (tone(60.0), "60.00 s for 32 characters"),
        (tone(2.0, level=0.001), "it is silent"),
        (np.zeros(2 * RATE, np.int16), "it is silent"),
        (np.clip(tone(2.0).astype(np.int32) * 10, -32768, 32767).astype(np.int16), "it is clipped"),
    ],
)
def test_each_flaw_is_named(samples: Samples, told: str) -> None:
    (found,) = flaws(samples, RATE, TEXT)
    assert told in found


def test_one_loud_moment_is_not_silence() -> None:
    samples = np.zeros(2 * RATE, np.int16)
    samples[RATE : RATE + 480] = tone(0.02)
    assert flaws(samples, RATE, TEXT) == []


async def test_an_engine_that_works_speaks_in_each_of_its_languages() -> None:
    findings = await listen(ToneEngine())
    assert all(finding.ok for finding in findings)
    assert [finding.subject for finding in findings[:2]] == ["engine tone", "voice tone-ar (ar)"]
    assert len(findings) == 1 + len({voice.language for voice in loaded(ToneEngine()).voices()})


def loaded(engine: ToneEngine) -> ToneEngine:
    engine.load()
    return engine


class Absent(ToneEngine):
    def load(self) -> None:
        raise EngineUnavailable("no voice is installed", remedy="voicebooth models install")


class Mute(ToneEngine):
    def synthesize(self, request: Request, pace: Pace) -> Generator[Chunk, None, None]:
        for chunk in super().synthesize(request, pace):
            yield Chunk(np.zeros_like(chunk.samples))


class Broken(ToneEngine):
    def synthesize(self, request: Request, pace: Pace) -> Generator[Chunk, None, None]:
        yield next(super().synthesize(request, pace))
        raise SynthesisFailed("the graph broke")


@pytest.mark.parametrize(
    ("kind", "told", "remedy"),
    [
        (Absent, "no voice is installed", "voicebooth models install"),
        (Mute, "it is silent", "voicebooth models verify"),
        (Broken, "the graph broke", "voicebooth models verify"),
    ],
)
async def test_an_engine_that_does_not_work_is_told_with_what_mends_it(kind: type[ToneEngine], told: str, remedy: str) -> None:
    wrong = [finding for finding in await listen(kind()) if not finding.ok]
    assert wrong
    assert told in wrong[0].text
    assert remedy in wrong[0].remedy


async def listen(engine: Engine, *wanted: str, **more: bool) -> list[doctor.Finding]:
    lanes = Lanes(LaneSettings(count=1, network_count=1))
    try:
        return [finding async for finding in examine_in_lanes(engine, lanes, wanted, **more)]
    finally:
        lanes.close()


@pytest.mark.parametrize(("wanted", "spoken"), [(("fr-CA", "de"), ["de", "fr"]), (("tlh",), ["ar"])])
async def test_an_engine_that_is_not_needed_speaks_only_what_is_wanted(wanted: tuple[str, ...], spoken: list[str]) -> None:
    findings = await listen(ToneEngine(), *wanted, is_needed=False)
    assert [finding.subject for finding in findings[1:]] == [f"voice tone-{language} ({language})" for language in spoken]
    assert not any(finding.is_needed for finding in findings)


class Foreign(ToneEngine):
    """Fails in ways that no engine of ours does."""

    def load(self) -> None:
        raise RuntimeError("no such device")


class Hanging(ToneEngine):
    gate = threading.Event()

    def synthesize(self, request: Request, pace: Pace) -> Generator[Chunk, None, None]:
        self.gate.wait(10)
        yield from super().synthesize(request, pace)


async def test_an_engine_that_raises_or_hangs_ends_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    (raised,) = await listen(Foreign())
    assert (raised.ok, "no such device" in raised.text) == (False, True)
    monkeypatch.setattr(doctor, "SPEAKING", 0.05)
    loaded, hung = await listen(Hanging(), "en")
    Hanging.gate.set()
    assert (loaded.ok, hung.ok, "did not end" in hung.text) == (True, False, True)


@pytest.fixture
def service(monkeypatch: pytest.MonkeyPatch) -> Iterator[EdgeService]:
    with in_place_of_edge(monkeypatch) as running:
        yield running


def edge(patience: float = 4.0) -> EdgeEngine:
    return EdgeEngine(EdgeSettings(voices=("en-US-AriaNeural",), connect_timeout=patience))


async def test_a_service_that_speaks_is_told_as_one(service: EdgeService) -> None:
    loaded, spoken = await listen(edge(), "en")
    assert loaded.ok and spoken.ok
    assert spoken.subject == "voice en-US-AriaNeural (en-US)" and "s of speech, first sound after" in spoken.text
    assert [call.text for call in service.calls] == [doctor.SENTENCES["en"]]


async def test_a_service_that_refuses_is_told_with_its_number_and_what_mends_it(service: EdgeService) -> None:
    service.status = 403
    loaded, spoken = await listen(edge(), "en")
    assert (loaded.ok, spoken.ok, spoken.text) == (True, False, "the Edge service refuses: 403")
    assert spoken.remedy.startswith("pip install --upgrade edge-tts")
    service.status = 429
    _, spoken = await listen(edge(), "en")
    assert not spoken.ok and "asked too much" in spoken.text


async def test_a_service_that_cannot_be_reached_is_told_in_one_line(monkeypatch: pytest.MonkeyPatch, service: EdgeService) -> None:
    monkeypatch.setattr("edge_tts.communicate.WSS_URL", f"ws://127.0.0.1:{free_ports(1)[0]}/edge/v1?TrustedClientToken=none")
    _, spoken = await listen(edge(), "en")
    assert not spoken.ok and spoken.text.startswith("the Edge service cannot be reached: ") and "\n" not in spoken.text
    assert spoken.remedy == "it needs a network; edge.proxy names a proxy"


async def test_a_service_that_says_nothing_is_waited_for_no_longer_than_its_settings_say(service: EdgeService) -> None:
    def silent(call: Call) -> None:
        service.gate.wait(5)

    service.script = silent
    begun = time.perf_counter()
    _, spoken = await listen(edge(patience=0.3), "en")
    assert time.perf_counter() - begun < 3.0
    service.gate.set()
    assert (spoken.ok, spoken.text) == (False, "the Edge service sends nothing")
    assert "edge.connect_timeout" in spoken.remedy


async def quiet(settings: Settings) -> doctor.Finding:
    return doctor.Finding("server", True, "not looked at here")


class Elsewhere(ToneEngine):
    """As one that asks a service: only what is wanted is spoken."""

    name = "elsewhere"
    network = True


async def test_for_every_engine_it_is_told_whether_it_can_speak_here(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "server", quiet)
    monkeypatch.setattr(doctor, "ports", quiet)
    absent, elsewhere = Absent(), Elsewhere()
    absent.name = "absent"
    findings = [finding async for finding in diagnose(Settings(), [ToneEngine()], [absent, elsewhere])]
    told = {finding.subject: finding for finding in findings}
    assert told["can speak here"].text == "tone, elsewhere; not: absent"
    assert (told["engine absent"].ok, told["engine absent"].is_needed) == (False, False)
    assert sum(finding.subject.startswith("voice") for finding in findings) == len({v.language for v in loaded(ToneEngine()).voices()}) + 1
    assert elsewhere.voices() == ()  # what is not configured is not kept in memory
    findings = [finding async for finding in diagnose(Settings(), [], [absent])]
    assert [(finding.ok, finding.text) for finding in findings if finding.subject == "can speak here"] == [(False, "nobody; not: absent")]


def test_a_language_that_nobody_speaks_is_told() -> None:
    settings = Settings.model_validate({"node": {"languages": "en-GB,cy"}})
    found = {finding.subject: finding.ok for finding in doctor.languages(settings, [loaded(ToneEngine())])}
    assert found == {"language en-GB": True, "language cy": False}


def at(url: str, **more: str) -> Settings:
    return Settings.model_validate({"livekit": {"url": url, **more}})


async def test_a_server_that_is_not_there_is_told_with_its_address() -> None:
    url = f"ws://127.0.0.1:{free_ports(1)[0]}"
    finding = await doctor.server(at(url))
    assert (finding.ok, url in finding.text, "LIVEKIT_URL" in finding.remedy) == (False, True, True)


async def test_without_any_server_it_says_how_to_get_one(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    finding = await doctor.server(Settings())
    assert (finding.ok, finding.remedy) == (False, doctor.REMEDY)


async def test_a_server_program_that_does_not_start_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    (tmp_path / "livekit-server").write_text("#!/bin/sh\necho wrong architecture; exit 1")
    (tmp_path / "livekit-server").chmod(0o755)
    finding = await doctor.server(Settings())
    assert (finding.ok, "wrong architecture" in finding.text) == (False, True)


async def test_a_door_that_somebody_else_holds_is_told() -> None:
    port = free_ports(1)[0]
    settings = Settings(server=ServerSettings(ports=(port,)))
    assert (await doctor.doors(settings)).ok
    with socket.create_server(("127.0.0.1", port)):
        finding = await doctor.doors(settings)
    assert (finding.ok, str(port) in finding.text, "server.ports" in finding.remedy) == (False, True, True)


async def test_ports_are_needed_only_by_a_server_of_ones_own(monkeypatch: pytest.MonkeyPatch) -> None:
    assert (await doctor.ports(at("wss://rooms.example.org"))).ok
    monkeypatch.setattr(doctor, "is_free", lambda port: port != 7881)
    monkeypatch.setattr(doctor, "is_udp_free", lambda port: True)
    finding = await doctor.ports(Settings())
    assert (finding.ok, "7881" in finding.text) == (False, True)


async def test_a_program_that_holds_the_port_for_datagrams_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "is_free", lambda port: True)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
        other.bind(("127.0.0.1", 0))
        monkeypatch.setattr(doctor, "DEV_UDP_PORT", other.getsockname()[1])
        monkeypatch.setattr(doctor, "is_answering", answers_not)
        finding = await doctor.ports(Settings())
    assert (finding.ok, finding.text) == (False, f"held by another program: {doctor.DEV_UDP_PORT} (UDP)")
    assert (await doctor.ports(Settings())).ok


async def answers_not(host: str, port: int) -> bool:
    return False


@pytest.mark.e2e
async def test_a_real_server_takes_our_key_and_no_other(livekit_server: DevServer) -> None:
    assert (await doctor.server(at(livekit_server.url))).ok
    finding = await doctor.server(at(livekit_server.url, api_secret="another secret, long enough for a key"))
    assert (finding.ok, "LIVEKIT_API_KEY" in finding.remedy) == (False, True)


@pytest.mark.e2e
async def test_all_is_looked_at(livekit_server: DevServer) -> None:
    findings = [finding async for finding in diagnose(at(livekit_server.url), [ToneEngine()])]
    assert {"engine tone", "voice tone-en (en)", "language en", "server", "ports"} <= {finding.subject for finding in findings}
    assert all(finding.ok for finding in findings)
