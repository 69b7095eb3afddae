"""Columns of tables as ids, texts, numbers and times. What does not fit is refused with the number of its row."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from datetime import UTC, date, datetime
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from homeostat.errors import InvalidInput
from homeostat.frames import label_text
from homeostat.records import as_datetime64

LONGEST_ID = 256
LONGEST_SOURCE = 100
EARLIEST, LATEST = np.datetime64("0100-01-01", "us"), np.datetime64("9000-01-01", "us")
LATEST_SECONDS = 2.2e11
MOST_VERSION = 1_000_000_000
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")
_WHOLE = re.compile(r"(-?[0-9]{1,15})\.0+")
_TRUTH = {"True": "true", "TRUE": "true", "False": "false", "FALSE": "false"}
Refuse = Callable[[str], InvalidInput]
T = TypeVar("T")


class Unfit(ValueError):
    """Why a value can't be used, without the value."""


def each(values: Sequence[Any], rows: Sequence[int], read: Callable[[Any], T], refuse: Refuse, name: str) -> list[T]:
    """Every value of a column as `read` has it; what it raises `Unfit` for is refused with its row."""
    found = []
    for row, value in zip(rows, values, strict=True):
        try:
            found.append(read(value))
        except (ValueError, TypeError, OverflowError) as error:
            # What libraries say repeats the value.
            why = str(error) if isinstance(error, Unfit) else "it is of another type"
            raise refuse(f"The {name} of row {row:,} can't be used: {why}.") from None
    return found


def id_of(value: Any) -> str:
    """An id as text. Raises `Unfit`."""
    text = _single(value)
    if not text:
        raise Unfit("it is missing")
    if len(text) > LONGEST_ID:
        raise Unfit(f"it has more than {LONGEST_ID} characters")
    if _CONTROL.search(text):
        raise Unfit("it has control characters")
    return text


def label_of(value: Any) -> str:
    """A label as text. Of texts `1.0` reads as 1 and `True` as true, since a CSV has no types. Raises `Unfit`."""
    text = _single(value)
    if not text:
        raise Unfit("it is missing")
    if isinstance(value, str):
        whole = _WHOLE.fullmatch(text)
        text = whole[1] if whole else _TRUTH.get(text, text)
    return text


def source_of(value: Any) -> str | None:
    """Who says so, where somebody does. Raises `Unfit`."""
    text = _single(value)
    if not text:
        return None
    if not text.strip() or len(text) > LONGEST_SOURCE or _CONTROL.search(text):
        raise Unfit(f"it is blank, has more than {LONGEST_SOURCE} characters, or control characters")
    return text


def share_of(value: Any) -> float | None:
    """A number from 0 to 1, where there is one. Raises `Unfit`."""
    if value is None or value == "":
        return None
    number = float(value)
    if not 0 <= number <= 1:
        raise Unfit("it is no number from 0 to 1")
    return number


def moment_of(value: Any) -> np.datetime64 | None:
    """A time in UTC, where there is one: RFC 3339, a time, or seconds since 1970. Raises `Unfit`.

    >>> moment_of("2025-01-02T03:04:05+01:00"), moment_of(0)
    (np.datetime64('2025-01-02T02:04:05.000000'), np.datetime64('1970-01-01T00:00:00.000000'))
    """
    if value is None or value == "":
        return None
    found: np.datetime64
    if isinstance(value, str):
        try:
            value = datetime.fromisoformat(value)
        except ValueError:
            raise Unfit("it is no time such as 2025-01-31T12:00:00Z") from None
    if isinstance(value, datetime):
        found = as_datetime64(value if value.tzinfo is not None else value.replace(tzinfo=UTC))
    elif isinstance(value, date):
        found = np.datetime64(value, "us")
    elif isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < LATEST_SECONDS:
        found = np.datetime64(round(value * 1_000_000), "us")
    else:
        raise Unfit("it is no time such as 2025-01-31T12:00:00Z, nor seconds since 1970")
    if not EARLIEST <= found <= LATEST:
        raise Unfit("it lies outside of the years 100 to 9000")
    return found


def number_of(value: Any) -> float:
    """A number, NaN where there is none; times are microseconds since 1970. Raises `Unfit`."""
    if value is None or value == "":
        return np.nan
    if isinstance(value, datetime | date):
        moment = moment_of(value)
        return np.nan if moment is None else float(moment.astype(np.int64))
    try:
        return float(value)
    except (TypeError, ValueError, OverflowError):
        raise Unfit("it is no number") from None


def truth_of(value: Any) -> float:
    """1 for true and 0 for false, NaN where neither is said. Raises `Unfit`."""
    if isinstance(value, str):
        value = {"true": 1, "false": 0}.get(value.lower(), value)
    number = number_of(value)
    if number not in (0, 1) and not np.isnan(number):
        raise Unfit("it is neither true nor false")
    return number


def text_of(value: Any) -> str | None:
    """A text, where there is one. Raises `Unfit`."""
    return None if value == "" else _single(value)


def key_of(value: Any) -> str | None:
    """An entity, where there is one. Raises `Unfit`."""
    return None if value is None or value == "" else id_of(value)


def score_of(value: Any) -> float | None:
    """A number, where there is one. Raises `Unfit`."""
    number = number_of(value)
    return None if np.isnan(number) else number


def whole_of(value: Any) -> int | None:
    """A number of a version, where there is one. Raises `Unfit`."""
    number = score_of(value)
    if number is None:
        return None
    if not number.is_integer() or not 0 < number < MOST_VERSION:
        raise Unfit("it is no number of a version")
    return int(number)


def numbers(values: Sequence[Any], rows: Sequence[int], refuse: Refuse, name: str) -> npt.NDArray[np.float64]:
    """A column of numbers, NaN where one is missing."""
    try:
        # All at once where they are numbers or texts of such; one by one to say which is not.
        filled = [np.nan if value is None or value == "" else value for value in values]
        return np.array(filled, dtype=object).astype(np.float64)
    except (TypeError, ValueError, OverflowError):
        return np.array(each(values, rows, number_of, refuse, name), dtype=np.float64)


def moments(values: Sequence[np.datetime64 | None], now: np.datetime64) -> npt.NDArray[np.datetime64]:
    """Times with `now` in place of those that are missing."""
    return np.array([now if one is None else one for one in values], dtype="datetime64[us]")


def _single(value: Any) -> str | None:
    if isinstance(value, list | dict | tuple | bytes):
        raise Unfit("it is no single value")
    return label_text(value)
