"""Garbage collection that keeps nobody waiting."""

from __future__ import annotations

import gc


def settle() -> None:
    """For a process that has loaded what it keeps. Later collections leave that out.

    Otherwise each full one would look through all of it, with every thread at a stand for a tenth of a second: tracks would run dry.
    """
    gc.collect()
    gc.freeze()
