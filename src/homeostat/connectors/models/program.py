"""Preprocessing as plain data: a small interpreter of the steps that stand before a model.

A table on its way through the steps is a float64 matrix (n, k), or a list of k columns where some hold strings.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Literal

import msgspec
import numpy as np

from homeostat import frames
from homeostat.errors import CompilationFailed, ScoringFailed, Unanswerable
from homeostat.frames import Array, Floats

Table = Array | list[Array]
Value = float | str | None


class _Form(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="step"):
    pass


class Take(_Form, frozen=True, kw_only=True, tag="take"):
    """Keep the columns at these positions, in this order."""

    columns: tuple[int, ...]


class Impute(_Form, frozen=True, kw_only=True, tag="impute"):
    """Put a value for each missing entry; `kept` columns remain, `indicators` are appended as 0 and 1.

    `marker` says what counts as missing; a value of null stands for a missing fill.
    """

    values: tuple[Value, ...]
    marker: Literal["nan", "none"]
    kept: tuple[int, ...]
    indicators: tuple[int, ...] = ()


class Scale(_Form, frozen=True, kw_only=True, tag="scale"):
    """Subtract, divide, multiply, add, clip: whichever are given, in that order, column by column."""

    subtract: tuple[float, ...] | None = None
    divide: tuple[float, ...] | None = None
    multiply: tuple[float, ...] | None = None
    add: tuple[float, ...] | None = None
    clip: tuple[float, float] | None = None


class Categories(_Form, frozen=True, kw_only=True, tag="categories"):
    """The known values of one column; null is the missing one."""

    values: tuple[Value, ...]
    dropped: int | None = None


class OneHot(_Form, frozen=True, kw_only=True, tag="one_hot"):
    """A column of 0 and 1 for each category but the dropped one."""

    columns: tuple[Categories, ...]
    refuse_unknown: bool


class Ordinal(_Form, frozen=True, kw_only=True, tag="ordinal"):
    """The position of each category; `missing` is the code of each column's missing one; null stands for NaN."""

    columns: tuple[Categories, ...]
    refuse_unknown: bool
    unknown: float | None = None
    missing: tuple[float | None, ...] = ()


class Branch(_Form, frozen=True, kw_only=True, tag="branch"):
    """Steps on some of the columns."""

    columns: tuple[int, ...]
    steps: tuple[Step, ...]


class Split(_Form, frozen=True, kw_only=True, tag="split"):
    """Branches side by side; their outputs are joined in order."""

    branches: tuple[Branch, ...]


Step = Take | Impute | Scale | OneHot | Ordinal | Split


def gather(columns: Mapping[str, Array], names: Sequence[str], rows: int) -> Table:
    """The named columns as a matrix where all are numbers, else as a list."""
    picked = [columns[name] for name in names]
    if all(values.dtype.kind == "f" for values in picked):
        return _matrix(picked, rows)
    return picked


def _matrix(picked: Sequence[Array], rows: int) -> Floats:
    matrix = np.empty((rows, len(picked)))
    for position, values in enumerate(picked):
        matrix[:, position] = values
    return matrix


def width(table: Table) -> int:
    """How many columns a table has."""
    return len(table) if isinstance(table, list) else int(table.shape[1])


def run(steps: Sequence[Step], table: Table, rows: int) -> Table:
    """The table after all steps.

    Raises `Unanswerable` for an unknown category where the original refuses one.
    """
    for step in steps:
        match step:
            case Take():
                table = _take(table, step.columns, rows)
            case Impute():
                table = _impute(step, table)
            case Scale():
                table = _scale(step, table, rows)
            case OneHot():
                table = _one_hot(step, table, rows)
            case Ordinal():
                table = _ordinal(step, table, rows)
            case Split():
                table = _split(step, table, rows)
    return table


def to_matrix(table: Table, rows: int) -> Floats:
    """The table as numbers; raises `ScoringFailed` where strings are left."""
    if isinstance(table, list):
        if any(values.dtype.kind != "f" for values in table):
            raise ScoringFailed("Strings are left after the preprocessing; the served files do not fit together.")
        return _matrix(table, rows)
    return table


def _column(table: Table, position: int) -> Array:
    return table[position] if isinstance(table, list) else table[:, position]


def _take(table: Table, columns: Sequence[int], rows: int) -> Table:
    if not isinstance(table, list):
        return table[:, list(columns)]
    picked = [table[position] for position in columns]
    return _matrix(picked, rows) if all(values.dtype.kind == "f" for values in picked) else picked


def _impute(step: Impute, table: Table) -> Table:
    if not isinstance(table, list) and step.marker == "nan":
        gone = np.isnan(table)
        fills = np.array([math.nan if value is None else value for value in step.values], dtype=np.float64)
        filled = np.where(gone, fills, table)[:, list(step.kept)]
        if not step.indicators:
            return filled
        return np.hstack([filled, gone[:, list(step.indicators)].astype(np.float64)])
    masks = [_gone(_column(table, position), step.marker) for position in range(width(table))]
    columns: list[Array] = []
    for position in step.kept:
        values = _column(table, position).copy()
        values[masks[position]] = step.values[position]
        columns.append(values)
    columns.extend(masks[position].astype(np.float64) for position in step.indicators)
    return columns


