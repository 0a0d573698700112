"""The kept results as pictures."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate, pairwise
from pathlib import Path
from typing import Any

from bench.results import Piece, Result, Said, Table, quantile

NAME, CHAIN, ROOMS = "latency.svg", "chain.svg", "rooms.svg"
SHOWN = 45.0  # seconds of a trace: as many sentences as can be told apart
COLOURS = ("#0b6e4f", "#b8b8b8", "#7d8597")  # the node, and its peers in the order of the table
WORDS = {"late": "is late", "hang": "hangs", "die": "dies", "slow": "is slow", "silent": "goes silent"}
ENGINES = ("#0b6e4f", "#e09f3e", "#7d8597")  # in their order
NARROW = 2.5  # seconds between two reasons at the least, to stand side by side
FAULT = "#9b2226"
CROWD = "#e5e5e5"
BAR = 0.5  # of the distance between two rows
WIDTH = 0.26  # of the distance between two lengths


def draw(results: Sequence[Result], folder: Path) -> list[Path]:
    """What can be drawn of these results."""
    drawn = (one(results, folder) for one in (_draw_latency, _draw_chain, _draw_rooms))
    return [path for path in drawn if path is not None]


def _draw_latency(results: Sequence[Result], folder: Path) -> Path | None:
    """Bars for p50 at the listener, whiskers up to p95; None when there is no result of ``latency``."""
    table = next((t for result in results if result.bench == "latency" for t in result.tables if "characters" in t.columns), None)
    if table is None:
        return None
    pyplot = _pyplot()
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
    return _saved(pyplot, figure, folder / NAME)


def _draw_chain(results: Sequence[Result], folder: Path) -> Path | None:
    """Which engine was heard when, and what went wrong with the first one; None when there is no trace."""
    result = next((result for result in results if result.trace), None)
    if result is None:
        return None
    pieces = _telling(result.trace)
    pyplot = _pyplot()
    engines = sorted({piece.engine for piece in pieces}, key=(*result.order, *(piece.engine for piece in pieces)).index)
    figure, axes = pyplot.subplots(figsize=(10, 2.8), layout="constrained")
    began, before, told, step = pieces[0].start, None, -NARROW, 0
    for piece in pieces:
        row, start = -engines.index(piece.engine), piece.start - began
        axes.broken_barh([(start, piece.end - piece.start)], (row - BAR / 2, BAR), color=ENGINES[-row % len(ENGINES)])
        if before is not None and (word := _reason(before, piece, engines)):
            step = (step + 1) % 2 if start - told < NARROW else 0  # two that are near stand one above the other
            axes.plot([start, start], [BAR / 2, BAR / 2 + 0.08 + 0.16 * step], color=FAULT, linewidth=0.8)
            axes.text(start, BAR / 2 + 0.1 + 0.16 * step, word, ha="center", va="bottom", fontsize=8, color=FAULT)
            told = start
        if before is not None and before.engine != piece.engine:
            ends = sorted((row, -engines.index(before.engine)))
            axes.plot([start, start], [ends[0] + BAR / 2, ends[1] - BAR / 2], color="#444444", linewidth=0.8)
        before = piece
    axes.set_yticks([-row for row in range(len(engines))], engines)
    axes.set_ylim(-len(engines) + 0.6, 0.7)
    axes.set_xlim(-0.3, pieces[-1].end - began + 0.3)
    axes.set_xlabel("seconds of what the listener heard")
    axes.set_title(_told(result), fontsize=11, loc="left")
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
    axes.tick_params(axis="y", length=0)
    return _saved(pyplot, figure, folder / CHAIN)


def _draw_rooms(results: Sequence[Result], folder: Path) -> Path | None:
    """A dot for each text, over the rooms that speak at that moment; None when no result says what was said when."""
    said = next((result.said for result in results if result.said), ())
    if not said:
        return None
    pyplot = _pyplot()
    figure, axes = pyplot.subplots(figsize=(10, 3.6), layout="constrained")
    behind, (moments, rooms) = axes.twinx(), _speaking(said)
    behind.fill_between(moments, rooms, step="post", color=CROWD, linewidth=0)
    behind.set_ylim(0, 2 * max(rooms))  # the lower half: the dots stand above it
    behind.set_ylabel("rooms that speak at once (grey)", loc="bottom")
    behind.yaxis.get_major_locator().set_params(integer=True)
    axes.set_zorder(behind.get_zorder() + 1)
    axes.patch.set_visible(False)
    axes.scatter([one.start for one in said], [one.ttft * 1000 for one in said], s=14, color=COLOURS[0], linewidth=0)
    p95 = (quantile([one.ttft for one in said], 0.95) or 0.0) * 1000
    axes.axhline(p95, color=FAULT, linewidth=0.8)
    axes.text(1.0, p95, f"p95: {p95:.0f} ms", ha="right", va="bottom", fontsize=8, color=FAULT, transform=axes.get_yaxis_transform())
    axes.set_ylim(bottom=0)
    axes.set_xlim(0, moments[-1])
    axes.set_xlabel("seconds of the run")
    axes.set_ylabel("milliseconds")
    axes.set_title("Time to first audio at the node, a dot for each text, while other rooms speak", fontsize=11, loc="left")
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
        behind.spines[side].set_visible(False)
    return _saved(pyplot, figure, folder / ROOMS)


def _speaking(said: Sequence[Said]) -> tuple[list[float], list[int]]:
    """How many speak at once from which moment on."""
    steps = sorted([(one.start, 1) for one in said] + [(one.end, -1) for one in said])
    return [0.0, *(at for at, _ in steps)], list(accumulate((step for _, step in steps), initial=0))


def _telling(trace: Sequence[Piece]) -> list[Piece]:
    """The stretch of it in which most happens."""
    stretches = [[piece for piece in trace[first:] if piece.end <= trace[first].start + SHOWN] for first in range(len(trace))]
    return max(stretches, key=lambda pieces: sum(one.engine != other.engine for one, other in pairwise(pieces)))


def _reason(before: Piece, piece: Piece, engines: Sequence[str]) -> str:
    """Why the first engine does not say it; empty where it does, or where another one had spoken already and nothing new went wrong."""
    if piece.engine == engines[0]:
        return ""
    return WORDS.get(piece.why) or (piece.why if before.engine == engines[0] else "")


def _told(result: Result) -> str:
    title = "A passage while the first engine goes wrong: who says which sentence, and why it changes"
    order = f"\nOrder: {', then '.join(result.order)}; budget {result.budget:.0f} ms"
    return title + order * bool(result.order)


def _pyplot() -> Any:
    import matplotlib

    matplotlib.use("Agg")
    matplotlib.rcParams["svg.hashsalt"] = "voicebooth"  # the same results give the same file
    from matplotlib import pyplot

    return pyplot


def _saved(pyplot: Any, figure: Any, path: Path) -> Path:
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
