"""How often a single comparison calls a table drifted where nothing changed, by rows and features."""

from __future__ import annotations

import numpy as np
from benchmarks.statistics.section import Section, Table

from homeostat.analysis.compare import compare

ROWS = (50, 200, 1_000, 10_000)
FEATURES = (5, 30, 200)
REFERENCE = 2_000
CATEGORIES = np.array([f"c{i}" for i in range(200)], dtype=object)
WEIGHTS = 1 / np.arange(1, 201)
KINDS = ("normal", "heavy-tailed", "skewed", "discrete", "tied", "200 categories", "60 % missing")


def column(kind: str, rng: np.random.Generator, rows: int) -> np.ndarray:
    """Rows of one kind of feature."""
    if kind == "normal":
        return rng.normal(size=rows)
    if kind == "heavy-tailed":
        return rng.standard_t(2, rows)
    if kind == "skewed":
        return rng.lognormal(size=rows)
    if kind == "discrete":
        return rng.poisson(2, rows).astype(float)
    if kind == "tied":
        return rng.normal(size=rows).round()
    if kind == "200 categories":
        return rng.choice(CATEGORIES, rows, p=WEIGHTS / WEIGHTS.sum())
    values = rng.normal(size=rows)
    values[rng.random(rows) < 0.6] = np.nan
    return values


def table(rng: np.random.Generator, rows: int, features: int) -> dict[str, np.ndarray]:
    """A table in which the kinds take turns."""
    return {f"f{i}": column(KINDS[i % len(KINDS)], rng, rows) for i in range(features)}


def flagged(rows: int, features: int, *, runs: int, rng: np.random.Generator, reference: int = REFERENCE) -> int:
    """How many of `runs` pairs of tables without drift are called drifted."""
    return sum(compare(table(rng, reference, features), table(rng, rows, features)).drifted for _ in range(runs))


def flagged_by_kind(kind: str, rows: int, *, runs: int, rng: np.random.Generator) -> int:
    """The same for tables of ten features of one kind."""
    return sum(
        compare(
            {f"f{i}": column(kind, rng, REFERENCE) for i in range(10)},
            {f"f{i}": column(kind, rng, rows) for i in range(10)},
        ).drifted
        for _ in range(runs)
    )


def run(*, quick: bool) -> Section:
    rng = np.random.default_rng(4)
    cells = []
    for rows in ROWS:
        row: list[object] = [f"{rows:,}"]
        for features in FEATURES:
            runs = 5 if quick else max(40, min(400, int(2_000_000 / (features * (rows + REFERENCE)))))
            found = flagged(rows, features, runs=runs, rng=rng)
            row.append(f"{found / runs:.1%} of {runs}")
        cells.append(row)
    small = 20 if quick else 300
    found = flagged(50, 30, runs=small, rng=rng, reference=50)
    cells.append(["50, reference of 50", "", f"{found / small:.1%} of {small}", ""])
    if not quick:
        found = flagged(1_000_000, 30, runs=2, rng=rng, reference=1_000_000)
        cells.append(["1,000,000, reference of 1,000,000", "", f"{found} of 2", ""])
    kinds = []
    for kind in KINDS:
        runs = 10 if quick else 200
        kinds.append([kind, *(f"{flagged_by_kind(kind, rows, runs=runs, rng=rng) / runs:.1%}" for rows in (50, 1_000))])
    return Section(
        "False alarms of a single comparison",
        "Share of comparisons called drifted (preset `calibrated`) where both tables come from one distribution. The "
        f"reference has {REFERENCE:,} rows unless it says otherwise and is drawn anew each time. Features are in turn "
        f"{', '.join(KINDS)}. At most 1 % is meant, since the adjusted p-values are held against .01.",
        [
            Table(["rows", *(f"{features} features" for features in FEATURES)], cells),
            Table(["ten features, all", "50 rows", "1,000 rows"], kinds, "By kind of feature:"),
        ],
    )
