"""`homeostat.compare_models`: two models on the same labelled rows, from arrays or from the columns of a table."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from homeostat.analysis.columns import check_columns, names_in
from homeostat.errors import InvalidInput
from homeostat.frames import Reader
from homeostat.stats.inference.models import ModelComparison, insufficient
from homeostat.stats.inference.models import compare_models as compare_arrays
from homeostat.stats.inference.samples import labels, same_length

# An area under the ROC curve has no error from fewer rows of a class.
LEAST_OF_A_CLASS = 2


def compare_models(
    truth: Any,
    first: Any,
    second: Any,
    *,
    data: Any = None,
    scores_1: Any = None,
    scores_2: Any = None,
    positive: object = None,
    entities: Any = None,
    segments: Any = None,
    confidence: float = 0.95,
) -> ModelComparison:
    """Which of two classifiers is better on the same labelled rows, overall and in each segment?

    Everything that has one value a row is an array or a series; with `data` it may be the name of a column instead.

    Args:
        truth: the true class of each row.
        first: the class that the present model predicts.
        second: the class that its rival predicts.
        data: a frame of pandas, polars or pyarrow, or a mapping of arrays, that holds the named columns.
        scores_1: the first model's score of the positive class, for the area under the ROC curve.
        scores_2: the second model's.
        positive: the positive class; the larger one if left out. Only used with scores.
        entities: whose row it is, where entities bring several; errors then count entities.
        segments: what each row belongs to, known before it was scored; the result then has `segments`, each with a
            comparison of its own, whose p-value allows for no other segment. One that has too few rows or entities to
            compare is `insufficient`; one with fewer than two rows of a class has no area under the ROC curve.
        confidence: of the intervals; the verdict's level is 1 less that.

    See `homeostat.stats.inference.compare_models` for the statistics.

    Raises:
        InvalidInput: a column is missing, different lengths, fewer than 2 rows, missing classes, or only one of the
            two scores.

    >>> table = {"label": [1] * 50 + [0] * 50, "old": [1] * 30 + [0] * 60 + [1] * 10, "new": [1] * 50 + [0] * 50,
    ...          "country": ["de", "fr"] * 50}
    >>> found = compare_models("label", "old", "new", data=table, segments="country")
    >>> found.verdict, {name: one.wins for name, one in found.segments.items()}
    ('better', {'de': 15, 'fr': 15})
    """
    reader = None if data is None else Reader(data)
    given = {
        "truth": _values(truth, reader),
        "first": _values(first, reader),
        "second": _values(second, reader),
        "scores_1": _values(scores_1, reader),
        "scores_2": _values(scores_2, reader),
        "entities": _keys(entities, reader),
    }
    whole = _compared(given, positive, confidence)
    if segments is None:
        return whole
    names, codes = labels(_keys(segments, reader), "The segments")
    arrays = {name: None if values is None else np.asarray(values) for name, values in given.items()}
    same_length(truth=np.asarray(given["truth"]), segments=codes)
    if positive is None and scores_1 is not None:
        # A segment alone may have only one of the classes.
        positive = np.unique(np.asarray(given["truth"]))[-1]
    found = {}
    for code, name in enumerate(names.tolist()):
        part = {key: None if values is None else values[codes == code] for key, values in arrays.items()}
        found[str(name)] = _segment(part, positive, confidence)
    return replace(whole, segments=found)


def _values(given: Any, reader: Reader | None) -> Any:
    """An array as it came, or the named column: its numbers, or its texts."""
    if not isinstance(given, str):
        return given
    reader = _known(reader, given)
    # Truth and predictions of one table may be 1, 1.0 and True; as numbers they are equal.
    return reader.numbers(given) if reader.kind(given).is_number else names_in(reader, given)


def _keys(given: Any, reader: Reader | None) -> Any:
    return names_in(_known(reader, given), given) if isinstance(given, str) else given


def _known(reader: Reader | None, column: str) -> Reader:
    if reader is None:
        raise InvalidInput(f"'{column}' can only be the name of a column of 'data', which was not given.")
    check_columns(reader, [column])
    return reader


def _compared(given: dict[str, Any], positive: object, confidence: float) -> ModelComparison:
    return compare_arrays(
        given["truth"],
        given["first"],
        given["second"],
        scores_1=given["scores_1"],
        scores_2=given["scores_2"],
        positive=positive,
        entities=given["entities"],
        confidence=confidence,
    )


def _segment(given: dict[str, Any], positive: object, confidence: float) -> ModelComparison:
    truth, owner = given["truth"], given["entities"]
    entities = None if owner is None else len(np.unique(owner))
    if len(truth) < 2 or entities == 1:
        return insufficient(len(truth), entities=entities, confidence=confidence)
    if given["scores_1"] is not None:
        ones = int(np.count_nonzero(truth == positive))
        if min(ones, len(truth) - ones) < LEAST_OF_A_CLASS:
            given = {**given, "scores_1": None, "scores_2": None}
    return _compared(given, positive, confidence)
