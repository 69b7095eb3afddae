"""Logged rows with their labels, read in columns: for training frames and metrics over a lot of rows at once."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime
from itertools import groupby
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from homeostat.feedback.keys import NOWHERE, KeyPlaces
from homeostat.ports import PredictionLog
from homeostat.records import as_datetime64
from homeostat.records.ids import key_bytes, key_of, packed, texts_of

if TYPE_CHECKING:
    import pyarrow as pa

# What is looked up at once: a look-up of texts makes an index over all labels.
BYTES_AT_ONCE = 512 * 2**20
LABEL, LABEL_TIME = "label", "label_time"


class LatestLabels:
    """The labels of a model by prediction; the latest of each, in the order in which they were logged, counts.

    They come as tables of `PredictionLog.scan_labels`.
    """

    def __init__(self, tables: Sequence[pa.Table]) -> None:
        import pyarrow as pa

        # Backwards, because a look-up gives the first of several.
        every = [table for table in reversed(tables) if table.num_rows]
        turned = [table.take(pa.array(np.arange(table.num_rows)[::-1])) for table in _alike(every)]
        self._ids = [table.column("prediction_id") for table in turned]
        self.values: pa.ChunkedArray = pa.chunked_array(
            [chunk for table in turned for chunk in table.column("value").chunks], pa.string()
        )
        times = [table.column("event_time").to_numpy().astype("datetime64[us]") for table in turned]
        self.times: npt.NDArray[np.datetime64] = np.concatenate(times) if times else np.array([], dtype="M8[us]")
        self._of_keys: tuple[KeyPlaces, npt.NDArray[np.int64] | None] | None = None
        self._texts: pa.Array | None = None

    def __len__(self) -> int:
        return len(self.times)

    def places(self, ids: pa.ChunkedArray) -> npt.NDArray[np.int64]:
        """Where the label of each row stands in `values` and `times`; -1 where it has none."""
        import pyarrow as pa
        import pyarrow.compute as pc

        if not pa.types.is_fixed_size_binary(ids.type):
            if self._texts is None:
                texts = [text for column in self._ids for text in id_texts(column)]
                self._texts = pa.array(texts, pa.string())
            found = pc.index_in(ids, value_set=self._texts)
            return np.asarray(found.fill_null(NOWHERE).to_numpy(), dtype=np.int64)
        if self._of_keys is None:
            self._of_keys = self._keys()
        keys, numbers = self._of_keys
        parts = [keys.of(key_bytes(chunk)) for chunk in ids.chunks]
        places = np.concatenate(parts) if parts else np.array([], dtype=np.int64)
        return places if numbers is None else np.append(numbers, NOWHERE)[places]

    def _keys(self) -> tuple[KeyPlaces, npt.NDArray[np.int64] | None]:
        """The keys of those labels whose ids have one, and which labels these are, where they are not all."""
        import pyarrow as pa

        contents: list[bytes | memoryview] = []
        numbers: list[npt.NDArray[np.int64]] = []
        start = 0
        for column in self._ids:
            places = np.arange(start, start + len(column))
            start += len(column)
            if pa.types.is_fixed_size_binary(column.type):
                contents += map(key_bytes, column.chunks)
            else:
                texts = column.to_pylist()
                whole = packed(texts)
                if whole is None:
                    keys = [key_of(text) for text in texts]
                    whole = b"".join(key for key in keys if isinstance(key, bytes))
                    places = places[[isinstance(key, bytes) for key in keys]]
                contents.append(whole)
            numbers.append(places)
        each = np.concatenate(numbers) if numbers else np.array([], dtype=np.int64)
        return KeyPlaces(b"".join(contents)), None if len(each) == start else each


def _alike(tables: Sequence[pa.Table]) -> Iterator[pa.Table]:
    """Of tables with the latest first, those that follow each other and have ids of one form as one, in log order."""
    import pyarrow as pa

    for _, group in groupby(tables, key=lambda table: table.schema):
        yield pa.concat_tables(list(group)[::-1]).combine_chunks()


def id_texts(column: pa.ChunkedArray) -> list[str]:
    """Prediction ids as texts, from a column of `PredictionLog.scan`."""
    import pyarrow as pa

    if pa.types.is_fixed_size_binary(column.type):
        return [text for chunk in column.chunks for text in texts_of(key_bytes(chunk))]
    return list(column.to_pylist())


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
    labels = LatestLabels(log.scan_labels(model))
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
        early = labels.times <= as_datetime64(labelled_until)
        # A place of -1 is the last entry, which stands for no label.
        chosen &= np.append(early, False)[places]
    kept = places[chosen]
    found = table.select(list(columns)).filter(pa.array(chosen))
    given = labels.values.take(pa.array(kept))
    return found.append_column(LABEL, given).append_column(LABEL_TIME, pa.array(labels.times[kept]))


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
