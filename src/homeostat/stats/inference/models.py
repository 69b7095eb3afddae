"""Two models on the same labelled rows: which is better, and by how much?"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from homeostat.errors import InvalidInput
from homeostat.stats.inference.auc import delong
from homeostat.stats.inference.clusters import linearise
from homeostat.stats.inference.counts import McNemarResult, mcnemar
from homeostat.stats.inference.means import minimum_effect
from homeostat.stats.inference.results import INDEPENDENT, Result, shown_interval, shown_p
from homeostat.stats.inference.samples import Floats, labels, same_length, sample, share
from homeostat.stats.inference.tails import bounds, tail
from homeostat.stats.performance.metrics import wilson_interval
from homeostat.stats.sequential import paired_log_evidence


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelComparison:
    """Two models on the same rows; `verdict` is of the second: better, worse, inconclusive or insufficient.

    `difference` is the one that decides: of accuracies, or of mean losses for a number to be predicted. `mcnemar` and
    `auc` are there where they apply. `log_e_better` and `log_e_worse` are logarithms of e-values that stay valid
    however often this is repeated while rows come in: act at `log_e >= log(1/alpha)`. `minimum_effect` is the smallest
    difference that these rows would have shown with a power of 80 %. `segments` holds the same of each segment alone,
    where `homeostat.compare_models` was asked for it; its p-values allow for no other segment.
    """

    difference: Result
    mcnemar: McNemarResult | None
    auc: Result | None
    wins: int
    losses: int
    log_e_better: float
    log_e_worse: float
    minimum_effect: float
    verdict: str
    sentence: str
    segments: Mapping[str, ModelComparison] = field(default_factory=dict)


def compare_models(
    truth: npt.ArrayLike,
    first: npt.ArrayLike,
    second: npt.ArrayLike,
    *,
    scores_1: npt.ArrayLike | None = None,
    scores_2: npt.ArrayLike | None = None,
    positive: object = None,
    entities: npt.ArrayLike | None = None,
    confidence: float = 0.95,
) -> ModelComparison:
    """Which of two classifiers is better on the same labelled rows?

    Args:
        truth: the true class of each row.
        first: the class that the present model predicts.
        second: the class that its rival predicts.
        scores_1: the first model's score of the positive class, for the area under the ROC curve.
        scores_2: the second model's.
        positive: the positive class; the larger one if left out. Only used with scores.
        entities: whose row it is, where entities bring several. The difference is then cluster-robust, and the
            e-value counts an entity as won by the model that is right on more of its rows.
        confidence: of the intervals; the verdict's level is 1 less that.

    The accuracy difference has Newcombe's paired interval (1998b, method 10) and McNemar's exact p-value. With
    entities both come from the entities' sums.

    Raises:
        InvalidInput: different lengths, fewer than 2 rows, missing classes, or only one of the two scores.

    >>> truth = np.array([1] * 50 + [0] * 50)
    >>> first = np.array([1] * 30 + [0] * 60 + [1] * 10)
    >>> result = compare_models(truth, first, truth)
    >>> round(result.difference.estimate, 2), result.verdict
    (0.3, 'better')
    """
    share(confidence, "The confidence")
    actual, right_1, right_2 = _right(truth, first, second)
    gain = right_2.astype(np.float64) - right_1
    wins, losses = int(np.count_nonzero(gain > 0)), int(np.count_nonzero(gain < 0))
    test = mcnemar(losses, wins, confidence=confidence)
    codes = None if entities is None else labels(entities, "The entities")[1]
    if codes is not None:
        same_length(truth=actual, entities=codes)
        difference = _clustered(gain, codes, confidence, "accuracy", (float(right_1.mean()), float(right_2.mean())))
        wins, losses = _by_entity(gain, codes)
    else:
        difference = _accuracy(right_1, right_2, test.p, confidence)
    auc = None
    if (scores_1 is None) != (scores_2 is None):
        raise InvalidInput("The area under the ROC curve needs the scores of both models; pass both or none.")
    if scores_1 is not None and scores_2 is not None:
        auc = delong(_positive(actual, positive), scores_1, scores_2, entities=entities, confidence=confidence)
    return _judged(difference, test if codes is None else None, auc, wins, losses, higher_is_better=True)


def compare_losses(
    first: npt.ArrayLike,
    second: npt.ArrayLike,
    *,
    entities: npt.ArrayLike | None = None,
    confidence: float = 0.95,
) -> ModelComparison:
    """Which of two models has the smaller mean loss on the same rows? For regression pass absolute or squared errors.

    Args:
        first: the present model's loss on each row, such as |error| or log loss.
        second: its rival's.
        entities: whose row it is, where entities bring several.
        confidence: of the interval; the verdict's level is 1 less that.

    The difference has the paired t-test; the e-value only counts on which rows (or entities) which loss is smaller.

    Raises:
        InvalidInput: different lengths, fewer than 2 rows, or any loss that isn't a finite number.

    >>> compare_losses([1.0, 2.0, 3.0, 2.5] * 20, [0.5, 1.4, 2.1, 2.0] * 20).verdict
    'better'
    """
    share(confidence, "The confidence")
    one, two = sample(first, "The first model's losses"), sample(second, "The second model's losses")
    n = same_length(first=one, second=two)
    codes = np.arange(n) if entities is None else labels(entities, "The entities")[1]
    same_length(first=one, entities=codes)
    gain = two - one
    difference = _clustered(gain, codes, confidence, "mean loss", (float(one.mean()), float(two.mean())))
    wins, losses = _by_entity(-gain, codes)
    return _judged(difference, None, None, wins, losses, higher_is_better=False)


def insufficient(rows: int, *, entities: int | None = None, confidence: float = 0.95) -> ModelComparison:
    """What there is to say of rows, or of entities, that are too few for an error: nothing.

    >>> insufficient(1).verdict
    'insufficient'
    """
    units = "1 row" if rows == 1 else f"{rows} rows"
    if entities is not None:
        units += " of 1 entity" if entities == 1 else f" of {entities} entities"
    unknown = Result(
        estimate=math.nan,
        interval=(math.nan, math.nan),
        statistic=math.nan,
        p=math.nan,
        n=rows,
        sentence=f"There is no error to be had from {units}.",
        sizes=(rows,),
        method="none",
        confidence=confidence,
    )
    return _judged(unknown, None, None, 0, 0, higher_is_better=True)


def _right(
    truth: npt.ArrayLike, first: npt.ArrayLike, second: npt.ArrayLike
) -> tuple[npt.NDArray[np.generic], npt.NDArray[np.bool_], npt.NDArray[np.bool_]]:
    actual = np.asarray(truth)
    predicted = [np.asarray(values) for values in (first, second)]
    given = {"truth": actual, "first": predicted[0], "second": predicted[1]}
    for name, values in given.items():
        labels(values, f"The array '{name}'")
    if same_length(**given) < 2:
        raise InvalidInput(f"Two models can't be compared on {len(actual)} rows. Collect more labels.")
    texts = {values.dtype.kind in "OUS" for values in given.values()}
    if len(texts) > 1:
        raise InvalidInput("Truth and predictions mix texts and numbers, so none would ever match. Use one type.")
    return actual, np.asarray(actual == predicted[0], dtype=bool), np.asarray(actual == predicted[1], dtype=bool)


def _positive(actual: npt.NDArray[np.generic], positive: object) -> npt.NDArray[np.bool_]:
    classes = np.unique(actual)
    if positive is None:
        if len(classes) != 2:
            raise InvalidInput(
                f"An area under the ROC curve needs 2 classes; got {len(classes)}. Name the positive one."
            )
        return np.asarray(actual == classes[1], dtype=bool)
    if positive not in classes.tolist():
        raise InvalidInput(f"There is no row of the class {positive!r}.")
    return np.asarray(actual == positive, dtype=bool)


def paired_interval(
    both: int, only_1: int, only_2: int, neither: int, *, confidence: float = 0.95
) -> tuple[float, float]:
    """Interval of the difference of two shares of the same rows, second minus first.

    Newcombe (1998b, method 10): Wilson's intervals of both, put together with the correlation of the two, which has
    the continuity correction of the paper where it is positive.

    >>> [round(bound, 4) for bound in paired_interval(20, 2, 12, 16)]
    [0.0562, 0.3292]
    """
    n = both + only_1 + only_2 + neither
    first, second = both + only_1, both + only_2
    low_1, high_1 = wilson_interval(first, n, confidence=confidence)
    low_2, high_2 = wilson_interval(second, n, confidence=confidence)
    share_1, share_2 = first / n, second / n
    product = float(first) * (n - first) * second * (n - second)
    cross = float(both) * neither - float(only_1) * only_2
    if cross > 0:
        cross = max(cross - n / 2, 0.0)
    phi = cross / math.sqrt(product) if product else 0.0
    estimate = share_2 - share_1
    down, up = (share_2 - low_2, high_1 - share_1), (high_2 - share_2, share_1 - low_1)
    low, high = (math.sqrt(max(0.0, a * a - 2 * phi * a * b + b * b)) for a, b in (down, up))
    return estimate - low, estimate + high


def _accuracy(right_1: npt.NDArray[np.bool_], right_2: npt.NDArray[np.bool_], p: float, confidence: float) -> Result:
    n = len(right_1)
    both, only_1 = int(np.count_nonzero(right_1 & right_2)), int(np.count_nonzero(right_1 & ~right_2))
    only_2 = int(np.count_nonzero(~right_1 & right_2))
    interval = paired_interval(both, only_1, only_2, n - both - only_1 - only_2, confidence=confidence)
    estimate, differing = (only_2 - only_1) / n, only_1 + only_2
    error = math.sqrt(max(0.0, differing - (only_2 - only_1) ** 2 / n)) / n
    sentence = (
        f"The accuracy is {right_1.mean():.2%} for the first model and {right_2.mean():.2%} for the second on the same "
        f"{n} rows: a difference of {estimate:+.4g} ({shown_interval(interval, confidence)}, exact {shown_p(p)}). "
        f"{INDEPENDENT}"
    )
    return Result(
        estimate=estimate,
        interval=interval,
        statistic=float(only_2),
        p=p,
        n=n,
        sentence=sentence,
        sizes=(n,),
        method="accuracy difference, McNemar exact",
        confidence=confidence,
        error=error,
    )


def _clustered(
    gain: Floats, codes: npt.NDArray[np.intp], confidence: float, what: str, levels: tuple[float, float]
) -> Result:
    k, n = int(codes.max()) + 1, len(gain)
    if k < 2:
        raise InvalidInput("All rows are of one entity, and errors need at least 2. Collect more entities.")
    found = linearise(gain, codes, k)
    error = math.sqrt(found.variance) or math.nan
    t = found.estimate / error
    p = tail(t, k - 1, "two-sided")
    interval = bounds(found.estimate, error, k - 1, confidence=confidence, alternative="two-sided")
    independence = INDEPENDENT if k == n else "Rows of one entity are not taken as independent."
    units = f"{n} rows" if k == n else f"{n} rows of {k} entities"
    sentence = f"The {what} is {levels[0]:.4g} for the first model and {levels[1]:.4g} for the second on {units}"
    sentence += (
        f": a difference of {found.estimate:+.4g} ({shown_interval(interval, confidence)}, {shown_p(p)}). "
        f"{independence}"
        if math.isfinite(t)
        else ", and all differ by the same, so chance can't be judged from these rows."
    )
    return Result(
        estimate=found.estimate,
        interval=interval,
        statistic=t,
        p=p,
        n=n,
        sentence=sentence,
        sizes=(n,),
        method=f"{what} difference" + (", paired t" if k == n else ", cluster-robust"),
        confidence=confidence,
        error=error,
        df=k - 1,
    )


def _by_entity(gain: Floats, codes: npt.NDArray[np.intp]) -> tuple[int, int]:
    """Entities (or rows) of which the second model gets more right than the first, and fewer."""
    net = np.bincount(codes, weights=np.sign(gain))
    return int(np.count_nonzero(net > 0)), int(np.count_nonzero(net < 0))


def _judged(
    difference: Result,
    test: McNemarResult | None,
    auc: Result | None,
    wins: int,
    losses: int,
    *,
    higher_is_better: bool,
) -> ModelComparison:
    alpha = 1 - difference.confidence
    better, worse = paired_log_evidence(wins, losses), paired_log_evidence(losses, wins)
    detectable = minimum_effect(difference.error, difference.df, alpha=alpha) if difference.error > 0 else math.nan
    if math.isnan(difference.p) or wins + losses == 0:
        verdict = "insufficient"
    elif difference.p >= alpha:
        verdict = "inconclusive"
    else:
        verdict = "better" if (difference.estimate > 0) == higher_is_better else "worse"
    told = {
        "better": "The second model is better.",
        "worse": "The second model is worse.",
        "inconclusive": f"Neither is shown to be better; a gap of {detectable:.3g} would mostly have been found.",
        "insufficient": "These rows can't tell the two apart.",
    }[verdict]
    sentence = f"{told} {difference.sentence} {auc.sentence if auc else ''}".rstrip()
    return ModelComparison(
        difference=difference,
        mcnemar=test,
        auc=auc,
        wins=wins,
        losses=losses,
        log_e_better=better,
        log_e_worse=worse,
        minimum_effect=detectable,
        verdict=verdict,
        sentence=sentence,
    )
