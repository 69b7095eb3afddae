"""The phishing year from end to end: the figures lie in their bands, the story is told, and nothing is written down."""

from __future__ import annotations

from datetime import date
from typing import Any

import numpy as np
import pytest

from homeostat.demo.traffic import EmailTraffic
from homeostat.demo.year import HEALED, Year, measure_year, p_words
from homeostat.frames import Columns

# Bands of the story, with the share's standard error taken twice on either side.
BANDS: dict[int, dict[str, tuple[float, float]]] = {
    0: {"tpr": (0.85, 0.90), "fpr": (0.03, 0.05), "precision": (0.70, 0.80), "roc_auc": (0.90, 0.95)},
    1: {"tpr": (0.70, 0.75), "fpr": (0.06, 0.08), "precision": (0.60, 0.70)},
    2: {"tpr": (0.88, 0.93), "fpr": (0.02, 0.04), "precision": (0.75, 0.85)},
}


def standard_error(name: str, metrics: dict[str, float]) -> float:
    counts = {"tpr": ("tp", "fn"), "fpr": ("fp", "tn"), "precision": ("tp", "fp"), "roc_auc": ("tp", "fn")}[name]
    rows = sum(metrics[part] for part in counts)
    return (metrics[name] * (1 - metrics[name]) / rows) ** 0.5


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_year_goes_as_told(tmp_path: Any) -> None:
    from homeostat.wiring import run_demo

    seen = []
    result = run_demo(seed=0, show=seen.append)
    found = result.findings
    for position, bands in BANDS.items():
        window = found.windows[position]
        assert window.rows >= 15_000
        for name, (low, high) in bands.items():
            slack = 2 * standard_error(name, window.metrics)
            assert low - slack <= window.metrics[name] <= high + slack, (window.name, name, window.metrics[name])
    assert found.drift_p < 0.05
    assert found.mcnemar_p < 0.01
    assert found.false_alerts_down >= 0.40
    marks = [(mark.kind, mark.version) for mark in result.story.marks if mark.kind in ("promotion", "rollback")]
    assert marks == [("promotion", 2), ("promotion", 3), ("rollback", 3)]
    promoted = next(mark.at for mark in result.story.marks if mark.kind == "promotion")
    assert date(2025, 8, 1) < promoted.date() < date(2025, 10, 1)
    assert result.outcome.false_promotions == 1
    assert seen[-1].share == 1.0
    result.save_html(tmp_path / "demo.html")
    assert (tmp_path / "demo.html").stat().st_size < 2_000_000


def small_year(output: np.ndarray[Any, Any]) -> Year:
    traffic = EmailTraffic(0, 20.0)
    from datetime import UTC, datetime

    batch = traffic.batch(datetime(2025, 1, 1, tzinfo=UTC), datetime(2026, 1, 1, tzinfo=UTC))
    return Year(
        columns=Columns(dict(batch.columns)),
        label=batch.label,
        times=batch.times,
        output=output,
        version=np.ones(batch.rows, dtype=np.int64),
        history=batch.take(slice(0, 10)),
        labels_used=0,
    )


def test_windows_are_whole_days_and_figures_follow_from_outputs() -> None:
    year = small_year(np.array([]))
    late = year.window(HEALED)
    assert str(year.times[late][0])[:10] >= "2025-10-01"
    assert str(year.times[late][-1])[:10] <= "2025-11-23"

    def outputs(version: int, rows: slice) -> Any:
        truth = year.label[rows]
        # Version 1 reports everything; no rollout took place, so it is also the one that "healed".
        return np.full(len(truth), "phishing", dtype=object), (truth == "phishing").astype(float)

    found = measure_year(year, outputs, [])
    for window in found.windows:
        assert window.metrics["tpr"] == 1.0
        assert window.metrics["fpr"] == 1.0
        assert window.metrics["roc_auc"] == 1.0
    assert found.mcnemar_p == 1.0
    assert not found.rolled_back
    assert found.drift_ks > 0


def test_small_p_values_are_no_zeros() -> None:
    assert p_words(0.0) == "p < 1e-300"
    assert p_words(0.04) == "p = 0.04"
