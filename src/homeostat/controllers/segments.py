"""The effects of an experiment by the values of a feature: a table for reading, by which nothing is decided."""

from __future__ import annotations

import math
from dataclasses import asdict, replace
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

from homeostat.controllers.views import ModelView
from homeostat.feedback.joined import NONE
from homeostat.frames import Kind
from homeostat.records import Experiment, Signature
from homeostat.stats.experiments import Plan, Reading, Summary, Units, readings

# Values of a feature that get rows of their own, and rows of all tables together: the rest counts as one.
MOST_VALUES = 8
MOST_ROWS = 240
OTHER, MISSING = "other", "missing"
Integers = npt.NDArray[np.int64]


def by_segment(
    view: ModelView,
    experiment: Experiment,
    units: Units,
    rows: Integers,
    plan: Plan,
    signature: Signature,
) -> list[dict[str, Any]]:
    """What a test of a fixed sample says of each value of the features that the experiment names.

    A unit's segment is the value in its first row that was answered, which no arm has had a part in. Categories beyond
    the most frequent are one segment, and numbers are cut at their quartiles.
    """
    kinds = {feature.name: feature.kind for feature in signature.features}
    names = [name for name in experiment.plan.segments if name in kinds]
    each = len(names) * len(plan.metrics) * (len(plan.arms) - 1)
    found: list[dict[str, Any]] = []
    for name in names:
        values = np.full(len(rows), None, dtype=object)
        answered = rows != NONE
        values[answered] = view.row_features.of(name, rows[answered], view.joined)
        is_number = kinds[name] is Kind.NUMERIC
        labels, codes = (
            _numbers(values) if is_number else _categories(values, max(2, min(MOST_VALUES, MOST_ROWS // each)))
        )
        split = replace(units, segment=codes)
        found += [
            {**plain_reading(row), "feature": name, "segment": labels[row.segment or 0]}
            for row in readings(Summary.of(split, plan), plan, by_segment=True)
            # Where all units have one value, the whole is that segment.
            if row.segment is not None or len(labels) == 1
        ]
    return found


def plain_reading(row: Reading) -> dict[str, Any]:
    """A row of a table for reading, as JSON has it: what is no finite number is none."""

    def plain(value: Any) -> Any:
        if isinstance(value, tuple):
            return [plain(one) for one in value]
        return None if isinstance(value, float) and not math.isfinite(value) else value

    return {name: plain(value) for name, value in asdict(row).items()}


def _categories(values: npt.NDArray[np.object_], most: int) -> tuple[list[str], Integers]:
    """Names of segments, the most frequent first, and each unit's."""
    texts = np.array([MISSING if value is None else _shown(value) for value in values], dtype=object)
    names, codes, counts = np.unique(texts.astype(str), return_inverse=True, return_counts=True)
    order = np.lexsort((names, -counts))
    rank = np.empty(len(names), dtype=np.int64)
    rank[order] = np.arange(len(names))
    labels = [str(names[place]) for place in order]
    if len(labels) > most:
        labels = [*labels[: most - 1], OTHER]
    return labels or [MISSING], np.minimum(rank[codes], max(len(labels) - 1, 0)).astype(np.int64)


def _numbers(values: npt.NDArray[np.object_]) -> tuple[list[str], Integers]:
    """Segments between the quartiles of what was seen; those without a number come last."""
    numbers = np.array([math.nan if value is None else float(value) for value in values])
    known = ~np.isnan(numbers)
    cuts = np.unique(np.quantile(numbers[known], (0.25, 0.5, 0.75), method="lower")) if known.any() else np.empty(0)
    # A cut at the largest value would leave nobody above it.
    cuts = cuts[cuts < numbers[known].max()] if known.any() else cuts
    ends = [f"{cut:.4g}" for cut in cuts]
    if not ends:
        labels = ["all"] if known.any() else []
    else:
        between = [f"{low} to {high}" for low, high in pairwise(ends)]
        labels = [f"at most {ends[0]}", *(f"above {words}" for words in between), f"above {ends[-1]}"]
    codes = np.searchsorted(cuts, numbers, side="left").astype(np.int64)
    if not known.all() or not labels:
        codes[~known] = len(labels)
        labels.append(MISSING)
    return labels, codes


def _shown(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return f"{value:.4g}" if isinstance(value, float) else str(value)[:100]
