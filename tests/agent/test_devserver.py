"""The development server: where it is found, what it is started with, and that it comes and goes."""

from __future__ import annotations

import asyncio
import os
import shutil
import socket
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

from agent import devserver
from agent.devserver import DevServer, ServerFailed, ServerMissing, find_server, free_ports, is_answering


def program(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("#!/bin/sh\n" + text)
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return path


@pytest.fixture
def bare(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A user with an empty cache and nothing but a shell's own programs; `bin` there is on PATH."""
    (tmp_path / "bin").mkdir()
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path


def test_the_one_on_path_comes_first(bare: Path) -> None:
    program(bare / "cache/voicebooth/bin/livekit-server", "")
    mine = program(bare / "bin/livekit-server", "")
    assert find_server() == mine


def test_then_the_one_that_was_built_before(bare: Path) -> None:
    built = program(bare / "cache/voicebooth/bin/livekit-server", "")
    assert find_server() == built


def test_then_it_is_built_with_go_and_that_is_said(bare: Path) -> None:
    program(bare / "bin/go", f'test "$*" = "install {devserver.MODULE}" && printf built > "$GOBIN/server"')
    told: list[str] = []
    found = find_server(told.append)
    assert found == bare / "cache/voicebooth/bin/livekit-server"
    assert found.read_text() == "built"
    assert [line for line in told if "once" in line] == told != []
    assert os.listdir(found.parent) == ["livekit-server"]


def test_a_build_that_fails_says_why_and_what_mends_it(bare: Path) -> None:
    program(bare / "bin/go", "echo trying >&2; echo no such module >&2; exit 1")
    with pytest.raises(ServerMissing, match=r"could not be built \(no such module\).*LIVEKIT_URL"):
        find_server()
    assert not (bare / "cache/voicebooth/bin/livekit-server").exists()


@pytest.mark.parametrize(("version", "told"), [("go1.19.8", "Go 1.19 is too old"), ("go1.22.1", "odd go.mod")])
def test_a_go_that_is_too_old_is_named(version: str, told: str, bare: Path) -> None:
    program(bare / "bin/go", f'test "$1" = version && echo "go version {version} linux/amd64" && exit; echo odd go.mod >&2; exit 1')
    with pytest.raises(ServerMissing, match=rf"could not be built \({told}\).*LIVEKIT_URL") as caught:
        find_server()
    assert "\n" not in str(caught.value)


def test_a_build_has_an_end(bare: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program(bare / "bin/go", "")

    def endless(*args: object, timeout: float, **options: object) -> None:
        raise subprocess.TimeoutExpired("go", timeout)

    monkeypatch.setattr(subprocess, "run", endless)
    with pytest.raises(ServerMissing, match="more than 15 minutes"):
        find_server()


def test_without_go_it_says_how_to_get_one(bare: Path) -> None:
    with pytest.raises(ServerMissing, match="LIVEKIT_URL for the node, with --url for the bench") as caught:
        find_server()
    assert "\n" not in str(caught.value)


def test_it_is_started_for_this_machine_only(tmp_path: Path) -> None:
    config = tmp_path / "livekit.yaml"
    config.write_text("port: 1\nbind_addresses: [0.0.0.0]\nrtc: {udp_port: 3, tcp_port: 2}\nroom: {empty_timeout: 9}\nkeys: {other: key}")
    settings = DevServer(tmp_path / "none", port=4000, config=config).settings()
    assert (settings["port"], settings["bind_addresses"], settings["room"]) == (4000, ["127.0.0.1"], {"empty_timeout": 9})
    assert settings["keys"] == {"devkey": "secret"}
    assert (settings["rtc"]["tcp_port"], settings["rtc"]["udp_port"]) == (2, 3)
    assert settings["rtc"]["ips"] == {"includes": ["127.0.0.1/32"]}


def test_the_page_in_the_tree_is_for_this_machine_only() -> None:
    assert devserver.CONFIG
    page = yaml.safe_load(devserver.CONFIG.read_text())
    settings = DevServer(Path("none"), port=page["port"]).settings()
    assert settings == page


def test_free_ports_can_be_taken() -> None:
    for port in free_ports(3):
        with socket.create_server(("127.0.0.1", port)):
            pass


def test_no_outgoing_connection_takes_a_free_port_before_it_is_used() -> None:
    lowest = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    assert max(free_ports(50)) < lowest


def test_too_few_free_ports_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    (port,) = free_ports(1)
    monkeypatch.setattr(devserver, "PORTS", range(port, port + 1))
    with socket.create_server(("127.0.0.1", port)), pytest.raises(ServerFailed, match="0 are free: 2 are needed"):
        free_ports(2)


async def test_a_server_that_ends_at_once_is_told_with_its_last_words(tmp_path: Path) -> None:
    broken = program(tmp_path / "server", "echo starting; echo cannot bind")
    with pytest.raises(ServerFailed, match=r"did not start on ws://127\.0\.0\.1:\d+: cannot bind"):
        await DevServer(broken).start()


async def test_a_server_that_never_answers_is_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(devserver, "READY_WAIT", 0.05)
    server = DevServer(program(tmp_path / "server", "exec sleep 60"))
    with pytest.raises(ServerFailed, match="did not answer"):
        await server.start()
    assert not server.is_running


async def test_a_start_that_is_cancelled_leaves_no_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = asyncio.Event()

    async def is_answering(host: str, port: int) -> bool:
        asked.set()
        return False

    monkeypatch.setattr(devserver, "is_answering", is_answering)
    server = DevServer(program(tmp_path / "server", "exec sleep 60"))
    start = asyncio.create_task(server.start())
    await asked.wait()
    assert server.is_running
    start.cancel()
    with pytest.raises(asyncio.CancelledError):
        await start
    assert not server.is_running


async def test_a_server_that_will_not_go_is_killed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(devserver, "STOP_WAIT", 0.05)
    ready = tmp_path / "ready"
    server = DevServer(program(tmp_path / "server", f'trap "" TERM; echo > {ready}; while :; do sleep 0.01; done'))
    monkeypatch.setattr(devserver, "is_answering", lambda host, port: asyncio.sleep(0, ready.exists()))
    await server.start()
    await server.stop()
    assert not server.is_running


async def test_a_port_that_is_taken_meanwhile_is_changed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    held = socket.create_server(("127.0.0.1", 0))
    taken, (free, *media) = held.getsockname()[1], free_ports(3)
    handed_out = iter([[taken, 1, 2], [free, *media]])
    monkeypatch.setattr(devserver, "free_ports", lambda count: next(handed_out))
    monkeypatch.setattr(devserver, "is_answering", lambda host, port: asyncio.sleep(0, port == free))
    server = DevServer(program(tmp_path / "server", "exec sleep 60"))
    with held:
        await server.start()
    server.kill()
    assert server.url == f"ws://127.0.0.1:{free}"
    assert server.settings()["rtc"]["udp_port"] == media[1]


@pytest.mark.e2e
async def test_the_real_one_comes_goes_and_comes_back_on_its_ports(tmp_path: Path) -> None:
    log = tmp_path / "logs" / "server.log"
    async with DevServer(find_server(), log=log) as server:
        url, port = server.url, int(server.url.rpartition(":")[2])
        assert await is_answering("127.0.0.1", port)
        with pytest.raises(ServerFailed, match=f"port {port} is in use already"):
            await DevServer(find_server(), port=port).start()
        await server.restart()
        assert (server.url, await is_answering("127.0.0.1", port)) == (url, True)
        server.kill()
        assert not await is_answering("127.0.0.1", port)
        await server.start()
        assert (server.url, await is_answering("127.0.0.1", port)) == (url, True)
    assert not server.is_running
    assert not await is_answering("127.0.0.1", port)
    assert log.exists()


@pytest.mark.e2e
@pytest.mark.skipif(shutil.which("setpriv") is None, reason="only util-linux can do that")
def test_the_real_one_does_not_outlive_who_started_it() -> None:
    code = """
import asyncio, os, signal
from agent.devserver import DevServer, find_server
async def main():
    server = DevServer(find_server())
    await server.start()
    print(server.url, flush=True)
    os.kill(os.getpid(), signal.SIGKILL)
asyncio.run(main())
"""
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=30, check=False)
    port = int(ended.stdout.strip().rpartition(":")[2])
    deadline = time.monotonic() + 5
    while asyncio.run(is_answering("127.0.0.1", port)):
        assert time.monotonic() < deadline
