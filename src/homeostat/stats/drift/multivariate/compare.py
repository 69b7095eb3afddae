"""The default test of two samples of rows: has anything changed, in any feature, jointly, or in the model's outputs?

Several statistics share one permutation null. Each is a maximum or a sum of squared z-values of columns that are made
from the pooled rows:

- the features one at a time: each value, and the indicators of lying at or below a pooled quantile, as in the tests of
  Kolmogorov and Smirnov (the maximum) and of Anderson and Darling (the sum);
- rows as a whole: the sum of a row's features, its distance from the centre, and what principal components leave of it,
  in which small shifts of many features add up;
- the features jointly: random Fourier features of a Gaussian kernel (Rahimi and Recht 2007), whose sum of squares
  approximates the maximum mean discrepancy of Gretton et al. (2012), and for few features their products, which see a
  change of correlation;
- the model's outputs where given, as in Rabanser, Günnemann and Lipton (2019): their values and quantiles, the hard
  decision, and how sure the model was.

The smallest of their p-values, compared with that of permuted samples, is the test (Westfall and Young 1993). It is
exact for independent rows, for any distribution and any sizes: heavy tails, ties and correlated columns included.
The model must have been trained on rows other than these.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from homeostat.errors import InvalidInput
from homeostat.stats.drift.multivariate.columns import (
    PAIRED_FEATURES,
    Profiled,
    decisions,
    pairs,
    row_summaries,
    sureness,
    waves,
)
from homeostat.stats.drift.multivariate.matrix import checked_pair, sampled, standardised
from homeostat.stats.drift.multivariate.permutation import (
    PERMUTATIONS,
    TIE,
    checked_permutations,
    permuted_sums,
    smallest_p,
    z_scale,
)

Floats = npt.NDArray[np.float64]
Singles = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class FeatureShift:
    """One feature's part: `gap` is the largest gap of the distribution functions, `p` is adjusted for all features."""

    name: str
    gap: float
    z: float
    p: float


@dataclass(frozen=True, slots=True)
class SamplesComparison:
    """Whether two samples of rows differ. `estimate` is the largest gap of distribution functions of any column.

    `interval` covers all columns' gaps at once. `statistic` is the largest |z| of any column, `p` the joint test's and
    `parts` the p-values of its statistics. `features` are in order of their evidence, the strongest first.
    """

    estimate: float
    interval: tuple[float, float]
    statistic: float
    p: float
    n_reference: int
    n_current: int
    sentence: str
    parts: dict[str, float]
    features: tuple[FeatureShift, ...]
    permutations: int
    level: float

    @property
    def drifted(self) -> bool:
        """Whether p is at most the level asked for."""
        return self.p <= self.level


def compare_samples(
    reference: Any,
    current: Any,
    *,
    reference_outputs: Any = None,
    current_outputs: Any = None,
    names: Sequence[str] | None = None,
    level: float = 0.01,
    confidence: float = 0.95,
    permutations: int = PERMUTATIONS,
    most_rows: int = 5_000,
    rng: int | np.random.Generator = 0,
) -> SamplesComparison:
    """Test whether anything changed between two samples of rows, and say which features changed most.

    Args:
        reference: rows by features (`design_matrix` makes them from mixed columns); NaN is a gap.
        current: rows by the same features.
        reference_outputs: the model's outputs on the reference rows, a vector or rows by outputs (probabilities of
            classes, or a predicted value). The model must not have been trained on these rows.
        current_outputs: the same on the current rows.
        names: of the features.
        level: of the decision `drifted`.
        confidence: of the simultaneous interval of the gaps.
        permutations: random choices of the null; the smallest p is 1 / (permutations + 1).
        most_rows: a larger sample is thinned to so many rows, at random.
        rng: seed or generator of the choices and of the random features.

    Raises:
        InvalidInput: a sample is empty, infinite or no matrix, samples don't match, or a setting means nothing.

    >>> generator = np.random.default_rng(1)
    >>> before, after = generator.normal(size=(300, 4)), generator.normal(size=(100, 4))
    >>> after[:, 2] += 1
    >>> result = compare_samples(before, after, names=["a", "b", "c", "d"])
    >>> result.p, result.features[0].name, result.drifted
    (0.001, 'c', True)
    """
    permutations = checked_permutations(permutations)
    if not 0 < level < 1 or not 0 < confidence < 1:
        raise InvalidInput(f"Level and confidence must lie between 0 and 1; got {level} and {confidence}.")
    if most_rows < 2:
        raise InvalidInput(f"At least 2 rows a sample must be kept; got {most_rows}.")
    generator = np.random.default_rng(rng)
    pair = checked_pair(reference, current, names)
    before, after = pair.reference, pair.current
    split = before.shape[1]
    labels = list(pair.names)
    if (reference_outputs is None) != (current_outputs is None):
        raise InvalidInput("The model's outputs are needed for both samples or for none.")
    if reference_outputs is not None:
        outputs = checked_pair(reference_outputs, current_outputs)
        if len(outputs.reference) != len(before) or len(outputs.current) != len(after):
            raise InvalidInput("There must be one row of outputs a row of features.")
        before, after = np.hstack((before, outputs.reference)), np.hstack((after, outputs.current))
        labels += [name.replace("feature", "output", 1) for name in outputs.names]
    before, after = sampled(before, most_rows, generator), sampled(after, most_rows, generator)
    n, m = len(before), len(after)
    pooled = np.concatenate((before, after))
    found = _statistics(pooled[:, :split], pooled[:, split:], m, permutations, generator)
    p, each = smallest_p(found.statistics)
    gap = float(found.gaps.max()) if found.gaps.size else 0.0
    # The gaps of permuted samples around 0 stand for those of the samples around the true gaps.
    reach = float(np.quantile(found.largest_gaps, confidence, method="higher"))
    interval = (max(0.0, gap - reach), min(1.0, gap + reach))
    order = np.lexsort((-found.gaps, -found.z))
    features = tuple(
        FeatureShift(labels[place], float(found.gaps[place]), float(found.z[place]), float(found.p[place]))
        for place in order
    )
    parts = dict(zip(found.names, each.tolist(), strict=True))
    return SamplesComparison(
        gap,
        interval,
        float(found.z.max()) if found.z.size else 0.0,
        p,
        n,
        m,
        _sentence(features, p, n, m, level),
        parts,
        features,
        permutations,
        level,
    )


