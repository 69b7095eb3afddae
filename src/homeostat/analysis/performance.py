"""`homeostat.estimate_performance`: how good predictions are before their labels come."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from homeostat.analysis.columns import check_columns
from homeostat.errors import InvalidInput
from homeostat.frames import Reader
from homeostat.stats.drift.multivariate import design_matrix
from homeostat.stats.performance import PerformanceEstimate
from homeostat.stats.performance import estimate_performance as estimate_arrays
from homeostat.stats.performance.estimation.results import AuditStatus, Method, Task

Array = npt.NDArray[Any]


def estimate_performance(
    reference: Any,
    current: Any,
    *,
    target: str,
    prediction: str,
    score: str | Mapping[str, str] | None = None,
    positive: object = None,
    features: Sequence[str] = (),
    method: Method = "auto",
    audit: AuditStatus = "not_audited",
    confidence: float = 0.95,
    rng: int | np.random.Generator = 0,
) -> PerformanceEstimate:
    """Estimate how good the predictions of a table are whose labels have not come, from a labelled reference.

    Classifiers: confidence-based estimation after the scores were calibrated on the reference; with `features` the
    reference is weighted to the window's covariates where those have shifted. Regression: a model of the loss, fitted
    on the reference's features. A change in what follows from the same features (concept drift) is invisible to all of
    them; audit estimates against late labels (`homeostat.stats.performance.audit_estimates`) before acting on them.

    Args:
        reference: labelled rows that the model was not trained on: a frame of pandas, polars or pyarrow, or a mapping.
        current: rows without labels, with the same columns but the target.
        target: the column of the truth, in the reference.
        prediction: the column of predicted classes or values.
        score: the column of the positive class's score; for several classes a mapping from each class to the column of
            its probability; left out for regression.
        positive: the positive class; by default the larger of the two.
        features: columns that the model reads; needed for regression.
        method: "auto", "cbpe", "importance_weighted" or "dle".
        audit: the status that an audit of earlier windows gave.
        confidence: of the intervals.
        rng: seed of the folds.

    Raises:
        InvalidInput: a column is missing or holds what it can't, or the method does not fit.

    >>> rng = np.random.default_rng(0)
    >>> first, second = rng.random(2_000), rng.random(500)
    >>> reference = {"score": first, "guess": first > 0.5, "label": rng.random(2_000) < first}
    >>> current = {"score": second, "guess": second > 0.5}
    >>> found = estimate_performance(reference, current, target="label", prediction="guess", score="score")
    >>> low, high = found.metrics["accuracy"].interval
    >>> low < 0.75 < high
    True
    """
    then, now = Reader(reference), Reader(current)
    scores = [] if score is None else [score] if isinstance(score, str) else list(score.values())
    check_columns(then, [target, prediction, *scores, *features], "reference")
    check_columns(now, [prediction, *scores, *features], "current table")
    before, after = _features(then, now, features)
    task: Task
    if score is None:
        task = "regression"
        truth, guesses = then.numbers(target), [reader.numbers(prediction) for reader in (then, now)]
        given: list[Array | None] = [None, None]
    else:
        classes = _classes(then, target, score, positive)
        task = "binary" if isinstance(score, str) else "multiclass"
        truth = _coded(then, target, classes)
        guesses = [_coded(reader, prediction, classes) for reader in (then, now)]
        columns = [np.column_stack([reader.numbers(name) for name in scores]) for reader in (then, now)]
        given = [values[:, 0] if task == "binary" else values for values in columns]
    return estimate_arrays(
        truth,
        guesses[0],
        guesses[1],
        task=task,
        reference_scores=given[0],
        scores=given[1],
        reference_features=before,
        features=after,
        method=method,
        audit=audit,
        confidence=confidence,
        rng=rng,
    )


def _features(then: Reader, now: Reader, names: Sequence[str]) -> tuple[Array | None, Array | None]:
    if not names:
        return None, None
    columns = [
        {name: reader.take(name, None, text=not then.kind(name).is_number) for name in names} for reader in (then, now)
    ]
    both = design_matrix(*columns)
    return both.reference, both.current


def _classes(then: Reader, target: str, score: str | Mapping[str, str], positive: object) -> list[str]:
    """The classes in the order of their codes; of two, the positive one comes last."""
    seen = sorted({text for text in _texts(then, target) if text is not None})
    if not isinstance(score, str):
        unknown = [name for name in seen if name not in score]
        if unknown:
            raise InvalidInput(f"Class '{unknown[0]}' of '{target}' has no score column. Known: {', '.join(score)}.")
        return [str(name) for name in score]
    if len(seen) > 2:
        raise InvalidInput(
            f"'{target}' has {len(seen)} classes, but there is one score column. Give one for each class: "
            "score={class: column}."
        )
    if positive is None:
        return seen if len(seen) == 2 else ["", *seen]
    wanted = _text(positive)
    if wanted not in seen and len(seen) == 2:
        raise InvalidInput(f"'{target}' has no class '{wanted}'. It has: {', '.join(seen)}.")
    return [*(name for name in seen if name != wanted), wanted]


def _coded(reader: Reader, name: str, classes: list[str]) -> Array:
    texts = _texts(reader, name)
    places = {text: code for code, text in enumerate(classes)}
    strange = next((text for text in texts if text not in places), "")
    if strange != "" or "" in texts:
        shown = "missing values" if strange is None else f"'{strange}'"
        raise InvalidInput(
            f"Column '{name}' holds {shown}; the classes are {', '.join(map(repr, classes))}.", column=name
        )
    return np.array([places[text] for text in texts])


def _texts(reader: Reader, name: str) -> list[Any]:
    """The values of a column as texts, so that 1, 1.0 and True of two tables are one class."""
    if reader.kind(name).is_number:
        return [None if value != value else _text(value) for value in reader.numbers(name).tolist()]  # noqa: PLR0124
    return list(reader.texts(name))


def _text(value: object) -> str:
    if isinstance(value, bool | np.bool_ | int | float | np.number):
        number = float(value)
        return str(int(number)) if number.is_integer() else str(number)
    return str(value)
