"""Results of the bench: kept as JSON, told as tables, held against what they must reach."""

from __future__ import annotations

import json
import os
import platform
import re
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
import psutil

FOLDER = Path(__file__).parent / "results"
README = Path(__file__).parent.parent / "README.md"
BEGIN, END = "<!-- bench: written by `python -m bench report` -->", "<!-- end of bench -->"
PACKAGES = ("voicebooth", "livekit", "livekit-agents", "piper-tts", "kokoro-onnx", "onnxruntime", "openvino", "numpy")
TITLE = "# What was measured\n\nWritten by `python -m bench report`. [How it is measured](../README.md), and what the words mean."
BFLOAT16 = "with bfloat16"
GIT_WAIT = 10.0  # seconds for git to look at the tree
ORDER = tuple("latency pauses engine rooms chain crowd kokoro quality doors sockets browser".split())
"""Of the results in a report; others follow by name."""


@dataclass(frozen=True, slots=True)
class Figure:
    """One measured number, and the most it may be."""

    name: str
    value: float | None
    """None when it could not be measured: then it is not met either."""
    unit: str
    most: float | None = None
    """None: for information."""
    least: float | None = None

    @property
    def is_met(self) -> bool:
        if self.most is None and self.least is None:
            return True
        if self.value is None:
            return False
        return (self.most is None or self.value <= self.most) and (self.least is None or self.value >= self.least)

    @property
    def target(self) -> str:
        if self.most is None and self.least is None:
            return ""
        if self.most == self.least:
            return f"{_number(self.most)} {self.unit}".strip()
        return " and ".join(
            f"{word} {_number(bound)} {self.unit}".strip()
            for word, bound in (("at least", self.least), ("at most", self.most))
            if bound is not None
        )


@dataclass(frozen=True, slots=True)
class Table:
    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str | float | None, ...], ...]


@dataclass(frozen=True, slots=True)
class Piece:
    """Speech that one engine was heard with, without a change."""

    start: float
    """Seconds from the beginning of what is shown."""
    end: float
    engine: str
    why: str = ""
    """What brought it to this engine from another one; empty when nothing did."""


@dataclass(frozen=True, slots=True)
class Said:
    """One text of many."""

    start: float
    """Seconds from the beginning of the run to its first sound."""
    end: float
    """To its last one; the same as ``start`` when it was not told to have ended."""
    ttft: float
    """Seconds to the first sound of its first sentence, as the node told it."""


@dataclass(frozen=True, slots=True)
class Result:
    """What one command of the bench found, and under what conditions."""

    bench: str
    seed: int
    load: str
    """What was asked of the systems, in words."""
    figures: tuple[Figure, ...]
    tables: tuple[Table, ...] = ()
    machine: dict[str, Any] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=dict)
    when: str = ""
    """UTC, ISO 8601."""
    busy: float = 0.0
    """Load average of the minute before it began: work that was not ours."""
    trace: tuple[Piece, ...] = ()
    """Which engine was heard when; for the picture."""
    said: tuple[Said, ...] = ()
    """What was said when, by all rooms together; for the picture."""
    order: tuple[str, ...] = ()
    """The engines of the trace, as the chain asks them."""
    budget: float = 0.0
    """Milliseconds to the first sound that the chain had in the trace."""

    @property
    def missed(self) -> tuple[Figure, ...]:
        return tuple(figure for figure in self.figures if not figure.is_met)


def quantile(values: Iterable[float], q: float) -> float | None:
    """By linear interpolation; None of nothing."""
    known = list(values)
    return float(np.quantile(known, q)) if known else None


def ratio(value: float | None, base: float | None) -> float | None:
    return value / base if value is not None and base else None


def machine() -> dict[str, Any]:
    """What it ran on, without names of hosts or users."""
    return {
        "processor": _processor(),
        "cores": os.cpu_count(),
        "memory_gb": round(psutil.virtual_memory().total / 1e9, 1),
        "system": f"{platform.system()} {'.'.join(platform.release().split('.')[:2])}",
        "python": platform.python_version(),
        "commit": commit(),
    }


def commit(folder: Path = README.parent) -> str:
    """What was measured: the tree's commit, with ``+`` when it holds anything else (but for results); nothing where git does not know."""
    ask = ["git", "-C", str(folder)]
    changes = ["status", "--porcelain", "--", ".", ":!bench/results", ":!README.md"]
    try:
        head, changed = (
            subprocess.run([*ask, *words], capture_output=True, text=True, check=True, timeout=GIT_WAIT).stdout.strip()
            for words in (["rev-parse", "--short", "HEAD"], changes)
        )
    except (OSError, subprocess.SubprocessError):
        return ""
    return f"{head}+" if changed else head


def versions() -> dict[str, str]:
    found = {}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "absent"
    return found


