"""Folders of parts that were cut from a model: each gets its name when it is whole, and keeps it while it is."""

from __future__ import annotations

import contextlib
import json
import logging
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

from engines.download import locked, size_of

log = logging.getLogger(__name__)

SIZES = "sizes.json"  # beside the parts: how large each of them is

Stamp = tuple[int, int]


def find_whole(folder: Path, last: str, cut: Callable[[Path], None], broken: Stamp | None = None) -> Path:
    """The folder with whole parts in it, cut now if need be. Raises what ``cut`` raises, :exc:`OSError`, and where another process keeps
    at it, :exc:`engines.download.Busy`.

    Two processes may do this at once: each cuts in a folder of its own, and the first to finish gives it its name. Whole parts that have
    the name are left alone, as somebody may be opening them. ``last``: the part that is written last. ``broken``: the :func:`stamp` of
    parts that are not to be had, though each is as large as it was: they could not be opened.
    """
    if _is_good(folder, last, broken):
        return folder
    if (folder / last).is_file():
        log.warning("the parts in %s are damaged: they are made again", folder)
    folder.parent.mkdir(parents=True, exist_ok=True)
    made = Path(tempfile.mkdtemp(prefix="cutting-", dir=folder.parent))
    try:
        cut(made)
        sizes = {path.name: size_of(path) for path in made.iterdir()}
        (made / SIZES).write_text(json.dumps(sizes), encoding="utf-8")
        with locked(folder.parent, folder.name):
            if not _is_good(folder, last, broken):  # else somebody was first, and may be opening it
                _replace(folder, made)
    finally:
        shutil.rmtree(made, ignore_errors=True)
    return folder


def stamp(path: Path) -> Stamp | None:
    """What tells this folder or file from another one that gets its name later; None when there is none."""
    try:
        found = path.stat()
    except FileNotFoundError:
        return None
    return found.st_ino, found.st_mtime_ns


def _is_whole(folder: Path) -> bool:
    """Whether every part is as large as it was when it was made; where that is not known, whether there is anything in it."""
    try:
        if not (folder / SIZES).is_file():
            return all(map(size_of, folder.iterdir()))
        sizes = json.loads((folder / SIZES).read_text(encoding="utf-8"))
        return all(size_of(folder / name) == size for name, size in sizes.items())
    except (OSError, ValueError, AttributeError):
        return False


def _is_good(folder: Path, last: str, broken: Stamp | None) -> bool:
    return (folder / last).is_file() and _is_whole(folder) and (broken is None or stamp(folder) != broken)


def _replace(folder: Path, made: Path) -> None:
    """What was made gets the name, in one step; what had it before is damaged. Raises :exc:`OSError`."""
    old = made.with_name(f"{made.name}-old")
    try:
        with contextlib.suppress(FileNotFoundError):
            folder.rename(old)
        made.rename(folder)
    finally:
        shutil.rmtree(old, ignore_errors=True)
