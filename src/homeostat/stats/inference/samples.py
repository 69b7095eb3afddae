"""What a test may be given: each refusal says what was wrong, with what, and what to do."""

from __future__ import annotations

import math
from typing import Any, get_args

import numpy as np
import numpy.typing as npt

from homeostat.errors import InvalidInput
from homeostat.stats.inference.results import Alternative

Floats = npt.NDArray[np.float64]

# Beyond this the square of a value is no longer a finite float.
LARGEST = 1e150


def sample(values: npt.ArrayLike, name: str, *, least: int = 2) -> Floats:
    """A one-dimensional array of finite numbers, or a refusal that names the array and its fault.

    Raises:
        InvalidInput: not 1-d, not numbers, fewer than `least`, missing, infinite or too large to be squared.
    """
    numbers = column(values, name)
    if len(numbers) < least:
        raise InvalidInput(f"{name} has {len(numbers)} values, and this needs at least {least}. Collect more rows.")
    unusable = len(numbers) - int(np.count_nonzero(np.isfinite(numbers)))
    if unusable:
        raise InvalidInput(
            f"{name} has {unusable} missing or infinite values of {len(numbers)}. Drop or replace them first."
        )
    if float(np.abs(numbers).max(initial=0.0)) > LARGEST:
        raise InvalidInput(f"{name} has values beyond ±1e150, whose squares can't be computed. Rescale them.")
    return numbers


def column(values: npt.ArrayLike, name: str) -> Floats:
    """A one-dimensional array of numbers, in which NaN and infinities are still allowed.

    Raises:
        InvalidInput: not 1-d, or texts, dates or mixed types.
    """
    try:
        given = np.asarray(values)
    except ValueError:
        raise InvalidInput(f"{name} has rows of different lengths. Pass one number a row.") from None
    if given.ndim != 1:
        raise InvalidInput(f"{name} must be one-dimensional; got {given.ndim} dimensions. Pass one number a row.")
    if given.dtype.kind == "O":
        allowed = (int, float, np.number, np.bool_, type(None))
        if not all(isinstance(value, allowed) for value in given):
            raise InvalidInput(f"{name} mixes numbers with something else. Convert it to numbers first.")
        try:
            given = np.array([math.nan if value is None else value for value in given], dtype=np.float64)
        except (OverflowError, TypeError):
            raise InvalidInput(f"{name} has values that no float can hold. Rescale or drop them.") from None
    if given.dtype.kind not in "biuf":
        raise InvalidInput(f"{name} holds {given.dtype} instead of numbers. Convert it to numbers first.")
    return given.astype(np.float64)


def labels(values: npt.ArrayLike, name: str) -> tuple[npt.NDArray[Any], npt.NDArray[np.intp]]:
    """The distinct labels of rows, sorted, and each row's number among them.

    Raises:
        InvalidInput: not 1-d, missing labels, or labels of types that can't be told apart.
    """
    try:
        given = np.asarray(values)
    except ValueError:
        raise InvalidInput(f"{name} has rows of different lengths. Pass one label a row.") from None
    if given.ndim != 1:
        raise InvalidInput(f"{name} must be one-dimensional; got {given.ndim} dimensions. Pass one label a row.")
    if given.dtype.kind == "f" and np.isnan(given).any():
        raise InvalidInput(f"{name} has {int(np.isnan(given).sum())} missing labels. Drop those rows first.")
    if given.dtype.kind == "O" and any(_is_missing(value) for value in given):
        raise InvalidInput(f"{name} has missing labels. Drop those rows first.")
    try:
        distinct, codes = np.unique(given, return_inverse=True)
    except TypeError:
        raise InvalidInput(f"{name} mixes types of labels, such as texts and numbers. Use one type.") from None
    return distinct, codes


def _is_missing(value: Any) -> bool:
    try:
        return value is None or bool(value != value)  # noqa: PLR0124 # NaN and NaT differ from themselves
    except (TypeError, ValueError):
        # pandas.NA does not say whether it differs; an array in a cell says so of each of its values.
        return True


def same_length(**arrays: Floats | npt.NDArray[Any]) -> int:
    """The length that the named arrays share.

    Raises:
        InvalidInput: the lengths differ.
    """
    lengths = {name: len(values) for name, values in arrays.items()}
    if len(set(lengths.values())) > 1:
        told = ", ".join(f"{name} {length}" for name, length in lengths.items())
        raise InvalidInput(f"These must have one value for each row, so equal lengths; got {told}.")
    return next(iter(lengths.values()))


def number(value: float, name: str) -> float:
    """A real number, NaN and infinities included.

    Raises:
        InvalidInput: a text, a list, nothing, or a whole number that no float can hold.
    """
    try:
        if isinstance(value, (int, float, np.integer, np.floating, np.bool_)):
            return float(value)
    except OverflowError:
        raise InvalidInput(f"{name} is larger than any float can be. Rescale it.") from None
    raise InvalidInput(f"{name} must be one number; got {type(value).__name__}. Pass a number.")


def whole(value: float, name: str, *, least: int = 0) -> int:
    """A count.

    Raises:
        InvalidInput: a fraction, not finite, or below `least`.
    """
    number(value, name)
    if not math.isfinite(value) or value != int(value) or value < least:
        raise InvalidInput(f"{name} must be a whole number of at least {least}; got {value}.")
    return int(value)


def share(value: float, name: str) -> float:
    """A number strictly between 0 and 1.

    Raises:
        InvalidInput: anything else.
    """
    if not 0 < number(value, name) < 1:
        raise InvalidInput(f"{name} must lie strictly between 0 and 1; got {value}.")
    return float(value)


def positive(value: float, name: str) -> float:
    """A finite number above 0.

    Raises:
        InvalidInput: anything else.
    """
    if not (math.isfinite(number(value, name)) and value > 0):
        raise InvalidInput(f"{name} must be a number above 0; got {value}.")
    return float(value)


def direction(alternative: str) -> None:
    """Refuse an alternative hypothesis that there isn't.

    Raises:
        InvalidInput: not one of the three.
    """
    if alternative not in get_args(Alternative):
        raise InvalidInput(f"There is no alternative {alternative!r}; use {', '.join(get_args(Alternative))}.")
