from __future__ import annotations

import pytest

from bench import cli, results
from bench.results import Figure, Result

MISSED = Result("engine", 1, "", (Figure("a figure", 2.0, "s", most=1.0),))


def test_help_names_every_measurement(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["--help"]) == 0
    shown = capsys.readouterr().out
    names = ("latency", "rooms", "engine", "chain", "kokoro", "quality", "all", "report", "demo")
    assert all(name in shown for name in names)


def test_an_unknown_measurement_is_refused() -> None:
    assert cli.main(["taste"]) == 2


@pytest.mark.parametrize(("arguments", "status"), [(["engine", "--no-keep"], 0), (["engine", "--no-keep", "--check"], 1)])
def test_a_missed_figure_ends_with_a_status_of_its_own_when_asked(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], arguments: list[str], status: int
) -> None:
    monkeypatch.setattr(cli, "_engine", lambda *given: MISSED)
    assert cli.main(arguments) == status
    assert "missed: a figure: 2.0 s, at most 1 s" in capsys.readouterr().err


def test_nothing_is_kept_unless_it_should_be(monkeypatch: pytest.MonkeyPatch) -> None:
    kept: list[Result] = []
    monkeypatch.setattr(cli, "_engine", lambda *given: MISSED)
    monkeypatch.setattr(results, "save", kept.append)
    cli.main(["engine", "--no-keep"])
    assert kept == []
    cli.main(["engine"])
    assert kept == [MISSED]
