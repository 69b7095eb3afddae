"""Any data frame (pandas, polars, pyarrow) to typed columns and back.

Inside Homeostat a table of features is `Columns`: numpy arrays by name, with one form for each kind.

| kind | array | missing |
| --- | --- | --- |
| numeric | float64 | NaN |
| boolean | float64, 0 or 1 | NaN |
| categorical, text | object, `str` | `None` |
"""

from __future__ import annotations

import enum
import hashlib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from homeostat.errors import InvalidData, InvalidFeatures

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

Array = npt.NDArray[Any]
Floats = npt.NDArray[np.float64]

MATRICES = 256
TEXT_LENGTH = 40
TEXT_DISTINCT = 0.5
INTEGER_TEXT = 2**53


class Kind(enum.StrEnum):
    """What a column holds."""

    NUMERIC = "numeric"
    CATEGORICAL = "categorical"
    BOOLEAN = "boolean"
    TEXT = "text"

    @property
    def is_number(self) -> bool:
        """Whether the column is held as float64."""
        return self in (Kind.NUMERIC, Kind.BOOLEAN)


@lru_cache(maxsize=MATRICES)
def _places(names: tuple[str, ...]) -> dict[str, int]:
    return {name: place for place, name in enumerate(names)}


class _Views(Mapping[str, Array]):
    """The columns of a matrix by name. Views are made when they are asked for: most rows are scored without."""

    __slots__ = ("_matrix", "_places")

    def __init__(self, names: tuple[str, ...], matrix: Floats) -> None:
        self._places = _places(names)
        self._matrix = matrix
        if matrix.ndim != 2 or matrix.shape[1] != len(names) or len(self._places) != len(names):
            raise ValueError(f"A matrix of shape {matrix.shape} has not one column for each of {len(names)} names.")

    def __getitem__(self, name: str) -> Array:
        return self._matrix[:, self._places[name]]

    def __iter__(self) -> Iterator[str]:
        return iter(self._places)

    def __len__(self) -> int:
        return len(self._places)


@dataclass(frozen=True, slots=True)
class Columns(Mapping[str, Array]):
    """Typed columns of equal length, in order.

    Where all are numbers they may lie side by side in one `matrix` (rows × columns), of which the columns are views:
    whoever wants the rows together then has them without touching each column.

    >>> columns = Columns({"x": np.array([1.0, np.nan]), "c": np.array(["a", None], dtype=object)})
    >>> len(columns), columns.rows
    (2, 2)
    >>> columns.take(np.array([1]))["c"].tolist()
    [None]
    """

    values_by_name: Mapping[str, Array]
    given_rows: int | None = None
    matrix: Floats | None = None

    @classmethod
    def of_matrix(cls, names: Sequence[str], matrix: Floats) -> Columns:
        """Columns of a float64 matrix (rows × columns) in the order of its columns.

        >>> Columns.of_matrix(["x", "y"], np.array([[1.0, 2.0], [3.0, 4.0]]))["y"].tolist()
        [2.0, 4.0]
        """
        return cls(_Views(tuple(names), matrix), len(matrix), matrix)

    def __getitem__(self, name: str) -> Array:
        return self.values_by_name[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.values_by_name)

    def __len__(self) -> int:
        return len(self.values_by_name)

    @property
    def rows(self) -> int:
        """How many rows every column has."""
        if self.given_rows is not None:
            return self.given_rows
        for values in self.values_by_name.values():
            return len(values)
        return 0

    def take(self, index: npt.NDArray[np.intp] | npt.NDArray[np.bool_] | slice) -> Columns:
        """The rows at `index` (positions, a mask or a slice)."""
        if self.matrix is not None:
            return Columns.of_matrix(list(self.values_by_name), self.matrix[index])
        taken = {name: values[index] for name, values in self.values_by_name.items()}
        return Columns(taken, None if taken else len(np.empty(self.rows)[index]))

    def select(self, names: Iterable[str]) -> Columns:
        """The named columns, in that order."""
        names = list(names)
        if self.matrix is not None and names == list(self.values_by_name):
            return self
        return Columns({name: self.values_by_name[name] for name in names}, self.rows)