def moment() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def save(result: Result, folder: Path = FOLDER) -> Path:
    """Replaces the last result of the same bench, at once."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{result.bench}.json"
    draft = path.with_suffix(".tmp")
    draft.write_text(json.dumps(asdict(result), indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    draft.replace(path)
    return path


def load(path: Path) -> Result:
    found = json.loads(path.read_text(encoding="utf-8"))
    return Result(
        **{
            **found,
            "figures": tuple(Figure(**figure) for figure in found["figures"]),
            "tables": tuple(Table(t["title"], tuple(t["columns"]), tuple(map(tuple, t["rows"]))) for t in found["tables"]),
            "trace": tuple(Piece(**piece) for piece in found.get("trace", ())),
            "said": tuple(Said(**said) for said in found.get("said", ())),
            "order": tuple(found.get("order", ())),
        }
    )


def saved(folder: Path = FOLDER) -> list[Result]:
    found = {path.stem: load(path) for path in sorted(folder.glob("*.json"))}
    first = [found.pop(name) for name in ORDER if name in found]
    return first + list(found.values())


def told(result: Result) -> str:
    """One result in Markdown."""
    conditions = (
        f"{result.load}. {result.machine.get('processor')}, {result.machine.get('cores')} cores, {result.machine.get('memory_gb')} GB, "
        f"Python {result.machine.get('python')}; load average before {result.busy:.1f}; seed {result.seed}; {result.when}."
    )
    packages = ", ".join(f"{name} {number}" for name, number in result.versions.items())
    blocks = [f"### {result.bench}", conditions, packages + "."] + [_markdown(table) for table in (_judged(result.figures), *result.tables)]
    return "\n\n".join(blocks)


def report(results: Sequence[Result], pictures: Mapping[str, str]) -> str:
    """All results in Markdown; ``pictures`` names the file of those that are drawn, as seen from where the text will stand."""
    return _joined(told(result) + _picture(result, pictures) for result in results)


def summary(results: Sequence[Result], pictures: Mapping[str, str]) -> str:
    """The same, but only what has something to reach."""
    aims = ((result, _judged([figure for figure in result.figures if figure.target])) for result in results)
    return _joined(f"### {result.bench}\n\n{_markdown(table)}{_picture(result, pictures)}" for result, table in aims)


def _joined(blocks: Iterable[str]) -> str:
    return "\n\n".join(blocks) or "Nothing has been measured yet: `make bench`."


def _picture(result: Result, pictures: Mapping[str, str]) -> str:
    return f"\n\n![{result.bench}]({pictures[result.bench]})" if result.bench in pictures else ""


def _judged(figures: Iterable[Figure]) -> Table:
    rows = ((f.name, _with_unit(f), f.target, "" if not f.target else "yes" if f.is_met else "**no**") for f in figures)
    return Table("", ("figure", "measured", "must", "met"), tuple(rows))


def rewrite(text: str, block: str) -> str:
    """``text`` with ``block`` between the two markers. Raises ``ValueError`` when it has none."""
    if BEGIN not in text or END not in text:
        raise ValueError(f"no place for the results: it is marked by\n{BEGIN}\n{END}")
    head, rest = text.split(BEGIN, 1)
    return f"{head}{BEGIN}\n{block}\n{END}{rest.split(END, 1)[1]}"


def main(folder: Path = FOLDER, readme: Path = README) -> None:
    """Prints the tables, and writes them into a page beside the results, and what they must reach into the README where it has a place
    for that; with the pictures that are in ``folder``."""
    found, drawn = saved(folder), sorted(folder.glob("*.svg"))
    print(report(found, {path.stem: str(path) for path in drawn}))
    page = report(found, {path.stem: path.name for path in drawn})
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "README.md").write_text(f"{TITLE}\n\n{page}\n", encoding="utf-8")
    if readme.exists() and BEGIN in (text := readme.read_text(encoding="utf-8")):
        pictures = {path.stem: Path(os.path.relpath(path, readme.parent)).as_posix() for path in drawn}
        readme.write_text(rewrite(text, summary(found, pictures)), encoding="utf-8")


def _markdown(table: Table) -> str:
    lines = [f"**{table.title}**", ""] if table.title else []
    lines.append("| " + " | ".join(table.columns) + " |")
    lines.append("|" + "---|" * len(table.columns))
    lines += ["| " + " | ".join(_cell(cell) for cell in row) + " |" for row in table.rows]
    return "\n".join(lines)


def _cell(value: str | float | None) -> str:
    return "" if value is None else value if isinstance(value, str) else _number(value)


def _number(value: float | None) -> str:
    if value is None:
        return "not measured"
    if value == round(value) and abs(value) < 1e6:
        return str(round(value))
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:.3g}"


def _with_unit(figure: Figure) -> str:
    return f"{_number(figure.value)} {figure.unit}".strip() if figure.value is not None else "not measured"


def _processor() -> str:
    """Its name, and whether it multiplies bfloat16, which halves the work of some engines: names of virtual processors hide it."""
    info = Path("/proc/cpuinfo")
    told = info.read_text() if info.exists() else ""
    named = re.search(r"model name\s*:\s*(.+)", told)
    name = named.group(1).strip() if named else platform.processor() or platform.machine()
    return f"{name} {BFLOAT16}" if re.search(r"\b(avx512|amx)_bf16\b", told) else name


if __name__ == "__main__":
    main()
