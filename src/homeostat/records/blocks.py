"""Rows of the prediction log in bulk: columns of numpy arrays, as the gateway writes and the readers join them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import numpy as np
import numpy.typing as npt

from homeostat.frames import Columns

Objects = npt.NDArray[Any]
Floats = npt.NDArray[np.float64]
Times = npt.NDArray[np.datetime64]
Integers = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class PredictionBlock:
    """Rows that were scored together; the unit in which the prediction log is written.

    A `served` row was answered with; a `shadow` row was scored beside it and carries the same `prediction_id`, and
    no features. `output` is the class label (`None` for regression), `score` the positive class' probability, the
    top probability of a multiclass model, or the predicted value. `error` is `None` where scoring went well.
    `probabilities` (rows × classes) are kept for multiclass models.
    """

    model: str
    shadow: bool
    ids: Objects
    event_time: Times
    version: Integers
    arm: Objects
    entity: Objects
    output: Objects
    score: Floats
    latency_ms: Floats
    error: Objects
    features: Columns
    probabilities: Floats | None = None

    @property
    def rows(self) -> int:
        """How many rows the block has."""
        return len(self.ids)

    def take(self, index: npt.NDArray[np.bool_] | slice) -> PredictionBlock:
        """The rows at `index` (a mask or a slice)."""
        return PredictionBlock(
            model=self.model,
            shadow=self.shadow,
            ids=self.ids[index],
            event_time=self.event_time[index],
            version=self.version[index],
            arm=self.arm[index],
            entity=self.entity[index],
            output=self.output[index],
            score=self.score[index],
            latency_ms=self.latency_ms[index],
            error=self.error[index],
            features=self.features.take(index),
            probabilities=None if self.probabilities is None else self.probabilities[index],
        )


@dataclass(frozen=True, slots=True)
class LabelBlock:
    """Labels that arrived together. A value is the class label or, for regression, the number as text."""

    model: str
    ids: Objects
    values: Objects
    event_time: Times
    source: str = "api"
    confidence: float = 1.0

    @property
    def rows(self) -> int:
        """How many labels the block has."""
        return len(self.ids)


@dataclass(frozen=True, slots=True)
class PastPredictions:
    """Rows of one version that were answered elsewhere; all lists have an entry a row, and `None` is not said.

    `answers` are classes or values, `scores` probabilities as `PredictionBlock` has them. `version` is the production
    version where it is `None`; `numbers` are those of the rows, for errors to name; from 0 on where there are none.
    """

    ids: list[str]
    columns: Columns
    answers: list[Any]
    scores: list[float | None]
    times: Times
    entities: list[str | None]
    latencies_ms: list[float | None]
    version: int | None = None
    numbers: Sequence[int] = ()


EPOCH = np.datetime64(0, "us")


def as_datetime64(moment: datetime) -> np.datetime64:
    """An aware datetime as microseconds of UTC.

    >>> from datetime import UTC
    >>> as_datetime64(datetime(2025, 1, 1, tzinfo=UTC))
    np.datetime64('2025-01-01T00:00:00.000000')
    """
    return np.datetime64(round(moment.timestamp() * 1_000_000), "us")


def as_datetime(moment: np.datetime64) -> datetime:
    """Microseconds of UTC as an aware datetime."""
    from datetime import UTC, timedelta

    return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=int((moment - EPOCH).astype(np.int64)))
