"""Evidence and intervals from sums alone: exact for bounded values, asymptotic for all others.

Let unit i of two arms have value xᵢ, let wᵢ be the chance with which it was given the second arm, known before it came,
and let mᵢ be any guess of its value made before it came. Its score

    yᵢ = (xᵢ − mᵢ)(1{second arm} − wᵢ)

then has the mean hᵢ δᵢ given all that came before, with hᵢ = wᵢ(1 − wᵢ) and δᵢ the effect on that unit, whatever the
population does over time and however the weights were chosen from the past. With S, V and H the sums of y, y² and h,
and Δ = Σ hᵢδᵢ / H the effect so far, averaged with the weights h that are precise where the split was (overlap weights:
Li, Morgan and Zaslavsky 2018),

    exp(λ(S − ΔH) − ψ(λb)/b² · V),   ψ(u) = −log(1 − u) − u,   |y| ≤ b,   0 < λ < 1/b

is a supermartingale that starts at 1 (Fan, Grama and Liu 2015; Howard, Ramdas, McAuliffe and Sekhon 2021, appendix
A.8). A mixture of it over several λ is evidence at any stopping time; inverting it in Δ gives a confidence sequence.
Both depend on the data by sums only, so that units of any number are judged at the same cost.

Without bounds S − ΔH is compared with the normal mixture in the time 2H (the size of an arm of an even split), scaled
by the estimated variance: an asymptotic confidence sequence (Waudby-Smith et al. 2024).
"""

from __future__ import annotations

import math

import numpy as np

from homeostat.stats.sequential.normal_mixture import mixture_log_evidence, normal_mixture_rho
from homeostat.stats.sequential.result import Floats

# Stakes that are mixed: the best one is about effect ÷ variance. Halves of each other cost less than finer steps.
STAKES = 0.95 / 2.0 ** np.arange(10)
_LOG_PRIOR = -math.log(len(STAKES))


def penalties(bounds: Floats) -> Floats:
    """ψ(λb)/b² for each stake (rows) and each bound of the scores (columns)."""
    reach = STAKES[:, None] * np.atleast_1d(bounds)[None, :]
    return np.asarray((-np.log1p(-reach) - reach) / np.atleast_1d(bounds)[None, :] ** 2)


def exact_log_evidence(excess: Floats | float, penalty: Floats) -> Floats:
    """The log evidence that scores exceed what the null hypothesis allows.

    Args:
        excess: S − ΔH at the null hypothesis's largest Δ; any shape.
        penalty: Σ ψ(λb)/b² · V for each stake, stakes along the last axis.

    >>> float(exact_log_evidence(0.0, np.zeros(len(STAKES))).round(6)) + 0.0
    0.0
    """
    exponents = STAKES * np.asarray(excess)[..., None] - penalty
    top = exponents.max(axis=-1)
    return np.asarray(top + np.log(np.exp(exponents - top[..., None]).sum(axis=-1)) + _LOG_PRIOR)


def exact_reach(penalty: Floats, alpha: float) -> float:
    """The excess that scores ever reach by chance with probability at most `alpha`: where the evidence is 1/α."""
    target = -math.log(alpha)
    # Where one stake alone suffices the evidence is above; from there Newton's steps fall to the root of a convex rise.
    x = float(((target - _LOG_PRIOR + penalty) / STAKES).min())
    for _ in range(50):
        exponents = STAKES * x - penalty + _LOG_PRIOR
        top = float(exponents.max())
        shares = np.exp(exponents - top)
        total = float(shares.sum())
        step = (top + math.log(total) - target) / (float(shares @ STAKES) / total)
        x -= step
        if step < 1e-12 * max(1.0, abs(x)):
            break
    return x


def asymptotic_log_evidence(
    excess: float, variance: float, information: float, *, alpha: float, tight_at: int
) -> float:
    """The log evidence of a sum of scores with estimated variance, in the time 2H; 0 before there is any."""
    time = 2 * information
    rho = normal_mixture_rho(tight_at, alpha, one_sided=True)
    scaled = np.array(excess / math.sqrt(variance / time))
    return float(mixture_log_evidence(scaled, np.array(time), rho, one_sided=True))


def asymptotic_reach(variance: float, information: float, alpha: float, *, tight_at: int) -> float:
    """The excess at which `asymptotic_log_evidence` is 1/α."""
    time = 2 * information
    rho = normal_mixture_rho(tight_at, alpha, one_sided=True)
    # In z = s/√(v + ρ) the evidence is convex and rises, and the two-sided boundary lies above: Newton's steps fall.
    fixed = 0.5 * math.log(rho / (time + rho)) + math.log(2) + math.log(alpha)
    z = math.sqrt(math.log1p(time / rho) - 2 * math.log(alpha))
    for _ in range(30):
        below = 0.5 * math.erfc(-z / math.sqrt(2))
        density = math.exp(-z * z / 2) / math.sqrt(2 * math.pi)
        step = (fixed + z * z / 2 + math.log(below)) / (z + density / below)
        z -= step
        if abs(step) < 1e-13 * max(1.0, z):
            break
    return z * math.sqrt((time + rho) * variance / time)