@dataclass(frozen=True, slots=True)
class _Found:
    """Statistics by choice of rows, the observed choice first; of single columns the observed values."""

    names: list[str]
    statistics: Floats
    gaps: Floats
    z: Floats
    p: Floats
    largest_gaps: Floats


def _statistics(rows: Floats, outputs: Floats, m: int, permutations: int, generator: np.random.Generator) -> _Found:
    profiles, plain = _columns(rows, outputs, min(m, len(rows) - m), generator)
    blocks = dict(plain)
    for name, profile in profiles.items():
        blocks |= {f"{name}, values": profile.values, f"{name}, cuts": profile.cuts}
    statistics: list[Singles] = []
    highest: list[Singles] = []
    gaps: list[Singles] = []
    single: list[tuple[Singles, Singles]] = []
    for sums in permuted_sums(blocks, m, permutations, generator):
        folded = {
            name: profile.folded(sums[f"{name}, values"], sums[f"{name}, cuts"], m)
            for name, profile in profiles.items()
        }
        found = _parts({name: sums[name] * z_scale(len(rows), m) for name in plain}, folded)
        columns = [folded[name] for name in ("features", "outputs") if name in folded]
        maximum, space = np.hstack([one[0] for one in columns]), np.hstack([one[2] for one in columns])
        single.append((maximum[0], space[0]))
        statistics.append(np.stack(list(found.values()), axis=1))
        highest.append(maximum.max(axis=1))
        gaps.append(space.max(axis=1))
    # The first choice of the first block is the observed one.
    z_observed, gaps_observed = (one.astype(np.float64) for one in single[0])
    ordered = np.sort(np.concatenate(highest).astype(np.float64))
    reached = len(ordered) - np.searchsorted(ordered, z_observed * (1 - TIE), side="left")
    return _Found(
        list(found),
        np.concatenate(statistics).astype(np.float64),
        gaps_observed,
        z_observed,
        reached / len(ordered),
        np.concatenate(gaps).astype(np.float64),
    )


def _columns(
    rows: Floats, outputs: Floats, smaller: int, generator: np.random.Generator
) -> tuple[dict[str, Profiled], dict[str, Singles]]:
    scaled = standardised(rows)
    profiles = {"features": Profiled.of(rows, smaller), "rows": Profiled.of(row_summaries(scaled), smaller)}
    plain = {"joint": waves(scaled, generator)}
    if 2 <= rows.shape[1] <= PAIRED_FEATURES:
        plain["pairs"] = pairs(scaled)
    if outputs.shape[1]:
        profiles |= {"outputs": Profiled.of(outputs, smaller), "sure": Profiled.of(sureness(outputs), smaller)}
        plain["decisions"] = decisions(outputs)
    return profiles, plain


def _parts(z: dict[str, Singles], folded: dict[str, tuple[Singles, Singles, Singles]]) -> dict[str, Singles]:
    """The statistics whose smallest p decides, by what they look at."""
    highest, together, _ = folded["features"]
    found = {
        "a feature": highest.max(axis=1),
        "features together": together,
        "features jointly": _squares(z["joint"]),
        "rows as a whole": folded["rows"][0].max(axis=1),
    }
    if "pairs" in z:
        found["correlations"] = _squares(z["pairs"])
    if "outputs" in folded:
        highest, together, _ = folded["outputs"]
        found["an output"] = np.maximum(highest.max(axis=1), np.abs(z["decisions"]).max(axis=1))
        found["outputs together"] = together + _squares(z["decisions"])
        found["how sure the model is"] = folded["sure"][1]
    return found


def _squares(z: Singles) -> Singles:
    return np.asarray(np.einsum("bj,bj->b", z, z))


def _sentence(features: tuple[FeatureShift, ...], p: float, n: int, m: int, level: float) -> str:
    sizes = f"{m:,} current against {n:,} reference rows"
    if not features or features[0].z == 0:
        return f"Nothing varies in {sizes}, so nothing can have changed."
    worst = features[0]
    most = f"most in '{worst.name}', where the distributions lie up to {100 * worst.gap:.0f} percentage points apart"
    if p > level:
        return f"No change beyond chance in {sizes} (p = {p:.3g}); the samples differ {most}."
    return f"The rows changed: {sizes} differ {most} (p = {p:.3g} for all features at once)."
