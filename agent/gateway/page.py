"""The pages at ``/``, ``/docs`` and ``/redoc``, out of memory; LiveKit's client beside them, where npm has put it into the user's cache."""

from __future__ import annotations

import hashlib
import importlib.util
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from fastapi import APIRouter, Request, Response

from agent.config import cache_folder
from agent.gateway.errors import Refused
from agent.node import Node

FOLDER = Path(__file__).parent.parent / "web"
CLIENT = "livekit-client@^2.15"
BUILT = Path("node_modules/livekit-client/dist/livekit-client.esm.mjs")  # one file that imports nothing
INSTALLING = 300.0  # seconds: 36 MB through a slow line
READS = ["GET", "HEAD"]
KINDS = {".html": "text/html", ".css": "text/css", ".js": "text/javascript", ".mjs": "text/javascript", ".svg": "image/svg+xml"}
REMEDY = "python -m agent.gateway.page"
DRAWING, DRAWING_FILES = "fastapi_offline", ("swagger-ui-bundle.js", "swagger-ui.css", "redoc.standalone.js")
"""The package that carries Swagger UI and ReDoc, and what is taken out of it; its code is not run."""
NO_DRAWING = "the page of the API is not there: pip install 'voicebooth[gateway]'"
DRAWN = "default-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; frame-ancestors 'none'; base-uri 'none'"
"""What the pages at ``/docs`` and ``/redoc`` may load: both write styles into their elements and carry their pictures within."""
MISSING = f"LiveKit's browser client is not there: `{REMEDY}` fetches it with npm"


class ClientMissing(Exception):
    """LiveKit's browser client is not there and cannot be fetched; ``str()`` says what mends that."""


@dataclass(frozen=True, slots=True)
class File:
    content: bytes
    kind: str
    tag: str


def routes(node: Node) -> APIRouter:
    router = APIRouter(include_in_schema=False)
    files = {path.name: _read(path) for path in FOLDER.iterdir() if path.suffix in KINDS}
    livekit = node.settings.livekit
    policy = _policy(livekit.public_url or livekit.url)

    def give(request: Request, file: File, policy: str = policy) -> Response:
        headers = {"ETag": file.tag, "Cache-Control": "no-cache", "Content-Security-Policy": policy}
        headers |= {"X-Content-Type-Options": "nosniff", "Referrer-Policy": "no-referrer"}
        if request.headers.get("if-none-match") == file.tag:
            return Response(status_code=304, headers=headers)
        return Response(file.content, headers=headers, media_type=file.kind)

    @router.api_route("/", methods=READS)
    async def page(request: Request) -> Response:
        return give(request, files["index.html"])

    @router.api_route("/web/livekit-client.mjs", methods=READS)
    async def client(request: Request) -> Response:
        if "livekit-client.mjs" not in files:  # it may have been fetched since the node began
            path = client_path()
            if not path.is_file():
                raise Refused("not_supported", MISSING, 501)
            files["livekit-client.mjs"] = _read(path)
        return give(request, files["livekit-client.mjs"])

    @router.api_route("/web/{name}", methods=READS)
    async def file(request: Request, name: str) -> Response:
        if name not in files:
            raise Refused("not_found", "the page has no such file", 404)
        return give(request, files[name])

    @router.api_route("/docs", methods=READS)
    async def docs(request: Request) -> Response:
        return give(request, files["docs.html"], DRAWN)

    @router.api_route("/redoc", methods=READS)
    async def redoc(request: Request) -> Response:
        return give(request, files["redoc.html"], DRAWN)

    @router.api_route("/docs/{name}", methods=READS)
    async def drawing(request: Request, name: str) -> Response:
        if name not in DRAWING_FILES:
            raise Refused("not_found", "the page of the API has no such file", 404)
        if name not in files:
            files[name] = _read(drawing_path() / name)
        return give(request, files[name], DRAWN)

    return router


def drawing_path() -> Path:
    """Where Swagger UI and ReDoc are. Raises :exc:`Refused` where they are not."""
    found = importlib.util.find_spec(DRAWING)
    if found is None or found.origin is None:
        raise Refused("not_supported", NO_DRAWING, 501)
    return Path(found.origin).parent / "static"


def client_path() -> Path:
    """Where LiveKit's browser client is, if it is there."""
    return cache_folder() / "web" / BUILT


def find_client(tell: Callable[[str], None] = lambda line: None) -> Path:
    """LiveKit's browser client: from this user's cache, or fetched into it with npm. Blocks. Raises :exc:`ClientMissing`."""
    path = client_path()
    if path.is_file():
        return path
    npm = shutil.which("npm")
    if npm is None:
        raise ClientMissing("LiveKit's browser client needs npm (Node.js), which is not here: only rooms in the page are without it")
    folder = cache_folder() / "web"
    tell(f"fetching {CLIENT} with npm into {folder}: a few seconds, once")
    folder.mkdir(parents=True, exist_ok=True)
    command = [npm, "install", "--prefix", str(folder), "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error", CLIENT]
    try:
        made = subprocess.run(command, capture_output=True, text=True, timeout=INSTALLING, check=False)
    except subprocess.TimeoutExpired:
        raise ClientMissing(f"npm took more than {INSTALLING / 60:.0f} minutes to fetch {CLIENT}") from None
    if made.returncode or not path.is_file():
        lines = [line.removeprefix("npm error ") for line in made.stderr.splitlines() if "complete log" not in line]
        raise ClientMissing(f"npm could not fetch {CLIENT}: {'; '.join(lines) or 'no reason given'}")
    return path


def _read(path: Path) -> File:
    content = path.read_bytes()
    return File(content, KINDS[path.suffix], f'"{hashlib.sha256(content).hexdigest()[:16]}"')


def _policy(livekit: str) -> str:
    """What the page may reach: this node, and the LiveKit server that it is told of."""
    place = urlsplit(livekit).netloc
    secure = livekit.startswith(("wss", "https"))
    rooms = f" {'wss' if secure else 'ws'}://{place} {'https' if secure else 'http'}://{place}" if place else ""
    return f"default-src 'self'; connect-src 'self'{rooms}; media-src 'self' blob:; frame-ancestors 'none'; base-uri 'none'"


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def main() -> int:
    """``python -m agent.gateway.page``: has LiveKit's browser client at hand, and says where."""
    try:
        _say(f"LiveKit's browser client: {find_client(_say)}")
    except ClientMissing as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
