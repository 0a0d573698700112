"""How the node writes its log: text for people, one JSON object a line for machines."""

from __future__ import annotations

import json
import logging
import sys
from contextvars import ContextVar
from datetime import UTC, datetime

from agent.config import LogSettings

TALKATIVE = {
    "livekit": logging.CRITICAL,
    "livekit.agents": logging.WARNING,
    "asyncio": logging.WARNING,
    "opentelemetry": logging.CRITICAL,
    "uvicorn": logging.WARNING,
}
"""Loggers of libraries, and the least that is wanted of them: what matters of a connection our own rooms tell,
of a collector our own exporter."""
OWN = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}
"""What every record has; the rest came as ``extra``."""
REQUEST: ContextVar[str] = ContextVar("request", default="")
"""The name of the request, or session, on whose behalf something is done; empty for the node's own."""


class JsonFormatter(logging.Formatter):
    """``{"time", "level", "logger", "message"}``, the fields given as ``extra``, ``request_id``, and ``error`` for a traceback."""

    def format(self, record: logging.LogRecord) -> str:
        line = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
        }
        if name := REQUEST.get():
            line["request_id"] = name
        line |= {name: value for name, value in vars(record).items() if name not in OWN}
        if record.exc_info:
            line["error"] = self.formatException(record.exc_info)
        return json.dumps(line, ensure_ascii=False, default=str)


def configure(settings: LogSettings) -> None:
    """Sets up the root logger; whatever handlers it had are gone. Raises :exc:`OSError` when the file cannot be written."""
    handler: logging.Handler
    if settings.file:
        settings.file.parent.mkdir(parents=True, exist_ok=True)
        handler = logging.FileHandler(settings.file, encoding="utf-8")
    else:
        handler = logging.StreamHandler(sys.stderr)
    for_people = settings.format == "text" or (settings.format == "auto" and not settings.file and sys.stderr.isatty())
    handler.setFormatter(
        logging.Formatter("%(asctime)s %(levelname)-7s %(name)s  %(message)s", "%H:%M:%S") if for_people else JsonFormatter()
    )
    logging.basicConfig(level=settings.level, handlers=[handler], force=True)
    for name, least in TALKATIVE.items():
        logging.getLogger(name).setLevel(logging.NOTSET if settings.level == "DEBUG" else least)
