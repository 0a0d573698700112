"""What a long measurement has found so far, kept line by line: one that was ended goes on where it was."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import Any


class Journal:
    """A file of JSON lines, a finding each, under the conditions that it was begun with.

    1. What :meth:`keep` has returned for is there after the process was killed.
    2. Findings of other conditions (another plan, another build) are never taken for these: each has a file of its own.
    """

    def __init__(self, folder: Path, name: str, conditions: Any) -> None:
        key = json.dumps(conditions, sort_keys=True, ensure_ascii=False)
        self._path = folder / f"{name}-{hashlib.sha256(key.encode()).hexdigest()[:12]}.part"
        self.found: dict[str, Any] = dict(_lines(self._path))
        """By name; in the order in which they were found."""

    def keep(self, name: str, value: Any) -> None:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        whole = not self._path.exists() or self._path.read_bytes()[-1:] in (b"", b"\n")
        with self._path.open("a", encoding="utf-8") as file:
            file.write(("" if whole else "\n") + json.dumps([name, value], ensure_ascii=False) + "\n")
            file.flush()
            os.fsync(file.fileno())
        self.found[name] = value

    def close(self) -> None:
        """It is told elsewhere now; the file goes."""
        self._path.unlink(missing_ok=True)


def _lines(path: Path) -> list[tuple[str, Any]]:
    """The last line may be half written, and is left out then."""
    found = []
    for line in path.read_text(encoding="utf-8").splitlines() if path.exists() else ():
        try:
            name, value = json.loads(line)
        except ValueError:
            continue
        found.append((str(name), value))
    return found
