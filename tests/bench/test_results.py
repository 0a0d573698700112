from __future__ import annotations

import dataclasses
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.results import (
    BEGIN,
    END,
    FOLDER,
    README,
    Figure,
    Piece,
    Result,
    Said,
    Table,
    commit,
    load,
    machine,
    main,
    quantile,
    report,
    rewrite,
    save,
    told,
    versions,
)
from tests.examples import examples


def result(*figures: Figure, bench: str = "latency") -> Result:
    table = Table("By length", ("system", "13", "158"), (("node", 0.0421, None), ("whole", 140.0, 506.4)))
    trace = (Piece(0.5, 2.0, "kokoro", "back"),)
    return Result(
        bench, 7, "one room", figures, (table,), machine(), versions(), "2030-01-01T00:00:00+00:00", 0.25, trace, order=("kokoro",)
    )


MET = Figure("delay, p95", 12.34, "ms", most=15.0)
MISSED = Figure("delay after 30 s", 71.0, "ms", most=40.0)
ASIDE = Figure("delay, p50", 5.0, "ms")


@pytest.mark.parametrize(
    ("figure", "met", "target"),
    [
        (MET, True, "at most 15 ms"),
        (MISSED, False, "at most 40 ms"),
        (Figure("lost", 0.0, "", most=0.0), True, "at most 0"),
        (Figure("spoken", 20.0, "sentences", most=20.0, least=20.0), True, "20 sentences"),
        (Figure("spoken", 19.0, "sentences", most=20.0, least=20.0), False, "20 sentences"),
        (Figure("likeness", 95.0, "dB", least=90.0), True, "at least 90 dB"),
        (Figure("likeness", None, "dB", least=90.0), False, "at least 90 dB"),
        (Figure("for information", None, ""), True, ""),
    ],
)
def test_a_figure_is_held_against_its_bounds(figure: Figure, met: bool, target: str) -> None:
    assert (figure.is_met, figure.target) == (met, target)


def test_a_result_knows_what_it_missed_and_comes_back_from_its_file(tmp_path: Path) -> None:
    kept = result(MET, MISSED)
    assert kept.missed == (MISSED,)
    assert load(save(kept, tmp_path)) == kept


def test_what_pictures_are_drawn_of_is_kept_with_its_result(tmp_path: Path) -> None:
    kept = dataclasses.replace(result(MET), trace=(Piece(0.5, 2.0, "piper", "late"),), said=(Said(1.0, 2.5, 0.12),))
    assert load(save(kept, tmp_path)) == kept


def test_tables_hold_the_figures_their_targets_and_the_conditions() -> None:
    text = told(result(MET, MISSED))
    assert "| delay, p95 | 12.3 ms | at most 15 ms | yes |" in text
    assert "| delay after 30 s | 71 ms | at most 40 ms | **no** |" in text
    assert "| node | 0.0421 |  |" in text
    assert "| whole | 140 | 506 |" in text
    assert "seed 7" in text
    assert "livekit " in text


def test_the_readme_is_rewritten_between_its_markers_only(tmp_path: Path) -> None:
    readme = tmp_path / "README.md"
    readme.write_text(f"# A title\n{BEGIN}\nold\n{END}\nThe rest.\n")
    folder = tmp_path / "results"
    save(result(MET, ASIDE), folder)
    main(folder, readme)
    once = readme.read_text()
    main(folder, readme)
    assert readme.read_text() == once
    assert once.startswith("# A title\n")
    assert once.endswith(f"{END}\nThe rest.\n")
    assert "old" not in once
    assert "| delay, p95 | 12.3 ms | at most 15 ms | yes |" in once
    assert ASIDE.name not in once, "what has nothing to reach stands on the page beside the results"
    assert report([result(MET, ASIDE)], {}) in (folder / "README.md").read_text()


@pytest.mark.parametrize("page", ["README.md", "bench/results/README.md"])
def test_the_pages_hold_what_was_measured_and_nobody_s_own_numbers(page: str, tmp_path: Path) -> None:
    """Otherwise: `voicebooth bench report`."""
    shutil.copytree(FOLDER, tmp_path / "bench" / "results")
    shutil.copy(README, tmp_path / "README.md")
    main(tmp_path / "bench" / "results", tmp_path / "README.md")
    assert (tmp_path / page).read_text(encoding="utf-8") == (README.parent / page).read_text(encoding="utf-8")


def test_a_text_without_markers_is_refused() -> None:
    with pytest.raises(ValueError, match="marked by"):
        rewrite("# A title", "block")


def test_a_readme_without_markers_is_left_alone(tmp_path: Path) -> None:
    readme = tmp_path / "README.md"
    readme.write_text("# A title\n")
    main(tmp_path / "none", readme)
    assert readme.read_text() == "# A title\n"


def test_a_picture_beside_the_results_is_shown_in_the_readme_with_its_own_result(tmp_path: Path) -> None:
    folder, readme = tmp_path / "bench" / "results", tmp_path / "README.md"
    for bench in ("latency", "rooms"):
        save(result(MET, bench=bench), folder)
    (folder / "latency.svg").write_text("<svg/>")
    (folder / "old.svg").write_text("<svg/>")
    readme.write_text(f"{BEGIN}\n{END}\n")
    main(folder, readme)
    text = readme.read_text()
    assert text.count("![") == 1
    assert text.index("### latency") < text.index("![latency](bench/results/latency.svg)") < text.index("### rooms")


@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=30), st.floats(0, 1))
@examples(50)
def test_a_quantile_lies_among_its_values(values: list[float], q: float) -> None:
    found = quantile(values, q)
    assert found is not None
    assert min(values) - 1e-6 <= found <= max(values) + 1e-6
    assert quantile([], q) is None


def test_the_tree_that_was_measured_is_named(tmp_path: Path) -> None:
    def git(*words: str) -> None:
        subprocess.run(["git", "-C", str(tmp_path), "-c", "user.name=n", "-c", "user.email=e@x", *words], check=True, capture_output=True)

    assert commit(tmp_path / "none") == ""
    git("init")
    (tmp_path / "code.py").write_text("1")
    git("add", ".")
    git("commit", "-m", "One")
    clean = commit(tmp_path)
    assert re.fullmatch("[0-9a-f]{4,}", clean)
    (tmp_path / "bench" / "results").mkdir(parents=True)
    (tmp_path / "bench" / "results" / "latency.json").write_text("{}")
    assert commit(tmp_path) == clean
    (tmp_path / "code.py").write_text("2")
    assert commit(tmp_path) == clean + "+"
