from pipeline.report import KEPT, Report, Series, quantile


def test_quantiles_are_values_that_were_seen():
    assert quantile([], 0.5) is None
    assert quantile([3.0], 0.95) == 3.0
    assert quantile(map(float, range(100)), 0.95) == 95.0
    assert quantile([5.0, 1.0, 3.0], 0.5) == 3.0


def test_a_series_keeps_the_last_figures():
    series = Series()
    for value in range(KEPT + 10):
        series.add(value)
    assert series.summary().count == KEPT
    assert series.summary().p50 == 10 + KEPT // 2


def test_a_report_counts_by_engine():
    report = Report()
    report.on_started("piper", ttft=0.1, lag=0.2)
    report.on_started("tone", ttft=0.01, lag=0.02)
    report.on_count("underruns", 2)
    snapshot = report.snapshot()
    assert snapshot["counts"] == {"sentences": 2, "underruns": 2}
    assert snapshot["ttft"]["piper"].p95 == 0.1
    assert snapshot["lag"]["tone"].p50 == 0.02
