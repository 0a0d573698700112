"""The commands: what they say, write and play, and with which status they end."""

from __future__ import annotations

import asyncio
import json
import logging
import signal
import subprocess
import sys
import threading
import time
import wave
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from agent.cli import app
from agent.config import Settings, child_environment
from agent.devserver import DevServer
from agent.doctor import Finding
from agent.node import Node
from engines.base import Voice
from engines.catalog import Catalog, known_kokoro
from engines.kokoro.voices import describe
from engines.tone import ToneEngine
from tests.engines.edge_service import in_place_of_edge

pytestmark = pytest.mark.shell
TONE = ("--set", "selection.fallback_chain=tone")
ARIANE = "fr-CH-ArianeNeural"


@pytest.fixture(autouse=True)
def root_as_it_was() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)


def voicebooth(*arguments: str, input: str | bytes | None = None) -> Result:
    return CliRunner().invoke(app, arguments, input=input)


def test_say_writes_a_wav(tmp_path: Path) -> None:
    path = tmp_path / "said.wav"
    said = voicebooth("say", *TONE, "--wav", str(path), "One two three.", "Four five.")
    assert (said.exit_code, said.stdout.startswith(f"{path}: ")) == (0, True)
    with wave.open(str(path)) as file:
        assert (file.getframerate(), file.getnchannels(), file.getsampwidth()) == (24_000, 1, 2)
        assert 0.5 < file.getnframes() / 24_000 < 5


def test_say_reads_standard_input(tmp_path: Path) -> None:
    said, read = tmp_path / "said.wav", tmp_path / "read.wav"
    assert voicebooth("say", *TONE, "--wav", str(said), "Déjà vu.").exit_code == 0
    assert voicebooth("say", *TONE, "--wav", str(read), "-", input="Déjà vu.").exit_code == 0
    assert said.read_bytes() == read.read_bytes()


def test_say_plays_on_the_loudspeaker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    heard, player = tmp_path / "heard", tmp_path / "aplay"
    player.write_text(f"#!/bin/sh\n/bin/cat > {heard}\n")
    player.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr("agent.say.SoundCard.open", lambda rate: None)
    assert voicebooth("say", *TONE, "One two three.").exit_code == 0
    assert heard.stat().st_size > 24_000 * 2 // 2


