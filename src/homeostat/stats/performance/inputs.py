"""What every function of this folder asks of its arrays, and the words it refuses others with."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from homeostat.errors import InvalidInput

Floats = npt.NDArray[np.float64]
Codes = npt.NDArray[np.intp]


def _floats(values: Any, name: str) -> Floats:
    try:
        given = np.asarray(values)
        # Dates, digits in texts and the real parts of complex numbers would be read as numbers too.
        texts = given.dtype.kind == "O" and any(isinstance(value, str | bytes) for value in given.flat)
        if not texts and given.dtype.kind in "biufO":
            return given.astype(np.float64)
    except (TypeError, ValueError, OverflowError):
        pass
    raise InvalidInput(f"The {name} must be numbers; some are not. Convert them first.")


def numbers(values: Any, name: str, *, rows: int | None = None) -> Floats:
    """A 1-d array of finite numbers, at least one.

    >>> numbers([1, 2], "losses").tolist()
    [1.0, 2.0]
    """
    array = _floats(values, name)
    if array.ndim != 1:
        raise InvalidInput(f"The {name} must be a 1-d array; got {array.ndim} dimensions.")
    if not len(array):
        raise InvalidInput(f"There are no {name}; at least one row is needed.")
    if rows is not None and len(array) != rows:
        raise InvalidInput(f"There are {len(array)} {name} but {rows} rows; give one a row.")
    if not np.isfinite(array).all():
        raise InvalidInput(f"There are missing or infinite values among the {name}; leave those rows out first.")
    return array


def binary(values: Any, name: str, *, rows: int | None = None) -> Floats:
    """0 and 1 as floats, from booleans or numbers."""
    array = numbers(values, name, rows=rows)
    if not ((array == 0) | (array == 1)).all():
        raise InvalidInput(f"The {name} must be 0 or 1 (or booleans); recode the positive class as 1.")
    return array


def codes(values: Any, name: str, *, classes: int, rows: int | None = None) -> Codes:
    """Class codes 0 … classes − 1."""
    array = numbers(values, name, rows=rows)
    # Before the cast, which what is far outside would not survive.
    if (array != np.floor(array)).any() or array.min() < 0 or array.max() >= classes:
        raise InvalidInput(f"The {name} must be class codes from 0 to {classes - 1}.")
    return array.astype(np.intp)


def probabilities(values: Any, name: str, *, rows: int | None = None) -> Floats:
    """Numbers between 0 and 1."""
    array = numbers(values, name, rows=rows)
    if array.min() < 0 or array.max() > 1:
        raise InvalidInput(f"The {name} must be probabilities between 0 and 1; calibrate or rescale them first.")
    return array


def class_probabilities(values: Any, name: str, *, rows: int | None = None) -> Floats:
    """One column a class of finite numbers of at least 0, whose rows sum to more than 0; rows are rescaled to 1."""
    array = _floats(values, name)
    if array.ndim != 2 or array.shape[1] < 2 or not array.shape[0]:
        raise InvalidInput(f"The {name} must have rows and one column a class; their shape is {array.shape}.")
    if rows is not None and len(array) != rows:
        raise InvalidInput(f"There are {len(array)} {name} but {rows} rows; give one a row.")
    if not np.isfinite(array).all() or array.min() < 0:
        raise InvalidInput(f"There are missing, infinite or negative values among the {name}.")
    totals = array.sum(axis=1, keepdims=True)
    if not (totals > 0).all():
        raise InvalidInput(f"A row of the {name} sums to 0; every row needs a class with a positive score.")
    return np.asarray(array / totals)


def matrix(values: Any, name: str, *, rows: int | None = None, columns: int | None = None) -> Floats:
    """A table of numbers, one row a row; NaN means missing, infinities are refused."""
    try:
        array = np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError):
        raise InvalidInput(f"The {name} must be numbers; encode categories as codes first.") from None
    if array.ndim == 1:
        array = array[:, None]
    if array.ndim != 2 or not array.shape[1]:
        raise InvalidInput(f"The {name} must have rows and columns; their shape is {array.shape}.")
    if rows is not None and len(array) != rows:
        raise InvalidInput(f"There are {len(array)} rows of {name} but {rows} predictions; give one a prediction.")
    if columns is not None and array.shape[1] != columns:
        raise InvalidInput(f"The {name} have {array.shape[1]} columns where the reference has {columns}.")
    if np.isinf(array).any():
        raise InvalidInput(f"There are infinite values among the {name}; make them missing (NaN) first.")
    return array


def row_weights(values: Any, rows: int) -> Floats | None:
    """Weights of at least 0 with a positive sum, rescaled to mean 1; None where there are none."""
    if values is None:
        return None
    array = numbers(values, "weights", rows=rows)
    if array.min() < 0 or array.max() <= 0:
        raise InvalidInput("Weights must be at least 0, and not all of them 0.")
    # By the largest first, so that neither huge nor tiny weights leave the range of floats.
    array = array / array.max()
    return np.asarray(array * (rows / array.sum()))


def cluster_codes(values: Any, rows: int) -> Codes | None:
    """Codes 0 … clusters − 1 of the entity keys; None where there are none."""
    if values is None:
        return None
    try:
        keys = np.asarray(values)
    except ValueError:
        raise InvalidInput("Clusters must be one entity key a row; some are lists. Make all of them texts.") from None
    if keys.shape != (rows,):
        raise InvalidInput(f"Clusters must be one entity key a row; their shape is {keys.shape} for {rows} rows.")
    try:
        return np.unique(keys, return_inverse=True)[1].astype(np.intp)
    except TypeError:
        raise InvalidInput("The entity keys are of kinds that can't be compared; make all of them texts.") from None


def level(confidence: float) -> float:
    """The confidence, or `InvalidInput` where it is not strictly between 0 and 1."""
    if not (isinstance(confidence, int | float) and math.isfinite(confidence) and 0 < confidence < 1):
        raise InvalidInput(f"The confidence must lie between 0 and 1; got {confidence}.")
    return float(confidence)
