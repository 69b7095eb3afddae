"""Taking labels in: checked, then appended. The latest label of a prediction wins."""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import datetime
from typing import Any

import numpy as np
import numpy.typing as npt

from homeostat.errors import InvalidLabel
from homeostat.frames import label_text
from homeostat.ports import PredictionLog
from homeostat.records import LabelBlock, Task, as_datetime64

LONGEST_LABEL = 1000


def accept_labels(
    log: PredictionLog,
    model: str,
    task: Task,
    ids: Sequence[Any],
    values: Sequence[Any],
    *,
    now: datetime,
    event_time: npt.NDArray[np.datetime64] | None = None,
    source: str = "api",
    confidence: float = 1.0,
) -> int:
    """Append labels; they may come late, twice, or before their prediction. Returns how many were kept.

    Raises `InvalidLabel`, and keeps nothing, where one has no value, no id, or for regression is no finite number.
    """
    if len(ids) != len(values):
        raise InvalidLabel(f"There are {len(ids)} ids and {len(values)} values.")
    if event_time is not None and (len(event_time) != len(ids) or np.isnat(event_time).any()):
        raise InvalidLabel("Every label needs an event time where any has one.")
    # Ids are text in the log, whatever type a caller's table held them in.
    names = [label_text(id_) for id_ in ids]
    texts = [label_text(value) for value in values]
    for id_, text in zip(names, texts, strict=True):
        if not id_ or text is None or text == "":
            raise InvalidLabel("Every label needs a prediction_id and a value.")
        if len(text) > LONGEST_LABEL:
            raise InvalidLabel(f"A label has more than {LONGEST_LABEL:,} characters.")
        if task is Task.REGRESSION and not _is_finite(text):
            raise InvalidLabel("A label of a regression model is a finite number.")
    if not texts:
        return 0
    times = np.full(len(texts), as_datetime64(now)) if event_time is None else event_time.astype("datetime64[us]")
    log.append_labels(
        LabelBlock(
            model=model,
            ids=np.array(names, dtype=object),
            values=np.array(texts, dtype=object),
            event_time=times,
            source=source,
            confidence=confidence,
        )
    )
    return len(texts)


def _is_finite(text: str) -> bool:
    # Python would also read 1_000 and the digits of other scripts.
    if not text.isascii() or "_" in text:
        return False
    try:
        return math.isfinite(float(text))
    except ValueError:
        return False
