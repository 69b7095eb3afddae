"""Raw model outputs → classes and scores, and the check that they mean something."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from homeostat.errors import ScoringFailed, Unanswerable
from homeostat.records import Signature, Task

DEFAULT_THRESHOLD = 0.5


@dataclass(frozen=True, slots=True)
class Scored:
    """Outputs of one version for some rows; see `PredictionBlock` for what the fields mean."""

    output: npt.NDArray[Any]
    score: npt.NDArray[np.float64]
    probabilities: npt.NDArray[np.float64] | None


def interpret(raw: npt.NDArray[np.float64], signature: Signature, threshold: float = DEFAULT_THRESHOLD) -> Scored:
    """What a model's raw outputs say.

    `raw` is (rows × classes) probabilities, or (rows,) values for regression. Raises `ScoringFailed` where they are
    of another shape, `Unanswerable` where one is not finite.
    """
    expected = (len(signature.classes),) if signature.task.is_classification else ()
    if raw.shape[1:] != expected:
        raise ScoringFailed(
            f"The model gave outputs of shape {raw.shape}; expected {len(raw)} rows × {expected or 'one value'}."
        )
    finite = np.isfinite(raw)
    if not finite.all():
        answered = finite.reshape(len(raw), -1).all(axis=1)
        raise Unanswerable(
            f"The model gives no finite answer for row {int(np.argmin(answered))}: a value is missing or too large."
        )
    if signature.task is Task.REGRESSION:
        # An array of objects begins as nothing but None.
        return Scored(np.empty(len(raw), dtype=object), raw.astype(np.float64), None)
    classes = np.array(signature.classes, dtype=object)
    if signature.task is Task.BINARY:
        positive = positive_index(signature)
        score = raw[:, positive]
        is_positive = score >= threshold
        return Scored(classes[(is_positive if positive else ~is_positive).view(np.int8)], score, None)
    return Scored(classes[raw.argmax(axis=1)], raw.max(axis=1), raw)


def positive_index(signature: Signature) -> int:
    """The column of the class that a binary model looks for: the one named, else the second."""
    return signature.classes.index(signature.positive) if signature.positive in signature.classes else 1
