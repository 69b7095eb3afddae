"""How far two empirical distribution functions lie apart by chance: null distributions of their gaps.

With n and m rows drawn from one distribution, the gap between the two empirical distribution functions F and G is,
given the pooled values, hypergeometric at every point, and its covariance between two points s ≤ t is
H(s)(1 − H(t)) · N² / (nm(N − 1)) for the pooled function H and N = n + m. Distances are sums of |F − G| or (F − G)²
with weights, so their null mean is exact and their variance follows; ties need no care.

The distribution of a sum of absolute values is fitted to that mean and variance: for cells as Nakagami's (1960; the
root of a gamma variable), which is exact for a single gap; for the area between distribution functions, whose gaps hang
together and make it skewed, as lognormal, which is near the truth down to about .001 and cautious far below. That of a
sum of squares is given by the saddlepoint approximation (Kuonen, "Saddlepoint approximations for distributions of
quadratic forms in normal variables", Biometrika 1999), which keeps its relative accuracy far out in the tail.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

# The covariance is taken on at most this many cells of about equal pooled share.
CELLS = 64


@dataclass(frozen=True, slots=True)
class Gaps:
    """Both distribution functions at the pooled distinct `values`; `before` and `after` are shares at or below them."""

    values: Floats
    before: Floats
    after: Floats
    n: int
    m: int

    @property
    def pooled(self) -> Floats:
        """The distribution function of both samples together."""
        return np.asarray((self.before * self.n + self.after * self.m) / (self.n + self.m))

    @property
    def gap(self) -> Floats:
        """Reference less current; 0 at the last value but for rounding."""
        gap: Floats = self.before - self.after
        gap[-1] = 0.0
        return gap

    @property
    def widths(self) -> Floats:
        """The distance from each value to the next one; 0 for the last."""
        return np.append(np.diff(self.values), 0.0)

    @property
    def masses(self) -> Floats:
        """The pooled share of each value."""
        return np.diff(self.pooled, prepend=0.0)


def gaps(reference: Floats, current: Floats) -> Gaps:
    """The distribution functions of two samples of numbers without NaN."""
    before, after = np.sort(reference), np.sort(current)
    values = np.unique(np.concatenate((before, after)))
    return Gaps(
        values,
        before.searchsorted(values, side="right") / len(before),
        after.searchsorted(values, side="right") / len(after),
        len(before),
        len(after),
    )


def null_variance(pooled: Floats, n: int, m: int) -> Floats:
    """The exact variance of the gap at each point, given the pooled values."""
    total = n + m
    return pooled * (1 - pooled) * (total / (n * m)) * (total / max(1, total - 1))


def null_mean_gap(pooled: Floats, n: int, m: int) -> Floats:
    """The mean of |F − G| at each point given the pooled values: exact where counts are small, else normal."""
    from scipy.special import gammaln

    total = n + m
    variance = null_variance(pooled, n, m)
    mean = np.sqrt(2 / np.pi * variance)
    # In rows of the reference; beyond 50 of them squared the normal value is right to one in a thousand.
    few = np.flatnonzero(variance * (n * m / total) ** 2 < 50)
    if len(few):
        below = np.rint(pooled[few] * total)
        first = np.floor(n * below / total) + 1
        rest = total - below - n + first
        possible = (first <= np.minimum(n, below)) & (rest >= 0)
        first, rest = np.where(possible, first, 0), np.where(possible, rest, total - below - n)
        rest = np.maximum(rest, 0)

        def chosen(items: Any, taken: Any) -> Any:
            return gammaln(items + 1) - gammaln(taken + 1) - gammaln(np.maximum(items - taken, 0) + 1)

        log_p = chosen(below, first) + chosen(total - below, n - first) - chosen(total, n)
        with np.errstate(over="ignore"):
            rows = np.where(possible, 2 * first * rest / total * np.exp(log_p), 0.0)
        mean[few] = rows * (total / (n * m))
    return mean


def cells(weights: Floats, *heights: Floats, by: Floats) -> list[Floats]:
    """Weights added up, and heights averaged by them, over at most `CELLS` cells of about equal share in `by`."""
    if len(weights) <= CELLS:
        return [weights, *heights]
    place = np.minimum((by * CELLS).astype(np.intp), CELLS - 1)
    summed = np.bincount(place, weights=weights, minlength=CELLS)
    used = summed > 0
    means = [np.bincount(place, weights=weights * one, minlength=CELLS)[used] / summed[used] for one in heights]
    return [np.asarray(summed[used], dtype=np.float64), *means]


def bridge(heights: Floats) -> Floats:
    """The covariance of a Brownian bridge at these heights."""
    return np.asarray(np.minimum.outer(heights, heights) * (1 - np.maximum.outer(heights, heights)))


def absolute_moments(weights: Floats, covariance: Floats) -> tuple[float, float]:
    """Mean and variance of Σ w |X| for a normal X of mean 0."""
    scale = np.sqrt(np.maximum(np.diag(covariance), 0.0))
    both = np.outer(scale, scale)
    rho = np.clip(np.divide(covariance, both, out=np.zeros_like(both), where=both > 0), -1, 1)
    crossed = 2 / np.pi * both * (np.sqrt(1 - rho * rho) + rho * np.arcsin(rho) - 1)
    mean = math.sqrt(2 / math.pi) * float(weights @ scale)
    return mean, max(0.0, float(weights @ crossed @ weights))


def absolute_tail(value: float, mean: float, variance: float) -> float:
    """P(S ≥ value) for a Nakagami variable of this mean and variance; a point mass where there is no variance."""
    from scipy.special import gammaincc

    shape = _nakagami_shape(mean, variance)
    if not shape:
        return 1.0 if value <= mean * (1 + 1e-9) else 0.0
    return float(gammaincc(shape, shape * max(0.0, value) ** 2 / (mean * mean + variance)))


def absolute_quantile(level: float, mean: float, variance: float) -> float:
    """What such a variable passes with probability `level`."""
    from scipy.special import gammainccinv

    shape = _nakagami_shape(mean, variance)
    if not shape:
        return mean
    return math.sqrt(float(gammainccinv(shape, level)) * (mean * mean + variance) / shape)


def area_tail(value: float, mean: float, variance: float) -> float:
    """P(S ≥ value) for a lognormal variable of this mean and variance; a point mass where there is no variance."""
    from scipy.special import ndtr

    if value <= 0:
        return 1.0
    if mean <= 0 or variance <= 1e-12 * mean * mean:
        return 1.0 if value <= mean * (1 + 1e-9) else 0.0
    squared = math.log1p(variance / mean**2)
    return float(ndtr(-(math.log(value / mean) + squared / 2) / math.sqrt(squared)))


def area_quantile(level: float, mean: float, variance: float) -> float:
    """What such a variable passes with probability `level`."""
    from scipy.special import ndtri

    if mean <= 0 or variance <= 1e-12 * mean * mean:
        return mean
    squared = math.log1p(variance / mean**2)
    return mean * math.exp(-math.sqrt(squared) * float(ndtri(level)) - squared / 2)


def _nakagami_shape(mean: float, variance: float) -> float:
    """The shape at which the mean is so much of the root mean square; 0 where there is no spread to speak of."""
    from scipy.optimize import brentq

    if mean <= 0 or variance <= 1e-12 * mean * mean:
        return 0.0
    wanted = math.log(mean) - 0.5 * math.log(mean * mean + variance)

    def beyond(log_shape: float) -> float:
        shape = math.exp(log_shape)
        return math.lgamma(shape + 0.5) - math.lgamma(shape) - 0.5 * log_shape - wanted

    low, high = math.log(1e-4), math.log(1e7)
    if beyond(high) <= 0:
        return math.exp(high)
    root: float = brentq(beyond, low, high) if beyond(low) < 0 else low
    return math.exp(root)


def squared_weights(weights: Floats, covariance: Floats) -> Floats:
    """The eigenvalues λ for which Σ w X² is distributed as Σ λ χ²₁; those below a millionth of the largest are 0."""
    root = np.sqrt(weights)
    found = np.linalg.eigvalsh(root[:, None] * covariance * root)
    return np.asarray(found[found > 1e-6 * max(found.max(initial=0.0), 1e-300)][::-1])


def squared_tail(value: float, weights: Floats) -> float:
    """P(Σ λ χ²₁ ≥ value) by the saddlepoint approximation; exact for a single weight."""
    from scipy.optimize import brentq
    from scipy.special import chdtrc

    if value <= 0:
        return 1.0
    if not len(weights):
        return 0.0
    # The scale is taken out so that the equation below is well conditioned.
    top = float(weights.max())
    lam, q = weights / top, value / top
    if len(lam) == 1:
        return float(chdtrc(1, q))
    low, high = -len(lam) / (2 * q) - 1.0, _END
    if _slope(high, lam) <= q:
        return 0.0
    t = float(brentq(lambda one: _slope(one, lam) - q, low, high, xtol=1e-15, maxiter=200))
    return _tail_at(t, lam)


def squared_quantile(level: float, weights: Floats) -> float:
    """What Σ λ χ²₁ passes with probability `level`, by the same approximation."""
    from scipy.optimize import brentq
    from scipy.special import chdtri

    if not len(weights):
        return 0.0
    top = float(weights.max())
    lam = weights / top
    if len(lam) == 1:
        return float(chdtri(1, level)) * top
    low = -1.0
    while _tail_at(low, lam) < level and low > -1e9:
        low *= 10
    t = float(brentq(lambda one: _tail_at(one, lam) - level, low, _END, xtol=1e-12))
    return _slope(t, lam) * top


# The saddlepoint lies below ½ where the largest weight is 1.
_END = 0.5 * (1 - 1e-12)


def _slope(t: float, lam: Floats) -> float:
    """The derivative of the cumulant function at `t`: the value whose saddlepoint `t` is."""
    found: float = (lam / (1 - 2 * lam * t)).sum()
    return found


def _tail_at(t: float, lam: Floats) -> float:
    """The chance of more than the value whose saddlepoint is `t`; weights are 1 at most."""
    from scipy.special import log_ndtr, ndtr

    rest = 1 - 2 * lam * t
    w = math.copysign(math.sqrt(max(0.0, 2 * (t * _slope(t, lam) + 0.5 * float(np.log(rest).sum())))), t)
    if abs(w) < 1e-3:
        # Both terms below are huge here and cancel; this is what is left at the mean.
        skew = 8 * float((lam**3).sum()) / math.pow(2 * float((lam**2).sum()), 1.5)
        return 0.5 - skew / (6 * math.sqrt(2 * math.pi)) - w / math.sqrt(2 * math.pi)
    v = t * math.sqrt(2 * float(((lam / rest) ** 2).sum()))
    shift = w + math.log(v / w) / w
    return math.exp(float(log_ndtr(-shift))) if shift > 0 else float(1 - ndtr(shift))