def concatenate(parts: Sequence[Columns]) -> Columns:
    """All rows of all parts, which must have the same columns."""
    if not parts:
        return Columns({}, 0)
    names = list(parts[0])
    return Columns(
        {name: np.concatenate([part[name] for part in parts]) for name in names}, sum(part.rows for part in parts)
    )


def missing(values: Array) -> npt.NDArray[np.bool_]:
    """Which entries of a column are missing.

    >>> missing(np.array(["a", None], dtype=object)).tolist()
    [False, True]
    """
    if values.dtype.kind == "f":
        return np.isnan(values)
    return np.array([value is None for value in values], dtype=bool)


def finite(columns: Columns) -> Columns:
    """The columns with infinities as missing values, which is how models are trained and served.

    Profiles count infinities apart; no model gains from them, and most refuse them.
    """
    if columns.matrix is not None:
        infinite = np.isinf(columns.matrix)
        if not infinite.any():
            return columns
        return Columns.of_matrix(list(columns), np.where(infinite, np.nan, columns.matrix))
    return Columns(
        {
            name: np.where(np.isinf(values), np.nan, values) if values.dtype.kind == "f" else values
            for name, values in columns.items()
        },
        columns.rows,
    )


def to_arrow(data: Any) -> pa.Table:
    """Any eager data frame (pandas, polars, pyarrow), or a mapping of columns, as a pyarrow table.

    Raises `InvalidData` where the object is no table or two columns have one name.
    """
    import pyarrow as pa

    if isinstance(data, pa.Table):
        table = data
    elif isinstance(data, Mapping):
        try:
            table = pa.table({str(name): pa.array(list(values), from_pandas=True) for name, values in data.items()})
        except (TypeError, ValueError, pa.ArrowException) as error:
            raise InvalidData(f"These columns can't be read as a table: {error}") from error
    else:
        import narwhals as nw

        try:
            frame = nw.from_native(data, eager_only=True)
            table = frame.to_arrow()
        except (TypeError, ValueError, pa.ArrowInvalid, pa.ArrowTypeError) as error:
            raise InvalidData(f"This {type(data).__name__} can't be read as a table: {error}") from error
    repeated = sorted(name for name, times in Counter(table.column_names).items() if times > 1)
    if repeated:
        raise InvalidData(
            f"Two columns have the same name: {', '.join(repeated)}. Rename one of each.", columns=repeated
        )
    if "__index_level_0__" in table.column_names:
        table = table.drop_columns(["__index_level_0__"])
    return table


