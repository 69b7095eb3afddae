"""A table that is looked at column by column, without being converted as a whole.

Floats of pandas, polars, pyarrow and numpy are read where they lie; categories are counted by pyarrow. So what a
summary of a million rows costs is the summary, not the conversion.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from homeostat.errors import InvalidData
from homeostat.frames.columns import Columns, Kind, infer_kind, to_arrow

Array = npt.NDArray[Any]
Floats = npt.NDArray[np.float64]


class Reader:
    """Columns of any data frame (pandas, polars, pyarrow) or mapping of arrays, by name and by kind.

    Raises `InvalidData` where the object is no table, two columns have one name or lengths differ, and where a column
    holds what its kind can't. Arrays that it returns may be the table's own: they must not be written to.

    >>> reader = Reader({"x": np.array([1.0, np.nan]), "c": np.array(["a", None], dtype=object)})
    >>> reader.rows, reader.kind("c").value, reader.tally("c")
    (2, 'categorical', (Counter({'a': 1}), 1))
    """

    def __init__(self, data: Any, kinds: Mapping[str, Kind] | None = None) -> None:
        self._columns = _columns_of(data)
        self._kinds: dict[str, Kind] = dict(kinds or {})
        lengths = {len(column) for column in self._columns.values()}
        if len(lengths) > 1:
            raise InvalidData(f"The columns of a table must have one length; got {sorted(lengths)}.")
        self.rows = data.rows if isinstance(data, Columns) else lengths.pop() if lengths else 0

    @property
    def names(self) -> list[str]:
        """The names of the columns, in order."""
        return list(self._columns)

    def select(self, names: Iterable[str]) -> Reader:
        """The same table with the named columns only, in that order."""
        part = Reader({}, self._kinds)
        part._columns = {name: self._columns[name] for name in names}
        part.rows = self.rows
        return part

    def kind(self, name: str) -> Kind:
        """The kind that was given for a column, or the one that its type and values speak for."""
        if name not in self._kinds:
            self._kinds[name] = self._infer(name)
        return self._kinds[name]

    def numbers(self, name: str) -> Floats:
        """A numeric or boolean column as float64, NaN for missing; dates as microseconds since 1970."""
        column = self._columns[name]
        dtype = getattr(column, "dtype", None)
        if isinstance(column, np.ndarray) and column.dtype.kind in "fiub":
            return np.asarray(column, dtype=np.float64)
        if isinstance(dtype, np.dtype) and dtype.kind in "fiub":
            return np.asarray(column.to_numpy(), dtype=np.float64)
        if isinstance(column, np.ndarray) and column.dtype.kind == "O":
            # Cells that are single values: None counts as NaN, numbers of any type are taken.
            try:
                return np.asarray(column, dtype=np.float64)
            except (TypeError, ValueError) as error:
                raise InvalidData(
                    f"Column '{name}' should hold numbers, but holds something else: {error}.", column=name
                ) from error
        return self._numbers_of_arrow(name)

    def _numbers_of_arrow(self, name: str) -> Floats:
        import pyarrow as pa
        import pyarrow.compute as pc

        column = self._arrow(name)
        try:
            if pa.types.is_dictionary(column.type):
                column = pc.cast(column, column.type.value_type)
            if pa.types.is_temporal(column.type):
                column = pc.cast(pc.cast(column, pa.timestamp("us"), safe=False), pa.int64())
            if pa.types.is_boolean(column.type):
                column = pc.cast(column, pa.int8())
            return np.asarray(pc.cast(column, pa.float64(), safe=False).to_numpy(), dtype=np.float64)
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError, pa.ArrowTypeError) as error:
            raise InvalidData(f"Column '{name}' should hold numbers, but holds {column.type}.", column=name) from error

    def tally(self, name: str) -> tuple[Counter[str], int]:
        """How often each value of a column occurs, as texts, and in how many rows it is missing."""
        column = self._columns[name]
        if isinstance(column, np.ndarray):
            return _tally_of_objects(name, column)
        import pyarrow as pa
        import pyarrow.compute as pc

        values = self._arrow(name)
        try:
            if pa.types.is_dictionary(values.type):
                values = pc.cast(values, values.type.value_type)
            counted = pc.value_counts(values)
            texts = pc.cast(counted.field("values"), pa.string())
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError, pa.ArrowTypeError) as error:
            raise InvalidData(
                f"Column '{name}' should hold categories, but holds {values.type}.", column=name
            ) from error
        tally: Counter[str] = Counter()
        for text, count in zip(texts.to_pylist(), counted.field("counts").to_pylist(), strict=True):
            tally[text] += count
        return tally, tally.pop(None, 0)  # type: ignore[call-overload] # missing values are counted under None

    def texts(self, name: str) -> Array:
        """A column as an object array of texts, `None` for missing."""
        return self.take(name, None, text=True)

    def take(self, name: str, index: npt.NDArray[np.intp] | None, *, text: bool) -> Array:
        """The rows at `index` (all for `None`) of a column, as texts or as numbers."""
        column = self._columns[name]
        if not text:
            numbers = self.numbers(name)
            return numbers if index is None else numbers[index]
        if isinstance(column, np.ndarray):
            taken = column if index is None else column[index]
            return np.array([None if _is_missing(value) else str(value) for value in taken.tolist()], dtype=object)
        import pyarrow as pa
        import pyarrow.compute as pc

        values = self._arrow(name)
        values = values if index is None else values.take(pa.array(index))
        if pa.types.is_dictionary(values.type):
            values = pc.cast(values, values.type.value_type)
        return np.array(pc.cast(values, pa.string()).to_pylist(), dtype=object)

    def _infer(self, name: str) -> Kind:
        column = self._columns[name]
        dtype = getattr(column, "dtype", None)
        if isinstance(dtype, np.dtype) and dtype.kind in "fiu":
            return Kind.NUMERIC
        if isinstance(dtype, np.dtype) and dtype.kind == "b":
            return Kind.BOOLEAN
        import pyarrow as pa

        column = self._arrow(name)
        # A column of nothing but missing values may hold anything later; texts of it can be counted whatever they are.
        return Kind.CATEGORICAL if pa.types.is_null(column.type) else infer_kind(column)

    def _arrow(self, name: str) -> Any:
        import pyarrow as pa

        column = self._columns[name]
        if isinstance(column, pa.ChunkedArray):
            return column
        try:
            if hasattr(column, "to_arrow"):
                made = column.to_arrow()
            elif isinstance(column, np.ndarray):
                made = pa.array(column.tolist() if column.dtype.kind in "OU" else column, from_pandas=True)
            elif hasattr(column, "sparse"):
                made = pa.array(column.sparse.to_dense(), from_pandas=True)
            else:
                made = pa.array(column, from_pandas=True)
        except (TypeError, ValueError, OverflowError, pa.ArrowException) as error:
            raise InvalidData(
                f"Column '{name}' holds values of several types, or of one that a table can't have ({error}). "
                "Make them numbers or texts, or leave it out.",
                column=name,
            ) from error
        made = made if isinstance(made, pa.ChunkedArray) else pa.chunked_array([made])
        self._columns[name] = made
        return made


def _columns_of(data: Any) -> dict[str, Any]:
    module = type(data).__module__.split(".")[0]
    if isinstance(data, Mapping):
        return {
            str(name): values if isinstance(values, np.ndarray) else _as_array(str(name), values)
            for name, values in data.items()
        }
    if module == "polars" and hasattr(data, "collect"):
        raise InvalidData("This is a lazy frame: call .collect() first.")
    if module in ("pandas", "polars") and hasattr(data, "columns"):
        names = [str(name) for name in data.columns]
        _check_names(names)
        if module == "pandas":
            return {str(label): column for label, column in data.items()}
        return {name: data.get_column(name) for name in names}
    table = to_arrow(data)
    return {name: table.column(name) for name in table.column_names}


def _check_names(names: list[str]) -> None:
    repeated = sorted({name for name in names if names.count(name) > 1})
    if repeated:
        raise InvalidData(
            f"Two columns have the same name: {', '.join(repeated)}. Rename one of each.", columns=repeated
        )


def _as_array(name: str, values: Any) -> Any:
    """A list, or a series of any library, as something that `Reader` reads."""
    if hasattr(values, "to_arrow") or type(values).__module__.startswith(("pandas", "pyarrow")):
        return values
    try:
        return np.array(list(values), dtype=object)
    except TypeError as error:
        raise InvalidData(f"Column '{name}' is not a list of values: {error}.", column=name) from error


def _tally_of_objects(name: str, values: Array) -> tuple[Counter[str], int]:
    try:
        raw = Counter(values.tolist())
    except TypeError as error:
        raise InvalidData(f"Column '{name}' should hold categories, but holds something else: {error}.") from error
    missing = raw.pop(None, 0)
    if all(isinstance(value, str) for value in raw):
        return raw, missing
    tally: Counter[str] = Counter()
    for value, count in raw.items():
        if _is_missing(value):
            missing += count
        else:
            tally[str(value)] += count
    return tally, missing


def _is_missing(value: Any) -> bool:
    return value is None or (isinstance(value, float) and value != value)  # noqa: PLR0124 # NaN differs from itself
