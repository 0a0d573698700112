"""What becomes of an error in a task that nobody waits for."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

log = logging.getLogger(__name__)


def tell_failure(task: asyncio.Task[Any]) -> None:
    """For ``add_done_callback``: an error that nobody expected goes to the log, when it happens."""
    if not task.cancelled() and (error := task.exception()) is not None:
        log.error("task %s failed", task.get_name(), exc_info=error)
