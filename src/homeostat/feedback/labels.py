"""Taking labels in: checked, then appended. The latest label of a prediction wins."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

import numpy as np
import numpy.typing as npt

from homeostat.errors import InvalidInput, InvalidLabel
from homeostat.frames import label_text
from homeostat.ports import PredictionLog
from homeostat.records import LabelBlock, Task, as_datetime64

LONGEST_LABEL = 1000
MOST_KINDS = 1000


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
    sources: Sequence[str | None] | None = None,
    confidences: Sequence[float | None] | None = None,
) -> int:
    """Append labels; they may come late, twice, or before their prediction. Returns how many were kept.

    `sources` and `confidences` hold for single labels, and `None` in them for `source` and `confidence`. Of labels
    that differ in these, only the last of one prediction is written. Raises `InvalidLabel`, and keeps nothing, where
    one has no value, no id, or for regression is no finite number, and `InvalidInput` where a source is blank.
    """
    if not all(one is None or one.strip() for one in (source, *(sources or ()))):
        raise InvalidInput("Labels need a source, such as 'api' or the analyst's name.")
    if any(len(one) != len(ids) for one in (values, sources, confidences) if one is not None):
        raise InvalidLabel(f"There are {len(ids)} ids and {len(values)} values, or other lists of another length.")
    if event_time is not None and (len(event_time) != len(ids) or np.isnat(event_time).any()):
        raise InvalidLabel("Every label needs an event time where any has one.")
    # Ids are text in the log, whatever type a caller's table held them in.
    names = [label_text(id_) for id_ in ids]
    texts = [label_text(value) for value in values]
    for number, (id_, text) in enumerate(zip(names, texts, strict=True), start=1):
        if not id_ or text is None or text == "":
            raise InvalidLabel(f"Every label needs a prediction_id and a value; number {number:,} lacks one.")
        if len(text) > LONGEST_LABEL:
            raise InvalidLabel(f"A label, number {number:,}, has more than {LONGEST_LABEL:,} characters.")
        if task is Task.REGRESSION and not is_finite(text):
            raise InvalidLabel(f"A label of a regression model is a finite number; number {number:,} is none.")
    if not texts:
        return 0
    times = np.full(len(texts), as_datetime64(now)) if event_time is None else event_time.astype("datetime64[us]")
    whole = LabelBlock(
        model=model,
        ids=np.array(names, dtype=object),
        values=np.array(texts, dtype=object),
        event_time=times,
        source=source,
        confidence=confidence,
    )
    log.append_labels(*_blocks(whole, sources, confidences))
    return len(texts)


def count_unknown(values: Sequence[Any], classes: Sequence[str]) -> int:
    """How many labels name none of the classes; 0 where no classes are known.

    >>> count_unknown(["spam", "spma", "ham", "spma"], ("ham", "spam"))
    2
    """
    known = set(classes)
    return sum(label_text(value) not in known for value in values) if known else 0


def _blocks(
    whole: LabelBlock, sources: Sequence[str | None] | None, confidences: Sequence[float | None] | None
) -> list[LabelBlock]:
    """The labels with a block for each source and confidence."""
    count = whole.rows
    kinds = list(
        zip(
            [whole.source if one is None else one for one in sources or [None] * count],
            [whole.confidence if one is None else float(one) for one in confidences or [None] * count],
            strict=True,
        )
    )
    distinct = list(dict.fromkeys(kinds))
    if len(distinct) == 1:
        return [replace(whole, source=distinct[0][0], confidence=distinct[0][1])]
    if len(distinct) > MOST_KINDS:
        raise InvalidLabel(
            f"The labels have more than {MOST_KINDS:,} different pairs of source and confidence. Round the "
            "confidences, or send fewer labels at once."
        )
    # Blocks have an order and rows of different ones have none, so that of two labels the later one has to be alone.
    last = {id_: place for place, id_ in enumerate(whole.ids)}
    places: dict[tuple[str, float], list[int]] = {kind: [] for kind in distinct}
    for place in sorted(last.values()):
        places[kinds[place]].append(place)
    return [
        replace(
            whole,
            ids=whole.ids[chosen],
            values=whole.values[chosen],
            event_time=whole.event_time[chosen],
            source=kind[0],
            confidence=kind[1],
        )
        for kind, chosen in places.items()
        if chosen
    ]


def is_finite(text: str) -> bool:
    """Whether a text is a finite number as JSON or CSV has them.

    >>> is_finite("1e3"), is_finite("inf"), is_finite("1_000")
    (True, False, False)
    """
    # Python would also read 1_000 and the digits of other scripts.
    if not text.isascii() or "_" in text:
        return False
    try:
        return math.isfinite(float(text))
    except ValueError:
        return False