def _gone(values: Array, marker: str) -> Array:
    if values.dtype.kind == "f":
        return np.isnan(values) if marker == "nan" else np.zeros(len(values), dtype=bool)
    # A column of strings never holds NaN, so only the marker None finds anything in it.
    return frames.missing(values) if marker == "none" else np.zeros(len(values), dtype=bool)


def _scale(step: Scale, table: Table, rows: int) -> Table:
    matrix = to_matrix(table, rows)
    if step.subtract is not None:
        matrix = matrix - np.asarray(step.subtract)
    if step.divide is not None:
        matrix = matrix / np.asarray(step.divide)
    if step.multiply is not None:
        matrix = matrix * np.asarray(step.multiply)
    if step.add is not None:
        matrix = matrix + np.asarray(step.add)
    return matrix if step.clip is None else np.clip(matrix, *step.clip)


def _codes(known: Categories, values: Array, *, refuse_unknown: bool) -> Array:
    index: dict[Value, int] = {value: position for position, value in enumerate(known.values)}
    absent = index.get(None, -1)
    # A NaN differs from itself; it is the missing value of a column of numbers.
    codes = np.array(
        [absent if value is None or value != value else index.get(value, -1) for value in values.tolist()],  # noqa: PLR0124
        dtype=np.intp,
    )
    if refuse_unknown and (codes < 0).any():
        raise Unanswerable("A categorical feature has a value that the original model never saw, and it refuses such.")
    return codes


def _one_hot(step: OneHot, table: Table, rows: int) -> Table:
    blocks: list[Array] = []
    for position, known in enumerate(step.columns):
        codes = _codes(known, _column(table, position), refuse_unknown=step.refuse_unknown)
        block = np.zeros((rows, len(known.values)))
        seen = np.flatnonzero(codes >= 0)
        block[seen, codes[seen]] = 1.0
        blocks.append(block if known.dropped is None else np.delete(block, known.dropped, axis=1))
    return np.hstack(blocks) if blocks else np.empty((rows, 0))


def _ordinal(step: Ordinal, table: Table, rows: int) -> Table:
    matrix = np.empty((rows, len(step.columns)))
    unknown = math.nan if step.unknown is None else step.unknown
    for position, known in enumerate(step.columns):
        codes = _codes(known, _column(table, position), refuse_unknown=step.refuse_unknown)
        matrix[:, position] = np.where(codes < 0, unknown, codes)
        if None in known.values:
            code = step.missing[position]
            matrix[codes == known.values.index(None), position] = math.nan if code is None else code
    return matrix


def _split(step: Split, table: Table, rows: int) -> Table:
    parts = [run(branch.steps, _take(table, branch.columns, rows), rows) for branch in step.branches]
    if all(not isinstance(part, list) for part in parts):
        return np.hstack([np.empty((rows, 0)), *parts])
    joined: list[Array] = []
    for part in parts:
        joined.extend(_column(part, position) for position in range(width(part)))
    return joined


def check(steps: Sequence[Step], columns: int) -> int:
    """How many columns come out of the steps when `columns` go in.

    Raises `CompilationFailed` where the steps do not fit together, so that running them can't read out of bounds.
    """
    for step in steps:
        columns = _width_after(step, columns)
    return columns


def _width_after(step: Step, columns: int) -> int:
    match step:
        case Take():
            _check_positions(step.columns, columns)
            return len(step.columns)
        case Impute():
            _check_positions((*step.kept, *step.indicators), columns)
            _check_lengths(len(step.values), columns)
            return len(step.kept) + len(step.indicators)
        case Scale():
            for values in (step.subtract, step.divide, step.multiply, step.add):
                _check_lengths(columns if values is None else len(values), columns)
            return columns
        case OneHot():
            _check_lengths(len(step.columns), columns)
            for known in step.columns:
                _check_positions(() if known.dropped is None else (known.dropped,), len(known.values))
            return sum(len(known.values) - (known.dropped is not None) for known in step.columns)
        case Ordinal():
            _check_lengths(len(step.columns), columns)
            _check_lengths(len(step.missing), columns)
            return columns
        case Split():
            for branch in step.branches:
                _check_positions(branch.columns, columns)
            return sum(check(branch.steps, len(branch.columns)) for branch in step.branches)


def _check_positions(positions: Sequence[int], columns: int) -> None:
    wrong = [position for position in positions if not 0 <= position < columns]
    if wrong:
        raise CompilationFailed(f"The served preprocessing names column {wrong[0]} of {columns}; register anew.")


def _check_lengths(given: int, columns: int) -> None:
    if given != columns:
        raise CompilationFailed(
            f"The served preprocessing has {given} parameters for {columns} columns; register anew."
        )


def sources(steps: Sequence[Step], columns: tuple[int | None, ...]) -> tuple[int | None, ...]:
    """Which input column each output column copies where it isn't missing; `None` where it changes values.

    >>> sources((Take(columns=(2, 0)),), (0, 1, 2))
    (2, 0)
    """
    for step in steps:
        match step:
            case Take():
                columns = tuple(columns[position] for position in step.columns)
            case Impute():
                columns = (*(columns[position] for position in step.kept), *(None for _ in step.indicators))
            case Scale() | Ordinal():
                columns = (None,) * len(columns)
            case OneHot():
                columns = (None,) * _width_after(step, len(columns))
            case Split():
                parts = [
                    sources(branch.steps, tuple(columns[position] for position in branch.columns))
                    for branch in step.branches
                ]
                columns = tuple(source for part in parts for source in part)
    return columns