def infer_kind(column: pa.ChunkedArray) -> Kind:
    """What kind of feature a column is, from its type and, for strings, its values.

    Strings count as text where they are long or nearly all different, else as categorical.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    type_ = column.type
    if pa.types.is_dictionary(type_):
        return Kind.CATEGORICAL
    if pa.types.is_boolean(type_):
        return Kind.BOOLEAN
    if pa.types.is_string(type_) or pa.types.is_large_string(type_) or pa.types.is_string_view(type_):
        present = len(column) - column.null_count
        if not present:
            return Kind.CATEGORICAL
        length = pc.mean(pc.utf8_length(column)).as_py() or 0.0
        distinct = pc.count_distinct(column).as_py() / present
        return Kind.TEXT if length > TEXT_LENGTH and distinct > TEXT_DISTINCT else Kind.CATEGORICAL
    return Kind.NUMERIC


def infer_kinds(table: pa.Table) -> dict[str, Kind]:
    """The kind of each column of a table."""
    return {name: infer_kind(table.column(name)) for name in table.column_names}


def to_columns(data: Any, kinds: Mapping[str, Kind] | None = None) -> Columns:
    """Typed columns of any data frame, with the kinds given or inferred.

    With `kinds`, exactly those columns are taken, in that order. Raises `InvalidFeatures` where one is missing or
    holds values that its kind can't.

    >>> to_columns({"x": [1, None], "b": [True, False]})["b"].tolist()
    [1.0, 0.0]
    """
    if isinstance(data, Columns) and kinds is None:
        return data
    table = to_arrow(data)
    if kinds is None:
        kinds = infer_kinds(table)
    absent = [name for name in kinds if name not in table.column_names]
    if absent:
        raise InvalidFeatures(f"Missing features: {', '.join(absent)}.", missing=absent)
    return Columns({name: _typed(table.column(name), kind, name) for name, kind in kinds.items()}, table.num_rows)


def _typed(column: pa.ChunkedArray, kind: Kind, name: str) -> Array:
    import pyarrow as pa
    import pyarrow.compute as pc

    try:
        if pa.types.is_dictionary(column.type):
            column = pc.cast(column, column.type.value_type)
        if kind.is_number:
            if pa.types.is_temporal(column.type):
                column = pc.cast(pc.cast(column, pa.timestamp("us")), pa.int64())
            if pa.types.is_boolean(column.type):
                column = pc.cast(column, pa.int8())
            return np.asarray(pc.cast(column, pa.float64(), safe=False).to_numpy(), dtype=np.float64).copy()
        if not (pa.types.is_string(column.type) or pa.types.is_large_string(column.type)):
            column = pc.cast(column, pa.string())
        return np.array(column.to_pylist(), dtype=object)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError, pa.ArrowTypeError) as error:
        raise InvalidFeatures(
            f"Feature '{name}' should be {kind.value} but holds {column.type}.", feature=name, kind=kind.value
        ) from error


def from_columns(columns: Mapping[str, Array], kinds: Mapping[str, Kind]) -> pa.Table:
    """Typed columns as a pyarrow table (float64, bool, string; missing as null)."""
    import pyarrow as pa

    arrays: dict[str, pa.Array] = {}
    for name, kind in kinds.items():
        values = columns[name]
        if kind is Kind.NUMERIC:
            arrays[name] = pa.array(values, type=pa.float64(), mask=np.isnan(values))
        elif kind is Kind.BOOLEAN:
            gone = np.isnan(values)
            arrays[name] = pa.array(np.where(gone, 0.0, values) != 0.0, type=pa.bool_(), mask=gone)
        else:
            arrays[name] = pa.array(values, type=pa.string())
    return pa.table(arrays)


def to_pandas(columns: Mapping[str, Array], kinds: Mapping[str, Kind]) -> pd.DataFrame:
    """Typed columns as the pandas frame that fitted scikit-learn pipelines are called with.

    Numeric and boolean columns are float64 (booleans as 0.0 and 1.0), strings are objects with `None` for missing.
    """
    import pandas as pd

    frame = {
        name: values if kind.is_number else pd.Series(values, dtype=object)
        for name, values, kind in ((name, columns[name], kinds[name]) for name in kinds)
    }
    return pd.DataFrame(frame, copy=False)


def content_hash(columns: Mapping[str, Array]) -> str:
    """SHA-256 of names and values, independent of the frame library they came from."""
    digest = hashlib.sha256()
    for name in columns:
        values = columns[name]
        if values.dtype.kind == "O":
            # Lengths stand before the texts, so that no two tables read alike.
            texts = [None if value is None else str(value) for value in values]
            content = "".join("-" if text is None else f"{len(text)}:{text}" for text in texts).encode()
        else:
            content = np.ascontiguousarray(values).tobytes()
        digest.update(f"{len(name)}:{name}{len(content)}:".encode())
        digest.update(content)
    return digest.hexdigest()


def as_text(column: pa.ChunkedArray) -> Array:
    """A label column as strings, with whole numbers written without a fraction; missing is `None`.

    >>> import pyarrow as pa
    >>> as_text(pa.chunked_array([[1.0, None, 2.0]])).tolist()
    ['1', None, '2']
    """
    return np.array([label_text(value) for value in column.to_pylist()], dtype=object)


def label_text(value: Any) -> str | None:
    """One label as a string: `True` is "true", 1.0 is "1", missing (None, NaN, NaT, pandas.NA) is `None`."""
    if isinstance(value, str):
        # numpy.str_ is a text too, but nothing that JSON knows.
        return str(value)
    if _is_missing(value):
        return None
    if isinstance(value, bool | np.bool_):
        return "true" if value else "false"
    if isinstance(value, float | np.floating) and abs(float(value)) < INTEGER_TEXT and float(value).is_integer():
        return str(int(value))
    return str(value)


def _is_missing(value: Any) -> bool:
    # NaN and NaT differ from themselves; pandas.NA refuses to say.
    if value is None:
        return True
    try:
        return bool(value != value)  # noqa: PLR0124 (that is what NaN is)
    except (TypeError, ValueError):
        return True
