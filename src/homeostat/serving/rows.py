"""Rows as callers send them → typed columns in the signature's order. What does not fit is refused, never guessed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from homeostat.errors import InvalidFeatures
from homeostat.frames import Columns, Kind, missing, to_columns
from homeostat.records import Feature, Signature

SHOWN_NAMES = 10
SHOWN_LENGTH = 60
LONGEST_TEXT = 100_000
PLAIN_NUMBERS = {float, int, type(None)}


def checked_columns(rows: Any, signature: Signature) -> Columns:
    """The features of some rows, from any data frame, as the signature has them. Raises `InvalidFeatures`."""
    columns = _checked(rows, signature) if isinstance(rows, Columns) else to_columns(rows, signature.kinds)
    _check_missing(columns, signature)
    return columns


def _checked(rows: Columns, signature: Signature) -> Columns:
    kinds = signature.kinds
    if rows.matrix is not None and signature.is_numeric and list(rows) == list(kinds):
        return rows
    absent = [name for name in kinds if name not in rows]
    if absent:
        raise InvalidFeatures(f"Missing features: {', '.join(absent)}.", missing=absent)
    if len({len(rows[name]) for name in kinds}) > 1:
        raise InvalidFeatures("The columns differ in length.")
    wrong = [name for name, kind in kinds.items() if (rows[name].dtype.kind == "f") != kind.is_number]
    if wrong:
        raise InvalidFeatures(f"Of another kind than the signature says: {', '.join(wrong)}.", features=wrong)
    return rows.select(kinds)


def columns_of_instances(instances: Sequence[Any], signature: Signature) -> Columns:
    """Columns of rows that were read from JSON: objects by feature name, or lists in the signature's order.

    A feature that is missing or that the signature does not know is refused, and so is a value of another type: a
    text or a boolean for a number, a list for anything. `None` is a missing value. Raises `InvalidFeatures`.
    """
    features = signature.features
    values: list[Sequence[Any]] = []
    for position, row in enumerate(instances):
        if isinstance(row, Mapping):
            if len(row) != len(features) or any(feature.name not in row for feature in features):
                raise InvalidFeatures(_difference(row, features, position))
            values.append([row[feature.name] for feature in features])
        elif isinstance(row, list | tuple):
            if len(row) != len(features):
                raise InvalidFeatures(
                    f"Row {position} has {len(row)} values; the model takes {len(features)} features.", row=position
                )
            values.append(row)
        else:
            raise InvalidFeatures(f"Row {position} is neither an object nor a list of values.", row=position)
    return Columns(
        {feature.name: typed_values([row[place] for row in values], feature) for place, feature in enumerate(features)},
        len(values),
    )


def typed_values(values: Sequence[Any], feature: Feature) -> npt.NDArray[Any]:
    """The values of one feature as an array of its kind. Raises `InvalidFeatures` where one is of another type."""
    if feature.kind is Kind.NUMERIC:
        # One by one only where something is unusual: a batch of JSON has as many values as rows × features.
        if not set(map(type, values)) <= PLAIN_NUMBERS:
            for position, value in enumerate(values):
                if value is not None and (isinstance(value, bool) or not isinstance(value, int | float)):
                    raise _wrong(feature, "a number", position)
        try:
            # numpy makes None a NaN.
            found = np.array(values, dtype=np.float64)
        except OverflowError:
            raise InvalidFeatures(f"Feature '{feature.name}' has a number that no float can hold.") from None
        if np.isinf(found).any():
            raise InvalidFeatures(f"Feature '{feature.name}' has an infinite value.", feature=feature.name)
        return found
    if feature.kind is Kind.BOOLEAN:
        for position, value in enumerate(values):
            if value is not None and not (isinstance(value, bool | int | float) and value in (0, 1)):
                raise _wrong(feature, "true or false", position)
        return np.array([np.nan if value is None else float(value) for value in values], dtype=np.float64)
    for position, value in enumerate(values):
        if value is not None and not isinstance(value, str):
            raise _wrong(feature, "a text", position)
        if value is not None and len(value) > LONGEST_TEXT:
            raise InvalidFeatures(f"Feature '{feature.name}' has a text of more than {LONGEST_TEXT:,} characters.")
    column = np.empty(len(values), dtype=object)
    column[:] = values
    return column


def _wrong(feature: Feature, wanted: str, position: int) -> InvalidFeatures:
    # The value itself stays out of the message: errors never echo what was sent.
    return InvalidFeatures(
        f"Feature '{feature.name}' should be {wanted} or null, and is not in row {position}.",
        feature=feature.name,
        row=position,
    )


def _difference(row: Mapping[str, Any], features: Sequence[Feature], position: int) -> str:
    absent = [feature.name for feature in features if feature.name not in row]
    known = {feature.name for feature in features}
    extra = sum(1 for name in row if name not in known)
    parts = []
    if absent:
        parts.append(f"lacks {_listed(absent)}")
    if extra:
        parts.append(f"has {extra} that the model does not know")
    return f"Row {position} does not have the model's features: it {' and '.join(parts)}."


def _listed(names: Sequence[str]) -> str:
    shown = [name if len(name) <= SHOWN_LENGTH else name[: SHOWN_LENGTH - 1] + "…" for name in names[:SHOWN_NAMES]]
    more = len(names) - len(shown)
    return ", ".join(shown) + (f" and {more} more" if more > 0 else "")


def _check_missing(columns: Columns, signature: Signature) -> None:
    if columns.matrix is not None and np.isfinite(columns.matrix).all():
        return
    for feature in signature.features:
        if feature.nullable:
            continue
        values = columns[feature.name]
        gone = missing(values)
        if values.dtype.kind == "f":
            # Models are served infinities as missing values.
            gone |= np.isinf(values)
        if gone.any():
            raise InvalidFeatures(
                f"Feature '{feature.name}' is missing or infinite in row {int(np.argmax(gone))}, and the model gives "
                "no answer without it.",
                feature=feature.name,
            )