@pytest.mark.parametrize(
    ("arguments", "status", "told"),
    [
        (("say", "--set", "foo=1", "x"), 2, "foo: unknown setting"),
        (("say", "--set", "foo", "x"), 2, "write KEY=VALUE"),
        (("say", "--settings", "/none.yaml", "x"), 2, "/none.yaml: cannot be read"),
        (("say", *TONE, "--wav", "/none/x.wav", "x"), 1, "/none/x.wav: cannot be written"),
        (("say", *TONE, "--room", "r", "--wav", "x", "x"), 1, "--room and --wav do not go together"),
        (("say", *TONE, "--language", "xx", "--wav", "{tmp}/x.wav", "Nobody speaks this."), 1, "xx"),
        (("say", "--set", "selection.fallback_chain=parrot", "--wav", "{tmp}/x.wav", "x"), 1, "no engine can speak here"),
        (("voices", "--engine", "parrot"), 1, "there is no engine 'parrot'"),
        (("models", "calibrate", "piper"), 1, "need no calibration"),
        (("run", "--set", "server.ports="), 1, "there is no door"),
    ],
)
def test_what_cannot_be_done_is_told_in_one_line(
    arguments: tuple[str, ...], status: int, told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("LIVEKIT_URL", raising=False)
    answer = voicebooth(*(argument.replace("{tmp}", str(tmp_path)) for argument in arguments))
    assert answer.exit_code == status
    (line,) = [line for line in answer.stderr.splitlines() if line.startswith("voicebooth: ")]
    assert told in line
    assert "Traceback" not in answer.stderr


def test_voices_wait_for_no_engine_that_hangs(monkeypatch: pytest.MonkeyPatch) -> None:
    gate = threading.Event()
    monkeypatch.setattr("agent.commands.voices.LOADING", 0.2)
    monkeypatch.setattr("engines.edge.EdgeEngine.load", lambda engine: gate.wait(10))
    began = time.monotonic()
    try:
        answer = voicebooth("voices", "--set", "selection.fallback_chain=edge,tone", "--language", "fr", "--json")
    finally:
        gate.set()
    assert time.monotonic() - began < 5.0 and answer.exit_code == 0
    assert [voice["id"] for voice in json.loads(answer.stdout)] == ["tone-fr", "tone-fr-low"]
    assert "engine edge: a step of engine edge did not end" in answer.stderr


@pytest.mark.parametrize("input", [b"\xff\xfe", b"x" * ((1 << 20) + 1)])
def test_standard_input_that_is_no_text_is_refused(input: bytes, tmp_path: Path) -> None:
    assert voicebooth("say", *TONE, "--wav", str(tmp_path / "x.wav"), "-", input=input).exit_code == 1


def test_voices_come_as_a_table_or_as_json() -> None:
    assert "tone-fr-low" in voicebooth("voices", *TONE).stdout
    voices = json.loads(voicebooth("voices", *TONE, "--language", "fr", "--json").stdout)
    assert [voice["id"] for voice in voices] == ["tone-fr", "tone-fr-low"]


def test_voices_tell_what_the_catalog_knows_of_them() -> None:
    (voice,) = json.loads(
        voicebooth("voices", "--engine", "edge", "--language", "fr-CH", "--json", "--set", f"edge.voices={ARIANE}").stdout
    )
    assert (voice["id"], voice["gender"], voice["source"], voice["licence"]) == (ARIANE, "female", "service", "Microsoft's terms of use")
    assert (voice["quality"], voice["tiers"]) == ("", [])


def test_voices_tell_the_licence_of_the_model_that_speaks_them(monkeypatch: pytest.MonkeyPatch) -> None:
    speakers = ("kokoro", "af_heart"), ("kokoro", "af_heart:0.6+af_bella:0.4"), ("xtts", "claribel-dervla"), ("mine", "me")
    here = [Voice(id, engine, "en-US", 24_000) for engine, id in speakers]
    monkeypatch.setattr("agent.commands.voices._load", lambda engine, settings: here)
    rows = json.loads(voicebooth("voices", "--json").stdout)
    assert [(row["quality"], row["rating"]) for row in rows] == [("A", 4.2), ("", 4.2), ("", 4.4), ("", 3.0)]
    assert [row["licence"] for row in rows][:2] == ["Apache-2.0"] * 2
    assert "non-commercial" in rows[2]["licence"] and not rows[3]["licence"]
    shown = voicebooth("voices", "--set", "selection.quality=kokoro=4.7").stdout.splitlines()
    assert {"A", "4.7", "Apache-2.0"} <= set(shown[1].split())


def test_voices_tell_size_hash_tier_other_ids_and_who_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    here = [
        describe("af_heart"),
        Voice("en_US-amy-low", "piper", "en-US", 16_000, gender="female", tier="fast"),
        Voice("me", "mine", "fr", 1),
    ]
    monkeypatch.setattr("agent.commands.voices._load", lambda engine, settings: here)
    heart, amy, mine = json.loads(voicebooth("voices", "--json", "--set", "selection.fallback_chain=kokoro,piper").stdout)
    digest = known_kokoro()["af_heart"].files[0].digest
    assert (heart["size"], heart["hash"], heart["tier"]) == (522_240, f"sha256:{digest}", "standard")
    assert (amy["hash"][:4], amy["tiers"], mine["size"], mine["hash"]) == ("md5:", ["fast"], 0, "")
    assert (heart["engine_voices"], heart["equivalents"]) == ({"kokoro": "af_heart"}, ["en_US-amy-low"])
    assert "en-us-female-fast" in heart["aliases"]
    rows = [line.split() for line in voicebooth("voices", "--language", "en").stdout.splitlines()]
    assert [row[0] for row in rows] == ["id", "af_heart", "en_US-amy-low"] and {"tier", "MB", "hash"} <= set(rows[0])
    assert {"standard", "0.5", f"sha256:{digest[:12]}"} <= set(rows[1])


def test_voices_can_be_asked_for_by_other_ids() -> None:
    listed = json.loads(voicebooth("voices", *TONE, "--aliases", "--language", "de-AT", "--json").stdout)
    found = {row["id"]: (row["voice"], row["tier"]) for row in listed}
    assert found["de-at-male-premium"] == ("tone-de-low", "premium")
    assert found["nova"] == ("tone-de", "")
    assert "fr-fr-female-fast" not in found
    assert "Sarah" in voicebooth("voices", *TONE, "--aliases").stdout


def test_what_an_engine_prints_is_not_in_the_list(monkeypatch: pytest.MonkeyPatch) -> None:
    def noisy(self: ToneEngine) -> None:
        sys.stdout.write("Loading weights...\n")
        self._voices = self._known

    monkeypatch.setattr(ToneEngine, "load", noisy)
    answer = voicebooth("voices", *TONE, "--json")
    assert len(json.loads(answer.stdout)) == 26
    assert "Loading weights..." in answer.stderr


def test_doctor_shows_what_is_in_effect() -> None:
    lines = voicebooth("doctor", "--show-settings", *TONE, "--set", "livekit.api_secret=hush").stdout
    assert "hush" not in lines
    assert any(line.split() == ["selection.fallback_chain", "tone"] for line in lines.splitlines())


def test_doctor_ends_with_1_when_something_is_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LIVEKIT_URL", "ws://127.0.0.1:1")
    answer = voicebooth("doctor", "--configured", *TONE)
    assert answer.exit_code == 1
    assert "ok     engine tone" in answer.stdout
    assert "ok     can speak here: tone\n" in answer.stdout
    assert "WRONG  server: ws://127.0.0.1:1 cannot be reached" in answer.stdout
    assert "mend it: " in answer.stdout


def test_doctor_tries_what_is_not_configured_and_finds_nothing_wrong_in_its_absence(monkeypatch: pytest.MonkeyPatch) -> None:
    async def well(settings: Settings) -> Finding:
        return Finding("server", True, "not looked at here")

    monkeypatch.setattr("agent.doctor.server", well)
    monkeypatch.setattr("agent.node.installed_engines", lambda: ("remote", "tone"))
    answer = voicebooth("doctor", "--network", *TONE)
    assert "no     engine remote: no other node is named\n       mend it: set remote.url\n" in answer.stdout
    assert "ok     can speak here: tone; not: remote" in answer.stdout
    assert answer.exit_code == 0


def test_doctor_sends_text_to_a_service_only_where_somebody_asks_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    async def well(settings: Settings) -> Finding:
        return Finding("server", True, "not looked at here")

    monkeypatch.setattr("agent.doctor.server", well)
    monkeypatch.setattr("agent.node.installed_engines", lambda: ("edge", "tone"))
    with in_place_of_edge(monkeypatch) as service:
        answer = voicebooth("doctor", *TONE)
        assert not service.asked and answer.exit_code == 0
        assert "no     engine edge: not tried: what it says is sent elsewhere\n       mend it: --network tries it\n" in answer.stdout
        assert "ok     can speak here: tone\n" in answer.stdout
        for wish in (("--network", *TONE), ("--configured", "--set", "selection.fallback_chain=edge")):
            service.asked.clear()
            assert "ok     can speak here: " in (answer := voicebooth("doctor", *wish)).stdout, answer.stdout
            assert service.asked


def models(folder: Path, *arguments: str) -> Result:
    return voicebooth("models", *arguments, "--set", f"models.root={folder}", "--set", "models.offline=true")


def test_models_lists_what_is_here_and_what_could_be(tmp_path: Path) -> None:
    (tmp_path / "xx_XX-mine-medium.onnx").touch()
    here = models(tmp_path, "list").stdout
    assert "xx_XX-mine-medium" in here
    assert "fr_FR" not in here
    french = models(tmp_path, "list", "--language", "fr").stdout
    assert any(line.startswith("fr_FR-siwis-medium") and line.endswith("to install") for line in french.splitlines())
    assert len(models(tmp_path, "list", "--all").stdout) > 5 * len(french)


def test_models_lists_what_an_engine_speaks_with(tmp_path: Path) -> None:
    services = models(tmp_path, "list", "--engine", "edge", "--language", "fr-CA").stdout.splitlines()[1:]
    assert [line.split()[0] for line in services if line.rstrip().endswith("service")] == [line.split()[0] for line in services]
    assert "fr-CA-SylvieNeural" in {line.split()[0] for line in services}
    assert "edge" not in models(tmp_path, "list").stdout


def test_models_shows_all_that_is_known(tmp_path: Path) -> None:
    (tmp_path / "fr_FR-siwis-medium.onnx").touch()
    shown = models(tmp_path, "show", "fr_FR-siwis-medium").stdout
    assert "licence  CC-BY-4.0\n" in shown
    assert "63201294 bytes  md5:20e876e8c839e9b11a26085858f2300c\n" in shown
    assert f"here     {tmp_path}/fr_FR-siwis-medium.onnx\n" in shown
    assert models(tmp_path, "show", "parrot").exit_code == 1


def test_models_verify_finds_damage(tmp_path: Path) -> None:
    (tmp_path / "fr_FR-siwis-medium.onnx").write_bytes(b"not a voice")
    found = models(tmp_path, "verify")
    assert found.exit_code == 1
    assert "voicebooth: " in found.stderr
    assert "fr_FR-siwis-medium" in found.stderr


def test_models_installs_and_removes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def bring(self: Catalog, id: str, progress: Callable[[int, int], None], *, accept: bool) -> Path:
        assert not accept
        progress(1, 2)
        (self.folder / f"{id}.onnx").touch()
        return self.folder / f"{id}.onnx"

    monkeypatch.setattr(Catalog, "install", bring)
    path = tmp_path / "fr_FR-siwis-medium.onnx"
    assert models(tmp_path, "install", path.stem).stdout == f"{path.stem}: {path}\n"
    assert models(tmp_path, "remove", path.stem).exit_code == 0
    assert not path.exists()


def test_models_says_what_cannot_be_had(tmp_path: Path) -> None:
    offline = models(tmp_path, "install", "fr_FR-siwis-medium")
    assert (offline.exit_code, "offline" in offline.stderr) == (1, True)
    unknown = models(tmp_path, "remove", "parrot")
    assert (unknown.exit_code, "parrot" in unknown.stderr) == (1, True)


@pytest.mark.parametrize(
    ("assignments", "status"), [(["node.name=a", "node.drain_wait=5"], 0), (["node=a", "node.name=b"], 2), (["node.name=b", "node=a"], 2)]
)
def test_assignments_are_checked_together(assignments: list[str], status: int) -> None:
    given = [word for assignment in assignments for word in ("--set", assignment)]
    assert voicebooth("doctor", "--show-settings", *given).exit_code == status


def test_the_bench_answers_by_its_own_commands() -> None:
    shown = voicebooth("bench", "--help")
    assert (shown.exit_code, "latency" in shown.output) == (0, True)


class Running:
    """A command in a process of its own, with the lines it has told."""

    def __init__(self, server: DevServer, *arguments: str) -> None:
        variables = {"LIVEKIT_URL": server.url, "VOICEBOOTH_SELECTION__FALLBACK_CHAIN": "tone", "VOICEBOOTH_NODE__LANGUAGES": "en,fr"}
        variables["VOICEBOOTH_SERVER__PORTS"] = "0"
        self.process = subprocess.Popen(
            [sys.executable, "-m", "agent.cli", *arguments],
            env=child_environment(**variables),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def __enter__(self) -> Running:
        assert self.process.stdout
        for line in self.process.stdout:
            if line.startswith("ready") and "engine" not in line:
                return self
        raise AssertionError(self.process.communicate(timeout=10)[1])

    def end(self, number: signal.Signals) -> tuple[int, float, str]:
        """Its status, the seconds it took, and its log."""
        begun = time.perf_counter()
        self.process.send_signal(number)
        log = self.process.communicate(timeout=20)[1]
        return self.process.returncode, time.perf_counter() - begun, log

    def __exit__(self, *error: object) -> None:
        self.process.kill()
        self.process.communicate(timeout=10)


def told(log: str, what: str) -> int:
    """A count of the report with which the node ends."""
    report = next(json.loads(line) for line in reversed(log.splitlines()) if "the node has ended" in line)
    return int(report["counts"].get(what, 0))


@pytest.mark.e2e
@pytest.mark.parametrize("command", ["run", "join"])
def test_a_node_says_what_it_is_sent_and_ends_when_it_is_told(command: str, livekit_server: DevServer) -> None:
    room = f"cli-{command}"
    arguments = ["run"] if command == "run" else ["join", livekit_server.url, room]
    with Running(livekit_server, *arguments) as node:
        said = voicebooth("say", "--url", livekit_server.url, "--room", room, "--language", "fr", "Bonjour à tous. Bienvenue.")
        assert (said.exit_code, said.stderr) == (0, "")
        assert [line.split(maxsplit=3)[2:] for line in said.stdout.splitlines()] == [["tone", "Bonjour à tous."], ["tone", "Bienvenue."]]
        nothing = voicebooth("say", "--url", livekit_server.url, "--room", room, "...")
        assert (nothing.exit_code, "nothing_to_say" in nothing.stderr) == (1, True)
        status, seconds, log = node.end(signal.SIGINT)
    assert (status, seconds < 2.0) == (0, True)
    assert told(log, "sentences") == 2


@pytest.mark.e2e
def test_sigterm_lets_what_was_accepted_be_heard(livekit_server: DevServer) -> None:
    with Running(livekit_server, "join", livekit_server.url, "cli-drain") as node:
        words = "One two three four five. Six seven eight nine ten. Eleven twelve thirteen."
        sender = [sys.executable, "-m", "agent.cli", "say", "--url", livekit_server.url, "--room", "cli-drain", words]
        with subprocess.Popen(sender, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as saying:
            assert saying.stdout
            assert "One two" in saying.stdout.readline()
            status, _, log = node.end(signal.SIGTERM)
            saying.kill()
    assert status == 0
    assert told(log, "sentences") == 3


@pytest.mark.e2e
def test_say_tells_that_nobody_answers(livekit_server: DevServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("agent.commands.say_room.READY_WAIT", 0.5)
    said = voicebooth("say", "--url", livekit_server.url, "--room", "cli-empty", "Hello.")
    assert (said.exit_code, "no node answers in room cli-empty" in said.stderr) == (1, True)


def test_keys_are_made_shown_once_listed_and_taken_away(tmp_path: Path) -> None:
    file = tmp_path / "keys.json"
    where = ("--set", f"security.keys_file={file}")
    made = voicebooth("keys", "add", "translator", *where)
    key = made.stdout.strip()
    assert made.exit_code == 0 and key.startswith("vb_") and key not in made.stderr and str(file) in made.stderr
    assert voicebooth("keys", "add", "operator", "--admin", *where).exit_code == 0
    listed = voicebooth("keys", "list", *where).stdout
    assert "translator" in listed and "speak, admin" in listed and key not in listed
    again = voicebooth("keys", "add", "translator", *where)
    assert again.exit_code == 1 and "already" in again.stderr and not again.stdout
    assert voicebooth("keys", "remove", "translator", *where).exit_code == 0
    assert voicebooth("keys", "remove", "translator", *where).exit_code == 1
    assert "translator" not in voicebooth("keys", "list", *where).stdout


def test_who_names_a_server_is_told_what_to_try_and_no_token_of_it(capsys):
    from agent.commands.run import _suggest

    _suggest(None)
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()] == ["try", "end"]


async def test_what_is_imported_takes_no_lane_from_speech_or_the_node_would_count_as_full_when_it_is_ready(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from agent.commands.run import _import

    gate = threading.Event()
    monkeypatch.setattr("agent.commands.run.import_module", lambda name: gate.wait(10))
    async with Node(Settings.model_validate({"selection": {"fallback_chain": ["tone"]}, "lanes": {"count": 1}})) as node:
        importing = asyncio.create_task(_import("agent.worker", node))
        async with asyncio.timeout(5):
            await asyncio.sleep(0)
            await node.studio.lanes.run(bool, due=0.0)
            assert not importing.done()
            gate.set()
            await importing
