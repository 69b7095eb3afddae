"""What the loop is compared with on the same rows: refitting by the calendar, and two that learn nothing."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

from homeostat.connectors.tables import LabelledTable
from homeostat.frames import finite, label_text, to_pandas
from homeostat.records import Task
from homeostat.retraining.algorithms import build

BLOCKS = 20
LATEST_SHARE = 5


def no_change(table: LabelledTable, initial: int) -> npt.NDArray[Any]:
    """The label of the row before: the field's usual no-change line."""
    return table.target[initial - 1 : -1]


def majority(table: LabelledTable, initial: int) -> npt.NDArray[Any]:
    """The most frequent class of the initial part, or its median."""
    rows = table.rows - initial
    if table.task is Task.REGRESSION:
        return np.full(rows, float(np.median(table.target[:initial])))
    names, counts = np.unique(table.target[:initial].astype(str), return_counts=True)
    return np.full(rows, names[counts.argmax()], dtype=object)


def periodic(table: LabelledTable, initial: int, algorithm: str, *, seed: int) -> npt.NDArray[Any]:
    """Refit at every twentieth of the table on the latest fifth: what blind retraining can reach."""
    rows = table.rows
    predicted: list[npt.NDArray[Any]] = []
    edges = sorted({initial, *(rows * block // BLOCKS for block in range(1, BLOCKS)), rows})
    held: Any = None
    for start, end in pairwise(edges):
        if start < initial:
            continue
        window = slice(max(0, start - rows // LATEST_SHARE), start)
        model = _fit(table, window, algorithm, seed)
        held = model if model is not None else held
        predicted.append(_predict(held, table, slice(start, end)))
    return np.concatenate(predicted)


def _fit(table: LabelledTable, part: slice, algorithm: str, seed: int) -> Any:
    import warnings

    target = table.target[part]
    if table.task is not Task.REGRESSION and len(set(target.tolist())) < 2:
        return target[0]
    columns = finite(table.columns.take(part))
    from threadpoolctl import threadpool_limits

    with warnings.catch_warnings(), threadpool_limits(limits=1):
        warnings.simplefilter("ignore")
        model = build(algorithm, table.task, columns, table.kinds, seed=seed)
        return model.fit(to_pandas(columns, table.kinds), target)


def _predict(model: Any, table: LabelledTable, part: slice) -> npt.NDArray[Any]:
    rows = part.stop - part.start
    if not hasattr(model, "predict"):
        return np.full(rows, model, dtype=object)
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        predicted = model.predict(to_pandas(finite(table.columns.take(part)), table.kinds))
    if table.task is Task.REGRESSION:
        return np.asarray(predicted, dtype=np.float64)
    return np.array([label_text(value) for value in predicted], dtype=object)
