"""What becomes of errors that nobody waits for, and of more of them than anybody reads."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from typing import Any

TOLD, CHARACTERS = 3, 200  # problems that a line names, and how much of each

log = logging.getLogger(__name__)


def tell_failure(task: asyncio.Task[Any]) -> None:
    """For ``add_done_callback``: an error that nobody expected goes to the log, when it happens."""
    if not task.cancelled() and (error := task.exception()) is not None:
        log.error("task %s failed", task.get_name(), exc_info=error)


def one_line(problems: Sequence[str]) -> str:
    """The first of them, each shortened, and how many there are more."""
    lines = [" ".join(problem.split()) for problem in problems[:TOLD]]
    told = [line if len(line) <= CHARACTERS else line[: CHARACTERS - 3] + "..." for line in lines]
    return "; ".join([*told, f"and {len(problems) - TOLD} more"] if len(problems) > TOLD else told)
