from __future__ import annotations

import dataclasses

import pytest

from bench import cli, results
from bench.results import Figure, Result

BENCHES = tuple("engine latency pauses rooms chain crowd kokoro doors sockets browser quality".split())
MISSED = Result("engine", 1, "", (Figure("a figure", 2.0, "s", most=1.0),))


def test_help_names_every_measurement(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["--help"]) == 0
    shown = capsys.readouterr().out
    assert all(name in shown for name in (*BENCHES, "all", "report", "demo"))


@pytest.mark.parametrize("command", [[], ["all"], ["latency"], ["rooms"], ["kokoro"], ["demo"]])
def test_whatever_needs_a_server_can_be_told_of_one_that_runs(capsys: pytest.CaptureFixture[str], command: list[str]) -> None:
    assert cli.main([*command, "--help"]) == 0
    assert "--url" in capsys.readouterr().out


def test_an_unknown_measurement_is_refused() -> None:
    assert cli.main(["taste"]) == 2


@pytest.mark.parametrize(("arguments", "status"), [(["engine", "--no-keep"], 0), (["engine", "--no-keep", "--check"], 1)])
def test_a_missed_figure_ends_with_a_status_of_its_own_when_asked(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], arguments: list[str], status: int
) -> None:
    monkeypatch.setattr(cli, "_engine", lambda *given: MISSED)
    assert cli.main(arguments) == status
    assert "missed: a figure: 2.0 s, at most 1 s" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "kept"), [([], True), (["--no-keep"], False), (["--quick"], False), (["--quick", "--keep"], True), (["--check"], True)]
)
def test_a_first_look_takes_no_results_place_unless_it_should(monkeypatch: pytest.MonkeyPatch, options: list[str], kept: bool) -> None:
    saved: list[Result] = []
    monkeypatch.setattr(cli, "_engine", lambda *given: MISSED)
    monkeypatch.setattr(results, "save", saved.append)
    cli.main(["engine", *options])
    assert saved == [MISSED] * kept


def test_the_readme_names_what_is_not_measured_anew_with_everything() -> None:
    """Of the results that are kept."""
    apart = {path.stem for path in results.FOLDER.glob("*.json")} - set(cli._whole(False, 1, ""))
    readme = " ".join(results.README.read_text(encoding="utf-8").split())
    assert apart <= {"voices"}
    assert "measures them anew, but for `voices`, which is `voicebooth bench quality --voices all`" in readme


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What happened, in order, when the benches do nothing and each misses a figure."""
    happened: list[str] = []
    monkeypatch.setattr(cli.asyncio, "run", lambda bench: pytest.fail("a bench would have run"))
    for name in BENCHES:

        def bench(*given: object, name: str = name) -> Result:
            happened.append(name)
            return dataclasses.replace(MISSED, bench=name)

        monkeypatch.setattr(cli, f"_{name}", bench)
    monkeypatch.setattr(results, "save", lambda result: happened.append(f"{result.bench} kept"))
    monkeypatch.setattr(cli, "_publish", lambda: happened.append("published"))
    return happened


EVERYTHING = [*(step for name in BENCHES for step in (name, f"{name} kept")), "published"]


@pytest.mark.parametrize(("arguments", "status"), [([], 0), (["--all"], 0), (["all"], 0), (["all", "--check"], 1)])
def test_each_result_is_kept_when_it_is_there_and_published_whatever_was_missed(
    told: list[str], capsys: pytest.CaptureFixture[str], arguments: list[str], status: int
) -> None:
    assert cli.main(arguments) == status
    assert told == EVERYTHING
    assert capsys.readouterr().err.count("missed:") == len(BENCHES)


def test_a_bench_that_fails_leaves_what_was_found_before_it(told: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*given: object) -> Result:
        raise TimeoutError

    monkeypatch.setattr(cli, "_rooms", fails)
    with pytest.raises(TimeoutError):
        cli.main([])
    assert told == EVERYTHING[:6]


def test_a_first_look_at_everything_publishes_nothing(told: list[str]) -> None:
    assert cli.main(["all", "--quick"]) == 0
    assert told == list(BENCHES)
