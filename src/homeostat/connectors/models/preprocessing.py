"""Fitted scikit-learn transformers as steps of the served program, as far as they can be expressed."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from homeostat.connectors.models.program import (
    Branch,
    Categories,
    Impute,
    OneHot,
    Ordinal,
    Scale,
    Split,
    Step,
    Take,
    Value,
    check,
)
from homeostat.errors import CompilationFailed
from homeostat.frames import Array


class NotExpressible(CompilationFailed):
    """A transformer has no counterpart among the steps, so another format must serve the model."""


def taken_apart(model: Any) -> tuple[list[Any], Any]:
    """The transformers and the final estimator of a pipeline, nested pipelines opened."""
    from sklearn.pipeline import Pipeline

    if not isinstance(model, Pipeline):
        return [], model
    before = [step for _, step in model.steps[:-1]]
    inner, final = taken_apart(model.steps[-1][1])
    return before + inner, final


def express(transformers: Sequence[Any], columns: int) -> tuple[Step, ...]:
    """The steps that do what the fitted transformers do to `columns` input columns.

    Raises `NotExpressible`, naming the first transformer that can't be expressed.
    """
    steps: list[Step] = []
    for transformer in transformers:
        added = _express(transformer, columns)
        columns = check(added, columns)
        steps.extend(added)
    return tuple(steps)


def _express(transformer: Any, columns: int) -> tuple[Step, ...]:
    from sklearn.compose import ColumnTransformer
    from sklearn.feature_selection import SelectorMixin
    from sklearn.impute import SimpleImputer
    from sklearn.pipeline import Pipeline
    from sklearn.preprocessing import (
        FunctionTransformer,
        MaxAbsScaler,
        MinMaxScaler,
        OneHotEncoder,
        OrdinalEncoder,
        RobustScaler,
        StandardScaler,
    )

    if transformer is None or (isinstance(transformer, str) and transformer == "passthrough"):
        return ()
    # Subclasses may override anything, so only the exact types are known to behave as expected.
    known = type(transformer)
    if known is Pipeline:
        return express([step for _, step in transformer.steps], columns)
    if known is ColumnTransformer:
        return _split(transformer, columns)
    if known is SimpleImputer:
        return _imputer(transformer)
    if known is StandardScaler:
        return (
            Scale(
                subtract=_floats(transformer.mean_ if transformer.with_mean else None),
                divide=_floats(transformer.scale_ if transformer.with_std else None),
            ),
        )
    if known is RobustScaler:
        return (
            Scale(
                subtract=_floats(transformer.center_ if transformer.with_centering else None),
                divide=_floats(transformer.scale_ if transformer.with_scaling else None),
            ),
        )
    if known is MinMaxScaler:
        low, high = (float(bound) for bound in transformer.feature_range)
        clip = (low, high) if transformer.clip else None
        return (Scale(multiply=_floats(transformer.scale_), add=_floats(transformer.min_), clip=clip),)
    if known is MaxAbsScaler and not getattr(transformer, "clip", False):
        return (Scale(divide=_floats(transformer.scale_)),)
    if known is OneHotEncoder:
        return (_one_hot(transformer),)
    if known is OrdinalEncoder:
        return (ordinal(transformer),)
    if known is FunctionTransformer and transformer.func is None:
        return ()
    if isinstance(transformer, SelectorMixin) and known.__module__.startswith("sklearn."):
        return (Take(columns=tuple(int(position) for position in transformer.get_support(indices=True))),)
    raise NotExpressible(f"{known.__name__} has no plain counterpart")


def _split(transformer: Any, columns: int) -> tuple[Step, ...]:
    if transformer.transformer_weights is not None:
        raise NotExpressible("ColumnTransformer with transformer_weights has no plain counterpart")
    branches: list[Branch] = []
    for name, inner, _ in transformer.transformers_:
        if isinstance(inner, str) and inner == "drop":
            continue
        positions = tuple(int(position) for position in transformer._transformer_to_input_indices[name])
        if positions:
            steps = express([inner], len(positions))
            branches.append(Branch(columns=positions, steps=steps))
    split = Split(branches=tuple(branches))
    check((split,), columns)
    return (split,)


def _imputer(transformer: Any) -> tuple[Step, ...]:
    marker = transformer.missing_values
    if marker is not None and not (isinstance(marker, float) and math.isnan(marker)):
        raise NotExpressible(f"SimpleImputer(missing_values={marker!r}) has no plain counterpart")
    values = tuple(_value(value) for value in transformer.statistics_)
    keeps_all = transformer.strategy == "constant" or transformer.keep_empty_features
    kept = tuple(position for position, value in enumerate(values) if keeps_all or value is not None)
    indicators = () if transformer.indicator_ is None else tuple(int(i) for i in transformer.indicator_.features_)
    return (Impute(values=values, marker="none" if marker is None else "nan", kept=kept, indicators=indicators),)


def _one_hot(transformer: Any) -> OneHot:
    if getattr(transformer, "_infrequent_enabled", False):
        raise NotExpressible("OneHotEncoder with infrequent categories has no plain counterpart")
    if transformer.handle_unknown == "warn":
        raise NotExpressible("OneHotEncoder(handle_unknown='warn') has no plain counterpart")
    dropped = transformer.drop_idx_ if transformer.drop_idx_ is not None else [None] * len(transformer.categories_)
    return OneHot(
        columns=tuple(
            Categories(values=_categories(values), dropped=None if drop is None else int(drop))
            for values, drop in zip(transformer.categories_, dropped, strict=True)
        ),
        refuse_unknown=transformer.handle_unknown == "error",
    )


def ordinal(transformer: Any) -> Ordinal:
    """The step of a fitted OrdinalEncoder."""
    if getattr(transformer, "_infrequent_enabled", False):
        raise NotExpressible("OrdinalEncoder with infrequent categories has no plain counterpart")
    refuse = transformer.handle_unknown == "error"
    unknown = None if refuse else _value(transformer.unknown_value)
    missing = _value(transformer.encoded_missing_value)
    if isinstance(unknown, str) or isinstance(missing, str):
        raise NotExpressible("OrdinalEncoder with codes that are no numbers has no plain counterpart")
    return Ordinal(
        columns=tuple(Categories(values=_categories(values)) for values in transformer.categories_),
        refuse_unknown=refuse,
        unknown=unknown,
        # scikit-learn recodes NaN only; a missing string is a category like any other.
        missing=tuple(
            float(list(values).index(None)) if values.dtype.kind == "O" and None in list(values) else missing
            for values in transformer.categories_
        ),
    )


def _categories(values: Array) -> tuple[Value, ...]:
    return tuple(_value(value) for value in values)


def _value(value: Any) -> Value:
    if value is None or (isinstance(value, float | np.floating) and np.isnan(value)):
        return None
    if isinstance(value, str):
        return str(value)
    if isinstance(value, bool | int | float | np.integer | np.floating | np.bool_):
        return float(value)
    raise NotExpressible(f"a category or fill value of type {type(value).__name__} has no plain counterpart")


def _floats(values: Array | None) -> tuple[float, ...] | None:
    return None if values is None else tuple(float(value) for value in values)
