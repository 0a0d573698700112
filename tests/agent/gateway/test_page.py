from __future__ import annotations

import re
import shutil
import stat
import subprocess
from pathlib import Path

import aiohttp
import pytest

from agent.gateway import page
from agent.gateway.page import BUILT, FOLDER, ClientMissing, client_path, find_client


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return tmp_path


async def test_the_page_is_there_with_everything_that_it_names(client: aiohttp.ClientSession) -> None:
    answer = await client.get("/")
    text = await answer.text()
    assert (answer.status, answer.content_type) == (200, "text/html")
    async with client.head("/") as head:
        assert (head.status, head.headers["Content-Length"]) == (200, answer.headers["Content-Length"])
    named = set(re.findall(r'"(/web/[^"]+)"', text)) | {f"/web/{name}" for name in re.findall(r'from "\./([a-z]+\.js)"', scripts())}
    assert len(named) > 6
    for name in named:
        assert (await client.get(name)).status == 200, name


def scripts() -> str:
    return "".join(path.read_text(encoding="utf-8") for path in FOLDER.glob("*.js"))


async def test_a_page_that_is_known_is_not_sent_again(client: aiohttp.ClientSession) -> None:
    first = await client.get("/web/main.js")
    again = await client.get("/web/main.js", headers={"If-None-Match": first.headers["ETag"]})
    assert (first.content_type, first.status, again.status) == ("text/javascript", 200, 304)


async def test_the_page_may_load_nothing_from_elsewhere(client: aiohttp.ClientSession) -> None:
    policy = (await client.get("/")).headers["Content-Security-Policy"]
    assert policy.startswith("default-src 'self'; connect-src 'self';")
    assert not re.findall(r"https?://(?!www\.w3\.org)", scripts() + (FOLDER / "index.html").read_text(encoding="utf-8"))


def test_the_livekit_server_may_be_reached_and_no_other() -> None:
    assert "connect-src 'self' wss://rooms.example.org https://rooms.example.org;" in page._policy("wss://rooms.example.org/x")
    assert "connect-src 'self' ws://127.0.0.1:7880 http://127.0.0.1:7880;" in page._policy("ws://127.0.0.1:7880")


@pytest.mark.parametrize("path", ["/web/nothing.js", "/web/..%2fpage.py", "/web/%2e%2e/__init__.py", "/web/../../config.py", "/web/"])
async def test_there_is_no_other_file(client: aiohttp.ClientSession, path: str) -> None:
    assert (await client.get(path)).status == 404


async def test_livekit_s_client_is_served_once_it_is_there(client: aiohttp.ClientSession) -> None:
    missing = await client.get("/web/livekit-client.mjs")
    assert missing.status == 501
    assert "python -m agent.gateway.page" in (await missing.json())["error"]
    client_path().parent.mkdir(parents=True)
    client_path().write_text("export class Room {}", encoding="utf-8")
    assert await (await client.get("/web/livekit-client.mjs")).text() == "export class Room {}"


def npm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str) -> None:
    program = tmp_path / "bin" / "npm"
    program.parent.mkdir()
    program.write_text("#!/bin/sh\n" + script, encoding="utf-8")
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", f"{program.parent}:/usr/bin:/bin")


def test_it_is_fetched_with_npm_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    npm(tmp_path, monkeypatch, f'echo "$*" >> {tmp_path}/calls; mkdir -p "$3/{BUILT.parent}"; echo x > "$3/{BUILT}"\n')
    lines: list[str] = []
    assert find_client(lines.append) == find_client(lines.append) == tmp_path / "voicebooth" / "web" / BUILT
    assert len(lines) == 1
    assert (tmp_path / "calls").read_text(encoding="utf-8").count("livekit-client@") == 1


def test_whoever_has_no_npm_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ClientMissing, match="needs npm"):
        find_client()
    assert page.main() == 1


def test_npm_s_own_words_are_passed_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    said = "npm error code ENET\nnpm error request failed, reason: no network\nnpm error A complete log of this run can be found in: x"
    npm(tmp_path, monkeypatch, f"echo '{said}' >&2; exit 1\n")
    with pytest.raises(ClientMissing, match=r"code ENET; request failed, reason: no network$"):
        find_client()


@pytest.mark.parametrize("code", ["rate_limited", "forbidden"])
def test_what_is_refused_over_http_is_said_in_the_node_s_words(tmp_path: Path, code: str) -> None:
    assert shutil.which("node"), "this test runs the page's own words: apt-get install nodejs"
    shutil.copy(FOLDER / "words.js", tmp_path / "words.mjs")
    answer = f'{{ status: 400, json: async () => ({{ code: "{code}", error: "why it is" }}) }}'
    script = tmp_path / "said.mjs"
    script.write_text(f'import {{ refusal }} from "./words.mjs";\nconsole.log((await refusal({answer})).message);\n')
    said = subprocess.run(["node", script], check=True, capture_output=True, text=True, timeout=30)
    assert said.stdout == "Why it is.\n"
