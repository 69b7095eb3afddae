"""`homeostat.analyze_experiment`: what a table of an experiment says, once its size is reached."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from homeostat.analysis.columns import check_columns, names_in
from homeostat.errors import InvalidInput
from homeostat.frames import Reader, label_text
from homeostat.stats.inference import ExperimentResult
from homeostat.stats.inference import analyze_experiment as analyze_arrays


def analyze_experiment(
    data: Any,
    *,
    arm: str,
    metrics: Sequence[str],
    control: object,
    entity: str | None = None,
    segment: str | None = None,
    denominators: Mapping[str, str] | None = None,
    covariates: Mapping[str, str] | None = None,
    planned: Mapping[Any, float] | None = None,
    lower_is_better: Collection[str] = (),
    adjustment: str = "holm",
    alpha: float = 0.05,
    power: float = 0.8,
) -> ExperimentResult:
    """How the arms of an experiment differ from its control in each metric: one look, at a size set before.

    Whoever looks again and again uses `homeostat.stats.sequential` instead.

    Args:
        data: a frame of pandas, polars or pyarrow, or a mapping of arrays; one row an observation.
        arm: the column of the arms.
        metrics: numeric or boolean columns to compare; missing values are left out and counted.
        control: the value of `arm` that the others are compared with.
        entity: the column of what was assigned to an arm, where it has several rows; errors then count entities.
        segment: a column known before the assignment; the result then has `segments`, each with a table of its own.
        denominators: metric → column, for ratios of sums such as clicks ÷ views.
        covariates: metric → column known before the experiment; CUPED takes off what it explains.
        planned: arm → weight of the planned split, relative to the others'; equal weights if left out.
        lower_is_better: metrics of which less is better.
        adjustment: of the p-values over all metrics and arms: holm, hochberg, bonferroni, benjamini-hochberg,
            benjamini-yekutieli or none.
        alpha: a difference is called at an adjusted p below it.
        power: of the minimum detectable effect that is shown.

    Raises:
        InvalidInput: a column is missing or of another kind, there is no control or only one arm.

    >>> rng = np.random.default_rng(0)
    >>> arms = np.repeat(["old", "new"], 500)
    >>> data = {"arm": arms, "spent": rng.normal(10, 2, 1000) + (arms == "new")}
    >>> analyze_experiment(data, arm="arm", metrics=["spent"], control="old").verdict
    'better'
    """
    if isinstance(metrics, str):
        raise InvalidInput("'metrics' is a list of columns, such as ['spent'].")
    reader = Reader(data)
    under, before = dict(denominators or {}), dict(covariates or {})
    asked = [
        arm,
        *metrics,
        *([entity] if entity else []),
        *([segment] if segment else []),
        *under.values(),
        *before.values(),
    ]
    check_columns(reader, asked)
    arms = names_in(reader, arm)
    columns = {metric: reader.numbers(metric) for metric in metrics}
    entities = None if entity is None else names_in(reader, entity)
    below = {metric: reader.numbers(column) for metric, column in under.items()}
    prior = {metric: reader.numbers(column) for metric, column in before.items()}
    known = [str(name) for name in np.unique(arms)]
    weights = None if planned is None else {_found(name, known): weight for name, weight in planned.items()}

    def analysed(rows: Any, expected: Mapping[Any, float] | None) -> ExperimentResult:
        return analyze_arrays(
            arms[rows],
            {metric: values[rows] for metric, values in columns.items()},
            control=_found(control, known),
            planned=expected,
            entities=None if entities is None else entities[rows],
            denominators={metric: values[rows] for metric, values in below.items()},
            covariates={metric: values[rows] for metric, values in prior.items()},
            lower_is_better=lower_is_better,
            adjustment=adjustment,
            alpha=alpha,
            power=power,
        )

    whole = analysed(slice(None), weights)
    if segment is None:
        return whole
    groups = names_in(reader, segment)
    # A segment may lack an arm, which is then shown without values.
    even = weights if weights is not None else dict.fromkeys(whole.arms, 1.0)
    return replace(whole, segments={str(name): analysed(groups == name, even) for name in np.unique(groups)})


def _found(name: object, known: Sequence[str]) -> str:
    """The arm that somebody means: tables of different libraries write False, or 0.0, in different ways."""
    if str(name) in known:
        return str(name)
    return next((one for one in known if _plain(one) == _plain(name)), str(name))


def _plain(name: object) -> str:
    text = str(name)
    if text in ("True", "False"):
        return text.lower()
    try:
        return label_text(float(text)) or text
    except ValueError:
        return text
