"""The kept results as one picture."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bench.results import Result, Table

NAME = "latency.svg"
COLOURS = ("#0b6e4f", "#b8b8b8", "#7d8597")  # the node, and its peers in the order of the table
WIDTH = 0.26  # of the distance between two lengths


def draw(results: Sequence[Result], folder: Path) -> Path | None:
    """Bars for p50 at the listener, whiskers up to p95; None when there is no result of ``latency``."""
    table = next((t for result in results if result.bench == "latency" for t in result.tables if "characters" in t.columns), None)
    if table is None:
        return None
    import matplotlib

    matplotlib.use("Agg")
    matplotlib.rcParams["svg.hashsalt"] = "voicebooth"  # the same results give the same file
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(8, 4.2), layout="constrained")
    lengths = list(dict.fromkeys(str(row[0]) for row in table.rows))
    systems = list(dict.fromkeys(str(row[1]) for row in table.rows))
    for number, (system, colour) in enumerate(zip(systems, COLOURS, strict=False)):
        _bars(axes, table, lengths, system, colour, (number - (len(systems) - 1) / 2) * WIDTH)
    axes.set_xticks(range(len(lengths)), [f"{length} characters" for length in lengths])
    axes.set_ylabel("milliseconds")
    axes.set_title("From text to the first audible sound at a listener (bars: p50, whiskers: p95)", fontsize=11, loc="left")
    axes.legend(frameon=False)
    axes.grid(axis="y", color="#e5e5e5")
    axes.set_axisbelow(True)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    path = folder / NAME
    figure.savefig(path, facecolor="white", metadata={"Date": None})
    pyplot.close(figure)
    return path


def _bars(axes: Any, table: Table, lengths: Sequence[str], system: str, colour: str, shift: float) -> None:
    found = {str(row[0]): row for row in table.rows if row[1] == system}
    p50, p95 = (
        [_value(found[length][table.columns.index(name)]) for length in lengths if length in found]
        for name in ("listener p50", "listener p95")
    )
    places = [number + shift for number, length in enumerate(lengths) if length in found]
    above = [max(high - middle, 0.0) for high, middle in zip(p95, p50, strict=True)]
    axes.bar(places, p50, WIDTH * 0.92, label=system, color=colour, yerr=[[0.0] * len(above), above], ecolor="#444444", capsize=3)
    for place, value in zip(places, p50, strict=True):
        axes.text(place, value, f"{value:.0f}", ha="center", va="bottom", fontsize=8)


def _value(cell: str | float | None) -> float:
    return cell if isinstance(cell, float | int) else 0.0
