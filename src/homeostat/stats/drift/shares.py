"""Drift of a share: values that go missing, and categories that were never seen before.

Both are kinds of drift of their own. A test of the values alone calls a column healthy whose values are nearly all
gone, for those that are left look as before.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]


def share_p(reference: Any, n: Any, current: Any, m: Any) -> Floats:
    """Two-sided p-values that `reference` of `n` rows and `current` of `m` rows have one share; arrays or numbers.

    Given the sum of both counts, the current one is hypergeometric (Fisher 1935). Its tail is taken from the binomial
    distribution, which spreads wider (Hoeffding 1963), so this is usable where counts are 0 or tiny, and conservative.

    >>> bool(share_p(0, 2000, 3, 200) > (200 / 2200) ** 3), float(share_p(0, 100, 0, 100))
    (True, 1.0)
    """
    from scipy.special import bdtr, bdtrc

    before, after = np.asarray(reference, dtype=np.int64), np.asarray(current, dtype=np.int64)
    rows_before, rows_after = np.asarray(n, dtype=np.int64), np.asarray(m, dtype=np.int64)
    # The rarer of "in the share" and "not in it" is the better approximated one.
    flip = before + after > (rows_before + rows_after) / 2
    before, after = np.where(flip, rows_before - before, before), np.where(flip, rows_after - after, after)
    total = before + after
    part = rows_after / np.maximum(rows_before + rows_after, 1)
    above = np.where(after > 0, bdtrc(np.maximum(after - 1, 0), total, part), 1.0)
    below = bdtr(after, total, part)
    return np.asarray(np.where(total > 0, np.minimum(1.0, 2 * np.minimum(above, below)), 1.0))


def unseen_allowance(counts: npt.NDArray[Any], unseen: int) -> float:
    """The share of new categories that is no surprise after a reference with these counts.

    Good and Turing (1953): the chance that the next row is of a new category is about the share of rows whose category
    occurred once; two standard errors are added, and one row.

    >>> unseen_allowance(np.array([500, 500]), 0)
    0.001
    """
    rows = int(counts.sum()) + unseen
    once = int(np.count_nonzero(counts == 1)) + unseen
    return min(1.0, (once + 2 * once**0.5 + 1) / rows) if rows else 1.0


def unseen_p(unseen: int, rows: int, allowance: float) -> float:
    """The chance of at least `unseen` rows of new categories among `rows`, where `allowance` of them are usual."""
    from scipy.special import bdtrc

    return float(bdtrc(unseen - 1, rows, allowance)) if unseen > 0 else 1.0
