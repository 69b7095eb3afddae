"""Label shift: the classes' shares changed, while each class looks as it did.

`black_box_shift` estimates the window's class shares from a model's predictions alone (BBSE: Lipton, Wang and Smola,
"Detecting and correcting for label shift with black box predictors", 2018). Where p(x | y) did not change, the shares
of predicted classes q̂ and the confusion rates C[i, j] = P(predicted i, true j) of the reference tell the weights
w[j] = P(window has j) / P(reference has j) by C w = q̂. Where p(x | y) did change, the estimate means nothing, and no
unlabelled data can tell which of the two it was; `residual_p` is the only hint.

`black_box_detector` tests whether the model's outputs have another distribution (BBSD: Rabanser, Günnemann and Lipton,
"Failing loudly", 2019), whatever the kind of shift.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from homeostat.errors import InvalidInput
from homeostat.stats.drift.ks import ks

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.intp]

# Beyond this condition number an estimate moves by more than its own size with the noise of a usual window.
LARGEST_CONDITION = 30.0


@dataclass(frozen=True, slots=True)
class ClassShare:
    """A class's share in the reference and in the window, with the window's interval, and the ratio of the two."""

    name: str
    reference: float
    share: float
    interval: tuple[float, float]
    weight: float
    weight_interval: tuple[float, float]


@dataclass(frozen=True, slots=True)
class LabelShiftResult:
    """Whether the classes' shares changed. `estimate` is the total variation distance of the shares, with its interval.

    `statistic` (chi-square, `degrees` of freedom) and `p` test that the shares of predicted classes are those of the
    reference. `condition` is the condition number of P(predicted | true); above the limit `identified` is false, and
    estimates are NaN while the test stands. `clipped` tells that negative weights were set to 0.
    """

    estimate: float
    interval: tuple[float, float]
    statistic: float
    degrees: int
    p: float
    n_reference: int
    n_current: int
    sentence: str
    classes: tuple[ClassShare, ...]
    condition: float
    identified: bool
    clipped: bool


@dataclass(frozen=True, slots=True)
class OutputShiftResult:
    """Whether a model's outputs changed. `estimate` is the largest KS distance of any output, `interval` its own.

    `p` is the smaller of the two Bonferroni-corrected tests, doubled: `ks_p` of all outputs and `decisions_p` of the
    hard predictions (chi-square). `by_output` are the uncorrected p-values of each output.
    """

    estimate: float
    interval: tuple[float, float]
    statistic: float
    p: float
    n_reference: int
    n_current: int
    sentence: str
    ks_p: float
    decisions_p: float
    by_output: tuple[float, ...]


def black_box_shift(
    reference_labels: Any,
    reference_predictions: Any,
    current_predictions: Any,
    *,
    confidence: float = 0.95,
    draws: int = 999,
    largest_condition: float = LARGEST_CONDITION,
    rng: int | np.random.Generator = 0,
) -> LabelShiftResult:
    """Estimate a window's class shares from hard predictions, and test whether they changed.

    Assumes that p(x | y) is unchanged, that every class of the window is in the reference, that rows are independent,
    and that the model was trained on rows other than the reference's. Intervals are bootstrap percentiles: the
    reference's confusion table and the window's predictions are both drawn anew. Weights below 0 are set to 0 and the
    shares made to sum to 1.

    Args:
        reference_labels: true classes of the reference rows: numbers, booleans or strings.
        reference_predictions: the model's classes on the same rows.
        current_predictions: the model's classes on the window's rows.
        confidence: of the intervals.
        draws: of the bootstrap.
        largest_condition: condition number of P(predicted | true) beyond which shares are not identified.
        rng: seed or generator of the bootstrap.

    Raises:
        InvalidInput: an array is empty, has gaps or another length than it must, or holds classes that no reference
            label has; or there is only one class.

    >>> labels = np.repeat([0, 1], [100, 100])
    >>> predictions = np.concatenate([np.repeat([0, 1], [90, 10]), np.repeat([0, 1], [20, 80])])
    >>> result = black_box_shift(labels, predictions, np.repeat([0, 1], [69, 31]))
    >>> [round(one.share, 3) for one in result.classes]
    [0.7, 0.3]
    """
    if not 0 < confidence < 1 or draws < 100 or not largest_condition >= 1:
        raise InvalidInput(
            "Confidence must lie between 0 and 1, draws be at least 100 and the condition number at least 1; got "
            f"{confidence}, {draws} and {largest_condition}."
        )
    truth, predicted = _classes(reference_labels, "reference labels"), _classes(reference_predictions, "predictions")
    window = _classes(current_predictions, "current predictions")
    if len(truth) != len(predicted):
        raise InvalidInput(
            f"There are {len(truth)} reference labels but {len(predicted)} predictions of the same rows."
        )
    names = np.unique(truth)
    strange = np.setdiff1d(np.concatenate((predicted, window)), names)
    if len(strange):
        raise InvalidInput(f"The model predicts '{strange[0]}', which no reference label is; add reference rows of it.")
    count, n, m = len(names), len(truth), len(window)
    if count < 2:
        raise InvalidInput(f"There must be at least 2 classes; all reference labels are '{names[0]}'.")
    cells = np.searchsorted(names, predicted) * count + np.searchsorted(names, truth)
    table = np.bincount(cells, minlength=count * count).astype(np.float64).reshape(count, count)
    seen = np.bincount(np.searchsorted(names, window), minlength=count).astype(np.float64)
    prior = table.sum(axis=0) / n
    condition = _condition(table)
    from scipy.special import chdtrc

    statistic, degrees = _two_rows(table.sum(axis=1), seen)
    p = float(chdtrc(degrees, statistic)) if degrees else 1.0
    identified = bool(condition <= largest_condition)
    nothing = (math.nan, math.nan)
    if not identified:
        classes = tuple(
            ClassShare(str(name), float(old), math.nan, nothing, math.nan, nothing)
            for name, old in zip(names, prior, strict=True)
        )
        reach = f"condition number {condition:.3g}" if math.isfinite(condition) else "a singular confusion matrix"
        sentence = (
            f"The class shares of {m:,} rows can't be told from these predictions: the model confuses some classes too "
            f"much ({reach}). Its predictions {'did' if p < 0.05 else 'did not'} change beyond chance (p = {p:.3g})."
        )
        return LabelShiftResult(
            math.nan,
            nothing,
            statistic,
            degrees,
            p,
            n,
            m,
            sentence,
            classes,
            condition,
            identified=False,
            clipped=False,
        )
    weights, shares, clipped = _estimated(table[None] / n, seen[None] / m)
    generator = np.random.default_rng(rng)
    tables = generator.multinomial(n, table.ravel() / n, size=draws).reshape(draws, count, count).astype(np.float64)
    windows = generator.multinomial(m, seen / m, size=draws).astype(np.float64)
    drawn_weights, drawn_shares, _ = _estimated(tables / n, windows / m)
    tails = (0.5 - confidence / 2, 0.5 + confidence / 2)
    share_low, share_high = np.nanquantile(drawn_shares, tails, axis=0)
    weight_low, weight_high = np.nanquantile(drawn_weights, tails, axis=0)
    distance = 0.5 * float(np.abs(shares[0] - prior).sum())
    low, high = _distance_interval(shares[0], prior, drawn_shares, tables.sum(axis=1) / n, distance, confidence)
    classes = tuple(
        ClassShare(
            str(name),
            float(prior[k]),
            float(shares[0, k]),
            (float(share_low[k]), float(share_high[k])),
            float(weights[0, k]),
            (float(weight_low[k]), float(weight_high[k])),
        )
        for k, name in enumerate(names)
    )
    most = max(classes, key=lambda one: abs(one.share - one.reference))
    sentence = (
        f"If each class still looks as it did, the share of '{most.name}' went from {most.reference:.1%} to "
        f"{most.share:.1%} ({most.interval[0]:.1%} to {most.interval[1]:.1%}) over {m:,} rows; the class shares "
        f"{'changed' if p < 0.05 else 'did not change'} beyond chance (p = {p:.3g})."
    )
    return LabelShiftResult(
        distance,
        (low, high),
        statistic,
        degrees,
        p,
        n,
        m,
        sentence,
        classes,
        condition,
        identified=True,
        clipped=bool(clipped[0]),
    )


def black_box_detector(reference_outputs: Any, current_outputs: Any, *, confidence: float = 0.95) -> OutputShiftResult:
    """Test whether a model's outputs changed: KS on each output with Bonferroni, and chi-square on the hard decisions.

    Valid for independent rows and any model trained on other rows. The interval of the largest distance is the
    estimate with the reach of the Dvoretzky–Kiefer–Wolfowitz bound (Massart 1990) over all outputs, which is wide.

    Args:
        reference_outputs: rows by outputs (softmax probabilities, or one score).
        current_outputs: the same for the window.
        confidence: of the interval.

    Raises:
        InvalidInput: a sample is no matrix, is empty or holds NaN or infinity, or the outputs differ in number.

    >>> sure = np.array([[0.9, 0.1]] * 30 + [[0.2, 0.8]] * 30)
    >>> black_box_detector(sure, sure[:40]).p < black_box_detector(sure, sure).p
    True
    """
    if not 0 < confidence < 1:
        raise InvalidInput(f"Confidence must lie between 0 and 1; got {confidence}.")
    before, after = _outputs(reference_outputs, "reference"), _outputs(current_outputs, "current")
    if before.shape[1] != after.shape[1]:
        raise InvalidInput(f"Both samples must have the same outputs; got {before.shape[1]} and {after.shape[1]}.")
    n, m, count = len(before), len(after), before.shape[1]
    tests = [ks(before[:, k], after[:, k]) for k in range(count)]
    by_output = tuple(test.p for test in tests)
    ks_p = min(1.0, count * min(by_output))
    distance = max(test.statistic for test in tests)
    decisions_p = 1.0
    if count > 1:
        from scipy.special import chdtrc

        rows = [np.bincount(side.argmax(axis=1), minlength=count).astype(np.float64) for side in (before, after)]
        statistic, degrees = _two_rows(*rows)
        decisions_p = float(chdtrc(degrees, statistic)) if degrees else 1.0
    p = min(1.0, 2 * min(ks_p, decisions_p)) if count > 1 else ks_p
    miss = (1 - confidence) / (2 * count)
    reach = math.sqrt(math.log(2 / miss) / (2 * n)) + math.sqrt(math.log(2 / miss) / (2 * m))
    interval = (max(0.0, distance - reach), min(1.0, distance + reach))
    worst = int(np.argmax([test.statistic for test in tests]))
    sentence = (
        f"The model's outputs {'changed' if p < 0.05 else 'did not change'} beyond chance between {n:,} and {m:,} rows "
        f"(largest KS distance {distance:.2f}, of output {worst}; p = {p:.3g})."
    )
    return OutputShiftResult(distance, interval, distance, p, n, m, sentence, ks_p, decisions_p, by_output)


def _estimated(joint: Floats, seen: Floats) -> tuple[Floats, Floats, npt.NDArray[np.bool_]]:
    """Weights and shares of each draw (axis 0) from tables P(predicted, true) and shares of predictions."""
    count = joint.shape[-1]
    # A drawn table may lack a class or be singular: no estimate comes of it, and NaN stays out of the quantiles.
    fine = np.linalg.svd(joint, compute_uv=False)[:, -1] > 1e-10
    safe = np.where(fine[:, None, None], joint, np.eye(count))
    raw = np.linalg.solve(safe, seen[..., None])[..., 0]
    clipped = np.asarray((raw < -1e-12).any(axis=1))
    prior = joint.sum(axis=1)
    masses = np.maximum(raw, 0.0) * prior
    total = masses.sum(axis=1, keepdims=True)
    fine = fine & (total[:, 0] > 0)
    shares = np.where(fine[:, None], masses / np.where(total > 0, total, 1.0), np.nan)
    weights = np.where(prior > 0, shares / np.where(prior > 0, prior, 1.0), np.nan)
    return weights, shares, clipped


def _distance_interval(
    shares: Floats, prior: Floats, drawn: Floats, priors: Floats, distance: float, confidence: float
) -> tuple[float, float]:
    """The distance with the reach that the drawn differences have around the estimated one.

    By the triangle inequality the distance of shares errs by at most the distance of the errors, so the interval holds
    with at least the confidence, also where the true distance is 0 and a percentile interval could not contain it.
    """
    errors = 0.5 * np.abs((drawn - priors) - (shares - prior)).sum(axis=1)
    reach = float(np.nanquantile(errors, confidence))
    return max(0.0, distance - reach), min(1.0, distance + reach)


def _condition(table: Floats) -> float:
    """Condition number of P(predicted | true): how much the noise of predicted shares grows in the estimates."""
    rates = table / table.sum(axis=0)
    singular = np.linalg.svd(rates, compute_uv=False)
    return float(singular[0] / singular[-1]) if singular[-1] > 1e-12 else math.inf


def _two_rows(before: Floats, after: Floats) -> tuple[float, int]:
    from homeostat.stats.drift.chi_square import pool_rare, statistic_of_rows

    # Rare classes together, since the chi-square distribution holds only where several rows are expected.
    statistic, degrees = statistic_of_rows(*pool_rare(before, after))
    return float(statistic), int(degrees)


def _classes(values: Any, name: str) -> npt.NDArray[np.str_]:
    given = np.asarray(values)
    if given.ndim != 1 or not len(given):
        raise InvalidInput(f"The {name} must be an array of one dimension with at least one row; got {given.shape}.")
    listed = given.tolist()
    if any(value is None or (isinstance(value, float) and math.isnan(value)) for value in listed):
        raise InvalidInput(f"The {name} hold missing values; leave those rows out of labels and predictions alike.")
    # 1, 1.0 and True are one class, as they are to Python.
    same: dict[Any, str] = {}
    return np.array([same.setdefault(value, _named(value)) for value in listed])


def _named(value: Any) -> str:
    if isinstance(value, (bool, int)) or (isinstance(value, float) and value.is_integer()):
        return str(int(value))
    return str(value)


def _outputs(values: Any, name: str) -> Floats:
    try:
        rows = np.asarray(values)
        if rows.dtype.kind not in "biufO":
            raise TypeError(f"they are of type {rows.dtype}")
        rows = rows.astype(np.float64)
    except (TypeError, ValueError, OverflowError) as error:
        raise InvalidInput(f"The {name} outputs must be numbers: {error}.") from error
    rows = rows[:, None] if rows.ndim == 1 else rows
    if rows.ndim != 2 or not rows.size:
        raise InvalidInput(f"The {name} outputs must be a matrix of rows by outputs; the shape is {rows.shape}.")
    if not np.isfinite(rows).all():
        raise InvalidInput(f"The {name} outputs hold NaN or infinity; leave out the rows that the model did not score.")
    return rows
