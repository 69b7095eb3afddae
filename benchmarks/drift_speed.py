"""How long `homeostat.compare` takes beside sorting the same columns with numpy: `make bench-drift`.

Prints medians of several runs on the same pandas frames, warm. `--rows` and `--features` choose other sizes.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

import numpy as np
import pandas as pd
from scipy.stats import ks_2samp

from homeostat.analysis.compare import compare
from homeostat.stats.profile import Profile


def milliseconds(do: Callable[[], object], runs: int) -> float:
    """The median time of several runs, after one to warm up."""
    do()
    taken = []
    for _ in range(runs):
        started = time.perf_counter()
        do()
        taken.append(time.perf_counter() - started)
    return statistics.median(taken) * 1000


def scipy_loop(reference: pd.DataFrame, current: pd.DataFrame) -> None:
    """What a loop of scipy's test costs, for scale."""
    for name in reference:
        ks_2samp(reference[name].to_numpy(), current[name].to_numpy(), method="asymp")


def frame(rng: np.random.Generator, rows: int, features: int) -> pd.DataFrame:
    return pd.DataFrame(rng.normal(size=(rows, features)), columns=[f"f{i}" for i in range(features)])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, nargs="+", default=[10_000, 1_000_000])
    parser.add_argument("--features", type=int, default=30)
    options = parser.parse_args()
    rng = np.random.default_rng(0)
    for rows in options.rows:
        runs = 15 if rows <= 100_000 else 3
        before, after = frame(rng, rows, options.features), frame(rng, rows, options.features)
        sort = milliseconds(lambda: [np.sort(after[name].to_numpy()) for name in after], runs)  # noqa: B023
        ours = milliseconds(lambda: compare(before, after), runs)  # noqa: B023
        loop = milliseconds(lambda: scipy_loop(before, after), min(runs, 3))  # noqa: B023
        old = Profile.of(before)
        new = Profile.of(after, like=old)
        profiles = milliseconds(lambda: compare(old, new), 50)  # noqa: B023
        print(f"{rows:,} rows × {options.features} features")
        print(f"  numpy sort of the current columns   {sort:9.1f} ms")
        print(f"  homeostat.compare of two frames     {ours:9.1f} ms   {ours / sort:.2f} times the sort")
        print(f"  homeostat.compare of two profiles   {profiles:9.2f} ms")
        print(f"  scipy's ks_2samp in a loop          {loop:9.1f} ms   {loop / sort:.2f} times the sort")


if __name__ == "__main__":
    main()
