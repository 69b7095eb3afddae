"""A labelled table, read and made ready to be replayed."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from homeostat.errors import InvalidData, InvalidTarget
from homeostat.frames import Columns, Kind, as_text, infer_kinds, missing, to_arrow, to_columns
from homeostat.records import Task, as_datetime64

if TYPE_CHECKING:
    import pyarrow as pa

DAYS = 100
START = datetime(2025, 1, 1, tzinfo=UTC)
MOST_CLASSES = 50
CLASS_SHARE = 0.05
FEWEST_ROWS = 100
SEPARATORS = {"\t": "tabs", ";": "semicolons", "|": "bars"}
# What datetime can hold, with room for delays and waits on either side.
EARLIEST, LATEST = np.datetime64("0100-01-01", "us"), np.datetime64("9000-01-01", "us")
LATEST_SECONDS = 1e12
WHOLE_NUMBER_CLASSES = 20
POSITIVE_NAMES = ("1", "true", "yes", "y", "positive", "pos", "phishing", "fraud", "spam", "churn", "default", "bad")


@dataclass(frozen=True, slots=True)
class LabelledTable:
    """Rows in time order. `target` holds class labels (strings) or values (float64); `times` are in UTC."""

    name: str
    columns: Columns
    kinds: dict[str, Kind]
    target_name: str
    target: npt.NDArray[Any]
    task: Task
    classes: tuple[str, ...]
    positive: str | None
    times: npt.NDArray[np.datetime64]
    entities: npt.NDArray[Any] | None
    has_own_times: bool
    findings: tuple[tuple[str, str], ...]

    @property
    def rows(self) -> int:
        """How many rows there are."""
        return len(self.target)


def read_table(path: Path) -> pa.Table:
    """A CSV (plain or gzip) or Parquet file. Raises `InvalidData`."""
    if not path.exists():
        raise InvalidData(f"There is no file {path}.", path=str(path))
    if path.is_dir() or path.stat().st_size == 0:
        raise InvalidData(f"{path} is {'a folder' if path.is_dir() else 'empty'}; give a CSV or Parquet file.")
    import pyarrow as pa

    try:
        if path.suffix in (".parquet", ".pq"):
            import pyarrow.parquet as pq

            table = pq.read_table(path)
        else:
            table = _read_csv(path)
        # A header's bytes are decoded only here.
        names = table.column_names
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        first = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise InvalidData(
            f"{path} can't be read: {first}. It must be a UTF-8 CSV with a header, or Parquet."
        ) from error
    if table.num_rows == 0 or table.num_columns == 0:
        raise InvalidData(f"{path} has no rows.", path=str(path))
    if len(names) == 1 and (separator := next((found for found in ("\t", ";", "|") if found in names[0]), None)):
        raise InvalidData(
            f"{path} has one column; it seems to be separated by {SEPARATORS[separator]}. Separate it by commas.",
            path=str(path),
        )
    return table


def _read_csv(path: Path) -> pa.Table:
    from pyarrow import csv

    options = csv.ConvertOptions(
        strings_can_be_null=True, null_values=["", "NA", "N/A", "NaN", "nan", "null", "NULL", "None", "?"]
    )
    return csv.read_csv(path, convert_options=options)


def prepare(
    data: Any, *, target: str, time: str | None = None, entity: str | None = None, name: str = "model"
) -> LabelledTable:
    """Type the columns, find the task, order the rows by time. Raises `InvalidData` or `InvalidTarget`.

    Without a time column the rows count as being in time order, spread evenly over 100 days.
    """
    table = to_arrow(data)
    for role, column in (("target", target), ("time", time), ("entity", entity)):
        if column is not None and column not in table.column_names:
            raise (InvalidTarget if role == "target" else InvalidData)(
                f"The table has no column '{column}' for the {role}. It has: {', '.join(table.column_names[:30])}."
            )
    for option, column in (("time", time), ("entity", entity)):
        if column == target:
            raise InvalidTarget(f"Column '{target}' can't be both the target and the {option}.")
    known = _labelled(table, target)
    dropped = table.num_rows - known.num_rows
    if known.num_rows < FEWEST_ROWS:
        raise InvalidData(f"There are {known.num_rows} labelled rows; at least {FEWEST_ROWS} are needed.")
    task, values, classes = _target(known, target)
    times = _times(known, time)
    order = np.argsort(times, kind="stable")
    reserved = {target, time, entity}
    kinds = {column: kind for column, kind in infer_kinds(known).items() if column not in reserved}
    if not kinds:
        raise InvalidData("The table has no column besides the target; there is nothing to predict from.")
    columns = to_columns(known.select(list(kinds)), kinds).take(order)
    findings = [*data_findings(columns, kinds)]
    if dropped:
        findings.append((target, f"{dropped:,} rows have no {target} and were left out"))
    entities = np.array(known.column(entity).to_pylist(), dtype=object)[order] if entity else None
    return LabelledTable(
        name=name,
        columns=columns,
        kinds=kinds,
        target_name=target,
        target=values[order],
        task=task,
        classes=classes,
        positive=positive_class(values, classes) if task is Task.BINARY else None,
        times=times[order],
        entities=entities,
        has_own_times=time is not None,
        findings=tuple(findings),
    )


def _labelled(table: pa.Table, target: str) -> pa.Table:
    import pyarrow as pa
    import pyarrow.compute as pc

    column = table.column(target)
    known = pc.is_valid(column)
    if pa.types.is_floating(column.type):
        known = pc.and_(known, pc.fill_null(pc.is_finite(column), fill_value=False))
    return table.filter(known)


def _target(table: pa.Table, target: str) -> tuple[Task, npt.NDArray[Any], tuple[str, ...]]:
    """Strings, booleans and few whole numbers are classes; other numbers are values."""
    import pyarrow as pa
    import pyarrow.compute as pc

    column = table.column(target)
    distinct = pc.count_distinct(column).as_py()
    if distinct < 2:
        raise InvalidTarget(f"The target '{target}' has one value only; there is nothing to learn.")
    kind = column.type
    is_number = pa.types.is_floating(kind) or pa.types.is_integer(kind) or pa.types.is_decimal(kind)
    if is_number:
        values = np.asarray(pc.cast(column, pa.float64(), safe=False).to_numpy(), dtype=np.float64)
        whole = bool(np.all(values == np.round(values)))
        if not (whole and distinct <= WHOLE_NUMBER_CLASSES):
            return Task.REGRESSION, values, ()
    elif distinct > MOST_CLASSES and distinct > CLASS_SHARE * table.num_rows:
        raise InvalidTarget(
            f"The target '{target}' has {distinct:,} different texts in {table.num_rows:,} rows; those are no classes."
        )
    if pa.types.is_dictionary(kind):
        column = pc.cast(column, kind.value_type)
    texts = as_text(column)
    classes = tuple(sorted(set(texts.tolist())))
    return (Task.BINARY if len(classes) == 2 else Task.MULTICLASS), texts, classes


def positive_class(target: npt.NDArray[Any], classes: tuple[str, ...]) -> str:
    """The class that a binary model looks for: one with a telling name, else the rarer one.

    >>> positive_class(np.array(["no", "yes", "yes"], dtype=object), ("no", "yes"))
    'yes'
    """
    for name in classes:
        if name.lower() in POSITIVE_NAMES:
            return name
    return min(classes, key=lambda name: (int((target == name).sum()), name))


def _times(table: pa.Table, time: str | None) -> npt.NDArray[np.datetime64]:
    import pyarrow as pa
    import pyarrow.compute as pc

    if time is None:
        return spread(table.num_rows)
    column = table.column(time)
    try:
        if pa.types.is_string(column.type) or pa.types.is_large_string(column.type):
            column = pc.cast(column, pa.timestamp("us"))
        elif pa.types.is_integer(column.type) or pa.types.is_floating(column.type):
            seconds = np.asarray(pc.cast(column, pa.float64(), safe=False).to_numpy(), dtype=np.float64)
            if np.isnan(seconds).any():
                raise InvalidData(f"The time column '{time}' has missing values.")
            # Clipped first: what int64 can't hold would wrap around to a time that looks right.
            clipped = np.clip(seconds, LATEST_SECONDS * -1, LATEST_SECONDS)
            return _in_range((clipped * 1_000_000).astype(np.int64).astype("datetime64[us]"), time)
        elif column.type != pa.timestamp("us"):
            if pa.types.is_timestamp(column.type) and column.type.tz is not None:
                column = pc.cast(column, pa.timestamp("us", tz="UTC"))
            column = pc.cast(column, pa.timestamp("us"), safe=False)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        raise InvalidData(
            f"The time column '{time}' holds {column.type}; it must hold timestamps (such as 2025-01-31T12:00:00) or "
            "seconds since 1970."
        ) from error
    if column.null_count:
        raise InvalidData(f"The time column '{time}' has {column.null_count:,} missing values.")
    return _in_range(np.asarray(column.to_numpy()).astype("datetime64[us]"), time)


def _in_range(times: npt.NDArray[np.datetime64], name: str) -> npt.NDArray[np.datetime64]:
    outside = (times < EARLIEST) | (times > LATEST)
    if outside.any():
        raise InvalidData(
            f"The time column '{name}' has {int(outside.sum()):,} times outside of the years 100 to 9000. "
            "Numbers count as seconds since 1970; divide milliseconds by 1000."
        )
    return times


def spread(rows: int) -> npt.NDArray[np.datetime64]:
    """Times that spread the rows evenly over 100 days."""
    step = timedelta(days=DAYS) / max(rows, 1)
    return as_datetime64(START) + (np.arange(rows) * (step.total_seconds() * 1e6)).astype("timedelta64[us]")


def data_findings(columns: Columns, kinds: dict[str, Kind]) -> list[tuple[str, str]]:
    """What is odd about the columns, though it can be worked with."""
    found = []
    for name, kind in kinds.items():
        values = columns[name]
        gone = missing(values)
        if gone.all():
            found.append((name, "all values are missing; nothing can be learned from it"))
            continue
        present = values[~gone]
        if kind is Kind.TEXT:
            found.append((name, "free text: the built-in trainer leaves it out"))
        elif len(set(present[:1000].tolist())) == 1 and (present == present[0]).all():
            found.append((name, "constant; nothing can be learned from it"))
        if kind.is_number and np.isinf(present).any():
            count = int(np.isinf(present).sum())
            found.append((name, f"{count:,} infinities, which are treated as missing"))
    return found
