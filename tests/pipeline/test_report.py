from pipeline.report import KEPT, Report, Series, Watcher, quantile


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
    report.on_started("piper", ttft=0.1, lag=0.2, budget=0.25)
    report.on_started("tone", ttft=0.01, lag=0.02, budget=0.25)
    report.on_count("underruns", 2)
    snapshot = report.snapshot()
    assert snapshot["counts"] == {"sentences": 2, "underruns": 2}
    assert snapshot["ttft"]["piper"].p95 == 0.1
    assert snapshot["lag"]["tone"].p50 == 0.02


class Diary(Watcher):
    def __init__(self):
        self.told = []

    def on_started(self, engine, *, ttft, lag, budget):
        self.told.append(("started", engine, ttft > budget))

    def on_made(self, engine, language, *, work, seconds):
        self.told.append(("made", engine, language, work / seconds))

    def on_switched(self, old, new, why):
        self.told.append(("switched", old, new, why))

    def on_failed(self, kind):
        self.told.append(("failed", kind))


def test_whoever_watches_is_told_every_figure():
    report, diary = Report(), Diary()
    report.watch(diary)
    report.on_started("piper", ttft=0.3, lag=0.3, budget=0.25)
    report.on_made("piper", "en", work=0.2, seconds=2.0)
    report.on_switched("piper", "tone", "piper rests")
    report.on_failed("SynthesisFailed")
    report.on_count("underruns")
    assert diary.told == [
        ("started", "piper", True),
        ("made", "piper", "en", 0.1),
        ("switched", "piper", "tone", "piper rests"),
        ("failed", "SynthesisFailed"),
    ]
    assert report.counts == {"sentences": 1, "switched": 1, "underruns": 1}
    assert report.snapshot()["rtf"]["piper"].p50 == 0.1


def test_a_sentence_without_sound_has_no_cost():
    report = Report()
    report.on_made("piper", "en", work=0.1, seconds=0.0)
    assert report.snapshot()["rtf"] == {}
