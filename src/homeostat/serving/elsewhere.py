"""Predictions that another server answered, as rows of the log: the same checks watch them as our own."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from homeostat.errors import InvalidPrediction
from homeostat.frames import label_text
from homeostat.records import PastPredictions, PredictionBlock, Signature, Task, Version
from homeostat.serving.rows import LONGEST_TEXT, checked_columns
from homeostat.serving.scoring import DEFAULT_THRESHOLD

ARM = "external"


def outcomes(
    answers: Sequence[Any], scores: Sequence[float | None], signature: Signature, *, numbers: Sequence[int] = ()
) -> tuple[npt.NDArray[Any], npt.NDArray[np.float64]]:
    """What was answered, as the log has it: classes (`None` for a regression) and scores.

    The score is the positive class' probability, the predicted class' of a multiclass model, or the value. Of a binary
    model either is enough: a probability of .5 and more is the positive class, and a class without a probability
    counts as certain. Raises `InvalidPrediction` with the number of the row, from 0 on unless there
    are `numbers`.

    >>> spam = Signature(task=Task.BINARY, features=(), target="y", classes=("no", "yes"), positive="yes")
    >>> [part.tolist() for part in outcomes(["no", None], [None, 0.7], spam)]
    [['no', 'yes'], [0.0, 0.7]]
    """
    output = np.full(len(answers), None, dtype=object)
    score = np.full(len(answers), np.nan)
    for place, (answer, given) in enumerate(zip(answers, scores, strict=True)):
        try:
            output[place], score[place] = _outcome(answer, given, signature)
        except ValueError as error:
            row = numbers[place] if numbers else place
            raise InvalidPrediction(f"The prediction of row {row:,} can't be used: {error}.", row=row) from None
    return output, score


def _outcome(answer: Any, given: float | None, signature: Signature) -> tuple[str | None, float]:
    if signature.task is Task.REGRESSION:
        return None, _number(given if answer is None else answer)
    if given is not None and not 0 <= given <= 1:
        raise ValueError("its score is no probability from 0 to 1")
    name = label_text(answer)
    if signature.task is Task.MULTICLASS:
        if not name:
            raise ValueError("it names no class")
        if len(name) > LONGEST_TEXT:
            raise ValueError("its class is too long")
        return name, 1.0 if given is None else float(given)
    positive = signature.positive or signature.classes[-1]
    if not name:
        if given is None:
            raise ValueError("it has neither a class nor a score")
        other = next(one for one in signature.classes if one != positive)
        return (positive if given >= DEFAULT_THRESHOLD else other), float(given)
    if name not in signature.classes:
        raise ValueError("it is none of the model's two classes")
    return name, float(name == positive) if given is None else float(given)


def _number(value: Any) -> float:
    try:
        found = np.nan if value is None or isinstance(value, bool) else float(value)
    except (TypeError, ValueError, OverflowError):
        found = np.nan
    if not np.isfinite(found):
        raise ValueError("it is no finite number")
    return found


def block_of(past: PastPredictions, version: Version) -> PredictionBlock:
    """Rows of one version for the log. Raises `InvalidFeatures` or `InvalidPrediction`."""
    columns = checked_columns(past.columns, version.signature)
    output, score = outcomes(past.answers, past.scores, version.signature, numbers=past.numbers)
    ids = np.array(past.ids, dtype=object)
    return PredictionBlock(
        model=version.model,
        shadow=False,
        ids=ids,
        event_time=past.times.astype("datetime64[us]"),
        version=np.full(len(ids), version.number, dtype=np.int64),
        arm=np.full(len(ids), ARM, dtype=object),
        entity=np.array([entity or id_ for entity, id_ in zip(past.entities, past.ids, strict=True)], dtype=object),
        output=output,
        score=score,
        latency_ms=np.array([0.0 if one is None else one for one in past.latencies_ms], dtype=np.float64),
        error=np.full(len(ids), None, dtype=object),
        features=columns,
    )
