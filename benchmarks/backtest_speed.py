"""How long a backtest of 50,000 rows × 30 features takes, and how much memory: `make bench`.

The stream is generated: a linear concept with noise, of which 12 of 30 weights turn around half-way. Other sizes:
`python benchmarks/backtest_speed.py --rows 5000 --features 10`.
"""

from __future__ import annotations

import argparse
import resource

import numpy as np

from homeostat.backtest.replay import Options
from homeostat.connectors.tables import LabelledTable, prepare
from homeostat.settings import load
from homeostat.wiring import run_backtest

TURNED_SHARE = 0.4


def make_stream(rows: int, features: int, seed: int) -> LabelledTable:
    """A labelled stream with one abrupt change of concept at half of its rows."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(rows, features))
    weights = rng.normal(size=features) / 2
    turned = weights * np.where(np.arange(features) < TURNED_SHARE * features, -1, 1)
    score = np.concatenate([x[: rows // 2] @ weights, x[rows // 2 :] @ turned])
    label = score + rng.logistic(size=rows) / 2 > 0
    columns = {f"f{position}": x[:, position] for position in range(features)}
    return prepare({**columns, "label": label}, target="label", name="generated stream")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=50_000)
    parser.add_argument("--features", type=int, default=30)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    table = make_stream(given.rows, given.features, given.seed)
    figures = run_backtest(table, Options(), load(environment={})).to_dict()
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    healed, static = (figures["strategies"][name]["accuracy"] for name in ("healed", "static"))
    print(f"{given.rows:,} rows × {given.features} features: {figures['seconds']:.1f} s, {memory:.0f} MB")
    print(f"{figures['retrainings']} retrainings, {figures['promotions']} promotions")
    print(f"accuracy {healed:.3f} healed, {static:.3f} left alone")


if __name__ == "__main__":
    main()
