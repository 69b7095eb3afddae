"""Two versions on the same rows: evidence from the rows on which exactly one of them was right."""

from __future__ import annotations

import math
from typing import Any, overload

import numpy as np
import numpy.typing as npt

from homeostat.errors import InvalidInput

Floats = npt.NDArray[np.float64]


@overload
def paired_log_evidence(wins: int, losses: int) -> float: ...
@overload
def paired_log_evidence(wins: npt.NDArray[Any], losses: npt.NDArray[Any]) -> Floats: ...
def paired_log_evidence(wins: int | npt.NDArray[Any], losses: int | npt.NDArray[Any]) -> float | Floats:
    """Log evidence that wins are likelier than losses, from two versions that scored the same rows.

    Only rows on which exactly one of the two was right count: with `s` wins among `n` such rows, under the null
    hypothesis that a win has probability at most ½, E = 2ⁿ · 2 ∫_{½}^{1} θˢ(1−θ)ⁿ⁻ˢ dθ is an e-process: a uniform
    mixture over θ > ½ of likelihood ratios against θ = ½. Swap the arguments for the evidence that wins are rarer.

    Args:
        wins: how often the version of interest alone was right so far; an integer or an array.
        losses: how often the other alone was right; of the same shape.

    Returns:
        log E, one for each pair of counts; act at `log E >= log(1/α)`.

    Raises:
        InvalidInput: counts that are negative or missing.

    >>> round(math.exp(paired_log_evidence(10, 0)), 2)
    186.09
    >>> paired_log_evidence(0, 0)
    0.0
    """
    from scipy.special import betainc, betaln

    s = np.asarray(wins, dtype=np.float64)
    f = np.asarray(losses, dtype=np.float64)
    if not (np.all(s >= 0) and np.all(f >= 0)):
        raise InvalidInput("Wins and losses are counts and can't be negative or missing.")
    s, f = np.broadcast_arrays(s, f)
    tail = np.asarray(betainc(f + 1, s + 1, 0.5))
    ordinary = tail > 1e-280
    with np.errstate(divide="ignore"):
        result = (s + f + 1) * math.log(2) + betaln(s + 1, f + 1) + np.log(tail)
    if not ordinary.all():
        result = np.array(result)
        result[~ordinary] = _far_tail(s[~ordinary], f[~ordinary])
    # At (0, 0) rounding leaves 1e-16; the evidence of nothing is exactly none.
    result = np.where(s + f == 0, 0.0, result)
    return float(result) if np.ndim(wins) == 0 and np.ndim(losses) == 0 else result


def _far_tail(s: Floats, f: Floats) -> Floats:
    """Log E where losses outweigh wins so far that the incomplete beta function is below the smallest float.

    E = F / (2(f + 1)), where F is the continued fraction of the incomplete beta function at ½ (DLMF 8.17.22), computed
    by Lentz's method; so far out in the tail it settles within a few dozen steps.
    """
    a, b = f + 1, s + 1
    tiny = 1e-300
    c = np.ones_like(a)
    d = 1.0 / (1.0 - (a + b) / (a + 1) / 2)
    fraction = d.copy()
    for m in range(1, 10_000):
        even = m * (b - m) / ((a + 2 * m - 1) * (a + 2 * m)) / 2
        d = 1.0 / np.where(np.abs(step := 1 + even * d) < tiny, tiny, step)
        c = np.where(np.abs(step := 1 + even / c) < tiny, tiny, step)
        fraction = fraction * (c * d)
        odd = -(a + m) * (a + b + m) / ((a + 2 * m) * (a + 2 * m + 1)) / 2
        d = 1.0 / np.where(np.abs(step := 1 + odd * d) < tiny, tiny, step)
        c = np.where(np.abs(step := 1 + odd / c) < tiny, tiny, step)
        change = c * d
        fraction = fraction * change
        if np.all(np.abs(change - 1) < 1e-13):
            break
    return np.asarray(np.log(fraction) - np.log(2 * a))
