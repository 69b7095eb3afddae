"""Logged rows with their labels, read in columns: for training frames and metrics over a lot of rows at once."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from homeostat.ports import PredictionLog
from homeostat.records import LabelBlock, as_datetime64
from homeostat.records.ids import KEY_BYTES, key_of, packed

if TYPE_CHECKING:
    import pyarrow as pa

# What is looked up at once: each look-up makes an index over all labels.
BYTES_AT_ONCE = 512 * 2**20
LABEL, LABEL_TIME = "label", "label_time"


class LatestLabels:
    """The labels of a model by prediction; the latest of each, in the order in which they were logged, counts."""

    def __init__(self, blocks: Sequence[LabelBlock]) -> None:
        import pyarrow as pa
        import pyarrow.compute as pc

        every = [block for block in blocks if block.rows]
        ids = np.concatenate([block.ids for block in every]) if every else np.array([], dtype=object)
        # Backwards, because a look-up gives the first of several.
        self._ids = ids[::-1]
        values = np.concatenate([block.values for block in every]) if every else ids
        self.values: pa.Array = pa.array(values[::-1], pa.string())
        times = [block.event_time.astype("datetime64[us]") for block in every]
        self.times: pa.Array = pa.array(np.concatenate(times)[::-1] if every else np.array([], dtype="M8[us]"))
        keys = packed(self._ids)
        self._is_key: npt.NDArray[np.int64] | None = None
        if keys is None:
            mixed = [key_of(id_) for id_ in self._ids]
            self._is_key = np.flatnonzero([isinstance(key, bytes) for key in mixed])
            keys = b"".join(key for key in mixed if isinstance(key, bytes))
        self._keys = pa.Array.from_buffers(pa.binary(KEY_BYTES), len(keys) // KEY_BYTES, [None, pa.py_buffer(keys)])
        self._find = pc.index_in

    def __len__(self) -> int:
        return len(self._ids)

    def places(self, ids: pa.ChunkedArray) -> npt.NDArray[np.int64]:
        """Where the label of each row stands in `values` and `times`; -1 where it has none."""
        import pyarrow as pa

        if pa.types.is_fixed_size_binary(ids.type):
            found = _numbers(self._find(ids, value_set=self._keys))
            return found if self._is_key is None else np.where(found < 0, -1, np.append(self._is_key, -1)[found])
        return _numbers(self._find(ids, value_set=pa.array(self._ids, pa.string())))


def _numbers(found: pa.ChunkedArray) -> npt.NDArray[np.int64]:
    return np.asarray(found.fill_null(-1).to_numpy(), dtype=np.int64)


def labelled_rows(
    log: PredictionLog,
    model: str,
    columns: Sequence[str],
    *,
    since: datetime | None = None,
    until: datetime | None = None,
    labelled_until: datetime | None = None,
) -> Iterator[pa.Table]:
    """The served rows of a span of event time that have a label, with `label` and `label_time` beside the columns.

    Columns are those of `PredictionLog.scan`. With `labelled_until`, rows whose latest label has a later event time are
    left out. Tables come in any order.
    """
    labels = LatestLabels([block for _, block in log.labels_after(model, 0)])
    if not len(labels):
        return
    wanted = list(dict.fromkeys([*columns, "prediction_id"]))
    for table in _together(log.scan(model, wanted, since=since, until=until)):
        yield _with_labels(table, labels, columns, labelled_until)


def _together(tables: Iterator[pa.Table]) -> Iterator[pa.Table]:
    """Few large tables out of many small ones; those that follow each other and have the same columns become one."""
    import pyarrow as pa

    held: list[pa.Table] = []
    size = 0
    for table in tables:
        if held and (size >= BYTES_AT_ONCE or table.schema != held[0].schema):
            yield pa.concat_tables(held)
            held, size = [], 0
        held.append(table)
        size += table.nbytes
    if held:
        yield pa.concat_tables(held)


def _with_labels(
    table: pa.Table, labels: LatestLabels, columns: Sequence[str], labelled_until: datetime | None
) -> pa.Table:
    import pyarrow as pa

    places = labels.places(table.column("prediction_id"))
    chosen = places >= 0
    if labelled_until is not None:
        early = labels.times.to_numpy() <= as_datetime64(labelled_until)
        # A place of -1 is the last entry, which stands for no label.
        chosen &= np.append(early, False)[places]
    kept = places[chosen]
    found = table.select(list(columns)).filter(pa.array(chosen))
    taken = pa.array(kept)
    return found.append_column(LABEL, labels.values.take(taken)).append_column(LABEL_TIME, labels.times.take(taken))


def column_of(table: pa.Table, name: str, *, is_number: bool) -> npt.NDArray[Any]:
    """A column as an array of `frames.Columns`: float64 with NaN, or texts with `None`."""
    import pyarrow as pa

    column = table.column(name)
    if is_number and pa.types.is_floating(column.type):
        return np.asarray(column.to_numpy(), dtype=np.float64)
    if not is_number and column.null_count == len(column):
        # What a part of the log does not have is null, of no type in particular.
        return np.full(len(column), None, dtype=object)
    return np.asarray(column.to_numpy(), dtype=object)


def moments_of(table: pa.Table) -> npt.NDArray[np.int64]:
    """Event times as microseconds of UTC."""
    return np.asarray(table.column("event_time").to_numpy().astype("datetime64[us]").astype(np.int64))
